"""Bar charts over time, as SVG and as PNG, without a plotting library."""

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, Literal, NamedTuple

WIDTH, HEIGHT = 800, 360
LEFT, RIGHT, TOP, BOTTOM = 60, 12, 58, 46
INK, GRID, WHISKER = "#222222", "#e5e8ee", "#333333"
FONT_SIZE, TITLE_SIZE = 12, 13
#: Share of the distance between two timesteps that the bars fill.
BARS: Final = 0.8
#: Most labels of timesteps that are drawn, and most characters of each.
MOST_LABELS, LONGEST_LABEL = 25, 12
#: Width of a character as a fraction of the font's size, with a little space beside it.
WIDTH_OF_CHARACTER = 0.6
#: Approximate number of grid lines.
TICKS: Final = 5
#: Pixels of a PNG per unit of an SVG; and how much larger it is drawn at first, for smooth edges.
SCALE, OVERSAMPLING = 2, 2

Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True)
class Series:
    """The bars of one colour.

    Attributes:
        name: name in the legend.
        values: `(timesteps,)`.
        colour: as `#rrggbb`.
        spread: `(timesteps,)`, drawn as whiskers up and down; empty for none.
    """

    name: str
    values: Sequence[float]
    colour: str
    spread: Sequence[float] = ()

    def ends(self, t: int) -> tuple[float, float]:
        """Return where the whisker of a timestep begins and ends."""
        spread = self.spread[t] if self.spread else 0.0
        return self.values[t] - spread, self.values[t] + spread


class Rectangle(NamedTuple):
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    colour: str


class Line(NamedTuple):
    """A straight line."""

    x1: float
    y1: float
    x2: float
    y2: float
    colour: str


class Text(NamedTuple):
    """One line of text; its baseline is at `y`, and `anchor` says which part of it is at `x`."""

    x: float
    y: float
    text: str
    anchor: Anchor
    size: int


Shape = Rectangle | Line | Text


def bar_chart(suffix: str, title: str, labels: Sequence[str], series: Sequence[Series], axis: str) -> bytes:
    """Return a chart of series side by side over time.

    Args:
        suffix: `svg` or `png`.
        title: title, one line.
        labels: `(timesteps,)`, labels of the timesteps.
        series: at least one.
        axis: name of the values.
    """
    return RENDERERS[suffix](title, list(_shapes(title, labels, series, axis)))


def _shapes(title: str, labels: Sequence[str], series: Sequence[Series], axis: str) -> Iterator[Shape]:
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    ends = [0.0, *(end for one in series for t in range(len(labels)) for end in one.ends(t))]
    step = _step(max(ends) - min(ends))
    lowest, highest = math.floor(min(ends) / step), max(1, math.ceil(max(ends) / step))

    def y_of(value: float) -> float:
        return TOP + height * (1 - (value / step - lowest) / (highest - lowest))

    yield Rectangle(0, 0, WIDTH, HEIGHT, "#ffffff")
    yield Text(LEFT, 20, title, "start", TITLE_SIZE)
    yield from _legend(series)
    for tick in range(lowest, highest + 1):
        y = y_of(tick * step)
        yield Line(LEFT, y, WIDTH - RIGHT, y, INK if tick == 0 else GRID)
        yield Text(LEFT - 6, y + FONT_SIZE / 3, f"{tick * step:.3g}", "end", FONT_SIZE)
    distance, shown = width / len(labels), _shortened(labels)
    room = max(1, int(width / (max(map(len, shown)) * FONT_SIZE * WIDTH_OF_CHARACTER)))
    every = -(-len(labels) // min(MOST_LABELS, room))
    for t, label in enumerate(shown):
        middle = LEFT + distance * (t + 0.5)
        yield from _bars(series, t, middle, distance, y_of)
        if t % every == 0:
            yield Text(middle, HEIGHT - BOTTOM + 16, label, "middle", FONT_SIZE)
    yield Text(LEFT + width / 2, HEIGHT - 8, "timestep", "middle", FONT_SIZE)
    yield Text(LEFT, TOP - 8, axis, "start", FONT_SIZE)


def _shortened(labels: Sequence[str]) -> list[str]:
    """Return the labels with at most `LONGEST_LABEL` characters: their ends, if those differ more than beginnings."""
    kept = LONGEST_LABEL - 1
    beginnings, ends = ({label[part] for label in labels} for part in (slice(kept), slice(-kept, None)))

    def shortened(label: str) -> str:
        if len(label) <= LONGEST_LABEL:
            return label
        return f"…{label[-kept:]}" if len(ends) > len(beginnings) else f"{label[:kept]}…"

    return list(map(shortened, labels))


def _bars(
    series: Sequence[Series], t: int, middle: float, distance: float, y_of: Callable[[float], float]
) -> Iterator[Shape]:
    """Draw the bars of one timestep, and their whiskers."""
    width = distance * BARS / len(series)
    for index, one in enumerate(series):
        x = middle + width * (index - len(series) / 2)
        top, bottom = y_of(max(one.values[t], 0)), y_of(min(one.values[t], 0))
        yield Rectangle(x, top, width, bottom - top, one.colour)
        if one.spread:
            start, end = one.ends(t)
            yield Line(x + width / 2, y_of(start), x + width / 2, y_of(end), WHISKER)


def _legend(series: Sequence[Series]) -> Iterator[Shape]:
    """Draw a legend of the colours, if there are several."""
    if len(series) == 1:
        return
    x = float(WIDTH - RIGHT)
    for one in reversed(series):
        yield Text(x, TOP - 8, one.name, "end", FONT_SIZE)
        x -= len(one.name) * FONT_SIZE * 0.55 + 18
        yield Rectangle(x, TOP - 18, 12, 12, one.colour)
        x -= 14


def _step(span: float) -> float:
    """Return a round distance between grid lines: 1, 2 or 5 times a power of ten."""
    rough = span / TICKS or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))


def _svg(title: str, shapes: Sequence[Shape]) -> bytes:
    drawn = "".join(map(_svg_of, shapes))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" font-family="sans-serif" fill="{INK}"><title>{_escaped(title)}</title>{drawn}</svg>'
    ).encode()


def _svg_of(shape: Shape) -> str:
    match shape:
        case Rectangle(x, y, width, height, colour):
            return f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" fill="{colour}"/>'
        case Line(x1, y1, x2, y2, colour):
            return f'<line x1="{x1:.2f}" y1="{y1:.2f}" x2="{x2:.2f}" y2="{y2:.2f}" stroke="{colour}"/>'
        case Text(x, y, text, anchor, size):
            return f'<text x="{x:.2f}" y="{y:.2f}" font-size="{size}" text-anchor="{anchor}">{_escaped(text)}</text>'


def _escaped(text: str) -> str:
    """Escape text for XML, which allows no control characters."""
    return escape("".join(character if character.isprintable() else " " for character in text))


def _png(title: str, shapes: Sequence[Shape]) -> bytes:
    from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

    scale = SCALE * OVERSAMPLING
    image = Image.new("RGB", (WIDTH * scale, HEIGHT * scale), "white")
    draw = ImageDraw.Draw(image)
    anchors = {"start": "ls", "middle": "ms", "end": "rs"}
    for shape in shapes:
        match shape:
            case Rectangle(x, y, width, height, colour):
                if width > 0 and height > 0:
                    draw.rectangle([x * scale, y * scale, (x + width) * scale, (y + height) * scale], fill=colour)
            case Line(x1, y1, x2, y2, colour):
                draw.line([x1 * scale, y1 * scale, x2 * scale, y2 * scale], fill=colour, width=scale)
            case Text(x, y, text, anchor, size):
                font = ImageFont.load_default(size * scale)
                draw.text((x * scale, y * scale), text, INK, font, anchor=anchors[anchor])
    about = PngImagePlugin.PngInfo()
    about.add_text("Title", title)
    buffer = io.BytesIO()
    image.resize((WIDTH * SCALE, HEIGHT * SCALE), Image.Resampling.BOX).save(buffer, "PNG", pnginfo=about)
    return buffer.getvalue()


RENDERERS: Final[Mapping[str, Callable[[str, Sequence[Shape]], bytes]]] = {"svg": _svg, "png": _png}
