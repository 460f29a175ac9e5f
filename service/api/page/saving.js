/** Charts as files: SVG with its own colors, and CSV of the numbers. */

import { html, svg } from "./dom.js";
import { say } from "./text.js";

/** The properties that style sheets give to the parts of charts. */
const STYLES = [
  "fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "opacity", "paint-order",
  "font-family", "font-size", "font-style", "font-weight",
];

/** Return the buttons that save a chart, which has `drawing` and `numbers`. */
export function saveButtons(chart) {
  const button = (name, click) => html("button", { type: "button", click }, name);
  return html(
    "span",
    { class: "save", role: "group", "aria-label": say("save") },
    button("SVG", () => save(chart.numbers().title, "image/svg+xml", "svg", new XMLSerializer().serializeToString(chart.drawing()))),
    button("CSV", () => save(chart.numbers().title, "text/csv", "csv", csv(chart.numbers()))),
  );
}

/** Return a copy of an SVG with its styles as attributes, on white, as `draw` draws it in light colors. */
export function asFile(element, draw) {
  const page = document.documentElement;
  page.classList.add("light");
  draw(true);
  const copy = element.cloneNode(true);
  const copies = [copy, ...copy.querySelectorAll("*")];
  [element, ...element.querySelectorAll("*")].forEach((part, i) => {
    const style = getComputedStyle(part);
    for (const name of STYLES) copies[i].setAttribute(name, style.getPropertyValue(name));
    copies[i].removeAttribute("class");
  });
  page.classList.remove("light");
  draw(false);
  const margin = 16;
  const [width, height] = ["width", "height"].map((name) => Number(copy.getAttribute(name)) + 2 * margin);
  copy.setAttribute("viewBox", `${-margin} ${-margin} ${width} ${height}`);
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  copy.insertBefore(svg("rect", { x: -margin, y: -margin, width, height, fill: "#ffffff" }), copy.querySelector("g"));
  return copy;
}

/** Return a table as CSV. Excel reads other letters than Latin ones only after a byte order mark. */
function csv({ head, rows }) {
  const quoted = (text) => `"${text.replaceAll("\"", "\"\"")}"`;
  const cell = (value) => (/[\x22,\r\n]/.test(value) ? quoted(value) : String(value ?? ""));
  return `\ufeff${[head, ...rows].map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}

/** Let the browser save a file. */
function save(title, type, suffix, content) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  html("a", { href: url, download: `${title.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 80)}.${suffix}` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
