/** Scales and axes of charts, and their labels. */

import { html, join, number, scientific, svg } from "./dom.js";
import { say } from "./text.js";

/** Distance between two lines of text, in pixels. */
const LINE = 14;
/** Width of the longest label on an axis, in pixels; tooltips and tables show all of it. */
const LONGEST_LABEL = 92;
/** Distance between two labels side by side, in pixels. */
const GAP = 8;
/** A date and a time of day, as tables of training write them. */
const TIME = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::00(?:\.0+)?)?(?:Z|[+-]\d\d:?\d\d)?)?$/;
/** Width of the widest bar, in pixels. */
const WIDEST_BAR = 56;
/** Narrower bars, in pixels, have no outline. */
const THINNEST = 3;

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
    transform: slanted ? `rotate(-45 ${x(i) + 4} ${bottom + 17})` : null,
    x: slanted ? x(i) + 4 : middle(i),
    y: bottom + (slanted ? 17 : 20),
    "text-anchor": slanted ? "end" : "middle",
    text: texts[i],
  }));
  join(part("name"), "text", [name], (text) => ({ x: x.right, y: bottom + 37 + below, "text-anchor": "end", text }));
  return below;
}

/** Return the space that labels need at the left, in pixels, if slots of a width are so narrow that labels are slanted. */
export function slantedRoom(labels, slot) {
  const widths = axisTexts(labels).map(textWidth);
  if (Math.max(...widths) + GAP <= slot) return 0;
  return Math.max(...widths.map((width, i) => width * Math.SQRT1_2 - slot * (i + 0.5)));
}

/**
 * Draw bars from 0, up or down.
 * @param {Element} layer
 * @param {(number|null)[]} values
 * @param {{x: Scale, y: Function, width?: number, picked?: number|null}} how `width` is a fraction of a slot
 */
export function drawBars(layer, values, { x, y, width = 0.78, picked = null }) {
  const wide = Math.min(WIDEST_BAR, x.slot * width);
  join(layer, "rect", values, (value, i) => {
    const top = y(Math.max(0, value ?? 0));
    return {
      x: x(i) - wide / 2,
      y: top,
      width: wide,
      height: y(Math.min(0, value ?? 0)) - top,
      class: i === picked ? "picked" : wide < THINNEST ? "thin" : null,
    };
  });
}

/** The label of a timestep in a sentence. */
export const timestepName = (label) => say("timestep", { label: String(label) });

/** A number and its spread. */
export const withSpread = (value, spread) => `${number(value)} ± ${number(spread)}`;
