/** Select a model and a version, and show them in the parts of the page. */

import { Problem, address, ask } from "./api.js";
import { Ask } from "./ask.js";
import { showCard, showProfile } from "./card.js";
import { byId, html } from "./dom.js";
import { startKeyForm } from "./key.js";
import { Live } from "./live.js";

const [modelSelect, versionSelect] = [byId("model-select"), byId("version-select")];

let models = [];
/** The version on the page; `chosen` is the version in the address, empty for the current one. */
let shown = { version: null, chosen: "" };
let loads = 0;

const form = new Ask(() => live.refresh());
const live = new Live(({ version }) => {
  // A newer version has become the current one.
  if (!shown.chosen && version !== shown.version) load();
});

/** Return the model and version in the address, or the default model and its current version. */
function selected() {
  const query = new URLSearchParams(location.search);
  const fallback = models.find((model) => model.default) ?? models.find((model) => model.version !== null) ?? models[0];
  return { model: query.get("model") || fallback?.name || "", version: query.get("version") ?? "" };
}

/** Load and show the selected model. */
async function load() {
  const id = (loads += 1);
  try {
    ({ models } = await ask(address("models")));
    const selection = selected();
    fillSelects(selection);
    const card = await ask(address("model", selection));
    const profile = card.attention && (await ask(address("attention", selection)));
    if (id !== loads) return; // a later load has started
    shown = { version: card.version, chosen: selection.version };
    document.title = `${card.name} · Attention service`;
    byId("unavailable").replaceChildren();
    byId("content").hidden = false;
    showCard(card);
    showProfile(profile);
    form.use(card, selection);
    live.follow(profile, selection);
  } catch (error) {
    if (id !== loads) return;
    byId("content").hidden = true;
    const again = html("button", { type: "button", click: load }, "Try again");
    byId("unavailable").replaceChildren(html("p", {}, error.message), again);
    if (!(error instanceof Problem)) throw error;
  }
}

function fillSelects({ model, version }) {
  const option = (value, text, chosen) => html("option", { value, selected: value === chosen }, text);
  modelSelect.replaceChildren(...models.map(({ name }) => option(name, name, model)));
  modelSelect.value = model;
  const { version: current, versions } = models.find(({ name }) => name === model) ?? { version: null, versions: [] };
  const served = versions.filter(({ state }) => state === "live");
  versionSelect.replaceChildren(
    option("", current === null ? "none" : `current (${current})`, version),
    ...served.map(({ version: one }) => option(String(one), String(one), version)),
  );
  versionSelect.value = version;
}

/** Show another model, and put it into the address. */
function select(model, version) {
  const query = new URLSearchParams({ model, ...(version && { version }) });
  history.pushState(null, "", `?${query}`);
  load();
}

modelSelect.addEventListener("change", () => select(modelSelect.value, ""));
versionSelect.addEventListener("change", () => select(modelSelect.value, versionSelect.value));
addEventListener("popstate", load);
startKeyForm(load);
load();
