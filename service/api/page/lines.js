/** A chart of lines over a few steps: epochs, or fractions. */

import { drawLabelAxis, drawValueAxis, slotScale, tickTexts, ticks, valueScale } from "./axes.js";
import { between, look, symbol } from "./charts.js";
import { join, number } from "./dom.js";
import { Plot } from "./figure.js";

/** More points have no marks. */
const MOST_MARKS = 40;

/**
 * @typedef {object} Lines
 * @property {string} title accessible name
 * @property {string} text accessible description
 * @property {string[]} labels names of the steps
 * @property {string} across name of the horizontal axis
 * @property {string} measure name of the vertical axis, which begins at 0 or below
 * @property {[string, number[]][]} lines name and values of each line
 * @property {number|null} [mark] index of a step that is marked by a dashed line
 *
 * @param {Element} host
 * @param {string} cursor accessible name of the cursor
 */
export function linePlot(host, cursor) {
  return new Plot(host, {
    cursor,
    describe: ({ title, text }) => ({ title, text }),
    draw: drawLines,
    tooltip: ({ labels, across, lines }, i) => ({
      heading: `${across} ${labels[i]}`,
      rows: lines.map(([name, values], k) => [name, number(values[i]), `${look(k).kind} stroke`]),
    }),
    table: ({ labels, across, lines }) => ({
      head: [across, ...lines.map(([name]) => name)],
      rows: labels.map((label, i) => [label, ...lines.map(([, values]) => values[i] ?? null)]),
    }),
  });
}

/** @param {Plot} plot @param {Lines} data */
function drawLines(plot, { labels, across, measure, lines, mark = null }) {
  const top = plot.legend(lines.map(([name], k) => ({ name, kind: "series", shape: symbol(k) }))) + 28;
  const bottom = top + 160;
  plot.resize(bottom + 40);
  const all = lines.flatMap(([, values]) => values);
  const [low, high] = [Math.min, Math.max].map((end) => all.reduce((a, b) => end(a, b), 0));
  const y = valueScale([low, high > low ? high + (high - low) * 0.04 : low + 1], bottom, top);
  const numbers = ticks(y.low, y.high, 4);
  const x = slotScale(labels.length, ...between(plot, tickTexts(numbers)));
  drawValueAxis(plot, { y, values: numbers, x, name: measure });
  drawLabelAxis(plot, x, bottom, labels, { name: across });
  join(plot.layer("series"), "path", lines, ([, values], k) => ({
    class: look(k).kind,
    "stroke-dasharray": look(k).dash || null,
    d: values.map((value, i) => `${i ? "L" : "M"}${x(i)},${y(value)}`).join(""),
  }));
  join(plot.layer("mark"), "line", mark === null ? [] : [x(mark)], (at) => ({ x1: at, x2: at, y1: top, y2: bottom }));
  const points = labels.length > MOST_MARKS ? [] : lines.flatMap(([, values], k) => values.map((value, i) => [k, i, value]));
  join(plot.layer("marks"), "path", points, ([k, i, value]) => ({
    class: look(k).kind,
    d: look(k).mark,
    transform: `translate(${x(i)},${y(value)})`,
  }));
  return { x, top, bottom };
}
