/** The charts of attention: a profile, and one sequence. */

import {
  axisWidth, drawBars, drawLabelAxis, drawValueAxis, slantedRoom, slotScale, tickTexts, ticks, timestepName,
  valueScale, withSpread,
} from "./axes.js";
import { join, number, svg } from "./dom.js";
import { Plot } from "./figure.js";
import { say } from "./text.js";

/** In pixels. For narrower bars the spread is a band instead of whiskers. */
const THIN = 5;
/** The most points that get marks; more marks would hide the lines. */
const MOST_MARKS = 400;
/** Height of a strip of bars below a chart, in pixels. */
const STRIP = 92;
/** The end of a scale of importance is no smaller, so that noise looks small. Charts of the server have the same number. */
export const LEAST_EFFECT = 0.05;
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
export const look = (feature) => ({
  kind: `line-${feature % COLORS}`,
  dash: DASHES[Math.floor(feature / COLORS + (feature % COLORS)) % DASHES.length],
  mark: MARKS[feature % MARKS.length],
});

/** Return the left and right end of the space between axes with these numbers. */
export const between = (plot, leftTexts, rightTexts = []) => [
  axisWidth(leftTexts),
  plot.width - (rightTexts.length ? axisWidth(rightTexts) : 6),
];

/** Return a path of steps along the tops of bars. */
function steps(values, { x, y }) {
  const corners = values.map((value, i) => {
    const height = y(value ?? 0);
    return `${i === 0 ? "M" : "L"}${x.left + i * x.slot},${height}H${x.left + (i + 1) * x.slot}`;
  });
  return corners.join("");
}

/**
 * Draw a profile: mean attention as bars with their spread; optionally the outline of another profile, and importance as
 * bars below. The profiles of seeds are dots, where bars have room for them.
 *
 * @typedef {object} Profile
 * @property {string} title accessible name
 * @property {string} text accessible description
 * @property {string[]} labels
 * @property {number[]} mean
 * @property {number[]} spread
 * @property {number|null} peak
 * @property {{metric: string, drop: number[], spread: number[]}|null} [importance]
 * @property {string} name name of the attention in the legend
 * @property {{mean: number[], name: string}} [outline]
 * @property {[number, number[]][]} [seeds] each seed, and its profile
 */
export function profilePlot(host, name) {
  return new Plot(host, {
    cursor: name,
    describe: ({ title, text }) => ({ title, text }),
    draw: drawProfile,
    tooltip(data, i) {
      const { labels, mean, spread, importance, outline, seeds = [] } = data;
      const rows = [[say("attention"), mean ? withSpread(mean[i], spread[i]) : "–", "attention"]];
      if (importance) rows.push([say("importance.drop", { metric: importance.metric }), withSpread(importance.drop[i], importance.spread[i]), "importance"]);
      if (outline) rows.push([outline.name, number(outline.mean[i]), "outline"]);
      if (seeds.length) {
        const [low, high] = [Math.min, Math.max].map((end) => number(end(...seeds.map(([, profile]) => profile[i]))));
        rows.push([say("seeds.each"), say("interval", { low, high }), "seed"]);
      }
      return { heading: timestepName(labels[i]), rows };
    },
    table(data) {
      const { labels, mean, spread, importance, outline, seeds = [] } = data;
      const head = [say("timesteps.axis"), say("attention"), say("spread")];
      if (importance) head.push(say("importance.drop", { metric: importance.metric }));
      if (outline) head.push(outline.name);
      head.push(...seeds.map(([seed]) => say("seed", { seed: String(seed) })));
      const rows = labels.map((label, i) => [
        label,
        mean?.[i] ?? null,
        spread?.[i] ?? null,
        ...(importance ? [importance.drop[i]] : []),
        ...(outline ? [outline.mean[i]] : []),
        ...seeds.map(([, profile]) => profile[i]),
      ]);
      return { head, rows };
    },
  });
}

/** @param {Plot} plot @param {Profile} data */
function drawProfile(plot, { name, labels, mean, spread, peak, importance, outline, seeds = [] }) {
  const thin = (plot.width - 60) / labels.length < THIN; // about the final width of a slot
  const strip = importance ? STRIP : 0;
  const dots = thin ? [] : seeds.flatMap(([, profile]) => profile.map((value, i) => [value, i]));
  const keys = [
    { name, kind: "attention" },
    ...(mean && peak !== null ? [{ name: say("peak"), kind: "picked" }] : []),
    ...(outline ? [{ name: outline.name, kind: "outline", shape: [svg("path", { d: "M2,6.5h18" })] }] : []),
    ...(dots.length ? [{ name: say("seeds.each"), kind: "seed", shape: [svg("circle", { cx: 10.5, cy: 6.5, r: 2.5 })] }] : []),
    ...(importance ? [{ name: say("importance"), kind: "importance" }] : []),
  ];
  const top = plot.legend(keys) + 28;
  const bottom = top + 200;
  plot.resize(bottom + strip + 40);
  const whiskers = (mean ?? []).map((value, i) => value + spread[i]);
  const highest = [...(outline?.mean ?? []), ...whiskers, ...dots.map(([value]) => value)].reduce((a, b) => Math.max(a, b), 1e-9);
  const y = valueScale([0, highest * 1.04], bottom, top);
  const values = ticks(0, y.high, 5);
  const effects = effectsScale(importance?.drop ?? [], bottom + strip, LEAST_EFFECT);
  const x = slotScale(labels.length, ...between(plot, [...tickTexts(values), ...tickTexts(effects.values)]));

  const band = thin && mean ? [steps(whiskers, { x, y })] : [];
  join(plot.layer("band"), "path", band, (path) => ({ d: `${path}V${bottom}H${x.left}Z` }));
  drawValueAxis(plot, { y, values, x, name: say("fraction") });
  const width = thin ? 1 : 0.72;
  drawBars(plot.layer("attention"), mean ?? labels.map(() => 0), { x, y, width, picked: peak });
  const drop = importance ? say("importance.of", { metric: importance.metric }) : "";
  drawValueAxis(plot, { y: effects, values: effects.values, x, name: drop, layer: "axis-strip" });
  drawBars(plot.layer("importance"), importance?.drop ?? [], { x, y: effects, width });
  drawLabelAxis(plot, x, bottom + strip, labels);
  join(plot.layer("outline"), "path", outline ? [outline.mean] : [], (around) => ({ d: steps(around, { x, y }) }));

  const cap = Math.min(3, (x.slot * width) / 3);
  join(plot.layer("whiskers"), "path", thin ? [] : (mean ?? []), (value, i) => {
    const [low, high] = [y(Math.max(0, value - spread[i])), y(value + spread[i])];
    if (low - high < 1.5) return { d: "M0,0" }; // only its caps would be visible, and look like a bar
    return { d: `M${x(i) - cap},${low}h${2 * cap}m${-cap},0V${high}m${-cap},0h${2 * cap}` };
  });
  join(plot.layer("seeds"), "circle", dots, ([value, i]) => ({ cx: x(i), cy: y(value), r: 2.5 }));
  // Color alone must not mark the peak.
  join(plot.layer("peak"), "text", mean && peak !== null ? [peak] : [], (i) => ({
    x: Math.min(Math.max(x(i), x.left + 20), x.right - 20),
    y: Math.max(y(thin ? mean[i] : whiskers[i]) - 6, 11),
    "text-anchor": "middle",
    text: number(Number(mean[i].toPrecision(2))),
  }));
  return { x, top, bottom: bottom + strip };
}

/** Return the lowest and highest of some values: at most 0, and at least `least`, with a margin. */
export function effectsRange(values, least) {
  const [low, high] = [values.reduce((a, b) => Math.min(a, b), 0), values.reduce((a, b) => Math.max(a, b), least)];
  const space = (high - low) * 0.05 || 1;
  return [low < 0 ? low - space : 0, high + space];
}

/** Return the scale of the bars in a strip below a chart, which ends at `least` or above, with the numbers of its axis. */
function effectsScale(effects, bottom, least) {
  const scale = valueScale(effectsRange(effects, least), bottom, bottom - STRIP + 36);
  return Object.assign(scale, { values: effects.length ? ticks(scale.low, scale.high, 3) : [] });
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
 * @property {(number|string|null)[][]} sequence
 * @property {(number|null)[][]} heights where the values are drawn: those of words are numbers
 * @property {number[]|null} attention
 * @property {number[]|null} importance
 * @property {number} least the smallest end of the scale of importance
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
        return [feature, typeof value === "string" ? value : value === null ? say("missing") : number(value), `${look(f).kind} stroke`];
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
        ...(attention ? [attention[i]] : []),
        ...(importance ? [importance[i]] : []),
        ...features.map((_, f) => step[f] ?? null),
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
function drawSequence(plot, { labels, words, features, heights: sequence, attention, importance, least, hidden, apart }) {
  const strip = importance ? STRIP : 0;
  const shown = features.map((_, f) => f).filter((f) => !hidden.has(f));
  const keys = [
    ...(attention ? [{ name: say("attention"), kind: "attention" }] : []),
    ...(importance ? [{ name: say("importance"), kind: "importance" }] : []),
    // On the page, buttons stand for the features.
    ...(plot.saving ? shown.map((f) => ({ name: features[f], kind: "series", shape: symbol(f) })) : []),
  ];
  const top = plot.legend(keys) + 28;
  const bottom = top + 240;
  const y = valueScale(apart ? [0, 1] : range(sequence, shown), bottom, top);
  const values = apart || words ? [] : ticks(y.low, y.high, 6);
  const most = (list) => list.reduce((a, b) => Math.max(a, b), 0) || 1;
  const weights = valueScale([0, attention ? most(attention) * 1.02 : 1], bottom, top);
  const weightValues = attention ? ticks(0, weights.high, 4) : [];
  const effects = effectsScale(importance ?? [], bottom + strip, least);
  const leftTexts = [...tickTexts(values.length ? values : [0]), ...tickTexts(effects.values)];
  const [left, right] = between(plot, leftTexts, weightValues.length ? tickTexts(weightValues) : []);
  const room = words ? slantedRoom(words, (right - left) / words.length) : 0;
  const x = slotScale(sequence.length, Math.max(left, room), right);

  drawBars(plot.layer("attention"), attention ?? [], { x, y: weights, width: x.slot < THIN ? 1 : 0.78 });
  const name = words ? "" : apart ? say("values.apart") : say("value");
  drawValueAxis(plot, { y, values, x, name });
  drawValueAxis(plot, { y: weights, values: weightValues, x, name: attention ? say("attention") : "", layer: "axis-right" });
  drawValueAxis(plot, { y: effects, values: effects.values, x, name: importance ? say("importance") : "", layer: "axis-strip" });
  drawBars(plot.layer("importance"), importance ?? [], { x, y: effects, width: x.slot < THIN ? 1 : 0.78 });
  plot.resize(bottom + strip + 40 + drawLabelAxis(plot, x, bottom + strip, words ?? labels, { all: Boolean(words) }));

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
  return svg("svg", { class: "sample", viewBox: "0 0 22 12", width: 22, height: 12, "aria-hidden": "true" }, ...symbol(feature));
}

/** Return the line and the mark in the legend symbol of a feature. */
export function symbol(feature) {
  const { kind, dash, mark } = look(feature);
  return [
    svg("path", { class: kind, d: "M1,6H21", "stroke-dasharray": dash || null }),
    svg("path", { class: `${kind} mark`, d: mark, transform: "translate(11,6)" }),
  ];
}
