/** Turn the typed text into a request body, and find the place in the text that an error is about. */

import { Problem } from "./api.js";
import { shortened } from "./dom.js";
import { say } from "./text.js";

/** Cells that mean a missing value. Training reads tables in the same way. */
const MISSING = new Set(["", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "None", "none", "?", "-", "."]);
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
/** Words that stand for a value: a row that contains one is not a header. */
const NO_NAME = /^[+-]?(inf(inity)?|none|n\/?a|nan|null|missing)$/i;
const LETTER = /\p{L}/u;
const JSON_NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?(e[+-]?\d+)?$/i;
/** The start of a list of sequences: three lists deep, after any empty lists. */
const SEQUENCES = /^\s*\[\s*(\[\s*\]\s*,\s*)*\[\s*\[/;

/**
 * A request body, and the places of its elements in the text.
 * @typedef {object} Typed
 * @property {string} body JSON
 * @property {number[][][]|null} sequences the sequences in the body, null if it is not valid JSON
 * @property {string} [note] how the first line of CSV was read, for people
 * @property {(detail: string|undefined) => [number, number]|null} find start and end of the place in the
 *   text that an error of the service is about
 */

/**
 * Read text as a request body. The service validates it, except for the columns of a table.
 * @param {string} text JSON or CSV
 * @param {object} options fields of the request beside the sequences
 * @param {object} card the model card, whose labels are the names of columns
 * @returns {Typed}
 * @throws {Problem} a table has wrong columns; its detail is their place in the text
 */
export function read(text, options, card) {
  const asked = Object.entries(options).map(([name, value]) => `"${name}":${JSON.stringify(value)},`).join("");
  const start = text.trimStart()[0];
  if (start === "{") return readJson(text, text.indexOf("{") + 1, asked);
  if (start === "[") return readJson(text, 0, `{${asked}"${areMany(text, card) ? "sequences" : "sequence"}":`, "}");
  return readCsv(text, `{${asked}`, card);
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

/** Drop the comma before the end of an empty object. */
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

/** A table with the columns of training; or one row per timestep, and a blank line between sequences. */
function readCsv(text, opening, card) {
  const { sequences, note } = sequencesOf(rowsOf(text), card);
  const written = sequences.map((rows) => `[${rows.map((row) => `[${row.cells.map(asJson).join(",")}]`).join(",")}]`);
  const many = sequences.length !== 1;
  const body = many ? `${opening}"sequences":[${written.join(",")}]}` : `${opening}"sequence":${written[0]}}`;
  return {
    body,
    note,
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
      return end > start ? [start, end] : [Math.max(0, start - 1), end + 1]; // mark an empty cell by its neighbors
    },
  };
}

/** Return the blocks of rows between blank lines; a row has cells, and start and end in the text. */
function rowsOf(text) {
  const separator = ["\t", ";"].find((one) => text.includes(one)) ?? ",";
  const blocks = [];
  let current = null;
  for (const { 0: withEnd, index } of text.matchAll(/[^\r\n]*(\r\n|\r|\n|$)/g)) {
    const line = withEnd.replace(/[\r\n]+$/, "");
    if (!line.trim()) {
      current = null;
      continue;
    }
    if (!current) blocks.push((current = []));
    current.push({ start: index, end: index + line.length, cells: cellsOf(line, index, separator), line: line.trim() });
  }
  return blocks;
}

/** Return the sequences in blocks of rows: lists of rows, whose cells are the features. */
function sequencesOf(blocks, card) {
  const [head] = blocks[0];
  const names = head.cells.map((cell) => cell.text);
  const header = !card.tokens?.vocabulary && names.every((name) => LETTER.test(name) && !NO_NAME.test(name));
  const layout = layoutOf(names, card);
  const below = [blocks[0].slice(1), ...blocks.slice(1)].filter((block) => block.length > 0);
  if (layout.named || (header && card.feature_labels.some((label, f) => label !== String(f)))) {
    const leftOut = checkColumns(head, names, layout);
    return { sequences: readTable(below, names, layout, card), note: leftOut };
  }
  if (!header) return { sequences: blocks, note: "" };
  return { sequences: below, note: say("table.header", { line: shortened(head.line, 40) }) };
}

/** Return the layout whose columns fit best, as the service chooses it. A row of numbers names none. */
function layoutOf(names, { feature_labels: features, timestep_labels: timesteps, static_labels: fixed, table, training }) {
  const options = training?.options ?? {};
  const there = new Set(names);
  // A wide table has one column for a feature that does not change with time.
  const wide = (named) => ({
    wide: true,
    columns: timesteps.flatMap((step) => features.map((feature) => (fixed.includes(feature) ? feature : named(feature, step)))),
  });
  const layouts = [
    ...(features.length === fixed.length + 1 ? [wide((_, step) => step)] : []),
    wide((feature, step) => `${feature}@${step}`),
    { wide: false, columns: features },
  ];
  const format = table ?? {
    sequence_column: options.sequence_column,
    timestep_column: options.timestep_column,
    target_columns: options.target_column,
    other_columns: options.drop_columns,
  };
  if (format.sequence_column) layouts.reverse();
  for (const layout of layouts) {
    layout.found = layout.columns.filter((column) => there.has(column));
    layout.complete = layout.found.length === layout.columns.length;
  }
  const fit = ({ complete, found }) => found.length + (complete ? names.length + 1 : 0);
  const best = layouts.reduce((a, b) => (fit(b) > fit(a) ? b : a));
  const { target_columns: targets, other_columns: dropped, sequence_column: sequence, timestep_column: timestep } = format;
  const others = [targets, dropped, sequence, timestep].flat().filter(Boolean);
  const words = names.filter((name) => !NUMBER.test(name) && !MISSING.has(name));
  const named = words.some((word) => best.complete || best.columns.includes(word) || others.includes(word));
  return { ...best, named, others, any: Boolean(options.feature_columns), sequence, timestep };
}

/** Return which columns are left out, for people. */
function checkColumns(head, names, { columns, others, any, wide, sequence, timestep }) {
  const expected = new Set(columns);
  const unknown = names.filter((name) => !expected.has(name) && !others.includes(name));
  const problems = [
    ["table.missing", columns.filter((column) => !names.includes(column))],
    ["table.unknown", any ? [] : unknown],
    ["table.repeated", names.filter((name, i) => names.indexOf(name) < i)],
  ].filter(([, wrong]) => wrong.length > 0);
  if (problems.length > 0) {
    const list = problems.map(([kind, wrong]) => say(kind, { names: wrong.slice(0, 5).map((name) => `“${name}”`).join(", ") }));
    throw new Problem(say("table.columns", { problems: list.join("; ") }), [head.start, head.end]);
  }
  const used = wide ? [] : [sequence, timestep];
  const leftOut = names.filter((name) => !expected.has(name) && !used.includes(name));
  return leftOut.length > 0 ? say("table.left_out", { names: shortened(leftOut.join(", "), 80) }) : "";
}

/** Return the sequences of a table: each row is one (wide), or a timestep of one (long). */
function readTable(blocks, names, { wide, columns, sequence, timestep }, card) {
  for (const { cells, start, end } of blocks.flat()) {
    if (cells.length !== names.length) {
      throw new Problem(say("table.cells", { n: names.length, got: cells.length }), [start, end]);
    }
  }
  const at = columns.map((column) => names.indexOf(column));
  const step = (row, first) => ({ ...row, cells: at.slice(first, first + card.features).map((i) => row.cells[i]) });
  const isThere = ({ cells }) => cells.some((cell) => !MISSING.has(cell.text));
  const fixed = card.feature_labels.map((label) => card.static_labels.includes(label));
  const varying = ({ cells }) => ({ cells: cells.filter((_, f) => !fixed[f]) });
  // Features that do not change with time have values at the present timesteps only.
  const present = (row) =>
    fixed.includes(false) && !isThere(varying(row)) ? { ...row, cells: row.cells.map((cell) => ({ ...cell, text: "" })) } : row;
  const sequences = wide
    ? blocks.flat().map((row) => card.timestep_labels.map((_, t) => present(step(row, t * card.features))))
    : grouped(blocks, names.indexOf(sequence), names.indexOf(timestep)).map((rows) => rows.map((row) => step(row, 0)));
  if (!card.variable_length) return sequences;
  return sequences.map((steps) => steps.slice(0, Math.max(1, steps.findLastIndex(isThere) + 1)));
}

/** Return rows by the sequence that they name, or by blocks, in the order of their times. */
function grouped(blocks, sequence, timestep) {
  const groups = sequence < 0 ? blocks : [...Map.groupBy(blocks.flat(), ({ cells }) => cells[sequence].text).values()];
  if (timestep < 0) return groups;
  const times = blocks.flat().map(({ cells }) => cells[timestep]);
  const time = [integer, Number, date].find((of) => times.every(({ text }) => text && !Number.isNaN(of(text))));
  if (!time) throw new Problem(say("table.times"), [times[0].start, times[0].end]);
  const keyed = groups.map((rows) => rows.map((row) => [time(row.cells[timestep].text), row]));
  return keyed.map((rows) => rows.toSorted(([a], [b]) => (a < b ? -1 : Number(a > b))).map(([, row]) => row));
}

/** An integer of any size; NaN for other text. */
const integer = (text) => (/^-?\d+$/.test(text) ? BigInt(text) : NaN);

/** The time of a date that begins with the year; NaN for other text, in which browsers guess which number is the month. */
const date = (text) => (/^\d{4}-\d\d/.test(text) ? Date.parse(text) : NaN);

/** Return the cells of a line, without the quotes around them. */
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
  if (!NUMBER.test(text) || !Number.isFinite(Number(text))) return JSON.stringify(text); // the service reports its place
  return JSON_NUMBER.test(text) ? text : String(Number(text));
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
