/** The card of the model, and its attention profile from training. */

import { profilePlot, shares } from "./charts.js";
import { byId, count, counted, html, number, percent, scrollable, table } from "./dom.js";
import { timestepName } from "./figure.js";

/** The most classes or features that the card lists; its details list all. */
const MOST_NAMES = 8;

/** The names of the formats of imported models. */
const FORMATS = { keras: "Keras", savedmodel: "SavedModel", onnx: "ONNX" };

/** "timesteps 10 and 11" */
function spoken(labels) {
  const all = labels.map(String);
  const last = all.pop();
  return all.length ? `timesteps ${all.join(", ")} and ${last}` : timestepName(last);
}

/** The first names, and the number of the others. */
function some(names) {
  const rest = names.length - MOST_NAMES;
  return names.slice(0, MOST_NAMES).join(", ") + (rest > 0 ? ` and ${count(rest)} more` : "");
}

/** The target of the model in words. */
function predicts({ task, classes, names }) {
  if (task === "regression") return names?.length ? `${counted(names.length, "number")}: ${some(names)}` : "numbers";
  if (task === "multilabel") return `any of ${count(classes.length)} classes: ${some(classes)}`;
  return `one of ${count(classes.length)} classes: ${some(classes)}`;
}

/** The tokens of a model in words. */
function tokens({ least, most, vocabulary }) {
  const words = vocabulary ? `, or one of ${counted(Object.keys(vocabulary).length, "word")}` : "";
  return `integers from ${least} to ${most}${words}`;
}

/** Return the elements of a definition list. */
function list(entries) {
  return entries.flatMap(([term, ...definitions]) => [
    html("dt", {}, term),
    ...definitions.map((definition) => html("dd", {}, definition)),
  ]);
}

/** Return a table of names and values. */
function facts(record) {
  const rows = Object.entries(record).map(([name, value]) => [name.replaceAll("_", " "), written(value)]);
  return table(["name", "value"], rows);
}

function written(value) {
  if (value === null || value === "") return "–";
  return typeof value === "number" ? number(value) : typeof value === "string" ? value : JSON.stringify(value);
}

/** Show the card of a model. */
export function showCard(card) {
  const shape = `${card.variable_length ? "up to " : ""}${counted(card.timesteps, "timestep")} × ${counted(card.features, "feature")}`;
  const values = card.tokens ? ` of ${tokens(card.tokens)}` : card.missing_values ? "; values may be missing" : "";
  const created = new Date(card.created);
  byId("model-name").textContent = `${card.name}, version ${card.version}`;
  const fit = card.training;
  const folds = card.cross_validation?.folds;
  byId("card").replaceChildren(
    ...list([
      ["Predicts", predicts(card.target)],
      ["A sequence", shape + values],
      ["Features", some(card.feature_labels)],
      ["Architecture", card.architecture.replaceAll("_", " ")],
      [folds ? `Metrics of ${folds} folds` : "Held-out metrics", ...metrics(card.metrics)],
      ...(card.judgement ? [["Judgement", sentence(card.judgement.verdict)]] : []),
      ...(card.hints.length ? [["Hints", ...card.hints.map(sentence)]] : []),
      ...(fit ? [["Trained on", `${counted(fit.sequences, "sequence")}; ${counted(fit.parameters, "weight")}`]] : []),
      ...(fit?.continued_from ? [["Continued from", fit.continued_from]] : []),
      ...(card.origin ? [["Imported from", `${card.origin.file} (${FORMATS[card.origin.format]})`]] : []),
      ["Created", html("time", { datetime: card.created }, created.toLocaleString("en", { dateStyle: "medium", timeStyle: "short" }))],
      ["Engine", card.engine === "onnx" ? "ONNX Runtime" : "TensorFlow"],
    ]),
  );
  const epochs = fit?.epochs ? [["Epochs", `${count(fit.epochs)}; the best was ${count(fit.best_epoch ?? fit.epochs)}`]] : [];
  const all = [
    ["All features", card.feature_labels],
    [card.target.classes ? "All classes" : "All numbers", card.target.classes ?? card.target.names ?? []],
  ].filter(([, names]) => names.length > MOST_NAMES);
  byId("card-more-name").textContent = fit ? "How it was trained" : "More about it";
  byId("card-more").replaceChildren(
    html(
      "dl",
      { class: "facts" },
      ...list([
        ...epochs,
        ...(fit ? [["Training time", `${number(fit.seconds)} s`]] : []),
        ...(card.origin ? [["SHA-256 of the file", card.origin.digest]] : []),
        ...all.map(([term, names]) => [term, names.join(", ")]),
      ]),
    ),
    ...judged(card.judgement),
    ...(fit ? [html("h3", {}, "Training options"), facts(fit.options)] : []),
    html("h3", {}, "Libraries"),
    facts((fit ?? card.origin).libraries),
  );
  const rejected = card.rejected ?? [];
  byId("rejected").replaceChildren(
    ...rejected.map(({ version, reason }) => html("p", {}, `Version ${version} is not served: ${reason}`)),
  );
}

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;

/** Return the tables of a judgement: all metrics beside the baseline, and the scores of each class. */
function judged(judgement) {
  if (!judgement) return [];
  const rows = judgement.metrics.map(({ name, value, low, high, baseline }) => [
    name,
    number(value),
    low === null ? "–" : `${number(low)} to ${number(high)}`,
    number(baseline),
  ]);
  const tables = [
    html("h3", {}, "Metrics and their baseline"),
    html("p", { class: "note" }, `Over held-out sequences, with 95 % intervals. The baseline always predicts the ${judgement.baseline}.`),
    scrollable("Metrics and their baseline", table(["metric", "model", "interval", "baseline"], rows)),
  ];
  if (!judgement.classes) return tables;
  const classes = judgement.classes.map(({ name, precision, recall, f1, support }) => [
    name,
    ...[precision, recall, f1].map(number),
    count(support),
  ]);
  return [
    ...tables,
    html("h3", {}, "Classes"),
    scrollable("Classes", table(["class", "precision", "recall", "F1", "sequences"], classes)),
  ];
}

function metrics(record) {
  const all = Object.entries(record).map(([name, value]) => `${name.replaceAll("_", " ")} ${number(value)}`);
  return all.length ? all : ["none"];
}

let plot;

/** Draw the attention profile, null for a model without attention, over held-out sequences, with importance. */
export function showProfile(profile) {
  byId("profile").hidden = !profile;
  byId("no-attention").hidden = Boolean(profile);
  if (!profile) return;
  plot ??= profilePlot(byId("profile-plot"), "attention profile");
  const { importance, timestep_labels: labels, peak, mean } = profile;
  const beside = importance && shares(importance) ? importance : null;
  byId("key-importance").hidden = !beside;
  byId("profile-caption").textContent =
    `Mean over ${counted(profile.sequences, "held-out sequence")}; whiskers are ±1 standard deviation. ` +
    (beside
      ? `Importance is how far ${importance.metric} drops when the values of a timestep come from other sequences, ` +
        `as a share of all drops; the largest drop is ${number(Math.max(...importance.drop))}.`
      : "");
  byId("agreement").textContent = agreement(profile);
  plot.update({
    title: `Attention profile of ${profile.model}, version ${profile.version}`,
    text: `Most attention, ${percent(mean[peak])} of it, falls on ${timestepName(labels[peak])}. ${agreement(profile)}`,
    labels,
    mean,
    spread: profile.spread,
    peak,
    importance: beside,
  });
}

/** Compare attention with importance in words. */
function agreement({ agreement: agreed, timestep_labels: labels }) {
  if (!agreed) return "";
  const correlation = agreed.rank_correlation === null ? "" : `Attention and importance rank the timesteps with a correlation of ${number(Number(agreed.rank_correlation.toFixed(2)))}. `;
  if (!agreed.top.length) return `${correlation}No timestep is important by itself.`;
  const important = spoken(agreed.top.map((t) => labels[t]));
  const share = agreed.importance === null ? "" : ` and ${percent(agreed.importance)} of importance`;
  return `${correlation}Most important: ${important}, with ${percent(agreed.attention)} of attention${share}.`;
}
