/** How far attention and importance can be trusted: curves of the card, and the measures of one answer. */

import { measuredOn } from "./card.js";
import { byId, html, number, percent, scrollable, table } from "./dom.js";
import { linePlot } from "./lines.js";
import { say } from "./text.js";

const ORDERS = { attention: "attention", importance: "importance", random: "faithfulness.random" };
const MEASURES = ["comprehensiveness", "sufficiency"];

/** The texts of the verdicts, by what attention finds. */
const VERDICTS = { "what matters": "verdict.what_matters", "part of it": "verdict.part", "no more than chance": "verdict.chance" };
/** The beginning of the verdict that no order finds anything. The card has no field that says so of models without attention. */
const NOTHING = "No order";

let plots;

/** Return the verdict of a card in the language of the page; undefined, if none was measured. */
export function verdictOf({ faithfulness: found }) {
  if (!found?.removals.length) return undefined;
  return say(VERDICTS[found.attention_finds] ?? (found.verdict.startsWith(NOTHING) ? "verdict.nothing" : "verdict.without"));
}

/** Show the verdict of a card beside each chart of attention, and the curves; or that none were measured. */
export function showFaithfulness(card) {
  const found = card.faithfulness;
  const verdict = verdictOf(card);
  for (const place of document.querySelectorAll(".verdict")) place.textContent = verdict ?? "";
  const measured = verdict !== undefined;
  byId("faithfulness-curves").hidden = !measured;
  byId("faithfulness-caption").textContent = [
    measured ? say("faithfulness.caption", { sequences: measuredOn(card, found.sequences) }) : say(notMeasured(card)),
    ...replaced(found),
  ].join(" ");
  if (!measured) return;
  const titles = { comprehensiveness: say("faithfulness.taken"), sufficiency: say("faithfulness.kept") };
  plots ??= MEASURES.map((measure) => linePlot(byId(`${measure}-plot`), titles[measure]));
  MEASURES.forEach((measure, i) =>
    plots[i].update({
      title: titles[measure],
      text: verdict,
      labels: found.fractions.map(percent),
      across: say("faithfulness.fraction"),
      measure: say("moved"),
      lines: found.removals.map((removal) => [say(ORDERS[removal.order]), removal[measure]]),
    }),
  );
  const rows = found.removals.map((removal) => [say(ORDERS[removal.order]), ...MEASURES.map((measure) => area(removal, measure))]);
  byId("areas").replaceChildren(scrollable(say("faithfulness.areas"), table(head(), rows)));
}

/** Return the text that says why no curves were measured. */
function notMeasured({ faithfulness: found, timesteps }) {
  if (found) return "faithfulness.large";
  return timesteps > 1 ? "faithfulness.none" : "faithfulness.one";
}

/** Return what the metric is with other attention, as far as that was measured. */
function replaced(found) {
  const values = [["faithfulness.uniform", found?.uniform], ["faithfulness.permuted", found?.permuted]];
  return values.filter(([, value]) => typeof value === "number").map(([text, value]) => say(text, { metric: found.metric, value: number(value) }));
}

const head = () => [say("faithfulness.order"), say("comprehensiveness"), say("sufficiency")];

/** "0.33 (0.3 to 0.36)" */
function area(removal, measure) {
  const [low, high] = removal[`${measure}_interval`].map(number);
  return `${number(removal[`${measure}_area`])} (${say("interval", { low, high })})`;
}

/** Return a table of the measures of one answer, with what they mean; nothing, if they were not asked for. */
export function faithfulnessOf({ faithfulness: found }) {
  const orders = Object.entries(found ?? {}).filter(([, measures]) => measures);
  if (!orders.length) return [];
  const rows = orders.map(([order, measures]) => [say(ORDERS[order]), ...MEASURES.map((name) => number(measures[name]))]);
  return [scrollable(say("faithfulness.measures"), table(head(), rows)), html("p", { class: "note" }, say("faithfulness.answer"))];
}
