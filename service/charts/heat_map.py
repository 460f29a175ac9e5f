"""Heat maps: values of rows and columns as colours."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.charts.axes import LONGEST, Scale, labels_below, labels_beside
from service.charts.chart import INK, MARGIN, Boxes, Chart, Line, Shape, Text, headline
from service.charts.colours import mixed
from service.charts.panels import WIDTH
from service.charts.text import FONT_SIZE, LINE, width_of, wrapped

#: Highest height of all rows; heights of a row, at most and where no lower row is drawn; least width of a column.
HEIGHT, HIGHEST_ROW, LOWEST_ROW, LEAST_COLUMN = 420, 26, 4, 3
#: Number of shades. Cells of one shade are one shape, which keeps files small.
SHADES: Final = 16
POSITIVE, NEGATIVE, EMPTY = "#b8560f", "#46566b", "#f6f7f9"
#: Sides of a square cell with a number in it, at most and at least of all cells; size of the numbers.
CELL, LEAST_SIDE, NUMBER_SIZE = 36, 5, 10
LARGEST_SQUARE: Final = 560
#: Share of the strongest colour from which on text is white.
DARK: Final = 0.55
#: Width of the key of colours, and of the space for it and its numbers.
KEY, KEY_ROOM = 14, 78
#: Largest height of the key, and number of its parts.
LARGEST_KEY, PARTS_OF_KEY = 200, 40


@dataclass(frozen=True)
class Axis:
    """The rows or the columns.

    Attributes:
        name: name of all of them, such as `timestep`.
        labels: a label for each.
    """

    name: str
    labels: Sequence[str]


@dataclass(frozen=True)
class Measure:
    """What the values are.

    Attributes:
        name: their name.
        least: the strongest colour stands for at least this value.
    """

    name: str
    least: float = 0


def heat_map(title: str, rows: Axis, columns: Axis, values: NDArray[np.float64], measure: Measure) -> Chart:
    """Return a chart of values as colours, with a key.

    Of neighbouring rows or columns that have no room of their own, the strongest value is drawn.

    Args:
        title: title; it may take several lines.
        rows: the rows, from the top.
        columns: the columns.
        values: `(rows, columns)`.
        measure: what the values are.
    """
    left = _left(rows)
    width = WIDTH - left - KEY_ROOM
    height = min(HEIGHT, max(HIGHEST_ROW * len(rows.labels), 3 * LINE))
    scale = Scale.of([float(values.max()), float(values.min())], measure.least)
    most = max(scale.high, -scale.low)
    shown = _strongest(_strongest(values, int(height / LOWEST_ROW), 0), int(width / LEAST_COLUMN), 1)
    head, top = _head(title, [measure.name, f"rows: {rows.name}"])
    frame = (left, top + LINE, width, height)
    key, lowest = _key(scale, most, frame)
    below, bottom = _below(columns, frame)
    shapes = (*head, *_cells(shown / most, frame), *key, *_beside(rows, frame), *below)
    return Chart(title, WIDTH, math.ceil(max(bottom, lowest) + 10), shapes)


def counted(title: str, rows: Axis, columns: Axis, counts: NDArray[np.int64]) -> Chart:
    """Return a chart of counts as square cells. Each row is shaded by its fractions, and cells have their counts.

    Args:
        title: title; it may take several lines.
        rows: the rows, from the top.
        columns: the columns.
        counts: `(rows, columns)`. They are written where all of them have room.
    """
    left = _left(rows)
    side = min(CELL, max(LEAST_SIDE, LARGEST_SQUARE / len(rows.labels)))
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    width = side * len(columns.labels)
    total = max(left + width + 24, 360)
    head, top = _head(title, [f"rows: {rows.name}; darker: a larger fraction of the row"], total)
    frame = (left, top + LINE, width, side * len(rows.labels))
    shapes = [*head, *_cells(fractions, frame), *_beside(rows, frame)]
    texts = {place: f"{count:,}" for place, count in np.ndenumerate(counts) if count}
    if side >= LINE and max((width_of(text, NUMBER_SIZE) for text in texts.values()), default=0) <= side - 2:
        for (row, column), text in texts.items():
            x, y = left + side * (column + 0.5), frame[1] + side * (row + 0.5) + NUMBER_SIZE / 3
            colour = "#ffffff" if fractions[row, column] > DARK else INK
            shapes.append(Text(x, y, text, "middle", NUMBER_SIZE, colour=colour))
    below, bottom = _below(columns, frame)
    return Chart(title, math.ceil(total), math.ceil(bottom + 10), (*shapes, *below))


#: Left, top, width and height of all cells.
_Frame = tuple[float, float, float, float]


def _left(rows: Axis) -> float:
    return min(LONGEST, max(map(width_of, rows.labels))) + 22


def _head(title: str, lines: Sequence[str], width: float = WIDTH) -> tuple[list[Shape], float]:
    shapes, top = headline(title, width)
    for text in lines:
        for line in wrapped(text, width - 2 * MARGIN):
            top += LINE
            shapes.append(Text(MARGIN, top + 2, line))
    return shapes, top


def _beside(rows: Axis, frame: _Frame) -> Iterator[Shape]:
    left, top, _, height = frame
    row = height / len(rows.labels)
    for index, text, full in labels_beside(rows.labels, height, LONGEST):
        yield Text(left - 6, top + row * (index + 0.5) + FONT_SIZE / 3, text, "end", full=full)


def _below(columns: Axis, frame: _Frame) -> tuple[list[Shape], float]:
    """Return labels and name of the columns, and where they end."""
    left, top, width, height = frame
    column = width / len(columns.labels)
    below = labels_below(columns.labels, width, column / 2 + 20)
    texts = below.texts(left, column, top + height + 4)
    bottom = top + height + 6 + below.height + LINE
    return [*texts, Text(left, bottom, below.name_of(columns.name))], bottom


def _strongest(values: NDArray[np.float64], most: int, axis: int) -> NDArray[np.float64]:
    """Return at most so many rows (axis 0) or columns (1): of neighbours, the value farthest from 0."""
    count = values.shape[axis]
    if count <= most:
        return values
    starts = np.unique(np.linspace(0, count, most, endpoint=False).astype(int))
    high, low = np.maximum.reduceat(values, starts, axis), np.minimum.reduceat(values, starts, axis)
    return np.where(np.abs(low) > np.abs(high), low, high)


def _cells(shares: NDArray[np.float64], frame: _Frame) -> Iterator[Shape]:
    """Draw cells of shares of the strongest colour, from -1 to 1: one shape for each shade."""
    left, top, width, height = frame
    down, right = height / shares.shape[0], width / shares.shape[1]
    yield Boxes((frame,), EMPTY)
    shades = np.rint(shares * SHADES).astype(int)
    for shade in sorted(set(shades.ravel().tolist()) - {0}):
        cells = np.argwhere(shades == shade).tolist()
        boxes = tuple((left + right * column, top + down * row, right, down) for row, column in cells)
        yield Boxes(boxes, _colour(shade / SHADES))


def _colour(share: float) -> str:
    return mixed(EMPTY, POSITIVE if share > 0 else NEGATIVE, abs(share))


def _key(scale: Scale, most: float, frame: _Frame) -> tuple[list[Shape], float]:
    """Return the key of colours right of the cells, and where it ends."""
    left, top, width, height = frame
    x, height = left + width + 14, min(max(height, LINE * len(scale.ticks)), LARGEST_KEY)
    part = height / PARTS_OF_KEY
    shapes: list[Shape] = []
    for index in range(PARTS_OF_KEY):
        value = scale.high - (scale.high - scale.low) * (index + 0.5) / PARTS_OF_KEY
        shapes.append(Boxes(((x, top + part * index, KEY, part),), _colour(value / most)))
    for value, text in scale.ticks:
        y = top + height * (1 - scale.share(value))
        shapes.append(Line(((x + KEY, y), (x + KEY + 3, y)), INK))
        shapes.append(Text(x + KEY + 6, y + FONT_SIZE / 3, text))
    return shapes, top + height
