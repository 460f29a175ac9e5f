/** The texts of the page in the language of the document. Each language has one file, `en.json` or `ko.json`. */

export const language = document.documentElement.lang;

const answer = await fetch(new URL(`${language}.json`, import.meta.url));
const texts = await answer.json();
const plurals = new Intl.PluralRules(language);
const COUNT = new Intl.NumberFormat(language);

/** A whole number: "1,234". */
export const count = (value) => COUNT.format(value);

/**
 * Return a text with values in place of its placeholders. Numbers are whole; `n` chooses between singular and plural.
 * @param {string} key
 * @param {Object<string, string|number>} [values]
 */
export function say(key, values = {}) {
  const text = texts[key];
  const chosen = typeof text === "string" ? text : (text[plurals.select(values.n)] ?? text.other);
  return chosen.replace(/\{(\w+)\}/g, (_, name) => (typeof values[name] === "number" ? count(values[name]) : values[name]));
}

/** Return a text with a capital letter at the start. */
export const capital = (text) => text.replace(/^./u, (letter) => letter.toUpperCase());
