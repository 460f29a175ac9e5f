/** The page: which model it is about, and its parts. */

import { Problem, address, ask } from "./api.js";
import { Ask } from "./ask.js";
import { showCard, showProfile } from "./card.js";
import { html } from "./dom.js";
import { Live } from "./live.js";

const byId = (id) => document.getElementById(id);
const [modelSelect, versionSelect] = [byId("model-select"), byId("version-select")];

let models = [];
let shown = { model: "", version: null, followed: "" };
let loading = 0;

const trying = new Ask(() => live.hurry());
const live = new Live(({ version }) => {
  // The newest has taken over: the page is about it now.
  if (!shown.followed && version !== shown.version) load();
});

/** What the address says, else the default model and the version that answers for it. */
function selected() {
  const query = new URLSearchParams(location.search);
  const fallback = models.find((model) => model.default) ?? models.find((model) => model.version !== null) ?? models[0];
  return { model: query.get("model") || fallback?.name || "", version: query.get("version") ?? "" };
}

/** Load and show the model that is selected. */
async function load() {
  const mine = (loading += 1);
  try {
    ({ models } = await ask(address("models")));
    const selection = selected();
    fillSelects(selection);
    const [card, profile] = await Promise.all([ask(address("model", selection)), ask(address("attention", selection))]);
    if (mine !== loading) return; // another was chosen meanwhile
    shown = { model: card.name, version: card.version, followed: selection.version };
    document.title = `${card.name} · Attention service`;
    byId("unavailable").replaceChildren();
    byId("content").hidden = false;
    showCard(card);
    showProfile(profile);
    trying.use(card, selection);
    live.follow(profile, selection);
  } catch (error) {
    if (mine !== loading) return;
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

/** Show another model, and say so in the address. */
function select(model, version) {
  const query = new URLSearchParams({ model, ...(version && { version }) });
  history.pushState(null, "", `?${query}`);
  load();
}

modelSelect.addEventListener("change", () => select(modelSelect.value, ""));
versionSelect.addEventListener("change", () => select(modelSelect.value, versionSelect.value));
addEventListener("popstate", load);
load();
