/** The key of the service: typed into the page, kept in this tab, and sent with each request. */

import { byId } from "./dom.js";

/** Name in the browser's storage of the tab; `/docs` reads it, too. */
const NAME = "attention-service.key";

let key = stored();

function stored() {
  try {
    return sessionStorage.getItem(NAME) ?? "";
  } catch {
    return ""; // the browser stores nothing for this page
  }
}

export const hasKey = () => key !== "";

/** Return the headers that a request needs. */
export const authorization = () => (key ? { Authorization: `Bearer ${key}` } : {});

/** Show the form of the key, as the service asks for one. */
export const needKey = () => (byId("key-form").hidden = false);

/**
 * Start the form.
 * @param {() => void} onKey called with each new key
 */
export function startKeyForm(onKey) {
  byId("key").value = key;
  if (key) needKey();
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    key = byId("key").value.replace(/[^\x21-\x7e]/g, ""); // a header can have no other characters
    try {
      sessionStorage.setItem(NAME, key);
    } catch {
      // it stays in memory
    }
    onKey();
  });
}
