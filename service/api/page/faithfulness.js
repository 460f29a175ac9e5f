/** How far attention and importance can be trusted: curves of the card, and the measures of one answer. */

import { byId, html, number, percent, scrollable, table } from "./dom.js";
import { linePlot } from "./lines.js";
import { say } from "./text.js";

const ORDERS = { attention: "attention", importance: "importance", random: "faithfulness.random" };
const MEASURES = ["comprehensiveness", "sufficiency"];

let plots;

/** Show the verdict beside each chart of attention, and the curves; null for a card without them. */
export function showFaithfulness(found) {
  byId("faithfulness").hidden = !found;
  for (const place of document.querySelectorAll(".verdict")) place.textContent = found?.verdict ?? "";
  if (!found) return;
  byId("faithfulness-caption").textContent = [
    say("faithfulness.caption", { n: found.sequences }),
    ...(found.uniform === null ? [] : [say("faithfulness.uniform", { metric: found.metric, value: number(found.uniform) })]),
    ...(found.permuted === null ? [] : [say("faithfulness.permuted", { metric: found.metric, value: number(found.permuted) })]),
  ].join(" ");
  const titles = { comprehensiveness: say("faithfulness.taken"), sufficiency: say("faithfulness.kept") };
  plots ??= MEASURES.map((measure) => linePlot(byId(`${measure}-plot`), titles[measure]));
  MEASURES.forEach((measure, i) =>
    plots[i].update({
      title: titles[measure],
      text: found.verdict,
      labels: found.fractions.map(percent),
      across: say("faithfulness.fraction"),
      measure: say("moved"),
      lines: found.removals.map((removal) => [say(ORDERS[removal.order]), removal[measure]]),
    }),
  );
  const rows = found.removals.map((removal) => [say(ORDERS[removal.order]), ...MEASURES.map((measure) => area(removal, measure))]);
  byId("areas").replaceChildren(scrollable(say("faithfulness.areas"), table(head(), rows)));
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
