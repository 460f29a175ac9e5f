/** The profile of what is being asked: polled while the page can be seen, drawn against the one from training. */

import { address, ask } from "./api.js";
import { profilePlot } from "./charts.js";
import { counted, number, percent } from "./dom.js";
import { named } from "./figure.js";

/** Time from an answer to the next question, in milliseconds. */
const PAUSE = 2000;
const WINDOWS = { "1m": "the last minute", "10m": "the last 10 minutes", "1h": "the last hour", start: "the time since the service started" };

const byId = (id) => document.getElementById(id);

export class Live {
  /** @param {(profile: object) => void} heard is told each profile, which may be of a newer version */
  constructor(heard) {
    this.heard = heard;
    this.plot = profilePlot(byId("live-plot"), "live profile");
    byId("windows").addEventListener("change", () => this.#show());
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#stop() : this.#start()));
  }

  /** Show a profile, and ask for those that follow it. */
  follow(profile, selection) {
    this.selection = selection;
    this.profile = profile;
    this.#show();
    this.#stop();
    if (!document.hidden) this.timer = setTimeout(() => this.#poll(), PAUSE);
  }

  /** Ask now rather than later: something has just been posted. */
  hurry() {
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
      this.heard(this.profile);
    } catch (error) {
      if (!stopped.signal.aborted) byId("live-text").textContent = `${error.message} Trying again.`;
    }
    if (!stopped.signal.aborted) this.timer = setTimeout(() => this.#poll(), PAUSE);
  }

  #show() {
    if (!this.profile) return;
    const { live = {}, timestep_labels: labels, mean, model, version } = this.profile;
    const chosen = document.querySelector("#windows input:checked").value;
    const heard = live[chosen] ?? { sequences: 0, mean: null, spread: null, peak: null };
    const text = told(heard, chosen, labels);
    if (byId("live-text").textContent !== text) byId("live-text").textContent = text;
    this.plot.update({
      title: `Attention of ${model}, version ${version}, in ${WINDOWS[chosen]}`,
      text,
      labels,
      mean: heard.mean,
      spread: heard.spread,
      peak: heard.peak,
      outline: { mean, name: "training" },
    });
  }
}

function told({ sequences, peak, mean, total_variation: distance, by_chance: chance }, chosen, labels) {
  if (!sequences) {
    return `No sequence was asked for in ${WINDOWS[chosen]}. Ask for one above, or post some to /predict: bars appear here, against the outline of the profile from training.`;
  }
  const peaked = `${counted(sequences, "sequence")} in ${WINDOWS[chosen]}; most attention, ${percent(mean[peak])}, on ${named(labels[peak])}.`;
  const moved = distance === null ? "" : ` Distance from the profile of training (total variation): ${number(Number(distance.toFixed(3)))}`;
  const expected = chance === null || !moved ? "" : `; chance alone would give about ${number(Number(chance.toFixed(3)))} with so many`;
  return `${peaked}${moved}${expected}${moved ? "." : ""}`;
}
