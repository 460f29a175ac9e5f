/** Parts of the charts: a plot with a cursor and a tooltip, scales and axes. */

import { html, join, number, scientific, scrollable, set, svg, table } from "./dom.js";
import { asFile, saveButtons } from "./saving.js";
import { say } from "./text.js";

/** Distance between two lines of text, in pixels. */
const LINE = 14;
/** Width of the longest label on an axis, in pixels; tooltips and tables show all of it. */
const LONGEST_LABEL = 92;
/** Distance between two labels side by side, in pixels. */
const GAP = 8;
/** Width of the symbol in a legend, in pixels. */
const SYMBOL = 28;
/** A date and a time of day, as tables of training write them. */
const TIME = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::00(?:\.0+)?)?(?:Z|[+-]\d\d:?\d\d)?)?$/;
/** Width of the widest bar, in pixels. */
const WIDEST_BAR = 56;
/** Narrower bars, in pixels, have no outline. */
const THINNEST = 3;

let plots = 0;

/**
 * A chart: an SVG as wide as its host, a cursor that pointer and arrow keys move, a tooltip with the values at the
 * cursor, and a table of all values.
 *
 * The cursor is a slider, so that screen readers read each value that the arrow keys reach. It lies over the SVG, and
 * both stay when the data change, so that focus is never lost.
 */
export class Plot {
  /**
   * @param {Element} host the parent of the chart
   * @param {object} chart
   * @param {string} chart.cursor accessible name of the cursor
   * @param {(plot: Plot, data: object) => Frame} chart.draw
   * @param {(data: object) => {title: string, text: string}} chart.describe
   * @param {(data: object, index: number) => {heading: string, rows: [string, string, string?][]}} chart.tooltip
   *   name, value and CSS class of each row
   * @param {(data: object) => {head: string[], rows: (string|number|null)[][]}} chart.table
   *
   * @typedef {{x: Scale, top: number, bottom: number}} Frame the space that the cursor covers
   */
  constructor(host, chart) {
    this.chart = chart;
    this.index = null;
    const id = `plot-${(plots += 1)}`;
    this.title = svg("title", { id: `${id}-title` });
    this.text = svg("desc", { id: `${id}-text` });
    this.svg = svg("svg", { role: "img", "aria-labelledby": `${id}-title`, "aria-describedby": `${id}-text` });
    this.svg.append(this.title, this.text);
    this.cursor = html("div", {
      class: "cursor",
      role: "slider",
      tabindex: 0,
      "aria-label": chart.cursor,
      "aria-valuemin": 0,
      keydown: (event) => this.#key(event),
      focus: () => this.cursor.matches(":focus-visible") && this.show(this.index ?? 0),
      blur: () => this.show(null),
      pointermove: (event) => this.#point(event),
      pointerdown: (event) => this.#point(event),
      pointerleave: () => this.show(null),
    });
    this.tooltip = html("div", { class: "tooltip", "aria-hidden": "true", hidden: true });
    this.details = html("details", { toggle: () => this.#tabulate() }, html("summary", {}, say("chart.table")));
    this.element = html("div", { class: "plot" }, this.svg, this.cursor, this.tooltip);
    host.append(this.element, html("div", { class: "under" }, this.details, saveButtons(this)));
    new ResizeObserver(() => this.data && this.element.clientWidth !== this.width && this.update(this.data)).observe(
      this.element,
    );
  }

  /** Show other data. */
  update(data) {
    this.data = data;
    this.width = this.element.clientWidth;
    if (this.width === 0) return; // hidden: the observer draws it when it appears
    const { title, text } = this.chart.describe(data);
    this.title.textContent = title;
    this.text.textContent = text;
    this.frame = this.chart.draw(this, data);
    const { x, top, bottom } = this.frame;
    this.last = x.count - 1;
    set(this.cursor, { "aria-valuemax": this.last });
    Object.assign(this.cursor.style, {
      left: `${x.left}px`,
      width: `${x.right - x.left}px`,
      top: `${top}px`,
      height: `${bottom - top}px`,
    });
    const shown = !this.tooltip.hidden;
    this.index = Math.min(this.index ?? 0, this.last);
    this.#announce();
    this.show(shown ? this.index : null);
    this.#tabulate();
  }

  /** Set the height of the SVG, in pixels. */
  resize(height) {
    set(this.svg, { viewBox: `0 0 ${this.width} ${height}`, width: this.width, height });
  }

  /** Return the chart as an SVG of its own, in light colors, with the legend that the page has beside it. */
  drawing() {
    return asFile(this.svg, (saving) => {
      this.saving = saving;
      this.update(this.data);
    });
  }

  /** Return the name and the numbers of the chart. */
  numbers() {
    return { title: this.title.textContent, ...this.chart.table(this.data) };
  }

  /**
   * Draw the legend at the top; return its height in pixels.
   * @param {Key[]} keys
   * @typedef {{name: string, kind: string, shape?: Node[]}} Key its text; the class of its symbol; the symbol, by default a square
   */
  legend(keys) {
    let [x, y] = [0, this.saving ? LINE + 8 : 0];
    const made = keys.map(({ name, kind, shape }) => {
      const text = fitted(name, this.width - SYMBOL);
      const wide = SYMBOL + textWidth(text) + 2 * GAP;
      if (x > 0 && x + wide > this.width) [x, y] = [0, y + LINE + 4];
      const symbol = shape ?? [svg("rect", { x: 5, y: 1, width: 11, height: 11 })];
      const key = svg("g", { class: "legend-key", transform: `translate(${x},${y})` }, svg("g", { class: `key-${kind}` }, ...symbol));
      key.append(svg("text", { x: SYMBOL, y: 11 }, text));
      x += wide;
      return key;
    });
    const title = this.saving ? [svg("text", { y: 11, class: "title" }, fitted(this.title.textContent, this.width))] : [];
    this.layer("key-row").replaceChildren(...title, ...made);
    return made.length || this.saving ? y + LINE + 4 : 0;
  }

  /** Return a group of the SVG. It is made on first use; earlier groups lie behind later ones. */
  layer(name) {
    return this.svg.querySelector(`:scope > .${name}`) ?? this.svg.appendChild(svg("g", { class: name }));
  }

  /** Move the cursor to an index, or hide it with null. */
  show(index) {
    if (!this.frame) return;
    const marked = index === null ? [] : [this.frame.x(index)];
    const { x, top, bottom } = this.frame;
    const wide = Math.max(2, x.slot);
    join(this.layer("marker"), "rect", marked, (at) => ({
      x: at - wide / 2,
      y: top,
      width: wide,
      height: bottom - top,
    }));
    this.tooltip.hidden = index === null;
    if (index === null) return;
    this.index = index;
    this.#announce();
    const { heading, rows } = this.chart.tooltip(this.data, index);
    this.tooltip.replaceChildren(
      html("strong", {}, heading),
      ...rows.map(([name, value, kind]) =>
        html("span", { class: "value" }, html("span", { class: `key ${kind ?? ""}` }), html("span", {}, name), html("b", {}, value)),
      ),
    );
    const right = Math.max(0, this.width - this.tooltip.offsetWidth);
    const beside = x(index) + wide / 2 + 10;
    const left = beside > right ? x(index) - wide / 2 - 10 - this.tooltip.offsetWidth : beside;
    this.tooltip.style.left = `${Math.min(Math.max(0, left), right)}px`;
    this.tooltip.style.top = `${top}px`;
  }

  #announce() {
    const { heading, rows } = this.chart.tooltip(this.data, this.index);
    const values = rows.map(([name, value]) => `${name} ${value}`).join(", ");
    set(this.cursor, { "aria-valuenow": this.index, "aria-valuetext": `${heading}: ${values}` });
  }

  #key(event) {
    const at = this.index ?? 0;
    const moves = {
      ArrowLeft: at - 1,
      ArrowDown: at - 1,
      ArrowRight: at + 1,
      ArrowUp: at + 1,
      PageDown: at - 10,
      PageUp: at + 10,
      Home: 0,
      End: this.last,
      Escape: null,
    };
    if (!(event.key in moves) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const to = moves[event.key];
    this.show(to === null ? null : Math.max(0, Math.min(this.last, to)));
  }

  #point(event) {
    const { x } = this.frame;
    const at = event.clientX - this.element.getBoundingClientRect().left;
    this.show(Math.max(0, Math.min(this.last, Math.floor((at - x.left) / x.slot))));
  }

  /** Make the table only while it is open: it may have a thousand rows. */
  #tabulate() {
    if (!this.details.open) return;
    const { head, rows } = this.chart.table(this.data);
    const old = this.details.querySelector(".scroll");
    const cell = (value) => (typeof value === "string" ? value : number(value));
    const made = table(head, rows.map((row) => row.map(cell)));
    if (old) old.replaceChildren(made);
    else this.details.append(scrollable(this.title.textContent, made));
  }
}

/**
 * Return a scale from index to x: the middle of one of `count` slots side by side.
 * @typedef {((index: number) => number) & {count: number, left: number, right: number, slot: number}} Scale
 * @returns {Scale}
 */
export function slotScale(count, left, right) {
  const slot = (right - left) / count;
  return Object.assign((index) => left + slot * (index + 0.5), { count, left, right, slot });
}

/** Return a scale from value to y. */
export function valueScale([low, high], bottom, top) {
  const scale = (value) => bottom - ((value - low) / (high - low)) * (bottom - top);
  return Object.assign(scale, { low, high, bottom, top });
}

/** Return about so many round numbers in a range. */
export function ticks(low, high, about) {
  const rough = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  // Multiples of the step: a running sum would add up rounding errors.
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => (first + i) * step);
}

/** Return the numbers of an axis as texts, with enough digits to differ. */
export function tickTexts(values) {
  const most = Math.max(...values.map(Math.abs));
  const step = values.length > 1 ? Math.abs(values[1] - values[0]) : most || 1;
  if (most >= 1e5 || (most > 0 && most < 1e-3)) {
    const digits = Math.max(0, Math.min(15, Math.round(Math.log10(most / step) + 0.5)));
    return values.map((value) => (value === 0 ? "0" : scientific(value, digits)));
  }
  const decimals = Math.max(0, Math.min(12, -Math.floor(Math.log10(step) + 1e-9)));
  return values.map((value) => value.toFixed(decimals).replace("-", "−"));
}

const pen = html("canvas").getContext("2d");

/** Return the width of a text in the font of the charts, in pixels. */
export function textWidth(text) {
  pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  return pen.measureText(text).width;
}

/** Return a text that is cut to a width in pixels, at its end or at its beginning. */
export function fitted(text, width, { atEnd = true } = {}) {
  if (textWidth(text) <= width) return text;
  const letters = [...text];
  const cut = (kept) => (atEnd ? `${letters.slice(0, kept).join("")}…` : `…${letters.slice(-kept).join("")}`);
  let kept = letters.length;
  while (kept > 1 && textWidth(cut(kept)) > width) kept -= 1;
  return cut(kept);
}

/**
 * Return labels as an axis shows them: dates without times that are all midnight, times without a common date, and other
 * long labels cut where fewer of them differ.
 */
export function axisTexts(labels, width = LONGEST_LABEL) {
  const times = labels.map((label) => TIME.exec(label));
  if (labels.length > 1 && times.every(Boolean)) {
    const [dates, hours] = [1, 2].map((part) => times.map((time) => time[part] ?? "00:00"));
    if (hours.every((hour) => hour === "00:00")) return dates;
    return new Set(dates).size === 1 ? hours : dates.map((date, i) => `${date.slice(5)} ${hours[i]}`);
  }
  const differ = (part) => new Set(labels.map(part)).size;
  const atEnd = differ((label) => label.slice(0, 10)) >= differ((label) => label.slice(-10));
  return labels.map((label) => fitted(label, width, { atEnd }));
}

/** Return the width of an axis with these numbers, in pixels. */
export const axisWidth = (texts) => 12 + Math.ceil(Math.max(...texts.map(textWidth)));

/**
 * Draw a vertical axis: grid lines, numbers beside them, and the name above.
 * @param {Plot} plot
 * @param {object} axis
 * @param {(value: number) => number} axis.y
 * @param {number[]} axis.values
 * @param {Scale} axis.x
 * @param {string} axis.name
 * @param {string} [axis.layer] "axis-right" has no grid lines, since the left axis draws them
 */
export function drawValueAxis(plot, { y, values, x, name, layer: layerName = "axis-left" }) {
  const layer = plot.layer(layerName);
  const atRight = layerName === "axis-right";
  layer.classList.add("axis");
  const texts = tickTexts(values);
  const part = (kind) => layer.querySelector(`.${kind}`) ?? layer.appendChild(svg("g", { class: kind }));
  const rules = atRight ? [] : values;
  join(part("rules"), "line", rules, (value) => ({ x1: x.left, x2: x.right, y1: y(value), y2: y(value) }));
  join(part("numbers"), "text", values, (value, i) => ({
    x: atRight ? x.right + 8 : x.left - 8,
    y: y(value),
    dy: "0.32em",
    "text-anchor": atRight ? "start" : "end",
    text: texts[i],
  }));
  join(part("name"), "text", name ? [name] : [], () => ({
    x: atRight ? plot.width : 0,
    y: y.top - 12,
    "text-anchor": atRight ? "end" : "start",
    text: name,
  }));
}

/** Return the next of 1, 2, 5, 10, 20, 50 … */
function roundStep(least) {
  const power = 10 ** Math.max(0, Math.floor(Math.log10(least)));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= least);
}

/**
 * Draw the horizontal axis, with as many labels as fit; return the height that slanted labels need in addition.
 * @param {Plot} plot
 * @param {Scale} x
 * @param {number} bottom
 * @param {string[]} labels
 * @param {{all?: boolean, name?: string}} [how] `all` slants labels that would not fit side by side
 */
export function drawLabelAxis(plot, x, bottom, labels, { all = false, name = say("timesteps.axis") } = {}) {
  const layer = plot.layer("axis-below");
  layer.classList.add("axis");
  const texts = axisTexts(labels.slice(0, x.count));
  const widths = texts.map(textWidth);
  const widest = GAP + widths.reduce((most, width) => Math.max(most, width), 1);
  const slanted = all && widest > x.slot;
  const below = slanted ? Math.ceil((widest + GAP) * Math.SQRT1_2) : 0;
  const every = roundStep((slanted ? LINE * Math.SQRT2 : widest) / x.slot);
  // The first and the last label stay inside the picture.
  const middle = (i) => Math.min(Math.max(x(i), widths[i] / 2), plot.width - widths[i] / 2);
  let end = -Infinity;
  const shown = [...texts.keys()].filter((i) => {
    if (i % every || (!slanted && middle(i) - widths[i] / 2 < end)) return false;
    end = middle(i) + widths[i] / 2 + GAP / 2;
    return true;
  });
  const part = (kind) => layer.querySelector(`.${kind}`) ?? layer.appendChild(svg("g", { class: kind }));
  join(part("base"), "line", [bottom], () => ({ x1: x.left, x2: x.right, y1: bottom, y2: bottom }));
  join(part("ticks"), "line", shown, (i) => ({ x1: x(i), x2: x(i), y1: bottom, y2: bottom + 4 }));
  join(part("numbers"), "text", shown, (i) => ({
    transform: slanted ? `rotate(-45 ${x(i) + 4} ${bottom + 14})` : null,
    x: slanted ? x(i) + 4 : middle(i),
    y: bottom + (slanted ? 14 : 17),
    "text-anchor": slanted ? "end" : "middle",
    text: texts[i],
  }));
  join(part("name"), "text", [name], (text) => ({ x: x.right, y: bottom + 34 + below, "text-anchor": "end", text }));
  return below;
}

/**
 * Draw bars from the bottom of a scale.
 * @param {Element} layer
 * @param {(number|null)[]} values
 * @param {{x: Scale, y: Function, width?: number, picked?: number|null}} how `width` is a fraction of a slot
 */
export function drawBars(layer, values, { x, y, width = 0.78, picked = null }) {
  const wide = Math.min(WIDEST_BAR, x.slot * width);
  join(layer, "rect", values, (value, i) => {
    const top = y(Math.max(y.low, value ?? y.low));
    return {
      x: x(i) - wide / 2,
      y: top,
      width: wide,
      height: Math.max(0, y.bottom - top),
      class: i === picked ? "picked" : wide < THINNEST ? "thin" : null,
    };
  });
}

/** The label of a timestep in a sentence. */
export const timestepName = (label) => say("timestep", { label: String(label) });

/** A number and its spread. */
export const withSpread = (value, spread) => `${number(value)} ± ${number(spread)}`;
