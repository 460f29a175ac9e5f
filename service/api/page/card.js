/** The card of the model: its facts. */

import { byId, html, number, table } from "./dom.js";
import { capital, language, say } from "./text.js";

/** The most classes or features that the card lists; its details list all. */
const MOST_NAMES = 8;

/** The names of the formats of imported models. */
const FORMATS = { keras: "Keras", savedmodel: "SavedModel", onnx: "ONNX" };

/** The first names, and the number of the others. */
function some(names) {
  const rest = names.length - MOST_NAMES;
  const first = names.slice(0, MOST_NAMES).join(", ");
  return rest > 0 ? say("names.more", { names: first, rest }) : first;
}

/** The target of the model in words. */
export function predicts({ task, classes, names }) {
  if (task === "regression") return names?.length ? say("predicts.numbers", { n: names.length, names: some(names) }) : say("predicts.any");
  if (task === "multilabel") return say("predicts.several", { count: classes.length, names: some(classes) });
  return say("predicts.one", { count: classes.length, names: some(classes) });
}

/** The tokens of a model in words. */
function tokens({ least, most, vocabulary }) {
  const range = { least, most };
  return vocabulary ? say("tokens.words", { ...range, n: Object.keys(vocabulary).length }) : say("tokens", range);
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
  return table([say("name"), say("value")], rows);
}

function written(value) {
  if (value === null || value === "") return "–";
  return typeof value === "number" ? number(value) : typeof value === "string" ? value : JSON.stringify(value);
}

/** Show the card of a model. */
export function showCard(card) {
  const created = new Date(card.created);
  byId("model-name").textContent = named(card);
  const fit = card.training;
  const folds = card.cross_validation?.folds;
  byId("card").replaceChildren(
    ...list([
      [say("card.predicts"), predicts(card.target)],
      [say("card.sequence"), shape(card)],
      [say("card.features"), some(card.feature_labels)],
      [say("card.architecture"), card.architecture.replaceAll("_", " ")],
      [folds ? say("card.folds", { folds }) : say(fit ? "card.metrics" : "card.metrics_examples"), ...metrics(card.metrics)],
      ...(card.judgement ? [[say("card.judgement"), sentence(card.judgement.verdict)]] : []),
      ...(card.hints.length ? [[say("card.hints"), ...card.hints.map(sentence)]] : []),
      ...(fit ? [[say("card.trained_on"), `${say("sequences", { n: fit.sequences })}; ${say("weights", { n: fit.parameters })}`]] : []),
      ...(fit?.continued_from ? [[say("card.continued"), fit.continued_from]] : []),
      ...(card.origin ? [[say("card.imported"), `${card.origin.file} (${FORMATS[card.origin.format]})`]] : []),
      [say("card.created"), html("time", { datetime: card.created }, created.toLocaleString(language, { dateStyle: "medium", timeStyle: "short" }))],
      [say("card.engine"), card.engine === "onnx" ? "ONNX Runtime" : "TensorFlow"],
    ]),
  );
  const epochs = fit?.epochs ? [[say("card.epochs"), say("epochs.best", { epochs: fit.epochs, best: fit.best_epoch ?? fit.epochs })]] : [];
  const all = [
    [say("card.all_features"), card.feature_labels],
    [card.target.classes ? say("card.all_classes") : say("card.all_numbers"), card.target.classes ?? card.target.names ?? []],
  ].filter(([, names]) => names.length > MOST_NAMES);
  byId("card-more-name").textContent = fit ? say("card.more") : say("card.more_imported");
  byId("card-more").replaceChildren(
    html(
      "dl",
      { class: "facts" },
      ...list([
        ...epochs,
        ...(fit ? [[say("card.time"), `${number(fit.seconds)} s`]] : []),
        ...(card.origin ? [[say("card.digest"), card.origin.digest]] : []),
        ...all.map(([term, names]) => [term, names.join(", ")]),
      ]),
    ),
    ...(fit ? [html("h3", {}, say("card.options")), facts(fit.options)] : []),
    html("h3", {}, say("card.libraries")),
    facts((fit ?? card.origin).libraries),
  );
  const rejected = card.rejected ?? [];
  byId("rejected").replaceChildren(
    ...rejected.map(({ version, reason }) => html("p", {}, say("card.rejected", { version: String(version), reason }))),
  );
}

/**
 * Return the one of three texts for what explanations and metrics of a card were measured on: held-out sequences; all, after
 * cross-validation, which fits the version on all of them; or the examples of an imported model.
 */
function ofMeasured({ training, cross_validation: folds }, [heldOut, all, examples]) {
  if (!training) return examples;
  return folds ? all : heldOut;
}

/** "240 held-out sequences" */
export const measuredOn = (card, n) => say(ofMeasured(card, ["measured.held_out", "measured.all", "measured.examples"]), { n });

/** The heading of the metrics of a card. */
export const metricsOn = (card) => say(ofMeasured(card, ["metrics.held_out", "metrics.all", "metrics.examples"]));

/** "after-lstm, version 1" */
export const named = ({ name, version }) => say("model.version", { name, version: String(version) });

/** The size of a sequence in words, and its values. */
export function shape({ timesteps, features, variable_length: varies, tokens: integers, missing_values: missing }) {
  const size = `${say(varies ? "shape.up_to" : "shape.timesteps", { n: timesteps })} × ${say("features", { n: features })}`;
  if (integers) return say("shape.tokens", { shape: size, tokens: tokens(integers) });
  return missing ? say("shape.missing", { shape: size }) : size;
}

const sentence = (text) => `${capital(text)}.`;

function metrics(record) {
  const all = Object.entries(record).map(([name, value]) => `${name.replaceAll("_", " ")} ${number(value)}`);
  return all.length ? all : [say("none")];
}
