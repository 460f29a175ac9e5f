/** A chart with a cursor, a tooltip, a legend and a table, which can be saved. */

import { fitted, textWidth } from "./axes.js";
import { html, join, number, scrollable, set, svg, table } from "./dom.js";
import { asFile, saveButtons } from "./saving.js";
import { say } from "./text.js";

/** Distance between two lines of text, in pixels. */
const LINE = 14;
/** Space between two keys of a legend, in pixels. */
const GAP = 16;
/** Width of the symbol in a legend, in pixels. */
const SYMBOL = 28;

/** The most cells of a table below a chart: a browser takes seconds for more. */
const MOST_CELLS = 20_000;

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
    onColors(() => this.data && this.update(this.data));
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
      const wide = SYMBOL + textWidth(text) + GAP;
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
    if (!this.details.open || !this.data) return;
    const { head, rows } = this.chart.table(this.data);
    const old = this.details.querySelector(".scroll");
    const cell = (value) => (typeof value === "string" ? value : number(value));
    const most = Math.max(1, Math.floor(MOST_CELLS / head.length));
    const cut = rows.length > most ? [html("p", { class: "note" }, say("chart.table_cut", { n: most }))] : [];
    const parts = [...cut, table(head, rows.slice(0, most).map((row) => row.map(cell)))];
    if (old) old.replaceChildren(...parts);
    else this.details.append(scrollable(this.title.textContent, ...parts));
  }
}

/** Call a function each time that the colors may have changed; pictures in charts have colors of their own. */
export function onColors(draw) {
  for (const media of ["(prefers-color-scheme: dark)", "print"]) matchMedia(media).addEventListener("change", draw);
}
