/** The charts: an attention profile, one sequence with its attention, and a heat map of many sequences. */

import { html, join, number, set, svg } from "./dom.js";
import {
  Plot, axisWidth, barOffset, drawBars, drawTimestepAxis, drawValueAxis, slotScale, tickTexts, ticks, timestepName, valueScale,
  withSpread,
} from "./figure.js";
import { capital, count, say } from "./text.js";

/** In pixels. For narrower bars the spread is a band instead of whiskers, and importance is drawn below. */
const THIN = 5;
/** The most points that get marks; more marks would hide the lines. */
const MOST_MARKS = 400;
/** The most rows of the heat map. */
const MOST_ROWS = 256;
/** Height of a strip of bars below a chart, in pixels. */
const STRIP = 92;
const DASHES = ["", "7 3", "2 3", "9 3 2 3", "12 4"];
const COLORS = 7;
/** Outlines of marks around (0, 0): circle, square, triangle, diamond, cross, inverted triangle. */
const MARKS = [
  "M-3,0a3,3 0 1,0 6,0a3,3 0 1,0 -6,0z",
  "M-2.7,-2.7h5.4v5.4h-5.4z",
  "M0,-3.6l3.4,6h-6.8z",
  "M0,-3.8l3.4,3.8l-3.4,3.8l-3.4,-3.8z",
  "M-3,-3l6,6m0,-6l-6,6",
  "M0,3.6l3.4,-6h-6.8z",
];

/** The style of the line of a feature. The first 35 features differ, also without color. */
const look = (feature) => ({
  kind: `line-${feature % COLORS}`,
  dash: DASHES[Math.floor(feature / COLORS + (feature % COLORS)) % DASHES.length],
  mark: MARKS[feature % MARKS.length],
});

/** Return the left and right end of the space between axes with these numbers. */
const between = (plot, leftTexts, rightTexts = []) => [
  axisWidth(leftTexts),
  plot.width - (rightTexts.length ? axisWidth(rightTexts) : 6),
];

/** Return the share of each timestep in all drops of the metric, or null if nothing drops. */
export function shares(importance) {
  const positive = importance.drop.map((drop) => Math.max(0, drop));
  const total = positive.reduce((a, b) => a + b, 0);
  return total > 0 ? positive.map((drop) => drop / total) : null;
}

/** Return a path of steps along the tops of bars. */
function steps(values, { x, y }) {
  const corners = values.map((value, i) => {
    const height = y(value ?? 0);
    return `${i === 0 ? "M" : "L"}${x.left + i * x.slot},${height}H${x.left + (i + 1) * x.slot}`;
  });
  return corners.join("");
}

/**
 * Draw a profile: mean attention as bars with their spread; optionally importance, or the outline of another profile.
 *
 * @typedef {object} Profile
 * @property {string} title accessible name
 * @property {string} text accessible description
 * @property {string[]} labels
 * @property {number[]} mean
 * @property {number[]} spread
 * @property {number|null} peak
 * @property {{metric: string, drop: number[], spread: number[]}|null} [importance]
 * @property {{mean: number[], name: string}} [outline]
 */
export function profilePlot(host, name) {
  return new Plot(host, {
    cursor: name,
    describe: ({ title, text }) => ({ title, text }),
    draw: drawProfile,
    tooltip(data, i) {
      const { labels, mean, spread, importance, outline } = data;
      const rows = [[say("attention"), mean ? withSpread(mean[i], spread[i]) : "–", "attention"]];
      if (importance) rows.push([say("importance.drop", { metric: importance.metric }), withSpread(importance.drop[i], importance.spread[i]), "importance"]);
      if (outline) rows.push([outline.name, number(outline.mean[i]), "outline"]);
      return { heading: timestepName(labels[i]), rows };
    },
    table(data) {
      const { labels, mean, spread, importance, outline } = data;
      const head = [say("timesteps.axis"), say("attention"), say("spread")];
      if (importance) head.push(say("importance.drop", { metric: importance.metric }));
      if (outline) head.push(outline.name);
      const rows = labels.map((label, i) => [
        label,
        number(mean?.[i]),
        number(spread?.[i]),
        ...(importance ? [number(importance.drop[i])] : []),
        ...(outline ? [number(outline.mean[i])] : []),
      ]);
      return { head, rows };
    },
  });
}

/** @param {Plot} plot @param {Profile} data */
function drawProfile(plot, { labels, mean, spread, peak, importance, outline }) {
  const share = importance ? shares(importance) : null;
  const x0 = (plot.width - 60) / labels.length; // about the final width of a slot
  const thin = x0 < (share ? 2.5 * THIN : THIN);
  const beside = share && !thin;
  const strip = share && thin ? STRIP : 0;
  const [top, bottom] = [34, 240];
  plot.resize(bottom + strip + 40);
  const whiskers = (mean ?? []).map((value, i) => value + spread[i]);
  const highest = [...(beside ? share : []), ...(outline?.mean ?? []), ...whiskers].reduce((a, b) => Math.max(a, b), 1e-9);
  const y = valueScale([0, highest * 1.04], bottom, top);
  const values = ticks(0, y.high, 5);
  const effects = effectsScale(strip ? share : [], bottom + strip);
  const x = slotScale(labels.length, ...between(plot, [...tickTexts(values), ...tickTexts(effects.values)]));

  const band = thin && mean ? [steps(whiskers, { x, y })] : [];
  join(plot.layer("band"), "path", band, (path) => ({ d: `${path}V${bottom}H${x.left}Z` }));
  drawValueAxis(plot, { y, values, x, name: say("fraction") });
  const shift = beside ? -0.2 : 0;
  const width = beside ? 0.38 : thin ? 1 : 0.72;
  drawBars(plot.layer("attention"), mean ?? labels.map(() => 0), { x, y, width, shift, picked: peak });
  drawValueAxis(plot, { y: effects, values: effects.values, x, name: strip ? say("importance") : "", layer: "axis-strip" });
  if (beside) drawBars(plot.layer("importance"), share, { x, y, width, shift: 0.2 });
  else drawBars(plot.layer("importance"), strip ? share : [], { x, y: effects, width: 1 });
  drawTimestepAxis(plot, x, bottom + strip, labels);
  join(plot.layer("outline"), "path", outline ? [outline.mean] : [], (around) => ({ d: steps(around, { x, y }) }));

  const middle = (i) => x(i) + barOffset(x, shift);
  const cap = Math.min(3, (x.slot * width) / 3);
  join(plot.layer("whiskers"), "path", thin ? [] : (mean ?? []), (value, i) => {
    const [low, high] = [y(Math.max(0, value - spread[i])), y(value + spread[i])];
    if (low - high < 1.5) return { d: "M0,0" }; // only its caps would be visible, and look like a bar
    return { d: `M${middle(i) - cap},${low}h${2 * cap}m${-cap},0V${high}m${-cap},0h${2 * cap}` };
  });
  // Color alone must not mark the peak.
  join(plot.layer("peak"), "text", mean && peak !== null ? [peak] : [], (i) => ({
    x: Math.min(Math.max(middle(i), x.left + 20), x.right - 20),
    y: Math.max(y(thin ? mean[i] : whiskers[i]) - 6, 11),
    "text-anchor": "middle",
    text: number(Number(mean[i].toPrecision(2))),
  }));
  return { x, top, bottom: bottom + strip };
}

/** Return the scale of the bars in a strip below a chart, with the numbers of its axis as `values`. */
function effectsScale(effects, bottom) {
  const scale = valueScale([0, effects.reduce((a, b) => Math.max(a, b), 0) * 1.05 || 1], bottom, bottom - STRIP + 36);
  return Object.assign(scale, { values: effects.length ? ticks(0, scale.high, 3) : [] });
}

/**
 * Draw a sequence: one line per feature over bars of attention, and importance as bars below.
 *
 * @typedef {object} Sequence
 * @property {string} title accessible name
 * @property {string} text accessible description
 * @property {string[]} labels
 * @property {string[]|null} words the word of each timestep, written below its bar
 * @property {string[]} features
 * @property {(number|null)[][]} sequence
 * @property {number[]|null} attention
 * @property {number[]|null} importance
 * @property {Set<number>} hidden features not to draw
 * @property {boolean} apart whether each feature has its own scale
 */
export function sequencePlot(host) {
  return new Plot(host, {
    cursor: say("sequence.cursor"),
    describe: ({ title, text }) => ({ title, text }),
    draw: drawSequence,
    tooltip({ labels, words, features, sequence, attention, importance }, i) {
      const rows = features.map((feature, f) => {
        const value = sequence[i][f];
        return [feature, value === null || value === undefined ? say("missing") : number(value), `${look(f).kind} stroke`];
      });
      if (importance) rows.unshift([say("importance"), number(importance[i]), "importance"]);
      if (attention) rows.unshift([say("attention"), number(attention[i]), "attention"]);
      return { heading: timestepName(labels[i]) + (words ? `: ${words[i]}` : ""), rows };
    },
    table({ labels, words, features, sequence, attention, importance }) {
      const head = [
        say("timesteps.axis"),
        ...(words ? [say("token")] : []),
        ...(attention ? [say("attention")] : []),
        ...(importance ? [say("importance")] : []),
        ...features,
      ];
      const rows = sequence.map((step, i) => [
        labels[i],
        ...(words ? [words[i]] : []),
        ...(attention ? [number(attention[i])] : []),
        ...(importance ? [number(importance[i])] : []),
        ...features.map((_, f) => number(step[f])),
      ]);
      return { head, rows };
    },
  });
}

/** Return the lowest and highest value of some features, with a margin. */
function range(sequence, features) {
  const values = sequence.flatMap((step) => features.map((f) => step[f])).filter((value) => typeof value === "number");
  if (!values.length) return [0, 1];
  const low = values.reduce((a, b) => Math.min(a, b));
  const high = values.reduce((a, b) => Math.max(a, b));
  const space = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  return [low - space, high + space];
}

/** Whether some feature would look flat on a common scale. */
export function differInSize(sequence, features) {
  const sizes = features.map((_, f) => range(sequence, [f])).map(([low, high]) => high - low);
  const all = range(sequence, features.map((_, f) => f));
  return sizes.some((size) => size < (all[1] - all[0]) / 20);
}

/** @param {Plot} plot @param {Sequence} data */
function drawSequence(plot, { labels, words, features, sequence, attention, importance, hidden, apart }) {
  const [top, main, strip] = [34, 240, importance ? STRIP : 0];
  const bottom = top + main;
  const shown = features.map((_, f) => f).filter((f) => !hidden.has(f));
  const y = valueScale(apart ? [0, 1] : range(sequence, shown), bottom, top);
  const values = apart || words ? [] : ticks(y.low, y.high, 6);
  const most = (list) => list.reduce((a, b) => Math.max(a, b), 0) || 1;
  const weights = valueScale([0, attention ? most(attention) * 1.02 : 1], bottom, top);
  const weightValues = attention ? ticks(0, weights.high, 4) : [];
  const effects = effectsScale(importance ?? [], bottom + strip);
  const leftTexts = [...tickTexts(values.length ? values : [0]), ...tickTexts(effects.values)];
  const x = slotScale(sequence.length, ...between(plot, leftTexts, weightValues.length ? tickTexts(weightValues) : []));

  drawBars(plot.layer("attention"), attention ?? [], { x, y: weights, width: x.slot < THIN ? 1 : 0.78 });
  const name = words ? "" : apart ? say("values.apart") : say("value");
  drawValueAxis(plot, { y, values, x, name });
  drawValueAxis(plot, { y: weights, values: weightValues, x, name: attention ? say("attention") : "", layer: "axis-right" });
  drawValueAxis(plot, { y: effects, values: effects.values, x, name: importance ? say("importance") : "", layer: "axis-strip" });
  drawBars(plot.layer("importance"), importance ?? [], { x, y: effects, width: x.slot < THIN ? 1 : 0.78 });
  plot.resize(bottom + strip + 40 + drawTimestepAxis(plot, x, bottom + strip, words ?? labels, { all: Boolean(words) }));

  const scales = features.map((_, f) => (apart ? valueScale(range(sequence, [f]), bottom, top) : y));
  const points = (f) => sequence.map((step, i) => [x(i), step[f], i]).filter(([, value]) => typeof value === "number");
  join(plot.layer("series"), "path", shown, (f) => ({
    class: look(f).kind,
    "stroke-dasharray": look(f).dash || null,
    d: points(f)
      .map(([at, value, i]) => `${typeof sequence[i - 1]?.[f] === "number" ? "L" : "M"}${at},${scales[f](value)}`)
      .join(""),
  }));
  const few = sequence.length * shown.length <= MOST_MARKS;
  const alone = (f, i) => typeof sequence[i - 1]?.[f] !== "number" && typeof sequence[i + 1]?.[f] !== "number";
  const marks = shown.flatMap((f) => points(f).filter(([, , i]) => few || alone(f, i)).map((point) => [f, ...point]));
  join(plot.layer("marks"), "path", marks, ([f, at, value]) => ({
    class: look(f).kind,
    d: look(f).mark,
    transform: `translate(${at},${scales[f](value)})`,
  }));
  return { x, top, bottom: bottom + strip };
}

/** Return the legend symbol of a feature: a piece of its line, with its mark. */
export function sample(feature) {
  const { kind, dash, mark } = look(feature);
  return svg(
    "svg",
    { class: "sample", viewBox: "0 0 34 12", width: 34, height: 12, "aria-hidden": "true" },
    svg("path", { class: kind, d: "M1,6H33", "stroke-dasharray": dash || null }),
    svg("path", { class: `${kind} mark`, d: mark, transform: "translate(17,6)" }),
  );
}

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
    new ResizeObserver(() => this.data && this.element.clientWidth !== this.width && this.#draw()).observe(this.element);
    for (const media of ["(prefers-color-scheme: dark)", "print"]) {
      matchMedia(media).addEventListener("change", () => this.data && this.#draw());
    }
  }

  /**
   * @param {{labels: string[], attention: number[][], texts: [string, string][], title: string, text: string}} data
   *   `texts`: each prediction and its probability
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
    const [top, row] = [4, 20];
    const bottom = top + row * this.count;
    const longest = this.data.texts.reduce((most, texts) => Math.max(most, texts.join("  ").length), 0);
    const right = Math.min(axisWidth(["-".repeat(longest)]) + 16, this.width * 0.3);
    this.x = slotScale(this.columns, 40, this.width - right);
    set(this.svg, { viewBox: `0 0 ${this.width} ${bottom + 40}`, width: this.width, height: bottom + 40 });
    this.element.style.setProperty("--predicted", `${right}px`);
    Object.assign(this.list.style, { top: `${top}px`, height: `${bottom - top}px` });
    const layer = (name) => this.svg.querySelector(`:scope > .${name}`) ?? this.svg.appendChild(svg("g", { class: name }));
    join(layer("shades"), "image", [this.#shades(attention)], (href) => ({
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
    drawTimestepAxis({ width: this.width, layer }, this.x, bottom, labels);
  }

  /** Return an image with one pixel per weight: one image is cheaper than thousands of rectangles. */
  #shades(attention) {
    const canvas = html("canvas", { width: this.columns, height: this.count });
    const context = canvas.getContext("2d");
    const style = getComputedStyle(this.element);
    const [none, all] = ["--shade-none", "--shade-all"].map((name) => rgb(style.getPropertyValue(name)));
    const pixels = context.createImageData(this.columns, this.count);
    attention.forEach((weights, i) =>
      weights.forEach((weight, t) => {
        const share = weight / this.highest;
        const mixed = none.map((channel, c) => channel + (all[c] - channel) * share);
        pixels.data.set([...mixed, 255], 4 * (i * this.columns + t));
      }),
    );
    context.putImageData(pixels, 0, 0);
    return canvas.toDataURL();
  }

  /** "sequence 3" */
  #named(index) {
    return say(this.rows.noun, { number: index + this.rows.first });
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

/** Return the channels of a color written as #rrggbb. */
const rgb = (color) => color.trim().match(/[0-9a-f]{2}/gi).map((channel) => parseInt(channel, 16));
