/** Turn the typed text into a request, and find the place in the text that an error is about. */

/** The start of a list of sequences: three lists deep, after any empty lists. */
const SEQUENCES = /^\s*\[\s*(\[\s*\]\s*,\s*)*\[\s*\[/;

/**
 * A request, and the places of its elements in the text.
 * @typedef {object} Typed
 * @property {string} body
 * @property {string} type its content type
 * @property {Object<string, string>} query the fields of the request that are no part of the body
 * @property {(detail: string|undefined) => [number, number]|null} find start and end of the place in the
 *   text that an error of the service is about
 */

/**
 * Read text as a request. The service validates it.
 * @param {string} text JSON or a table
 * @param {object} asked fields of the request beside the sequences
 * @param {object} card the model card
 * @returns {Typed}
 */
export function read(text, asked, card) {
  const fields = Object.entries(asked).map(([name, value]) => `"${name}":${JSON.stringify(value)},`).join("");
  const start = text.trimStart()[0];
  if (start === "{") return readJson(text, text.indexOf("{") + 1, fields);
  if (start === "[") return readJson(text, 0, `{${fields}"${areMany(text, card) ? "sequences" : "sequence"}":`, "}");
  const written = ([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)];
  const query = Object.fromEntries(Object.entries(asked).map(written));
  return { body: text, type: "text/csv", query, find: (detail) => lineIn(text, detail) };
}

/** Return start and end of the line in an error such as `line 3, column 'x': expected …`; null for other errors. */
function lineIn(text, detail) {
  const number = Number(/^line (\d+)/.exec(detail ?? "")?.[1]);
  const lines = text.split("\n").slice(0, number);
  if (!number || lines.length < number) return null;
  const end = lines.join("\n").length;
  return [end - lines.at(-1).length, end];
}

/** Whether JSON is a list of sequences, rather than one. A timestep of one token may be the token itself. */
function areMany(text, { tokens, features }) {
  if (SEQUENCES.test(text) || !tokens || features > 1) return SEQUENCES.test(text);
  try {
    const lists = JSON.parse(text);
    return lists.every(Array.isArray) && lists.some((list) => list.length !== 1);
  } catch {
    return false;
  }
}

/** Send JSON unchanged but for a text inserted at an offset, so that positions in the body map to the typed text. */
function readJson(text, offset, inserted, appended = "") {
  const body = text.slice(0, offset) + separated(text, offset, inserted) + text.slice(offset) + appended;
  const isBody = !appended;
  return {
    body,
    type: "application/json",
    query: {},
    find(detail) {
      const position = jsonPosition(detail);
      if (position !== null) {
        const inBody = utf16(body, position);
        return visible(text, inBody < offset ? inBody : inBody - (body.length - text.length - appended.length));
      }
      const path = pathIn(detail);
      return path && placeInJson(text, isBody ? path : path.slice(1));
    },
  };
}

/** Drop the comma before the end of an empty object. */
function separated(text, offset, inserted) {
  return inserted.endsWith(",") && text.slice(offset).trimStart()[0] === "}" ? inserted.slice(0, -1) : inserted;
}

/** Return the position of a JSON syntax error, in characters, or null. */
function jsonPosition(detail) {
  const [, position] = /^position (\d+): /.exec(detail ?? "") ?? [];
  return position === undefined ? null : Number(position);
}

/** Turn an offset in characters, as the service counts, into one in UTF-16 code units, as JavaScript counts. */
function utf16(text, characters) {
  let at = 0;
  for (let i = 0; i < characters; i += 1) at += text.codePointAt(at) > 0xffff ? 2 : 1;
  return at;
}

/** Return the path in an error: ["sequences", 2, 3] for `sequences[2][3]: expected …`. */
function pathIn(detail) {
  const [, name, indices] = /^(sequences?)((?:\[\d+\])*)/.exec(detail ?? "") ?? [];
  return name ? [name, ...[...indices.matchAll(/\d+/g)].map(Number)] : null;
}

/** Return start and end of the character at a position; past the end of the text, of its last visible character. */
function visible(text, position) {
  const at = Math.min(position, text.trimEnd().length - 1);
  return [at, at + 1];
}

/**
 * Return start and end of an element in valid JSON, or of its nearest ancestor that exists.
 * @param {string} text
 * @param {(string|number)[]} path
 */
function placeInJson(text, path) {
  let at = 0;
  const space = () => {
    while (" \t\r\n".includes(text[at])) at += 1;
  };
  const string = () => {
    const start = at;
    for (at += 1; text[at] !== '"'; at += 1) if (text[at] === "\\") at += 1;
    at += 1;
    return text.slice(start, at);
  };
  const skip = () => {
    if (text[at] === '"') {
      string();
    } else if ("[{".includes(text[at])) {
      let depth = 0;
      do {
        if (text[at] === '"') {
          string();
          continue;
        }
        if ("[{".includes(text[at])) depth += 1;
        if ("]}".includes(text[at])) depth -= 1;
        at += 1;
      } while (depth > 0);
    } else {
      while (at < text.length && !",]} \t\r\n".includes(text[at])) at += 1;
    }
  };
  const enter = (key) => {
    const inObject = text[at] === "{";
    if (!inObject && text[at] !== "[") return false;
    at += 1;
    for (let i = 0; ; i += 1) {
      space();
      if ("]}".includes(text[at])) return false;
      let name = i;
      if (inObject) {
        name = JSON.parse(string());
        space();
        at += 1; // the colon
        space();
      }
      if (name === key) return true;
      skip();
      space();
      if (text[at] !== ",") return false;
      at += 1;
    }
  };
  space();
  for (const key of path) {
    const start = at;
    if (!enter(key)) {
      at = start;
      break;
    }
  }
  const start = at;
  skip();
  return [start, at];
}

/** Return sequences as readable text: a single sequence with one line per timestep, several with one line each. */
export function write(sequences) {
  const one = (sequence, between) => `[${sequence.map((step) => JSON.stringify(step)).join(between)}]`;
  if (sequences.length === 1) return one(sequences[0], Array.isArray(sequences[0][0]) ? ",\n " : ", ");
  return `[${sequences.map((sequence) => one(sequence, ",")).join(",\n ")}]`;
}

/**
 * Return a random sequence: normal, with the mean and standard deviation of the examples at each timestep. Categories
 * have values of the examples, tokens are any of the examples, and features that do not change with time those of one example.
 * @param {(number|null)[][][]} examples
 * @param {object} card the model card
 */
export function random(examples, { feature_labels: features, categories, static_labels: fixed, tokens }) {
  const any = (values) => values[Math.floor(Math.random() * values.length)] ?? null;
  if (tokens) return any(examples).map(() => any(any(examples)));
  const [first] = any(examples);
  const longest = examples.reduce((a, b) => (b.length > a.length ? b : a));
  return longest.map((step, t) =>
    step.map((_, f) => {
      if (fixed.includes(features[f])) return first[f];
      const there = (values) => values.filter((value) => value !== null && value !== undefined);
      const here = there(examples.map((example) => example[t]?.[f]));
      const values = here.length > 1 ? here : there(examples.flatMap((example) => example.map((row) => row[f])));
      if (features[f] in categories) return any(values);
      const mean = values.reduce((a, b) => a + b, 0) / (values.length || 1);
      const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / (values.length || 1);
      return Number((mean + Math.sqrt(variance) * normal()).toPrecision(4));
    }),
  );
}

/** Return a standard normal number, by the Box–Muller transform. */
function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}
