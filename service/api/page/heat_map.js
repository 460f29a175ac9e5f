/** A heat map of many sequences, or of many output steps. */

import { axisWidth, drawLabelAxis, fitted, slotScale, timestepName } from "./axes.js";
import { html, join, number, set, svg } from "./dom.js";
import { onColors } from "./figure.js";
import { asFile, saveButtons } from "./saving.js";
import { capital, count, say } from "./text.js";

/** The most rows. */
const MOST_ROWS = 256;

/**
 * Sequences as rows, timesteps as columns, attention as shades, and the prediction at the end of each row. A click, or
 * arrow keys and Enter, select a row.
 */
export class HeatMap {
  /**
   * @param {Element} host
   * @param {(index: number) => void} onSelect
   * @param {{noun: string, name: string, id: string, first: number}} rows key of the name of a row, the name of all,
   *   the start of their ids, and the number of the first
   */
  constructor(host, onSelect, { noun, name, id, first }) {
    this.onSelect = onSelect;
    this.rows = { noun, id, first };
    this.svg = svg("svg", { role: "img" }, svg("title"), svg("desc"));
    this.list = html("div", {
      class: "rows",
      role: "listbox",
      tabindex: 0,
      "aria-label": name,
      keydown: (event) => this.#key(event),
      pointermove: (event) => this.#point(event),
      pointerleave: () => (this.tooltip.hidden = true),
    });
    this.tooltip = html("div", { class: "tooltip", "aria-hidden": "true", hidden: true });
    this.element = html("div", { class: "plot heat-map" }, this.svg, this.list, this.tooltip);
    host.append(this.element);
    host.after(html("div", { class: "under" }, saveButtons(this)));
    new ResizeObserver(() => this.data && this.element.clientWidth !== this.width && this.#draw()).observe(this.element);
    onColors(() => this.data && this.#draw());
  }

  /**
   * @param {{labels: string[], attention: number[][], texts: [string, string][], title: string, text: string,
   *   keys?: (string|undefined)[]}} data `texts`: each prediction and its probability; `keys`: names of rows
   */
  update(data) {
    const attention = data.attention.slice(0, MOST_ROWS);
    this.data = { ...data, attention };
    this.count = attention.length;
    this.columns = attention.reduce((most, weights) => Math.max(most, weights.length), 1);
    this.highest = attention.flat().reduce((a, b) => Math.max(a, b), 0) || 1;
    this.svg.querySelector("title").textContent = data.title;
    this.svg.querySelector("desc").textContent = data.text;
    this.list.replaceChildren(
      ...attention.map((weights, i) => {
        const highest = weights.indexOf(Math.max(...weights));
        const where = say("heat.most", { timestep: timestepName(data.labels[highest]) });
        const [outcome, probability] = data.texts[i];
        const text = [outcome, probability].filter(Boolean).join(", ");
        return html(
          "div",
          {
            role: "option",
            id: `${this.rows.id}-${i}`,
            "aria-selected": "false",
            "aria-label": capital(`${this.#named(i)}: ${text}, ${where}`),
            click: () => this.#select(i),
          },
          html("span", { class: "ordinal" }, count(i + this.rows.first)),
          html(
            "span",
            { class: "predicted", title: text },
            html("span", {}, outcome),
            html("span", { class: "probability" }, probability),
          ),
        );
      }),
    );
    this.#activate(0);
    this.#draw();
  }

  #draw() {
    this.width = this.element.clientWidth;
    if (this.width === 0) return;
    const { labels, attention } = this.data;
    const [top, row] = [this.saving ? 40 : 4, 20];
    const bottom = top + row * this.count;
    const texts = this.data.texts.map((pair) => pair.filter(Boolean).join("  "));
    const right = Math.min(axisWidth(texts) + 16, this.width * 0.3);
    this.x = slotScale(this.columns, 40, this.width - right);
    set(this.svg, { viewBox: `0 0 ${this.width} ${bottom + 40}`, width: this.width, height: bottom + 40 });
    this.element.style.setProperty("--predicted", `${right}px`);
    Object.assign(this.list.style, { top: `${top}px`, height: `${bottom - top}px` });
    const layer = (name) => this.svg.querySelector(`:scope > .${name}`) ?? this.svg.appendChild(svg("g", { class: name }));
    join(layer("shades"), "image", [shades(this.element, attention, this.highest)], (href) => ({
      href,
      x: this.x.left,
      y: top,
      width: this.x.right - this.x.left,
      height: bottom - top,
      preserveAspectRatio: "none",
    }));
    join(layer("gaps"), "line", attention, (_, i) => ({
      x1: this.x.left,
      x2: this.x.right,
      y1: top + row * (i + 1),
      y2: top + row * (i + 1),
    }));
    drawLabelAxis({ width: this.width, layer }, this.x, bottom, labels);
    // On the page, the list has these texts.
    const middle = (i) => top + row * (i + 0.5) + 4;
    const lines = this.saving ? texts.flatMap((text, i) => [[count(i + this.rows.first), 0, i], [text, this.x.right + 8, i]]) : [];
    join(layer("texts"), "text", lines, ([text, x, i]) => ({ x, y: middle(i), text: fitted(text, right - 8) }));
    const scale = say("cells.scale", { measure: say("attention"), lowest: "0", highest: number(this.highest) });
    join(layer("name"), "text", this.saving ? [this.data.title, scale] : [], (text, i) => ({ y: 12 + 16 * i, text }));
  }

  /** Return the heat map as an SVG of its own, in light colors. */
  drawing() {
    return asFile(this.svg, (saving) => {
      this.saving = saving;
      this.#draw();
    });
  }

  /** Return the name and the numbers: the prediction and the attention of each row. */
  numbers() {
    const { title, labels, attention, texts, keys } = this.data;
    const columns = labels.slice(0, this.columns);
    const head = ["", say("prediction"), say("probability"), ...columns];
    // Sequences may have fewer timesteps; all rows of a table have all columns.
    const row = (weights, i) => [keys?.[i] ?? i + this.rows.first, ...texts[i], ...columns.map((_, t) => weights[t] ?? null)];
    return { title, head, rows: attention.map(row) };
  }

  /** "sequence 3", or "sequence 3 (pump-7)" */
  #named(index) {
    const [place, key] = [index + this.rows.first, this.data.keys?.[index]];
    return say(this.rows.noun, { number: key === undefined ? place : `${count(place)} (${key})` });
  }

  #key(event) {
    const moves = { ArrowUp: this.active - 1, ArrowDown: this.active + 1, Home: 0, End: this.count - 1 };
    if (event.key === "Enter" || event.key === " ") this.#select(this.active);
    else if (event.key in moves) this.#activate(Math.max(0, Math.min(this.count - 1, moves[event.key])));
    else return;
    event.preventDefault();
  }

  #activate(index) {
    this.list.children[this.active]?.classList.remove("active");
    this.active = index;
    const option = this.list.children[index];
    option.classList.add("active");
    set(this.list, { "aria-activedescendant": option.id });
    if (document.activeElement === this.list) option.scrollIntoView({ block: "nearest" });
  }

  #select(index) {
    this.#activate(index);
    [...this.list.children].forEach((option, i) => set(option, { "aria-selected": String(i === index) }));
    this.onSelect(index);
  }

  #point(event) {
    const box = this.element.getBoundingClientRect();
    const t = Math.floor((event.clientX - box.left - this.x.left) / this.x.slot);
    const i = [...this.list.children].indexOf(event.target.closest("[role=option]"));
    const weight = this.data.attention[i]?.[t];
    this.tooltip.hidden = weight === undefined;
    if (weight === undefined) return;
    this.tooltip.replaceChildren(
      html("strong", {}, `${this.#named(i)}, ${timestepName(this.data.labels[t])}`),
      html("span", { class: "value" }, html("span", { class: "key attention" }), html("span", {}, say("attention")), html("b", {}, number(weight))),
    );
    const left = Math.min(event.clientX - box.left + 14, this.width - this.tooltip.offsetWidth);
    this.tooltip.style.left = `${Math.max(0, left)}px`;
    this.tooltip.style.top = `${event.clientY - box.top + 18}px`;
  }
}

/**
 * Return an image with one pixel per value, from light to dark: one image is cheaper than thousands of rectangles.
 * @param {Element} element has the colors
 * @param {number[][]} rows
 * @param {number} highest the value of the darkest color
 * @param {number} lowest that of the lightest color
 */
export function shades(element, rows, highest, lowest = 0) {
  const columns = rows.reduce((most, row) => Math.max(most, row.length), 1);
  const canvas = html("canvas", { width: columns, height: rows.length });
  const context = canvas.getContext("2d");
  const style = getComputedStyle(element);
  const [none, all] = ["--shade-none", "--shade-all"].map((name) => rgb(style.getPropertyValue(name)));
  const pixels = context.createImageData(columns, rows.length);
  rows.forEach((row, i) =>
    row.forEach((value, t) => {
      const share = (value - lowest) / (highest - lowest);
      const mixed = none.map((channel, c) => channel + (all[c] - channel) * share);
      pixels.data.set([...mixed, 255], 4 * (i * columns + t));
    }),
  );
  context.putImageData(pixels, 0, 0);
  return canvas.toDataURL();
}

/** Return the channels of a color written as #rrggbb. */
const rgb = (color) => color.trim().match(/[0-9a-f]{2}/gi).map((channel) => parseInt(channel, 16));
