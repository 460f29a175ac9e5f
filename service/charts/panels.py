"""Charts over timesteps, epochs or other places in a row: panels of bars and lines, one above the other."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from service.charts.axes import Scale, labels_below
from service.charts.chart import GRID, INK, MARGIN, WHISKER, Area, Boxes, Chart, Line, Point, Shape, Text, headline
from service.charts.colours import mixed
from service.charts.text import FONT_SIZE, LINE, width_of, wrapped

#: Size of the plots. The height of the whole picture follows from its titles, panels and labels.
WIDTH, LEFT, RIGHT, HEIGHT = 800, 64, 24, 230
#: Height of each of several panels.
LOW: Final = 160
#: Share of the distance between two places that the bars fill.
BARS: Final = 0.8
#: Least distance between two places that have bars and points of their own. Nearer ones are drawn as a band.
LEAST_DISTANCE: Final = 3.0
#: Most points of a line that are marked, and side of a mark and of a dot.
MOST_MARKED, DOT = 30, 4
#: Width of a sample in a legend, and the space beside it and between two entries.
SAMPLE, BESIDE, BETWEEN = 14, 5, 18


@dataclass(frozen=True)
class Series:
    """The values of one colour.

    Attributes:
        name: name in the legend.
        values: `(places,)`; NaN leaves a gap in a line.
        colour: as `#rrggbb`.
        spread: `(places,)`, drawn as whiskers up and down; empty for none.
        kind: bars, a line, or dots. Dots are left out where a band is drawn.
        dash: length of the dashes of a line; 0 for none.
        width: width of a line.
        floor: whiskers do not go below it.
        highlight: the index of a bar in a stronger colour, and that colour.
    """

    name: str
    values: Sequence[float]
    colour: str
    spread: Sequence[float] = ()
    kind: Literal["bars", "line", "dots"] = "bars"
    dash: float = 0
    width: float = 2
    floor: float = -math.inf
    highlight: tuple[int, str] | None = None

    @property
    def ends(self) -> NDArray[np.float64]:
        """Where the whiskers begin and end, `(2, places)`."""
        values = np.asarray(self.values, np.float64)
        spread = np.asarray(self.spread, np.float64) if len(self.spread) else np.zeros_like(values)
        return np.stack([np.maximum(values - spread, np.minimum(values, self.floor)), values + spread])


@dataclass(frozen=True)
class Panel:
    """A plot with a scale of its own.

    Attributes:
        name: name of the values.
        series: what it shows. Several of the same name have one entry in the legend.
        least: the scale reaches at least this value.
        mark: index of a place that is marked by a dashed line.
    """

    name: str
    series: Sequence[Series]
    least: float = 0
    mark: int | None = None


@dataclass(frozen=True)
class _Plot:
    """Where a panel is drawn."""

    top: float
    height: float
    distance: float
    scale: Scale = field(repr=False)

    def x(self, place: float) -> float:
        """Return the middle of a place."""
        return LEFT + self.distance * (place + 0.5)

    def y(self, value: float) -> float:
        return self.top + self.height * (1 - self.scale.share(value))


def panels(title: str, labels: Sequence[str], drawn: Sequence[Panel], name: str) -> Chart:
    """Return a chart of panels, which share the labels below the last one.

    Args:
        title: title; it may take several lines.
        labels: `(places,)`, labels of the places.
        drawn: at least one panel.
        name: name of the places, such as `timestep`.
    """
    width = WIDTH - LEFT - RIGHT
    distance = width / len(labels)
    shapes, top = headline(title, WIDTH)
    for panel in drawn:
        series = [one for one in panel.series if one.kind != "dots" or distance >= LEAST_DISTANCE]
        head, top = _head(panel.name, series, top + 6)
        ends = np.concatenate([one.ends.ravel() for one in series])
        scale = Scale.of(ends[~np.isnan(ends)].tolist(), panel.least)
        plot = _Plot(top + LINE, HEIGHT if len(drawn) == 1 else LOW, distance, scale)
        shapes += [*head, *_grid(plot), *_contents(series, plot)]
        if panel.mark is not None:
            x = plot.x(panel.mark)
            shapes.append(Line(((x, plot.top), (x, plot.top + plot.height)), INK, dash=4))
        top = plot.top + plot.height + 8
    below = labels_below(labels, width, RIGHT + distance / 2 - 2)
    shapes += below.texts(LEFT, distance, top)
    top += below.height + LINE + 2
    shapes.append(Text(LEFT + width / 2, top, below.name_of(name), "middle"))
    return Chart(title, WIDTH, math.ceil(top + 10), tuple(shapes))


def _head(name: str, series: Sequence[Series], top: float) -> tuple[list[Shape], float]:
    """Return the name of a panel's values and the legend of several series, and where they end."""
    shapes: list[Shape] = []
    for line in wrapped(name, WIDTH - 2 * MARGIN):
        top += LINE
        shapes.append(Text(MARGIN, top, line))
    entries = {one.name: one for one in series}
    x, top = float(LEFT), top + (LINE if len(entries) > 1 else 0)
    for one in entries.values() if len(entries) > 1 else ():
        width = SAMPLE + BESIDE + width_of(one.name)
        if x > LEFT and x + width > WIDTH - MARGIN:
            x, top = float(LEFT), top + LINE
        shapes += [_sample(one, x, top - FONT_SIZE / 3), Text(x + SAMPLE + BESIDE, top, one.name)]
        x += width + BETWEEN
    return shapes, top


def _sample(one: Series, x: float, middle: float) -> Shape:
    """Return what stands for a series in the legend."""
    if one.kind == "line":
        return Line(((x, middle), (x + SAMPLE, middle)), one.colour, one.width, one.dash)
    width, height = (DOT, DOT) if one.kind == "dots" else (SAMPLE, 10)
    return Boxes(((x + (SAMPLE - width) / 2, middle - height / 2, width, height),), one.colour)


def _grid(plot: _Plot) -> Iterator[Shape]:
    for value, text in plot.scale.ticks:
        y = plot.y(value)
        yield Line(((LEFT, y), (WIDTH - RIGHT, y)), INK if value == 0 else GRID)
        yield Text(LEFT - 6, y + FONT_SIZE / 3, text, "end")


def _contents(series: Sequence[Series], plot: _Plot) -> Iterator[Shape]:
    bars = [one for one in series if one.kind == "bars"]
    if plot.distance < LEAST_DISTANCE:
        for one in series:
            yield from _band(one, plot, filled=len(bars) == 1)
        return
    for index, one in enumerate(bars):
        yield from _bars(one, plot, BARS * plot.distance, index, len(bars))
    for one in series:
        if one.kind != "bars":
            yield from _line(one, plot)


def _line(one: Series, plot: _Plot) -> Iterator[Shape]:
    """Draw a line with gaps, or dots. Points of a line that has few, and points between two gaps, are marked."""
    values = np.asarray(one.values, np.float64)
    marked: list[Point] = []
    for run in _runs(values):
        points = [
            (plot.x(place), plot.y(value)) for place, value in zip(run.tolist(), values[run].tolist(), strict=True)
        ]
        if one.kind == "line" and len(points) > 1:
            yield Line(tuple(points), one.colour, one.width, one.dash)
        if one.kind == "dots" or len(values) <= MOST_MARKED or len(points) == 1:
            marked += points
    if marked:
        yield Boxes(tuple((x - DOT / 2, y - DOT / 2, DOT, DOT) for x, y in marked), one.colour)


def _runs(values: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Return the places of values between gaps."""
    places = np.flatnonzero(~np.isnan(values))
    return [run for run in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1) if len(run)]


def _bars(one: Series, plot: _Plot, width: float, index: int, count: int) -> Iterator[Shape]:
    """Draw the bars of a series beside those of others, and their whiskers."""
    width /= count
    lefts = [plot.x(place) + width * (index - count / 2) for place in range(len(one.values))]

    def boxes(places: Sequence[int]) -> tuple[tuple[float, float, float, float], ...]:
        ends = ((place, plot.y(max(one.values[place], 0)), plot.y(min(one.values[place], 0))) for place in places)
        return tuple((lefts[place], top, width, bottom - top) for place, top, bottom in ends)

    yield Boxes(boxes(range(len(one.values))), one.colour)
    if one.highlight is not None:
        yield Boxes(boxes([one.highlight[0]]), one.highlight[1])
    if len(one.spread):
        low, high = one.ends.tolist()
        tops = [
            (left + width / 2 - 0.5, plot.y(b), 1.0, plot.y(a) - plot.y(b))
            for left, a, b in zip(lefts, low, high, strict=True)
        ]
        yield Boxes(tuple(tops), WHISKER)


def _band(one: Series, plot: _Plot, *, filled: bool) -> Iterator[Shape]:
    """Draw a series of many places as a band from the lowest to the highest value of neighbouring places.

    The spread is a paler band behind it. Bars are filled down to 0, unless they would hide others.
    """
    if len(one.spread):
        low, high = one.ends
        yield from _between(low, high, plot, _paler(one.colour))
    values = np.asarray(one.values, np.float64)
    if one.kind == "bars" and filled:
        yield from _between(np.minimum(values, 0), np.maximum(values, 0), plot, one.colour)
    else:
        yield from _between(values, values, plot, one.colour, one.width)
    if one.highlight is not None:
        place, colour = one.highlight
        top, bottom = (plot.y(end(one.values[place], 0)) for end in (max, min))
        yield Boxes(((plot.x(place) - LEAST_DISTANCE / 2, top, LEAST_DISTANCE, bottom - top),), colour)


def _between(
    low: NDArray[np.float64], high: NDArray[np.float64], plot: _Plot, colour: str, thick: float = 0
) -> Iterator[Area]:
    """Draw the area between two lines, in parts if there are gaps."""
    width = plot.distance * len(low)
    starts = np.unique(np.linspace(0, len(low), round(width / LEAST_DISTANCE), endpoint=False).astype(int))
    ends = np.append(starts[1:], len(low)) - 1
    xs = [plot.x(place) for place in ((starts + ends) / 2).tolist()]
    xs[0], xs[-1] = plot.x(-0.5), plot.x(len(low) - 0.5)
    highest, lowest = np.fmax.reduceat(high, starts), np.fmin.reduceat(low, starts)
    for run in _runs(highest):
        upper = [(xs[group], plot.y(float(highest[group])) - thick / 2) for group in run.tolist()]
        lower = [(xs[group], plot.y(float(lowest[group])) + thick / 2) for group in run.tolist()]
        yield Area((*upper, *reversed(lower)), colour)


def _paler(colour: str) -> str:
    """Return a colour half way to white."""
    return mixed("#ffffff", colour, 0.45)
