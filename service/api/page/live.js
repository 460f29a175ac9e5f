/** The live profile: polled while the page is visible, and compared with the profile from training. */

import { address, ask } from "./api.js";
import { timestepName } from "./axes.js";
import { profilePlot } from "./charts.js";
import { byId, number, percent } from "./dom.js";
import { say } from "./text.js";

/** Time from an answer to the next poll, in milliseconds. */
const PAUSE = 2000;
const WINDOWS = { "1m": "window.1m", "10m": "window.10m", "1h": "window.1h", start: "window.start" };
/** The largest total variation of two distributions. */
const MOST_DISTANCE = 1;

export class Live {
  /** @param {(profile: object) => void} onProfile called with each polled profile, which may be of a newer version */
  constructor(onProfile) {
    this.onProfile = onProfile;
    this.plot = profilePlot(byId("live-plot"), say("live.cursor"));
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
      if (!stopped.signal.aborted) byId("live-text").textContent = say("live.problem", { problem: error.message });
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
      title: say("live.title", { model, version: String(version), window: say(WINDOWS[chosen]) }),
      text,
      labels,
      mean: current.mean,
      spread: current.spread,
      peak: current.peak,
      outline: { mean, name: say("live.training") },
      name: say("live.now"),
    });
  }
}

function summary({ sequences, peak, mean, total_variation: distance, by_chance: chance }, chosen, labels) {
  const window = say(WINDOWS[chosen]);
  if (!sequences) return say("live.none", { window });
  const most = { n: sequences, window, share: percent(mean[peak]), timestep: timestepName(labels[peak]) };
  const sentences = [say("live.most", most)];
  // The expectation for few sequences is an estimate, which may exceed the largest distance.
  const [moved, expected] = [distance, chance].map((value) => value !== null && number(Number(Math.min(MOST_DISTANCE, value).toFixed(3))));
  if (moved !== false && expected !== false) sentences.push(say("live.distance_and_chance", { distance: moved, chance: expected }));
  else if (moved !== false) sentences.push(say("live.distance", { distance: moved }));
  return sentences.join(" ");
}
