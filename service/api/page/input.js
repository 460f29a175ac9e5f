/** What is typed or dropped, as a request; and where in it the element is that the service did not take. */

/** What stands for a missing value in a cell, as in the tables that training reads. */
const MISSING = new Set(["", "NA", "N/A", "NaN", "nan", "null", "NULL"]);
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
/** What stands in a row of values though it is none, so that the row is not taken for names. */
const NO_NAME = /^[+-]?(inf(inity)?|none|n\/?a|nan|null|missing)$/i;
const LETTER = /\p{L}/u;
const JSON_NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?(e[+-]?\d+)?$/i;
/** Lists in lists in a list are sequences; those that are empty do not tell. */
const SEQUENCES = /^\s*\[\s*(\[\s*\]\s*,\s*)*\[\s*\[/;

/**
 * A request, and where its elements are in the text that it was made of.
 * @typedef {object} Typed
 * @property {string} body
 * @property {number[][][]|null} sequences what was posted, where it could be read
 * @property {string|null} [header] the line that was taken for names, and not posted
 * @property {(detail: unknown) => [number, number]|null} find start and end of what the service's words are about
 */

/**
 * Whatever is typed goes to the service, which alone decides what is wrong with it.
 * @param {string} text JSON or CSV
 * @param {boolean} importance whether to ask for it
 * @returns {Typed}
 */
export function read(text, importance) {
  const asked = importance ? '"importance":true,' : "";
  const start = text.trimStart()[0];
  if (start === "{") return readJson(text, text.indexOf("{") + 1, asked);
  if (start === "[") return readJson(text, 0, `{${asked}"${SEQUENCES.test(text) ? "sequences" : "sequence"}":`, "}");
  return readCsv(text, `{${asked}`);
}

/** JSON is sent as it is typed, with something put in at an offset: positions in one are positions in the other. */
function readJson(text, offset, inserted, appended = "") {
  const body = text.slice(0, offset) + separated(text, offset, inserted) + text.slice(offset) + appended;
  const isBody = !appended;
  return {
    body,
    sequences: sequencesIn(body),
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

/** An object with no other field must not get a comma. */
function separated(text, offset, inserted) {
  return inserted.endsWith(",") && text.slice(offset).trimStart()[0] === "}" ? inserted.slice(0, -1) : inserted;
}

function sequencesIn(body) {
  try {
    const { sequence, sequences } = JSON.parse(body);
    return sequences ?? [sequence];
  } catch {
    return null;
  }
}

/** Where the service could not go on reading JSON. */
function jsonPosition(detail) {
  const problem = Array.isArray(detail) ? detail.find(({ type }) => type === "json_invalid") : null;
  return problem ? Number(problem.loc[1]) : null;
}

/** The service counts characters, JavaScript their halves where they are beyond the first 65,536. */
function utf16(text, characters) {
  let at = 0;
  for (let i = 0; i < characters; i += 1) at += text.codePointAt(at) > 0xffff ? 2 : 1;
  return at;
}

/** `sequences[2][3]: expected …` as ["sequences", 2, 3]. */
function pathIn(detail) {
  const [, name, indices] = /^(sequences?)((?:\[\d+\])*)/.exec(typeof detail === "string" ? detail : "") ?? [];
  return name ? [name, ...[...indices.matchAll(/\d+/g)].map(Number)] : null;
}

/** A position as something that can be seen: a character that is not space, the last one at the end. */
function visible(text, position) {
  const at = Math.min(position, text.trimEnd().length - 1);
  return [at, at + 1];
}

/**
 * Start and end of an element in valid JSON, or of what is there of the way to it.
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

/** One timestep a row, one feature a column, a blank line between sequences; a header may come first. */
function readCsv(text, opening) {
  const { sequences, header } = rowsOf(text);
  const written = sequences.map((rows) => `[${rows.map((row) => `[${row.cells.map(asJson).join(",")}]`).join(",")}]`);
  const many = sequences.length !== 1;
  const body = many ? `${opening}"sequences":[${written.join(",")}]}` : `${opening}"sequence":${written[0]}}`;
  return {
    body,
    header,
    sequences: sequencesIn(body),
    find(detail) {
      const path = pathIn(detail);
      if (!path) return null;
      const [sequence, timestep, feature] = many ? path.slice(1) : [0, ...path.slice(1)];
      const rows = sequences[sequence];
      if (!rows) return [0, text.length];
      const row = rows[timestep];
      if (!row) return [rows[0].start, rows.at(-1).end];
      const { start, end } = row.cells[feature] ?? row;
      return end > start ? [start, end] : [Math.max(0, start - 1), end + 1]; // an empty cell, by what is around it
    },
  };
}

function rowsOf(text) {
  const separator = ["\t", ";"].find((one) => text.includes(one)) ?? ",";
  const sequences = [];
  let current = null;
  let first = true;
  let header = null;
  for (const { 0: withEnd, index } of text.matchAll(/[^\r\n]*(\r\n|\r|\n|$)/g)) {
    const line = withEnd.replace(/[\r\n]+$/, "");
    if (!line.trim()) {
      current = null;
      continue;
    }
    const cells = cellsOf(line, index, separator);
    const isHeader = first && cells.every((cell) => LETTER.test(cell.text) && !NO_NAME.test(cell.text));
    first = false;
    if (isHeader) {
      header = line.trim();
      continue;
    }
    if (!current) sequences.push((current = []));
    current.push({ start: index, end: index + line.length, cells });
  }
  return { sequences, header };
}

/** Cells of a line; quotes around one are not part of it. */
function cellsOf(line, offset, separator) {
  const cells = [];
  let at = 0;
  while (at <= line.length) {
    const quoted = /^\s*"(?:[^"]|"")*"\s*/.exec(line.slice(at));
    const stop = line.indexOf(separator, at + (quoted ? quoted[0].length : 0));
    const end = stop < 0 ? line.length : stop;
    const raw = line.slice(at, end);
    const text = raw.trim();
    const start = offset + at + raw.length - raw.trimStart().length;
    cells.push({ text: quoted ? text.slice(1, -1) : text, start, end: start + text.length });
    at = end + 1;
  }
  return cells;
}

function asJson({ text }) {
  if (MISSING.has(text)) return "null";
  if (!NUMBER.test(text) || !Number.isFinite(Number(text))) return JSON.stringify(text); // the service says where
  return JSON_NUMBER.test(text) ? text : String(Number(text));
}

/** Sequences as text that is good to read and to change: a timestep a line where there is one sequence. */
export function write(sequences) {
  const one = (sequence, between) => `[${sequence.map((step) => JSON.stringify(step)).join(between)}]`;
  if (sequences.length === 1) return one(sequences[0], ",\n ");
  return `[${sequences.map((sequence) => one(sequence, ",")).join(",\n ")}]`;
}

/**
 * A sequence that looks like others: normal, with their mean and standard deviation at each timestep.
 * @param {(number|null)[][][]} examples
 */
export function random(examples) {
  const longest = examples.reduce((a, b) => (b.length > a.length ? b : a));
  return longest.map((step, t) =>
    step.map((_, f) => {
      const there = (values) => values.filter((value) => value !== null && value !== undefined);
      const here = there(examples.map((example) => example[t]?.[f]));
      const values = here.length > 1 ? here : there(examples.flatMap((example) => example.map((row) => row[f])));
      const mean = values.reduce((a, b) => a + b, 0) / (values.length || 1);
      const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / (values.length || 1);
      return Number((mean + Math.sqrt(variance) * normal()).toPrecision(4));
    }),
  );
}

/** Box and Muller's. */
function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}
