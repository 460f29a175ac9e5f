/** The form: sequences in, the prediction and attention of the model out, and the same request with curl. */

import { Problem, address, ask } from "./api.js";
import { timestepName } from "./axes.js";
import { LEAST_EFFECT, differInSize, sample, sequencePlot } from "./charts.js";
import { byId, html, number, percent } from "./dom.js";
import { faithfulnessOf } from "./faithfulness.js";
import { HeatMap } from "./heat_map.js";
import { cellPlot, featurePlot } from "./importance.js";
import { random, read, write } from "./input.js";
import { hasKey } from "./key.js";
import { Parts, mean } from "./parts.js";
import { atStep, inShort, predicted } from "./prediction.js";
import { capital, count, say } from "./text.js";

/** The most characters and lines of a curl command that are shown. */
const LONG_LINE = 400;
const MOST_LINES = 6;
/** In bytes; some shells refuse longer arguments. */
const LONGEST_ARGUMENT = 100_000;
/** The status of the answer to a request that takes too many runs of the model. */
const TOO_LARGE = 413;

export class Ask {
  /**
   * @param {(typed: import("./input.js").Typed, answer: object) => void} onAnswer called after each answer
   * @param {(index: number) => void} onDraw called with the index of each sequence that is drawn
   */
  constructor(onAnswer, onDraw) {
    this.onAnswer = onAnswer;
    this.onDraw = onDraw;
    this.plot = sequencePlot(byId("sequence-plot"));
    this.features = featurePlot(byId("answer-features-plot"));
    this.cells = cellPlot(byId("answer-cells-plot"));
    this.heatMap = new HeatMap(byId("heat-map"), (index) => this.#draw(index), {
      noun: "sequence.number",
      name: say("heat.name"),
      id: "row",
      first: 1,
    });
    this.stepMap = new HeatMap(byId("step-map"), (step) => this.#drawStep(step), {
      noun: "step.number",
      name: say("steps.name"),
      id: "step",
      first: 0,
    });
    this.text = byId("text");
    this.parts = new Parts(byId("parts"), () => !byId("result").hidden && this.#ask());
    const clicks = {
      example: () => this.#fill((examples) => [examples[this.next++ % examples.length]]),
      several: () => this.#fill((examples) => examples),
      random: () => this.#fill((examples) => [random(examples, this.card)]),
      copy: () => this.#copy(),
    };
    for (const [id, click] of Object.entries(clicks)) byId(id).addEventListener("click", click);
    byId("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#ask();
    });
    this.text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      this.#ask();
    });
    this.text.addEventListener("input", () => this.#clearProblem());
    this.text.addEventListener("scroll", () => this.#scrollMark());
    byId("file").addEventListener("change", (event) => this.#load(event.target.files[0]));
    byId("apart").addEventListener("change", () => this.#redraw());
    byId("importance").addEventListener("change", () => this.#allowOptions());
    this.#acceptDrops();
  }

  /** Ask this model from now on. */
  use(card, selection) {
    this.card = card;
    this.selection = selection;
    this.examples = null;
    this.next = 0;
    this.request?.abort();
    this.explaining?.abort();
    this.#clearProblem();
    this.#hideResult();
    this.parts.use(card);
    this.#allowOptions();
  }

  /** Offer what this version can compute, and what fits the other choices. */
  #allowOptions() {
    const possible = Boolean(this.card.baseline);
    const [importance, faithful] = [byId("importance"), byId("faithful")];
    importance.disabled = !possible;
    if (!possible) importance.value = "";
    byId("replacement-choice").hidden = !importance.value;
    // The answer compares orders of the timesteps: by attention, and by their importance.
    faithful.disabled = !possible || !(this.card.attention || ["timesteps", "both"].includes(importance.value));
    faithful.checked &&= !faithful.disabled;
    byId("no-importance").hidden = possible;
  }

  /** Return the fields of a request that ask for the chosen explanations. */
  #explanations() {
    const [importance, replacement] = [byId("importance").value, byId("replacement").value];
    return {
      ...(importance && { importance }),
      ...(importance && replacement && { replacement }),
      ...(byId("faithful").checked && { faithfulness: true }),
    };
  }

  /** Fill the text with sequences made from the model's examples. */
  async #fill(make) {
    this.#clearProblem();
    const card = this.card;
    try {
      this.examples ??= (await ask(address("model/example", this.selection))).sequences;
      if (card !== this.card) return; // another model has been selected
      this.#write(write(make(this.examples)));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#showProblem(error.message);
    }
  }

  #write(text) {
    this.text.value = text;
    this.text.scrollTop = 0;
    this.#clearProblem();
  }

  async #load(file) {
    if (!file) return;
    try {
      this.#write(decoded(await file.arrayBuffer()));
    } catch {
      this.#showProblem(say("file.problem", { name: file.name }));
    }
    byId("file").value = ""; // lets the user choose the same file again
  }

  /** Accept a file dropped anywhere: by default the browser would leave the page and lose the typed text. */
  #acceptDrops() {
    const area = byId("drop");
    const over = (on) => area.classList.toggle("over", on);
    document.addEventListener("dragover", (event) => {
      if (!event.dataTransfer.types.includes("Files")) return; // the browser handles dropped text
      event.preventDefault();
      over(true);
    });
    document.addEventListener("dragleave", () => over(false));
    document.addEventListener("drop", (event) => {
      over(false);
      if (!event.dataTransfer.files.length) return;
      event.preventDefault();
      this.#load(event.dataTransfer.files[0]);
    });
  }

  async #ask() {
    if (this.busy || !this.card) return;
    this.#clearProblem();
    const text = this.text.value.replace(/^\uFEFF/, ""); // byte order mark
    if (text !== this.text.value) this.text.value = text;
    if (!text.trim()) {
      this.#showProblem(say("ask.nothing"));
      return;
    }
    const explanations = this.#explanations();
    const asked = { ...this.parts.asked(), inputs: true };
    const typed = read(text, { ...explanations, ...asked }, this.card);
    const plain = Object.keys(explanations).length ? read(text, asked, this.card) : null;
    const request = new AbortController();
    this.request = request;
    this.#setBusy(true);
    try {
      const [sent, answer] = await this.#sent(typed, plain, request.signal);
      this.replaced = say(replacementOf(typed) === "marginal" ? "replaced.marginal" : "replaced.baseline");
      this.later = sent === plain ? explanations : null;
      this.onAnswer(sent, answer);
      this.#show(answer);
      this.#showCurl(sent);
    } catch (error) {
      if (request.signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      this.#showProblem(error.message, typed.find(error.detail));
      this.#showCurl(typed);
    } finally {
      this.#setBusy(false);
    }
  }

  #url({ query }) {
    return address("predict", { ...this.selection, ...query });
  }

  /**
   * Send a request, or the one without explanations, if the explanations of several sequences take too many runs.
   * @param {import("./input.js").Typed} typed
   * @param {import("./input.js").Typed|null} plain null if no explanations are chosen
   * @returns {Promise<[import("./input.js").Typed, object]>} what was answered, and the answer
   */
  async #sent(typed, plain, signal) {
    const send = (one) => ask(this.#url(one), { ...one, signal });
    try {
      return [typed, await send(typed)];
    } catch (error) {
      if (error.status !== TOO_LARGE || !plain) throw error;
      const answer = await send(plain).catch(() => null);
      if (!answer || answer.predictions.length === 1) throw error;
      return [plain, answer];
    }
  }

  /** Ask for the explanations of the sequence that is drawn, if those of all at once are too many. */
  async #explain() {
    const { answer, index, later, card } = this;
    const prediction = answer.predictions[index];
    this.explaining?.abort();
    byId("explained").textContent = later ? say("explained.alone") : "";
    if (!later || prediction.explained) return;
    const sequence = card.tokens ? prediction.inputs : heights(prediction.inputs, card);
    const request = new AbortController();
    this.explaining = request;
    try {
      const body = JSON.stringify({ sequence, ...later });
      const found = await ask(address("predict", this.selection), { body, type: "application/json", signal: request.signal });
      if (request.signal.aborted) return;
      answer.predictions[index] = { ...found.predictions[0], ...prediction, explained: true };
      this.#showExplanations();
      this.#redraw();
    } catch (error) {
      if (request.signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      byId("explained").textContent = error.message;
    }
  }

  /** The button is not `disabled` while busy: that would take the focus away. */
  #setBusy(busy) {
    this.busy = busy;
    byId("ask").setAttribute("aria-disabled", String(busy));
    byId("ask").textContent = busy ? say("ask.busy") : say("ask");
  }

  #hideResult() {
    byId("empty").hidden = false;
    byId("result").hidden = true;
    byId("curl").hidden = true;
    byId("summary").textContent = "";
  }

  #clearProblem() {
    byId("problem").replaceChildren();
    byId("mark").replaceChildren();
    this.text.removeAttribute("aria-invalid");
  }

  /**
   * Show an error, and mark its place in the text.
   * @param {string} message
   * @param {[number, number]|null} [place] start and end
   */
  #showProblem(message, place = null) {
    this.#hideResult();
    byId("problem").replaceChildren(html("p", {}, message));
    if (!place) return;
    const [start, end] = place;
    const text = this.text.value;
    const lines = text.slice(0, start).split(/\r\n|\r|\n/);
    const where = say("ask.marked", { line: lines.length, column: lines.at(-1).length + 1 });
    if (!/^line \d/.test(message)) byId("problem").append(html("p", {}, where)); // the columns of a table have names
    this.text.setAttribute("aria-invalid", "true");
    const mark = html("mark", {}, text.slice(start, end));
    // The mark is in a copy of the text behind it, so that it stays when the selection changes.
    byId("mark").replaceChildren(text.slice(0, start), mark, text.slice(end));
    this.text.focus({ preventScroll: true });
    this.text.setSelectionRange(start, end);
    this.text.scrollTop = mark.offsetTop - this.text.clientHeight / 3;
    this.text.scrollLeft = mark.offsetLeft - this.text.clientWidth / 3;
    this.#scrollMark();
    byId("problem").scrollIntoView({ block: "nearest" });
  }

  #scrollMark() {
    byId("mark").style.transform = `translate(${-this.text.scrollLeft}px, ${-this.text.scrollTop}px)`;
  }

  #show(given) {
    const answer = { ...given, predictions: given.predictions.map((one) => this.#withInputs(this.#withSteps(one))) };
    this.answer = answer;
    this.hidden = new Set();
    const many = answer.predictions.length > 1;
    byId("result").hidden = false;
    byId("empty").hidden = true;
    byId("many").hidden = !many;
    if (many) {
      const drawn = answer.predictions.every(({ attention }) => isFlat(attention));
      byId("many").hidden = !drawn;
      if (drawn) this.#showMany(answer.predictions);
    }
    const features = this.#isOfWords() ? [] : this.card.feature_labels;
    byId("apart").checked = features.length > 1 && differInSize(heights(answer.predictions[0].inputs, this.card), features);
    byId("apart-label").hidden = features.length < 2;
    this.#makeLegend(features);
    this.#draw(0);
  }

  /** Return a prediction with the attention of each of its steps, and their mean. */
  #withSteps(prediction) {
    if (!this.parts.steps || !Array.isArray(prediction.attention?.[0])) return prediction; // the typed body asks for something else
    return { ...prediction, attention: mean(prediction.attention), steps: this.parts.bySteps(prediction.attention) };
  }

  /** Return a prediction with its inputs: missing values, if the typed body asks for none. */
  #withInputs(prediction) {
    const steps = prediction.attention ?? this.card.timestep_labels;
    return { inputs: steps.map(() => this.card.feature_labels.map(() => null)), ...prediction };
  }

  /** Whether each timestep is one token, which is written below its bar rather than drawn as a line. */
  #isOfWords() {
    return this.card.tokens && this.card.features === 1;
  }

  #showMany(predictions) {
    const texts = predictions.map((prediction) => inShort(prediction, this.card.target));
    this.heatMap.update({
      labels: this.card.timestep_labels,
      attention: predictions.map(({ attention }) => attention),
      texts,
      keys: predictions.map(({ key }) => key),
      title: say("heat.title", { n: predictions.length }),
      text: say("heat.text"),
    });
    byId("heat-highest").textContent = number(this.heatMap.highest);
    const drawn = this.heatMap.count;
    byId("heat-caption").textContent =
      say("heat.caption") + (drawn < predictions.length ? ` ${say("heat.first", { count: drawn })}` : "");
  }

  /** Make a button for each feature that shows or hides it. */
  #makeLegend(features) {
    byId("legend").replaceChildren(
      ...features.map((feature, f) =>
        html(
          "button",
          {
            type: "button",
            "aria-pressed": "true",
            title: feature,
            click: ({ currentTarget }) => {
              if (!this.hidden.delete(f)) this.hidden.add(f);
              currentTarget.setAttribute("aria-pressed", String(!this.hidden.has(f)));
              this.#redraw();
            },
          },
          sample(f),
          html("span", {}, feature),
        ),
      ),
    );
  }

  #draw(index) {
    this.index = index;
    const prediction = this.answer.predictions[index];
    const { model, version, predictions } = this.answer;
    const many = predictions.length > 1;
    const [outcome, probability] = inShort(prediction, this.card.target);
    const text = probability ? say("answer.probability", { outcome, probability }) : outcome;
    const by = { model, version: String(version), text };
    const answered = many
      ? say("answer.many", { ...by, n: predictions.length, number: this.#named() })
      : say("answer.one", by);
    byId("summary").textContent = answered;
    byId("result-name").textContent = many ? capital(say("sequence.number", { number: this.#named() })) : say("prediction");
    byId("prediction").replaceChildren(...predicted(prediction, this.card.target));
    byId("key-part").textContent = this.parts.text();
    this.#showExplanations();
    this.step = null;
    this.onDraw(index);
    this.#showSteps(prediction);
    this.#redraw();
    this.#explain();
  }

  /** Return the number of the sequence that is drawn, with its name if a table has one. */
  #named() {
    const { key } = this.answer.predictions[this.index];
    return key === undefined ? this.index + 1 : `${count(this.index + 1)} (${key})`;
  }

  /** Show the explanations of the sequence that is drawn: charts of importance, and measures of faithfulness. */
  #showExplanations() {
    const prediction = this.answer.predictions[this.index];
    const { feature_importance: values, cell_importance: cells } = prediction;
    byId("correlation").textContent = correlation(prediction);
    byId("answer-faithfulness").replaceChildren(...faithfulnessOf(prediction));
    const shared = { features: this.card.feature_labels, measure: say("moved"), least: leastEffect(this.card, prediction) };
    const units = hasUnits(this.card, prediction) ? ` ${say("replaced.units")}` : "";
    for (const place of document.querySelectorAll(".replaced")) place.textContent = this.replaced + units;
    byId("answer-features").hidden = !values;
    byId("answer-cells").hidden = !cells;
    if (values) this.features.update({ ...shared, title: say("features.of", { number: this.index + 1 }), values, spread: null });
    if (cells) this.cells.update({ ...shared, title: say("cells.of", { number: this.index + 1 }), labels: this.#words() ?? this.card.timestep_labels, cells });
  }

  #drawStep(step) {
    this.step = step;
    this.#redraw();
  }

  /** Draw the attention of each output step. */
  #showSteps({ steps, ...prediction }) {
    byId("steps").hidden = !steps;
    if (!steps) return;
    this.stepMap.update({
      labels: this.#words() ?? this.card.timestep_labels,
      attention: steps,
      texts: steps.map((_, step) => inShort(atStep(prediction, step), this.card.target)),
      title: say("steps.title", { n: steps.length }),
      text: say("steps.text"),
    });
    byId("step-highest").textContent = number(this.stepMap.highest);
  }

  /** Return the words of the sequence that is drawn, or its tokens; null for other values. */
  #words() {
    if (!this.#isOfWords()) return null;
    return this.answer.predictions[this.index].inputs.map(([word]) => String(word ?? "–"));
  }

  /** Draw the sequence with the attention of the selected output step, or with that of all. */
  #redraw() {
    const { timestep_labels: labels, feature_labels: features } = this.card;
    const { attention: all, steps, importance, inputs } = this.answer.predictions[this.index];
    const attention = this.step === null ? all : steps[this.step];
    const words = this.#words();
    const weights = isFlat(attention) ? attention : null;
    byId("sequence-name").textContent = weights ? say("sequence.attention") : say("sequence.alone");
    byId("key-lines").textContent = drawnOf(words, weights);
    const highest = weights ? weights.indexOf(Math.max(...weights)) : 0;
    byId("key-effect").hidden = !importance;
    this.plot.update({
      title: say(weights ? "sequence.title_attention" : "sequence.title", { number: this.index + 1 }),
      text: weights ? say("sequence.most", { share: percent(weights[highest]), timestep: timestepName(labels[highest]) }) : "",
      labels,
      words,
      features: words ? [] : features,
      sequence: inputs,
      heights: heights(inputs, this.card),
      attention: weights,
      importance: importance ?? null,
      least: leastEffect(this.card, this.answer.predictions[this.index]),
      hidden: this.hidden,
      apart: byId("apart").checked,
    });
  }

  #showCurl(typed) {
    this.curl = curl(this.#url(typed), typed);
    const shown = this.curl.slice(0, LONG_LINE).split("\n").slice(0, MOST_LINES).join("\n");
    const rest = this.curl.length - shown.length;
    byId("curl").hidden = false;
    byId("curl-line").textContent = shown;
    byId("curl-rest").textContent = rest ? ` … ${say("curl.rest", { n: rest })}` : "";
    byId("copied").textContent = "";
  }

  async #copy() {
    byId("copied").textContent = (await copied(this.curl)) ? say("copied") : say("copied.not");
  }
}

/** Return what a valid request asks values to be replaced by; a typed body may ask for it, too. */
const replacementOf = ({ type, body, query }) => (type === "application/json" ? JSON.parse(body) : query).replacement;

/** Whether a prediction has several numbers, each of which moves in units of its deviation. A single one has its own unit. */
function hasUnits({ target }, { prediction }) {
  return target.task === "regression" && [target.steps ? prediction[0] : prediction].flat().length > 1;
}

/** The smallest end of the scale of importance: of a single number, a part of its deviation if that is known. */
function leastEffect(card, prediction) {
  if (card.target.task !== "regression" || hasUnits(card, prediction)) return LEAST_EFFECT;
  const [deviation] = card.training?.scaling?.target_deviation ?? [];
  return LEAST_EFFECT * (deviation ?? 0);
}

/** What the chart of a sequence draws, in words. */
function drawnOf(words, weights) {
  if (words) return weights ? say("drawn.bars") : "";
  return weights ? say("drawn.lines_and_bars") : say("drawn.lines");
}

/** Return where a chart draws the values of a sequence: a category at its index. */
function heights(sequence, { feature_labels: features, categories }) {
  const height = (value, f) => (typeof value === "string" ? categories[features[f]]?.indexOf(value) : value);
  return sequence.map((step) => step.map(height));
}

/** Return the text of a file in UTF-8, in UTF-16 with a byte order mark, or in Windows-1252. */
function decoded(content) {
  const [first, second] = new Uint8Array(content);
  if (first === 0xff && second === 0xfe) return new TextDecoder("utf-16le").decode(content);
  if (first === 0xfe && second === 0xff) return new TextDecoder("utf-16be").decode(content);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(content);
  } catch {
    return new TextDecoder("windows-1252").decode(content);
  }
}

/** Whether attention has one weight per timestep. A request body can ask for full attention, or for none. */
const isFlat = (attention) => Array.isArray(attention) && typeof attention[0] === "number";

function correlation({ importance, rank_correlation: ranks }) {
  if (!importance || ranks === undefined) return "";
  if (ranks === null || ranks === undefined) return say("correlation.none");
  return say("correlation", { correlation: number(Number(ranks.toFixed(2))) });
}

/** Return the request as a curl command, which takes the key from a variable. A body too long for an argument comes from standard input. */
function curl(url, { body, type }) {
  const authorization = hasKey() ? ` -H "Authorization: Bearer $KEY"` : "";
  const start = `curl -s '${url}'${authorization} -H 'Content-Type: ${type}'`;
  const quoted = body.replaceAll("'", "'\\''");
  if (new TextEncoder().encode(quoted).length <= LONGEST_ARGUMENT) return `${start} --data-binary '${quoted}'`;
  let end = "END";
  while (body.includes(end)) end += "_";
  return `${start} --data-binary @- <<'${end}'\n${body}\n${end}`;
}

/** Copy text. Without HTTPS, browsers give only pages from localhost the clipboard API; `execCommand` still works. */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = html("textarea", { class: "visually-hidden", "aria-hidden": "true", tabindex: -1 });
    const focused = document.activeElement;
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    focused?.focus();
    return done;
  }
}
