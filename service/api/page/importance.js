/** The charts of importance: of each feature, and of each feature at each timestep. */

import {
  axisTexts, axisWidth, drawBars, drawLabelAxis, drawValueAxis, slantedRoom, slotScale, tickTexts, ticks,
  timestepName, valueScale, withSpread,
} from "./axes.js";
import { between, effectsRange } from "./charts.js";
import { join, number, svg } from "./dom.js";
import { Plot } from "./figure.js";
import { shades } from "./heat_map.js";
import { say } from "./text.js";

/** The most features in the tooltip of a timestep: the most important ones. */
const MOST_IN_TOOLTIP = 8;
/** Heights of the rows of a heat map, in pixels. */
const [LOWEST_ROW, HIGHEST_ROW, ALL_ROWS] = [4, 22, 480];
/** Distance between the labels of two rows, in pixels. */
const LINE = 14;

/**
 * A bar for each feature.
 *
 * @typedef {object} OfFeatures
 * @property {string} title accessible name
 * @property {string[]} features
 * @property {number[]} values
 * @property {number[]|null} spread
 * @property {string} measure what the values are
 * @property {number} least the smallest end of the scale
 */
export function featurePlot(host) {
  return new Plot(host, {
    cursor: say("card.features"),
    describe: ({ title, features, values }) => ({ title, text: say("importance.most", { name: features[peakOf(values)] }) }),
    draw: drawFeatures,
    tooltip: ({ features, values, spread }, f) => ({
      heading: features[f],
      rows: [[say("importance"), spread ? withSpread(values[f], spread[f]) : number(values[f]), "importance"]],
    }),
    table: ({ features, values, spread, measure }) => ({
      head: [say("feature"), measure, ...(spread ? [say("spread")] : [])],
      rows: features.map((feature, f) => [feature, values[f], ...(spread ? [spread[f]] : [])]),
    }),
  });
}

const peakOf = (values) => values.indexOf(values.reduce((a, b) => Math.max(a, b)));

/** @param {Plot} plot @param {OfFeatures} data */
function drawFeatures(plot, { features, values, spread, measure, least }) {
  const top = plot.legend([]) + 28;
  const bottom = top + 160;
  const ends = values.flatMap((value, f) => [value - (spread?.[f] ?? 0), value + (spread?.[f] ?? 0)]);
  const y = valueScale(effectsRange(ends, least), bottom, top);
  const numbers = ticks(y.low, y.high, 4);
  const [left, right] = between(plot, tickTexts(numbers));
  const x = slotScale(features.length, Math.max(left, slantedRoom(features, (right - left) / features.length)), right);
  drawValueAxis(plot, { y, values: numbers, x, name: measure });
  drawBars(plot.layer("importance"), values, { x, y });
  join(plot.layer("whiskers"), "path", spread ?? [], (deviation, f) => {
    const [low, high] = [values[f] - deviation, values[f] + deviation].map(y);
    return { d: `M${x(f)},${low}V${high}` };
  });
  const below = drawLabelAxis(plot, x, bottom, features, { all: true, name: say("feature") });
  plot.resize(bottom + 40 + below);
  return { x, top, bottom };
}

/**
 * A heat map: features as rows, timesteps as columns.
 *
 * @typedef {object} OfCells
 * @property {string} title accessible name
 * @property {string[]} labels
 * @property {string[]} features
 * @property {number[][]} cells `(timesteps, features)`
 * @property {string} measure what the values are
 * @property {number} least the smallest end of the scale
 */
export function cellPlot(host) {
  return new Plot(host, {
    cursor: say("cells.cursor"),
    describe: ({ title, labels, features, cells }) => {
      const t = peakOf(cells.map((row) => row[peakOf(row)]));
      const name = `${features[peakOf(cells[t])]}, ${timestepName(labels[t])}`;
      return { title, text: say("importance.most", { name }) };
    },
    draw: drawCells,
    tooltip({ labels, features, cells }, t) {
      const ranked = [...features.keys()].toSorted((a, b) => cells[t][b] - cells[t][a]).slice(0, MOST_IN_TOOLTIP);
      return { heading: timestepName(labels[t]), rows: ranked.map((f) => [features[f], number(cells[t][f]), "importance"]) };
    },
    table: ({ labels, features, cells }) => ({
      head: [say("timesteps.axis"), ...features],
      rows: cells.map((row, t) => [labels[t], ...row]),
    }),
  });
}

/** @param {Plot} plot @param {OfCells} data */
function drawCells(plot, { labels, features, cells, measure, least }) {
  const lowest = cells.flat().reduce((a, b) => Math.min(a, b), 0);
  const highest = cells.flat().reduce((a, b) => Math.max(a, b), least) || 1;
  const ramp = shades(plot.element, [Array.from({ length: 32 }, (_, i) => i / 31)], 1);
  const shape = [svg("image", { href: ramp, x: 2, y: 1, width: 18, height: 11, preserveAspectRatio: "none" })];
  const top = plot.legend([{ name: say("cells.scale", { measure, lowest: number(lowest), highest: number(highest) }), kind: "shades", shape }]) + 6;
  const row = Math.min(HIGHEST_ROW, Math.max(LOWEST_ROW, ALL_ROWS / features.length));
  const bottom = top + row * features.length;
  const names = axisTexts(features, Math.min(160, plot.width * 0.3));
  const x = slotScale(cells.length, axisWidth(names), plot.width - 6);
  const ofFeatures = features.map((_, f) => cells.map((values) => values[f]));
  join(plot.layer("shades"), "image", [shades(plot.element, ofFeatures, highest, lowest)], (href) => ({
    href,
    x: x.left,
    y: top,
    width: x.right - x.left,
    height: bottom - top,
    preserveAspectRatio: "none",
  }));
  plot.layer("axis-left").classList.add("axis");
  const every = Math.ceil(LINE / row);
  const shown = [...names.keys()].filter((f) => f % every === 0);
  join(plot.layer("axis-left"), "text", shown, (f) => ({
    x: x.left - 8,
    y: top + row * (f + 0.5),
    dy: "0.32em",
    "text-anchor": "end",
    text: names[f],
  }));
  drawLabelAxis(plot, x, bottom, labels);
  plot.resize(bottom + 40);
  return { x, top, bottom };
}
