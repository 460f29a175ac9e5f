/**
 * The choice of a part of the attention: one layer, head or query, where the card tells them apart. Output steps are no
 * choice: the page draws all of them.
 */

import { html } from "./dom.js";
import { say } from "./text.js";

const ALL = "";

/** The axes that have a name in each language; a card may have others. */
const AXES = { layer: "axis.layer", head: "axis.head", query: "axis.query" };
const axisName = (axis) => (axis in AXES ? say(AXES[axis]) : axis);

/** Return the mean of some units of attention `(timesteps, units)`: one weight for each timestep. */
export const mean = (full, units = [...full[0].keys()]) =>
  full.map((weights) => units.reduce((sum, unit) => sum + weights[unit], 0) / units.length);

export class Parts {
  /**
   * @param {Element} host
   * @param {() => void} onChoice called after each choice
   */
  constructor(host, onChoice) {
    this.host = host;
    this.onChoice = onChoice;
  }

  /** Offer the parts of a model; none, if its attention is one unit. */
  use({ attention_from: sources, target: { steps } }) {
    this.sources = sources;
    this.steps = sources.some(({ axes }) => "step" in axes) ? steps : null;
    this.chosen = {};
    this.#show();
  }

  /** Return the field of a request that asks for the chosen part; nothing if all parts are chosen. */
  asked() {
    if (this.steps) return { attention: "full" };
    return Object.keys(this.chosen).length ? { attention: this.chosen } : {};
  }

  /** The chosen part in a sentence. */
  text() {
    const named = Object.entries(this.chosen).map(([axis, index]) => `${axisName(axis)} ${this.#name(axis, index)}`);
    return named.length ? say("parts.of", { parts: named.join(", ") }) : "";
  }

  /**
   * Return the attention of each output step, `(steps, timesteps)`, as the mean over the units of the chosen part.
   * @param {number[][]} full `(timesteps, units)`
   */
  bySteps(full) {
    return Array.from({ length: this.steps }, (_, step) => mean(full, this.#units({ ...this.chosen, step })));
  }

  /** Return the indices of the units of a part, as the service finds them. */
  #units(part) {
    const wanted = Object.entries(part).filter(([axis]) => axis !== "layer");
    let next = 0;
    return this.sources.flatMap(({ axes }, layer) => {
      const sizes = Object.entries(axes);
      const first = next;
      const units = sizes.reduce((product, [, size]) => product * size, 1);
      next += units;
      if ((part.layer ?? layer) !== layer || wanted.some(([axis, index]) => !(index < (axes[axis] ?? 0)))) return [];
      const isPart = (unit) => {
        let rest = unit;
        return sizes.toReversed().every(([axis, size]) => { // the last axis changes first
          const at = rest % size;
          rest = Math.floor(rest / size);
          return (part[axis] ?? at) === at;
        });
      };
      return Array.from({ length: units }, (_, unit) => unit).filter(isPart).map((unit) => first + unit);
    });
  }

  #name(axis, index) {
    return axis === "layer" ? `${index} (${this.sources[index].tensor})` : String(index);
  }

  /** Return the size of each axis that the chosen layer has, or that any layer has. */
  #sizes() {
    const { layer } = this.chosen;
    const sizes = { layer: this.sources.length };
    for (const { axes } of layer === undefined ? this.sources : [this.sources[layer]]) {
      for (const [axis, size] of Object.entries(axes)) sizes[axis] = Math.max(size, sizes[axis] ?? 0);
    }
    return Object.fromEntries(Object.entries(sizes).filter(([axis, size]) => size > 1 && axis !== "step"));
  }

  #show() {
    const sizes = this.#sizes();
    this.chosen = Object.fromEntries(Object.entries(this.chosen).filter(([axis, index]) => index < (sizes[axis] ?? 0)));
    const focused = document.activeElement?.id;
    this.host.hidden = !Object.keys(sizes).length;
    this.host.replaceChildren(...Object.entries(sizes).map(([axis, size]) => this.#select(axis, size)));
    if (focused?.startsWith("part-")) document.getElementById(focused)?.focus();
  }

  #select(axis, size) {
    const option = (value, text) => html("option", { value, selected: value === String(this.chosen[axis] ?? ALL) }, text);
    const options = Array.from({ length: size }, (_, index) => option(String(index), this.#name(axis, index)));
    const id = `part-${axis}`;
    const select = html("select", { id, change: () => this.#choose(axis, select.value) }, option(ALL, say("parts.all")), ...options);
    return html("span", {}, html("label", { for: id }, axisName(axis)), " ", select);
  }

  #choose(axis, value) {
    if (value === ALL) delete this.chosen[axis];
    else this.chosen[axis] = Number(value);
    this.#show();
    this.onChoice();
  }
}
