"""Diagrams of models: layers as boxes, and what they compute from as arrows."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from service.artifact.card import Layer
from service.charts.chart import INK, Area, Boxes, Chart, Line, Point, Shape, Text, headline
from service.charts.text import FONT_SIZE, LINE, cut, width_of

#: Least width of the picture; widest text of a box; space beside the text, between boxes, and between rows.
WIDTH, WIDEST, PADDING, BETWEEN, ROWS = 420, 240, 10, 24, 30
#: Width that an arrow takes in a row that it passes.
PASSING: Final = 14
BOX, EDGE, ARROW = "#eaf1fa", "#4c8bd6", "#667085"
#: Height of a box of three lines, and of the head of an arrow.
HEIGHT, HEAD = 3 * LINE + 8, 6
#: Most layers that are drawn.
MOST_LAYERS: Final = 120


@dataclass(frozen=True)
class _Passing:
    """The place of an arrow in a row between those of its ends.

    Attributes:
        source: name of the layer that it comes from.
        target: name of the layer that it leads to.
        row: the row.
    """

    source: str
    target: str
    row: int


_Place = str | _Passing


def diagram(title: str, layers: Sequence[Layer]) -> Chart:
    """Return a diagram of layers. A layer is below all layers that it computes from; arrows go around boxes.

    Source: the layered drawing of graphs of Sugiyama, Tagawa and Toda, 1981, with one pass that orders the rows.

    Args:
        title: title; it may take several lines.
        layers: the layers, each after those that it computes from. The first `MOST_LAYERS` are drawn.
    """
    shown = {layer.name: layer for layer in layers[:MOST_LAYERS]}
    if len(layers) > MOST_LAYERS:
        title += f"; the first {MOST_LAYERS} of {len(layers)} layers"
    texts = {name: _texts(layer) for name, layer in shown.items()}
    widths = {name: max(map(width_of, lines)) + 2 * PADDING for name, lines in texts.items()}
    rows, chains = _rows(shown)
    sizes = [[PASSING if isinstance(place, _Passing) else widths[place] for place in row] for row in rows]
    width = max(WIDTH, *(sum(size) + BETWEEN * (len(size) + 1) for size in sizes))
    shapes, top = headline(title, width)
    top += 14
    middles = {place: x for row, size in zip(rows, sizes, strict=True) for place, x in _middles(row, size, width)}

    def upper(row: int) -> float:
        return top + row * (HEIGHT + ROWS)

    depth = {place: number for number, row in enumerate(rows) for place in row}
    for chain in chains:
        shapes += _arrow([(middles[place], upper(depth[place])) for place in chain])
    for name, lines in texts.items():
        shapes += _box(shown[name], lines, middles[name], upper(depth[name]), widths[name])
    return Chart(title, math.ceil(width), math.ceil(upper(len(rows)) - ROWS + 12), tuple(shapes))


def _texts(layer: Layer) -> list[str]:
    """Return name, kind and size of a layer. An open axis is `?`."""
    shape = ", ".join("?" if size is None else str(size) for size in layer.shape)
    weights = f", {layer.weights:,} weights" if layer.weights else ""
    return [cut(text, WIDEST) for text in (layer.name, layer.kind, f"({shape}){weights}")]


def _rows(layers: Mapping[str, Layer]) -> tuple[list[list[_Place]], list[list[_Place]]]:
    """Return what is in each row, from left to right, and the places that each arrow goes through."""
    depth: dict[str, int] = {}
    for name, layer in layers.items():
        depth[name] = 1 + max((depth[source] for source in layer.inputs if source in depth), default=-1)
    chains: list[list[_Place]] = []
    for name, layer in layers.items():
        for source in dict.fromkeys(one for one in layer.inputs if depth.get(one, depth[name]) < depth[name]):
            passed = [_Passing(source, name, row) for row in range(depth[source] + 1, depth[name])]
            chains.append([source, *passed, name])
    rows: list[list[_Place]] = [[] for _ in range(1 + max(depth.values(), default=0))]
    for name, row in depth.items():
        rows[row].append(name)
    above: dict[_Place, list[_Place]] = {}
    for chain in chains:
        for before, after in pairwise(chain):
            above.setdefault(after, []).append(before)
            if isinstance(after, _Passing):
                rows[after.row].append(after)
    order: dict[_Place, float] = {}
    for row_places in rows:
        row_places.sort(key=lambda place: _mean([order[one] for one in above.get(place, [])]))
        order |= {place: (index + 0.5) / len(row_places) for index, place in enumerate(row_places)}
    return rows, chains


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.5


def _middles(row: Sequence[_Place], sizes: Sequence[float], width: float) -> Iterator[tuple[_Place, float]]:
    """Yield the middle of each place of a row, which is in the middle of the picture."""
    x = (width - sum(sizes) - BETWEEN * (len(sizes) - 1)) / 2
    for place, size in zip(row, sizes, strict=True):
        yield place, x + size / 2
        x += size + BETWEEN


def _arrow(corners: Sequence[Point]) -> Iterator[Shape]:
    """Draw an arrow from the bottom of the first box to the top of the last one, between the boxes of other rows."""
    (x1, y1), *between, (x2, y2) = corners
    points = [(x1, y1 + HEIGHT), *((x, y + end) for x, y in between for end in (0, HEIGHT)), (x2, y2 - HEAD)]
    yield Line(tuple(points), ARROW, 1.2)
    yield Area(((x2 - HEAD / 2, y2 - HEAD), (x2 + HEAD / 2, y2 - HEAD), (x2, y2)), ARROW)


def _box(layer: Layer, lines: Sequence[str], x: float, y: float, width: float) -> Iterator[Shape]:
    left = x - width / 2
    yield Boxes(((left, y, width, HEIGHT),), BOX)
    corners = ((left, y), (left + width, y), (left + width, y + HEIGHT), (left, y + HEIGHT), (left, y))
    yield Line(corners, EDGE)
    for number, text in enumerate(lines):
        full = layer.name if number == 0 and text != layer.name else ""
        yield Text(x, y + LINE * (number + 1), text, "middle", FONT_SIZE, colour=INK, full=full)
