/** Elements and formatted numbers. Text is never parsed as HTML, since names and labels may contain markup. */

import { language } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/**
 * Return a new HTML element.
 * @param {string} tag
 * @param {Object<string, unknown>} [attributes] as `set` takes them
 * @param {...(Node|string)} children
 */
export function html(tag, attributes = {}, ...children) {
  const element = set(document.createElement(tag), attributes);
  element.append(...children);
  return element;
}

/** Return a new SVG element; see `html`. */
export function svg(tag, attributes = {}, ...children) {
  const element = set(document.createElementNS(SVG, tag), attributes);
  element.append(...children);
  return element;
}

/** Set attributes. Null and false remove the attribute; a function becomes the listener of the event of that name. */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === null || value === undefined || value === false) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  return element;
}

/**
 * Make one child of an element for each item of a list. Existing children are changed, not replaced, so that CSS
 * transitions run.
 */
export function join(parent, tag, items, attributes) {
  while (parent.childElementCount > items.length) parent.lastElementChild.remove();
  items.forEach((item, i) => {
    const { text, ...rest } = attributes(item, i);
    const element = set(parent.children[i] ?? parent.appendChild(svg(tag)), rest);
    if (text !== undefined && element.textContent !== text) element.textContent = text;
  });
}

/** Return a table with a header row. The first cell of each row is its header. */
export function table(head, rows) {
  const cell = (value, i) => html(i === 0 ? "th" : "td", i === 0 ? { scope: "row" } : {}, value);
  return html(
    "table",
    {},
    html("thead", {}, html("tr", {}, ...head.map((name) => html("th", { scope: "col" }, name)))),
    html("tbody", {}, ...rows.map((row) => html("tr", {}, ...row.map(cell)))),
  );
}

/** Return a scrolling region that has a name and that the keyboard can reach. */
export function scrollable(name, ...children) {
  return html("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": name }, ...children);
}

const SHORT = new Intl.NumberFormat(language, { maximumSignificantDigits: 4 });
const SUPERSCRIPT = { "-": "⁻", ...Object.fromEntries([..."⁰¹²³⁴⁵⁶⁷⁸⁹"].map((digit, i) => [i, digit])) };

/** A number with four significant digits; a dash for a missing one. */
export function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) return scientific(value, 2);
  return SHORT.format(value).replace("-", "−");
}

/** A number as 1.23×10⁻⁵, with so many digits after the point. */
export function scientific(value, digits) {
  const [mantissa, exponent] = value.toExponential(digits).split("e");
  const raised = [...exponent.replace("+", "")].map((digit) => SUPERSCRIPT[digit]).join("");
  return `${mantissa.replace("-", "−")}×10${raised}`;
}

/** A fraction as a percentage: 0.25 is "25 %". */
export const percent = (share) => `${number(Number((share * 100).toFixed(share < 0.1 ? 1 : 0)))} %`;

/** Text cut to a number of characters. */
export const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
