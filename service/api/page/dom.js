/** Elements, and what is written in them. Text is only ever set as text: names and labels may contain anything. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An HTML element.
 * @param {string} tag
 * @param {Object<string, unknown>} [attributes] those that are null or false are left out; functions listen
 * @param {...(Node|string)} children
 */
export function html(tag, attributes = {}, ...children) {
  const element = set(document.createElement(tag), attributes);
  element.append(...children);
  return element;
}

/** An SVG element; see `html`. */
export function svg(tag, attributes = {}, ...children) {
  const element = set(document.createElementNS(SVG, tag), attributes);
  element.append(...children);
  return element;
}

/** Set attributes, remove those that are null or false, listen where the value is a function. */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === null || value === undefined || value === false) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  return element;
}

/**
 * Make the children of an element fit a list. Elements that are there are changed rather than made anew, so that what
 * moves can be seen to move.
 */
export function join(parent, tag, items, attributes) {
  while (parent.childElementCount > items.length) parent.lastElementChild.remove();
  items.forEach((item, i) => {
    const { text, ...rest } = attributes(item, i);
    const element = set(parent.children[i] ?? parent.appendChild(svg(tag)), rest);
    if (text !== undefined && element.textContent !== text) element.textContent = text;
  });
}

/** A table with headings on top and at the left; the last column may hold anything. */
export function table(head, rows) {
  const cell = (value, i) => html(i === 0 ? "th" : "td", i === 0 ? { scope: "row" } : {}, value);
  return html(
    "table",
    {},
    html("thead", {}, html("tr", {}, ...head.map((name) => html("th", { scope: "col" }, name)))),
    html("tbody", {}, ...rows.map((row) => html("tr", {}, ...row.map(cell)))),
  );
}

/** What scrolls can be reached by keyboard, and has a name. */
export function scrollable(name, child) {
  return html("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": name }, child);
}

const COUNT = new Intl.NumberFormat("en");
const SHORT = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const SUPERSCRIPT = { "-": "⁻", ...Object.fromEntries([..."⁰¹²³⁴⁵⁶⁷⁸⁹"].map((digit, i) => [i, digit])) };

/** A whole number, with commas. */
export const count = (value) => COUNT.format(value);

/** "1 sequence", "2 sequences". */
export const counted = (value, noun) => `${count(value)} ${noun}${value === 1 ? "" : "s"}`;

/** A number to four digits, whatever its size; a dash where there is none. */
export function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) return scientific(value, 2);
  return SHORT.format(value).replace("-", "−");
}

/** 1.23×10⁻⁵ */
export function scientific(value, digits) {
  const [mantissa, exponent] = value.toExponential(digits).split("e");
  const raised = [...exponent.replace("+", "")].map((digit) => SUPERSCRIPT[digit]).join("");
  return `${mantissa.replace("-", "−")}×10${raised}`;
}

/** A share of 1 as a percentage. */
export const percent = (share) => `${number(Number((share * 100).toFixed(share < 0.1 ? 1 : 0)))} %`;

/** Text of at most so many characters. */
export const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
