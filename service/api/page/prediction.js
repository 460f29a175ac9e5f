/** A prediction in words, and as a list of classes or numbers. */

import { html, number, scrollable, shortened, table } from "./dom.js";
import { count, say } from "./text.js";

/** The most classes listed at once. Of more classes, the likeliest come first. */
const MOST_CLASSES = 10;
/** The most characters of a prediction in short. */
const LONGEST_SUMMARY = 80;

/** Names and numbers of a regression. */
function numbers(prediction, target) {
  return [prediction].flat().map((value, i) => [target.names?.[i] ?? say("number", { number: i + 1 }), value]);
}

/** Names and probabilities of the classes. */
function probabilities({ prediction }, { task, classes }) {
  const all = task === "binary" ? [1 - prediction, prediction] : prediction;
  return classes.map((name, i) => [name, all[i]]);
}

/** Return a prediction in short: the numbers and "", or the class and its probability. */
export function inShort(prediction, target) {
  if (target.steps && isOfSteps(prediction)) {
    const each = prediction.prediction.map((_, step) => inShort(atStep(prediction, step), target)[0]);
    return [shortened(each.join(", "), LONGEST_SUMMARY), ""];
  }
  if (target.task === "regression") return [[prediction.prediction].flat().map(number).join(", "), ""];
  if (target.task === "multilabel") return [labelled(prediction), ""];
  const [, probability] = probabilities(prediction, target).find(([name]) => name === prediction.label);
  return [prediction.label, chance(probability)];
}

/** Whether a prediction is that of all output steps. */
const isOfSteps = ({ prediction }) => Array.isArray(prediction[0]);

/** The prediction at one output step. */
export function atStep({ prediction, label }, step) {
  const [first, ...others] = prediction[step];
  return { prediction: others.length ? prediction[step] : first, label: label?.[step] };
}

/** The label, or the labels of several at once. */
const labelled = ({ label }) => [label].flat().join(", ") || say("classes.none");

/** A probability to four places. */
const chance = (probability) => probability.toFixed(4);

/** Return a prediction in full: the numbers, or the class and the probabilities of all classes. */
export function predicted(prediction, target) {
  if (target.steps) {
    const rows = prediction.prediction.map((_, step) => [count(step), ...inShort(atStep(prediction, step), target).filter(Boolean)]);
    const head = [say("step"), ...(target.task === "regression" ? [(target.names ?? [say("value")]).join(", ")] : [say("label"), say("probability")])];
    return [scrollable(say("steps.name"), table(target.task === "multilabel" ? head.slice(0, 2) : head, rows))];
  }
  if (target.task === "regression") {
    const pairs = numbers(prediction.prediction, target);
    return [html("dl", { class: "outcome" }, ...pairs.flatMap(([name, value]) => [html("dt", {}, name), html("dd", {}, number(value))]))];
  }
  const pairs = probabilities(prediction, target);
  const sorted = pairs.length > MOST_CLASSES ? pairs.toSorted(([, a], [, b]) => b - a) : pairs;
  const label = html("p", { class: "label" }, labelled(prediction));
  const rest = sorted.slice(MOST_CLASSES);
  const more = html("details", {}, html("summary", {}, say("more", { rest: rest.length })), bars(rest, prediction.label));
  return [label, bars(sorted.slice(0, MOST_CLASSES), prediction.label), ...(rest.length ? [more] : [])];
}

function bars(pairs, label) {
  return html(
    "ul",
    { class: "probabilities" },
    ...pairs.map(([name, probability]) => {
      const bar = html("span", { class: "bar", "aria-hidden": "true" }, html("span"));
      bar.firstChild.style.width = `${probability * 100}%`;
      return html(
        "li",
        { class: [label].flat().includes(name) ? "likeliest" : null },
        html("span", { class: "class", title: name }, name),
        bar,
        html("span", { class: "probability" }, chance(probability)),
      );
    }),
  );
}
