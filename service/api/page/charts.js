/** The charts: attention of a model or of its traffic, a sequence with attention over it, and many sequences. */

import { count, html, join, number, set, svg } from "./dom.js";
import { Plot, drawBars, drawHeights, drawLabels, heights, moved, named, places, ticks, widthOf, withSpread, tickTexts } from "./figure.js";

/** Bars narrower than this, in pixels, carry no whiskers: the spread is a band, and importance below. */
const THIN = 5;
/** So many points of lines get marks; more would hide the lines. */
const MOST_MARKS = 400;
/** So many sequences get a row in the heat-map. */
const MOST_ROWS = 256;
/** Height of a strip of bars below a chart, in pixels. */
const STRIP = 92;
const DASHES = ["", "7 3", "2 3", "9 3 2 3", "12 4"];
const COLORS = 7;
/** Outlines of marks about (0, 0): circle, square, triangle, diamond, cross, triangle upside down. */
const MARKS = [
  "M-3,0a3,3 0 1,0 6,0a3,3 0 1,0 -6,0z",
  "M-2.7,-2.7h5.4v5.4h-5.4z",
  "M0,-3.6l3.4,6h-6.8z",
  "M0,-3.8l3.4,3.8l-3.4,3.8l-3.4,-3.8z",
  "M-3,-3l6,6m0,-6l-6,6",
  "M0,3.6l3.4,-6h-6.8z",
];

/** Class and attributes of the line of a feature: no two of the first 35 look the same, in color or without. */
const look = (feature) => ({
  kind: `line-${feature % COLORS}`,
  dash: DASHES[Math.floor(feature / COLORS + (feature % COLORS)) % DASHES.length],
  mark: MARKS[feature % MARKS.length],
});

/** Left and right end of what is drawn beside axes with these numbers. */
const between = (plot, leftTexts, rightTexts = []) => [
  widthOf(leftTexts),
  plot.width - (rightTexts.length ? widthOf(rightTexts) : 6),
];

/** The share of each timestep in all drops of the metric. */
export function shares(importance) {
  const positive = importance.drop.map((drop) => Math.max(0, drop));
  const total = positive.reduce((a, b) => a + b, 0);
  return total > 0 ? positive.map((drop) => drop / total) : null;
}

/** A line of steps along the tops of bars. */
function steps(values, { x, y }) {
  const corners = values.map((value, i) => {
    const height = y(value ?? 0);
    return `${i === 0 ? "M" : "L"}${x.left + i * x.slot},${height}H${x.left + (i + 1) * x.slot}`;
  });
  return corners.join("");
}

/**
 * A profile: bars of mean attention with their spread, and beside them importance, or about them another profile.
 *
 * @typedef {object} Profile
 * @property {string} title
 * @property {string} text
 * @property {string[]} labels
 * @property {number[]} mean
 * @property {number[]} spread
 * @property {number|null} peak
 * @property {{metric: string, drop: number[], spread: number[]}|null} [importance]
 * @property {{mean: number[], name: string}} [outline]
 */
export function profilePlot(host, name) {
  return new Plot(host, {
    cursor: `Timesteps of the ${name}`,
    describe: ({ title, text }) => ({ title, text }),
    draw: drawProfile,
    tell(data, i) {
      const { labels, mean, spread, importance, outline } = data;
      const rows = [[`attention`, mean ? withSpread(mean[i], spread[i]) : "–", "attention"]];
      if (importance) rows.push([`${importance.metric} drops by`, withSpread(importance.drop[i], importance.spread[i]), "importance"]);
      if (outline) rows.push([outline.name, number(outline.mean[i]), "outline"]);
      return { heading: named(labels[i]), rows };
    },
    table(data) {
      const { labels, mean, spread, importance, outline } = data;
      const head = ["timestep", "attention", "spread"];
      if (importance) head.push(`${importance.metric} drops by`);
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
  const x0 = (plot.width - 60) / labels.length; // about the slot there will be
  const thin = x0 < (share ? 2.5 * THIN : THIN);
  const beside = share && !thin;
  const strip = share && thin ? STRIP : 0;
  const [top, bottom] = [34, 240];
  plot.resize(bottom + strip + 40);
  const whiskers = (mean ?? []).map((value, i) => value + spread[i]);
  const highest = [...(beside ? share : []), ...(outline?.mean ?? []), ...whiskers].reduce((a, b) => Math.max(a, b), 1e-9);
  const y = heights([0, highest * 1.04], bottom, top);
  const values = ticks(0, y.high, 5);
  const effects = effectsScale(strip ? share : [], bottom + strip);
  const x = places(labels.length, ...between(plot, [...tickTexts(values), ...tickTexts(effects.values)]));

  const band = thin && mean ? [steps(whiskers, { x, y })] : [];
  join(plot.layer("band"), "path", band, (path) => ({ d: `${path}V${bottom}H${x.left}Z` }));
  drawHeights(plot, { y, values, x, name: "fraction" });
  const shift = beside ? -0.2 : 0;
  const width = beside ? 0.38 : thin ? 1 : 0.72;
  drawBars(plot.layer("attention"), mean ?? labels.map(() => 0), { x, y, width, shift, picked: peak });
  drawHeights(plot, { y: effects, values: effects.values, x, name: strip ? "importance" : "", layer: "axis-strip" });
  if (beside) drawBars(plot.layer("importance"), share, { x, y, width, shift: 0.2 });
  else drawBars(plot.layer("importance"), strip ? share : [], { x, y: effects, width: 1 });
  drawLabels(plot, x, bottom + strip, labels);
  join(plot.layer("outline"), "path", outline ? [outline.mean] : [], (around) => ({ d: steps(around, { x, y }) }));

  const middle = (i) => x(i) + moved(x, shift);
  const cap = Math.min(3, (x.slot * width) / 3);
  join(plot.layer("whiskers"), "path", thin ? [] : (mean ?? []), (value, i) => {
    const [low, high] = [y(Math.max(0, value - spread[i])), y(value + spread[i])];
    if (low - high < 1.5) return { d: "M0,0" }; // its caps alone would look like a bar
    return { d: `M${middle(i) - cap},${low}h${2 * cap}m${-cap},0V${high}m${-cap},0h${2 * cap}` };
  });
  // In words, too: the color alone would not do.
  join(plot.layer("peak"), "text", mean && peak !== null ? [peak] : [], (i) => ({
    x: Math.min(Math.max(middle(i), x.left + 20), x.right - 20),
    y: Math.max(y(thin ? mean[i] : whiskers[i]) - 6, 11),
    "text-anchor": "middle",
    text: number(Number(mean[i].toPrecision(2))),
  }));
  return { x, top, bottom: bottom + strip };
}

/** The scale of bars in a strip below a chart, and the numbers of its axis. */
function effectsScale(effects, bottom) {
  const scale = heights([0, effects.reduce((a, b) => Math.max(a, b), 0) * 1.05 || 1], bottom, bottom - STRIP + 36);
  return Object.assign(scale, { values: effects.length ? ticks(0, scale.high, 3) : [] });
}

/**
 * A sequence: a line a feature over bars of attention; importance as bars below.
 *
 * @typedef {object} Sequence
 * @property {string} title
 * @property {string} text
 * @property {string[]} labels
 * @property {string[]} features
 * @property {(number|null)[][]} sequence
 * @property {number[]|null} attention
 * @property {number[]|null} importance
 * @property {Set<number>} hidden features not to draw
 * @property {boolean} apart whether each feature has a scale of its own
 */
export function sequencePlot(host) {
  return new Plot(host, {
    cursor: "Timesteps of the sequence",
    describe: ({ title, text }) => ({ title, text }),
    draw: drawSequence,
    tell({ labels, features, sequence, attention, importance }, i) {
      const rows = features.map((feature, f) => {
        const value = sequence[i][f];
        return [feature, value === null || value === undefined ? "missing" : number(value), `${look(f).kind} stroke`];
      });
      if (importance) rows.unshift(["importance", number(importance[i]), "importance"]);
      if (attention) rows.unshift(["attention", number(attention[i]), "attention"]);
      return { heading: named(labels[i]), rows };
    },
    table({ labels, features, sequence, attention, importance }) {
      const head = ["timestep", ...(attention ? ["attention"] : []), ...(importance ? ["importance"] : []), ...features];
      const rows = sequence.map((step, i) => [
        labels[i],
        ...(attention ? [number(attention[i])] : []),
        ...(importance ? [number(importance[i])] : []),
        ...features.map((_, f) => number(step[f])),
      ]);
      return { head, rows };
    },
  });
}

/** Lowest and highest value of some features, with a little space about them. */
function range(sequence, features) {
  const values = sequence.flatMap((step) => features.map((f) => step[f])).filter((value) => typeof value === "number");
  if (!values.length) return [0, 1];
  const low = values.reduce((a, b) => Math.min(a, b));
  const high = values.reduce((a, b) => Math.max(a, b));
  const space = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  return [low - space, high + space];
}

/** Whether features are of so different sizes that on one scale some would be flat. */
export function differInSize(sequence, features) {
  const sizes = features.map((_, f) => range(sequence, [f])).map(([low, high]) => high - low);
  const all = range(sequence, features.map((_, f) => f));
  return sizes.some((size) => size < (all[1] - all[0]) / 20);
}

/** @param {Plot} plot @param {Sequence} data */
function drawSequence(plot, { labels, features, sequence, attention, importance, hidden, apart }) {
  const [top, main, strip] = [34, 240, importance ? STRIP : 0];
  const bottom = top + main;
  plot.resize(bottom + strip + 40);
  const shown = features.map((_, f) => f).filter((f) => !hidden.has(f));
  const y = heights(apart ? [0, 1] : range(sequence, shown), bottom, top);
  const values = apart ? [] : ticks(y.low, y.high, 6);
  const most = (list) => list.reduce((a, b) => Math.max(a, b), 0) || 1;
  const weights = heights([0, attention ? most(attention) * 1.02 : 1], bottom, top);
  const weightValues = attention ? ticks(0, weights.high, 4) : [];
  const effects = effectsScale(importance ?? [], bottom + strip);
  const leftTexts = [...tickTexts(values.length ? values : [0]), ...tickTexts(effects.values)];
  const x = places(sequence.length, ...between(plot, leftTexts, weightValues.length ? tickTexts(weightValues) : []));

  drawBars(plot.layer("attention"), attention ?? [], { x, y: weights, width: x.slot < THIN ? 1 : 0.78 });
  drawHeights(plot, { y, values, x, name: apart ? "values, each feature on its own scale" : "value" });
  drawHeights(plot, { y: weights, values: weightValues, x, name: attention ? "attention" : "", layer: "axis-right" });
  drawHeights(plot, { y: effects, values: effects.values, x, name: importance ? "importance" : "", layer: "axis-strip" });
  drawBars(plot.layer("importance"), importance ?? [], { x, y: effects, width: x.slot < THIN ? 1 : 0.78 });
  drawLabels(plot, x, bottom + strip, labels);

  const scales = features.map((_, f) => (apart ? heights(range(sequence, [f]), bottom, top) : y));
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

/** What stands for a feature: a piece of its line, with its mark. */
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
 * Sequences as rows, timesteps as columns, attention as shades, and what was predicted at the end of each row. A row is
 * chosen by a click, or by arrow keys and Enter.
 */
export class HeatMap {
  /** @param {Element} host @param {(index: number) => void} choose */
  constructor(host, choose) {
    this.choose = choose;
    this.svg = svg("svg", { role: "img" }, svg("title"), svg("desc"));
    this.list = html("div", {
      class: "rows",
      role: "listbox",
      tabindex: 0,
      "aria-label": "Sequences answered",
      keydown: (event) => this.#key(event),
      pointermove: (event) => this.#point(event),
      pointerleave: () => (this.tooltip.hidden = true),
    });
    this.tooltip = html("div", { class: "tooltip", "aria-hidden": "true", hidden: true });
    this.element = html("div", { class: "plot heat-map" }, this.svg, this.list, this.tooltip);
    host.append(this.element);
    new ResizeObserver(() => this.data && this.element.clientWidth !== this.width && this.#draw()).observe(this.element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.data && this.#draw());
  }

  /**
   * @param {{labels: string[], attention: number[][], texts: [string, string][], title: string, text: string}} data `texts`: what
   *   was predicted of each, and its probability
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
        const where = `most attention on ${named(data.labels[highest])}`;
        const [what, probability] = data.texts[i];
        const said = [what, probability].filter(Boolean).join(", ");
        return html(
          "div",
          {
            role: "option",
            id: `row-${i}`,
            "aria-selected": "false",
            "aria-label": `Sequence ${i + 1}: ${said}, ${where}`,
            click: () => this.#select(i),
          },
          html("span", { class: "ordinal" }, count(i + 1)),
          html(
            "span",
            { class: "predicted", title: said },
            html("span", {}, what),
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
    const right = Math.min(widthOf(["-".repeat(longest)]) + 16, this.width * 0.3);
    this.x = places(this.columns, 40, this.width - right);
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
    drawLabels({ width: this.width, layer }, this.x, bottom, labels);
  }

  /** A pixel for each weight: a picture costs the same whatever number of rectangles it stands for. */
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
    this.choose(index);
  }

  #point(event) {
    const box = this.element.getBoundingClientRect();
    const t = Math.floor((event.clientX - box.left - this.x.left) / this.x.slot);
    const i = [...this.list.children].indexOf(event.target.closest("[role=option]"));
    const weight = this.data.attention[i]?.[t];
    this.tooltip.hidden = weight === undefined;
    if (weight === undefined) return;
    this.tooltip.replaceChildren(
      html("strong", {}, `sequence ${count(i + 1)}, ${named(this.data.labels[t])}`),
      html("span", { class: "value" }, html("span", { class: "key attention" }), html("span", {}, "attention"), html("b", {}, number(weight))),
    );
    const left = Math.min(event.clientX - box.left + 14, this.width - this.tooltip.offsetWidth);
    this.tooltip.style.left = `${Math.max(0, left)}px`;
    this.tooltip.style.top = `${event.clientY - box.top + 18}px`;
  }
}

/** Channels of a color written as #rrggbb. */
const rgb = (color) => color.trim().match(/[0-9a-f]{2}/gi).map((channel) => parseInt(channel, 16));
