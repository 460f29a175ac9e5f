/** How good the model is: metrics beside their baseline, scores of each class, the confusion matrix, and the losses. */

import { metricsOn } from "./card.js";
import { byId, html, number, scrollable, table } from "./dom.js";
import { linePlot } from "./lines.js";
import { count, say } from "./text.js";

/** The names of the baselines. */
const BASELINES = { "most frequent class": "baseline.class", mean: "baseline.mean", "last value": "baseline.last" };

let losses;

/** Show the judgement of a card, and the losses of its training. */
export function showJudgement(card) {
  const { judgement, target, training } = card;
  byId("judged").replaceChildren(...(judgement ? [...metrics(judgement, metricsOn(card)), ...classes(judgement)] : []));
  byId("confusion").replaceChildren(...confusion(judgement, target));
  const history = Object.entries(training?.history ?? {}).filter(([name]) => name.includes("loss"));
  byId("learning").hidden = !history.length;
  byId("quality").hidden = !judgement && !history.length;
  if (!history.length) return;
  const best = training.best_epoch;
  const marked = best && best <= history[0][1].length;
  byId("learning-text").textContent = say("learning.text") + (marked ? ` ${say("learning.best", { epoch: best })}` : "");
  losses ??= linePlot(byId("learning-plot"), say("epochs"));
  losses.update({
    title: say("learning.title"),
    text: byId("learning-text").textContent,
    labels: history[0][1].map((_, epoch) => String(epoch + 1)),
    across: say("epoch"),
    measure: say("loss"),
    lines: history,
    mark: marked ? best - 1 : null,
  });
}

/** @param {object} judgement @param {string} over what it was measured on */
function metrics(judgement, over) {
  const rows = judgement.metrics.map(({ name, value, low, high, baseline }) => [
    name,
    number(value),
    low === null ? "–" : say("interval", { low: number(low), high: number(high) }),
    number(baseline),
  ]);
  const head = [say("metric"), say("model"), say("interval.name"), say("baseline")];
  return [
    html("h3", {}, say("metrics.title")),
    html("p", { class: "note" }, say("metrics.note", { over, baseline: say(BASELINES[judgement.baseline]) })),
    scrollable(say("metrics.title"), table(head, rows)),
  ];
}

function classes({ classes: scores }) {
  if (!scores) return [];
  const rows = scores.map(({ name, precision, recall, f1, support }) => [name, ...[precision, recall, f1].map(number), count(support)]);
  const head = [say("class"), say("precision"), say("recall"), "F1", say("sequences.name")];
  return [html("h3", {}, say("classes.title")), scrollable(say("classes.title"), table(head, rows))];
}

/** Return the confusion matrix as a table: darker cells have more of the sequences of their row. */
function confusion(judgement, { classes: names }) {
  if (!judgement?.confusion) return [];
  const rows = judgement.confusion.map((counts, i) => [names[i], ...counts.map(count)]);
  const made = table([say("confusion.corner"), ...names], rows);
  judgement.confusion.forEach((counts, i) => {
    const all = counts.reduce((a, b) => a + b, 0);
    counts.forEach((value, k) => {
      const cell = made.tBodies[0].rows[i].cells[k + 1];
      cell.style.setProperty("--share", `${all ? (100 * value) / all : 0}%`);
      if (i === k) cell.classList.add("right");
    });
  });
  made.classList.add("confusion");
  return [
    html("h3", {}, say("confusion.title")),
    html("p", { class: "note" }, say("confusion.note")),
    scrollable(say("confusion.title"), made),
  ];
}
