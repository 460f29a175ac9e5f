/** The live profile: polled while the page is visible, and compared with the profile from training. */

import { address, ask } from "./api.js";
import { profilePlot } from "./charts.js";
import { byId, counted, number, percent } from "./dom.js";
import { timestepName } from "./figure.js";

/** Time from an answer to the next poll, in milliseconds. */
const PAUSE = 2000;
const WINDOWS = { "1m": "the last minute", "10m": "the last 10 minutes", "1h": "the last hour", start: "the time since the service started" };

export class Live {
  /** @param {(profile: object) => void} onProfile called with each polled profile, which may be of a newer version */
  constructor(onProfile) {
    this.onProfile = onProfile;
    this.plot = profilePlot(byId("live-plot"), "live profile");
    byId("windows").addEventListener("change", () => this.#show());
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#stop() : this.#start()));
  }

  /** Show a profile, and poll for later ones; null for a model without attention. */
  follow(profile, selection) {
    this.selection = profile && selection;
    this.profile = profile;
    byId("live").hidden = !profile;
    this.#show();
    this.#stop();
    if (profile && !document.hidden) this.timer = setTimeout(() => this.#poll(), PAUSE);
  }

  /** Poll now. */
  refresh() {
    if (this.selection && !document.hidden) this.#start();
  }

  #start() {
    this.#stop();
    if (this.selection) this.#poll();
  }

  #stop() {
    clearTimeout(this.timer);
    this.stopped?.abort();
  }

  async #poll() {
    const stopped = new AbortController();
    this.stopped = stopped;
    try {
      this.profile = await ask(address("attention", this.selection), { signal: stopped.signal });
      this.#show();
      this.onProfile(this.profile);
    } catch (error) {
      if (!stopped.signal.aborted) byId("live-text").textContent = `${error.message} Trying again.`;
    }
    if (!stopped.signal.aborted) this.timer = setTimeout(() => this.#poll(), PAUSE);
  }

  #show() {
    if (!this.profile) return;
    const { live = {}, timestep_labels: labels, mean, model, version } = this.profile;
    const chosen = document.querySelector("#windows input:checked").value;
    const current = live[chosen] ?? { sequences: 0, mean: null, spread: null, peak: null };
    const text = summary(current, chosen, labels);
    if (byId("live-text").textContent !== text) byId("live-text").textContent = text;
    this.plot.update({
      title: `Attention of ${model}, version ${version}, in ${WINDOWS[chosen]}`,
      text,
      labels,
      mean: current.mean,
      spread: current.spread,
      peak: current.peak,
      outline: { mean, name: "training" },
    });
  }
}

function summary({ sequences, peak, mean, total_variation: distance, by_chance: chance }, chosen, labels) {
  if (!sequences) {
    return `No sequence arrived in ${WINDOWS[chosen]}. Ask above, or post to /predict: the bars appear here. The outline is the profile from training.`;
  }
  const attention = `${counted(sequences, "sequence")} in ${WINDOWS[chosen]}; most attention, ${percent(mean[peak])}, on ${timestepName(labels[peak])}.`;
  const difference = distance === null ? "" : ` Distance from the profile of training (total variation): ${number(Number(distance.toFixed(3)))}`;
  const expected = chance === null || !difference ? "" : `; chance alone would give about ${number(Number(chance.toFixed(3)))} for this many sequences`;
  return `${attention}${difference}${expected}${difference ? "." : ""}`;
}
