/** The layers of the model: a diagram that the service draws, and a table. */

import { drawing } from "./api.js";
import { byId, html, scrollable, table } from "./dom.js";
import { count, say } from "./text.js";

/** Show the layers of a card, if it has any. */
export async function showDiagram({ name, version, layers = [] }, selection) {
  byId("diagram").replaceChildren();
  if (!layers.length) return;
  const picture = await drawing("diagram", selection);
  const size = (shape) => shape.map((axis) => axis ?? say("diagram.any")).join(" × ");
  const rows = layers.map((layer) => [layer.name, layer.kind, size(layer.shape), layer.inputs.join(", "), count(layer.weights)]);
  const head = [say("name"), say("diagram.kind"), say("diagram.shape"), say("diagram.inputs"), say("compared.weights")];
  byId("diagram").replaceChildren(
    html("h3", {}, say("diagram")),
    ...(picture
      ? [html("img", { src: picture, alt: say("diagram.alt", { n: layers.length }) }), html("a", { href: picture, download: `${name}-${version}-diagram.svg` }, "SVG")]
      : []),
    scrollable(say("diagram"), table(head, rows)),
  );
}
