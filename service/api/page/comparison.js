/** Two versions side by side: facts, metrics, profiles, and the answers of both to the same request. */

import { Problem, address, ask } from "./api.js";
import { named, predicts, shape } from "./card.js";
import { profilePlot } from "./charts.js";
import { byId, html, number, scrollable, table } from "./dom.js";
import { verdictOf } from "./faithfulness.js";
import { inShort } from "./prediction.js";
import { capital, count, say } from "./text.js";

/** The most answers in the table. */
const MOST_ROWS = 256;

export class Comparison {
  constructor() {
    this.profiles = profilePlot(byId("compared-plot"), say("compared.cursor"));
    this.attention = profilePlot(byId("compared-attention-plot"), say("compared.attention_cursor"));
  }

  /**
   * Compare a card with that of another version.
   * @param {object} card
   * @param {{model: string, version: string}|null} other null for no comparison
   */
  async use(card, other) {
    this.answered = null;
    byId("comparison").hidden = !other;
    byId("compared-answers").hidden = true;
    this.selection = other;
    if (!other) return;
    try {
      const against = await ask(address("model", other));
      if (this.selection === other) this.#show([card, against]); // else another choice has been made
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.selection = null;
      byId("compared-profiles").hidden = true;
      byId("compared-facts").replaceChildren(html("p", {}, error.message));
    }
  }

  /** Show what two cards say. */
  #show(cards) {
    this.cards = cards;
    byId("compared-facts").replaceChildren(
      scrollable(say("compared.facts"), table([say("name"), ...cards.map(named)], facts(cards))),
      scrollable(say("compared.metrics"), table([say("metric"), ...cards.map(named), say("compared.difference")], metrics(cards))),
    );
    const [one, two] = cards.map(({ attention }) => attention);
    const both = one && two && sameLabels(cards);
    byId("compared-profiles").hidden = !both;
    if (!both) return;
    this.profiles.update({
      title: say("compared.profiles"),
      text: "",
      labels: cards[0].timestep_labels,
      mean: one.mean,
      spread: one.spread,
      peak: one.peak,
      name: named(cards[0]),
      outline: { mean: two.mean, name: named(cards[1]) },
    });
  }

  /**
   * Send a request, which one version has answered, to the other one.
   * @param {import("./input.js").Typed} typed
   * @param {object} answer
   */
  async answer(typed, answer) {
    const other = this.selection;
    this.answered = null;
    if (!other) return;
    byId("compared-answers").hidden = false;
    byId("compared-attention").hidden = true; // until both have answered
    try {
      const second = await ask(address("predict", { ...other, ...typed.query }), typed);
      if (this.selection !== other) return;
      this.answered = [answer, second];
      this.#showAnswers();
      this.draw(this.index);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      byId("compared-table").replaceChildren(html("p", {}, say("compared.problem", { version: named(this.cards[1]), problem: error.message })));
    }
  }

  #showAnswers() {
    const [one, two] = this.answered.map(({ predictions }) => predictions);
    const short = (prediction, k) => inShort(prediction, this.cards[k].target).filter(Boolean).join(", ");
    const rows = one.slice(0, MOST_ROWS).map((prediction, i) => [prediction.key ?? count(i + 1), short(prediction, 0), short(two[i], 1)]);
    byId("compared-table").replaceChildren(
      scrollable(say("compared.answers"), table([say("sequence"), ...this.cards.map(named)], rows)),
    );
  }

  /** Draw the attention of both versions on one sequence. */
  draw(index) {
    this.index = index;
    if (!this.answered) return;
    const [one, two] = this.answered.map(({ predictions }) => predictions[index].attention);
    const flat = (weights) => typeof weights?.[0] === "number";
    const both = flat(one) && flat(two) && one.length === two.length && sameLabels(this.cards);
    byId("compared-attention").hidden = !both;
    if (!both) return;
    this.attention.update({
      title: say("compared.attention", { number: index + 1 }),
      text: "",
      labels: this.cards[0].timestep_labels.slice(0, one.length),
      mean: one,
      spread: one.map(() => 0),
      peak: null,
      name: named(this.cards[0]),
      outline: { mean: two, name: named(this.cards[1]) },
    });
  }
}

/** Whether the timesteps of two cards have the same labels: others have no common axis. */
const sameLabels = ([one, two]) =>
  one.timestep_labels.length === two.timestep_labels.length && one.timestep_labels.every((label, t) => label === two.timestep_labels[t]);

/** Return the rows of the facts of two cards. */
function facts(cards) {
  const row = (term, fact) => [term, ...cards.map((card) => fact(card) ?? "–")];
  return [
    row(say("card.predicts"), ({ target }) => predicts(target)),
    row(say("card.sequence"), shape),
    row(say("card.architecture"), ({ architecture }) => architecture.replaceAll("_", " ")),
    row(say("card.trained_on"), ({ training }) => training && say("sequences", { n: training.sequences })),
    row(say("compared.weights"), ({ training }) => training && count(training.parameters)),
    row(say("card.judgement"), ({ judgement }) => judgement && capital(judgement.verdict)),
    row(say("faithfulness"), verdictOf),
  ];
}

/** Return the rows of the metrics of two cards, with the difference where both have one. */
function metrics([one, two]) {
  return Object.keys({ ...one.metrics, ...two.metrics }).map((name) => {
    const [first, second] = [one.metrics[name], two.metrics[name]];
    const difference = first === undefined || second === undefined ? null : second - first;
    return [name.replaceAll("_", " "), number(first), number(second), signed(difference)];
  });
}

const signed = (value) => (value > 0 ? `+${number(value)}` : number(value));
