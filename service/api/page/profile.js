/** Where the model looks, and what matters to it: the attention profile of training, and importance. */

import { timestepName } from "./axes.js";
import { measuredOn } from "./card.js";
import { LEAST_EFFECT, profilePlot } from "./charts.js";
import { byId, number, percent } from "./dom.js";
import { cellPlot, featurePlot } from "./importance.js";
import { say } from "./text.js";

/** The most timesteps in a sentence. */
const MOST_NAMED = 5;

/** "timesteps 10 and 11" */
function spoken(labels) {
  const rest = labels.length - MOST_NAMED;
  if (rest > 0) return say("timesteps.more", { labels: labels.slice(0, MOST_NAMED).join(", "), rest });
  const last = String(labels.at(-1));
  return labels.length > 1 ? say("timesteps", { labels: labels.slice(0, -1).join(", "), last }) : timestepName(last);
}

let [plot, ofFeatures, ofCells] = [];

/** Draw the attention profile of a card, null for a model without attention, with importance. */
export function showProfile(profile, card) {
  byId("profile").hidden = !profile;
  byId("no-attention").hidden = Boolean(profile);
  if (!profile) return;
  plot ??= profilePlot(byId("profile-plot"), say("profile.cursor"));
  const { importance, timestep_labels: labels, peak, mean } = profile;
  const seeds = (card.repeats?.profiles ?? []).map((one, i) => [card.repeats.seeds[i], one]);
  byId("profile-caption").textContent =
    say("profile.caption", { sequences: measuredOn(card, profile.sequences) }) +
    (seeds.length ? ` ${say("profile.seeds", { n: seeds.length })}` : "") +
    (importance ? ` ${say("profile.importance", { metric: importance.metric, drop: number(Math.max(...importance.drop)) })}` : "");
  byId("agreement").textContent = agreement(profile);
  plot.update({
    title: say("profile.title", { model: profile.model, version: String(profile.version) }),
    text: `${say("profile.most", { share: percent(mean[peak]), timestep: timestepName(labels[peak]) })} ${agreement(profile)}`,
    labels,
    mean,
    spread: profile.spread,
    peak,
    importance,
    seeds,
    name: say("attention"),
  });
}

/** Draw the importance of features, and of features at timesteps, as far as a card has them. */
export function showImportance(card) {
  const { feature_importance: features, cell_importance: cells } = card;
  byId("matters").hidden = !features && !cells;
  byId("features-figure").hidden = !features;
  byId("cells-figure").hidden = !cells;
  const measure = (found) => say("importance.of", { metric: found.metric });
  const caption = (found) => say("importance.caption", { sequences: measuredOn(card, found.sequences), metric: found.metric });
  if (features) {
    ofFeatures ??= featurePlot(byId("features-plot"));
    const repeated = features.repetitions > 1;
    byId("features-caption").textContent = caption(features) + (repeated ? ` ${say("importance.whiskers", { n: features.repetitions })}` : "");
    ofFeatures.update({
      title: say("features.title"),
      features: card.feature_labels,
      values: features.drop,
      spread: features.spread,
      measure: measure(features),
      least: LEAST_EFFECT,
    });
  }
  if (!cells) return;
  ofCells ??= cellPlot(byId("cells-plot"));
  byId("cells-caption").textContent = caption(cells);
  ofCells.update({
    title: say("cells.title"),
    labels: card.timestep_labels,
    features: card.feature_labels,
    cells: cells.drop,
    measure: measure(cells),
    least: LEAST_EFFECT,
  });
}

/** Compare attention with importance in words. */
function agreement({ agreement: agreed, timestep_labels: labels }) {
  if (!agreed) return "";
  const ranks = agreed.rank_correlation;
  const sentences = ranks === null ? [] : [say("agreement.ranks", { correlation: number(Number(ranks.toFixed(2))) })];
  const important = { timesteps: spoken(agreed.top.map((t) => labels[t])), attention: percent(agreed.attention) };
  if (!agreed.top.length) sentences.push(say("agreement.none"));
  else if (agreed.importance === null) sentences.push(say("agreement.top", important));
  else sentences.push(say("agreement.both", { ...important, importance: percent(agreed.importance) }));
  return sentences.join(" ");
}
