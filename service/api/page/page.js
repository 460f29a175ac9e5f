/** Select a model and a version, and show them in the parts of the page. */

import { Problem, address, ask } from "./api.js";
import { Ask } from "./ask.js";
import { showCard } from "./card.js";
import { Comparison } from "./comparison.js";
import { showDiagram } from "./diagram.js";
import { byId, html, set } from "./dom.js";
import { showFaithfulness } from "./faithfulness.js";
import { showJudgement } from "./judgement.js";
import { startKeyForm } from "./key.js";
import { Live } from "./live.js";
import { showImportance, showProfile } from "./profile.js";
import { language, say } from "./text.js";

const [modelSelect, versionSelect, otherSelect] = ["model-select", "version-select", "other-select"].map(byId);

let models = [];
/** The version on the page; `chosen` is the version in the address, empty for the current one. */
let shown = { version: null, chosen: "" };
let loads = 0;

const comparison = new Comparison();
const form = new Ask(
  (typed, answer) => {
    live.refresh();
    comparison.answer(typed, answer);
  },
  (index) => comparison.draw(index),
);
const live = new Live(({ version }) => {
  // A newer version has become the current one.
  if (!shown.chosen && version !== shown.version) load();
});

/** Return the model and version in the address, or the default model and its current version; and the one to compare. */
function selected() {
  const chosen = new URLSearchParams(location.search);
  const fallback = models.find((model) => model.default) ?? models.find((model) => model.version !== null) ?? models[0];
  const [model, version] = (chosen.get("with") ?? "").split("/");
  return {
    model: chosen.get("model") || fallback?.name || "",
    version: chosen.get("version") ?? "",
    other: model ? { model, version: version ?? "" } : null,
  };
}

/** Load and show the selected model. */
async function load() {
  const id = (loads += 1);
  try {
    ({ models } = await ask(address("models")));
    const { other, ...selection } = selected();
    fillSelects(selection, other);
    linkLanguages();
    const card = await ask(address("model", selection));
    const profile = card.attention && (await ask(address("attention", selection)));
    if (id !== loads) return; // a later load has started
    shown = { version: card.version, chosen: selection.version };
    document.title = say("title.model", { name: card.name });
    byId("unavailable").replaceChildren();
    byId("content").hidden = false;
    showCard(card);
    showProfile(profile, card);
    showImportance(card);
    showFaithfulness(card);
    showJudgement(card);
    live.follow(profile, selection);
    form.use(card, selection);
    await Promise.all([comparison.use(card, other), showDiagram(card, selection)]);
  } catch (error) {
    if (id !== loads) return;
    byId("content").hidden = true;
    const again = html("button", { type: "button", click: load }, say("again"));
    byId("unavailable").replaceChildren(html("p", {}, error.message), again);
    if (!(error instanceof Problem)) throw error;
  }
}

function fillSelects({ model, version }, other) {
  const option = (value, text, chosen) => html("option", { value, selected: value === chosen }, text);
  modelSelect.replaceChildren(...models.map(({ name }) => option(name, name, model)));
  modelSelect.value = model;
  const { version: current, versions } = models.find(({ name }) => name === model) ?? { version: null, versions: [] };
  const served = versions.filter(({ state }) => state === "live");
  versionSelect.replaceChildren(
    option("", current === null ? say("version.none") : say("version.current", { version: String(current) }), version),
    ...served.map(({ version: one }) => option(String(one), String(one), version)),
  );
  versionSelect.value = version;
  const named = models.flatMap(({ name, versions: all }) =>
    all.filter(({ state }) => state === "live").map((one) => [`${name}/${one.version}`, say("model.version", { name, version: String(one.version) })]),
  );
  const compared = other ? `${other.model}/${other.version}` : "";
  otherSelect.replaceChildren(option("", say("none"), compared), ...named.map(([value, text]) => option(value, text, compared)));
}

/** Make each language a link to this address in that language. */
function linkLanguages() {
  for (const link of document.querySelectorAll(".languages a")) {
    set(link, { href: `?${query({ language: link.lang })}`, "aria-current": link.lang === language ? "true" : null });
  }
}

/** Return the query of the address with other values; an empty value removes a name. */
function query(values) {
  const names = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(values)) names.set(name, value);
  return new URLSearchParams([...names].filter(([, value]) => value));
}

/** Show something else, and put it into the address. */
function select(values) {
  history.pushState(null, "", `?${query(values).toString().replaceAll("%2F", "/")}`);
  load();
}

modelSelect.addEventListener("change", () => select({ model: modelSelect.value, version: "" }));
versionSelect.addEventListener("change", () => select({ model: modelSelect.value, version: versionSelect.value }));
otherSelect.addEventListener("change", () => select({ model: modelSelect.value, with: otherSelect.value }));
addEventListener("popstate", load);
// With a base, a link to a part of the page would leave the address with the model.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("try").scrollIntoView();
  byId("try").focus({ preventScroll: true });
});
startKeyForm(load);
load();
