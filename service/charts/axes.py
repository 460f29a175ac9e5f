"""Axes: round numbers for values, and labels that neither overlap nor leave the picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Final, NamedTuple

from service.charts.chart import Anchor, Shape, Text
from service.charts.dates import Dates, Tick
from service.charts.text import FONT_SIZE, LINE, cut, width_of

#: Approximate number of grid lines.
TICKS: Final = 5
#: Numbers from this on are written as powers of ten.
MOST_IN_FULL: Final = 1e6
#: Least space between two labels, and the longest one that is turned.
GAP, LONGEST = 8, 220
#: Labels up to this width are left out rather than turned, if there is no room for all.
SHORT: Final = 34
#: Fewest ticks that divide an axis of dates well.
FEWEST: Final = 3


@dataclass(frozen=True)
class Scale:
    """A scale of values with grid lines at round numbers.

    Attributes:
        low: the lowest value; 0 or below it.
        high: the highest value, a round number.
        step: distance between two grid lines.
    """

    low: float
    high: float
    step: float

    @classmethod
    def of(cls, values: Sequence[float], least: float = 0) -> "Scale":
        """Return a scale from 0, or below it, to the highest value and at least to `least`."""
        ends = [0.0, least, *values]
        low, high = min(ends), max(ends)
        step = _step(high - low)
        high = math.ceil(high / step - 1e-9) * step
        return cls(low, high if high > low else step, step)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """The values of the grid lines, and their texts."""
        first, last = math.ceil(self.low / self.step - 1e-9), round(self.high / self.step)
        return [(tick * self.step, _tick(tick * self.step)) for tick in range(first, last + 1)]

    def share(self, value: float) -> float:
        """Return where a value lies: 0 at the low end, 1 at the high end."""
        return (value - self.low) / (self.high - self.low)


def _tick(value: float) -> str:
    """Return a round number with up to three digits: thousands in full, others as powers of ten."""
    return f"{value:,.0f}" if 1000 <= abs(value) < MOST_IN_FULL else f"{value:.3g}"


def _step(span: float) -> float:
    """Return a round distance between grid lines: 1, 2 or 5 times a power of ten."""
    rough = span / TICKS or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))


class Label(NamedTuple):
    """A label that is written: the place, its text, and the whole text if that was cut."""

    place: int
    text: str
    full: str = ""


@dataclass(frozen=True)
class Labels:
    """The labels that are written below equal places side by side.

    Attributes:
        written: some of the labels.
        turned: whether they are written from bottom to top.
        height: the height that they take.
        common: what was left out of all of them, such as the year.
    """

    written: tuple[Label, ...]
    turned: bool
    height: float
    common: str = ""

    def texts(self, left: float, distance: float, top: float) -> list[Shape]:
        """Return the labels as texts below the middles of their places, which begin at `left`."""
        anchor: Anchor = "end" if self.turned else "middle"
        right, down = (FONT_SIZE / 3, 2.0) if self.turned else (0.0, float(FONT_SIZE))
        return [
            Text(left + distance * (place + 0.5) + right, top + down, text, anchor, turned=self.turned, full=full)
            for place, text, full in self.written
        ]

    def name_of(self, places: str) -> str:
        """Return the name of the axis, with what was left out of the labels."""
        return f"{places}, {self.common}" if self.common else places


def labels_below(labels: Sequence[str], width: float, room: float = math.inf) -> Labels:
    """Return which labels are written below an axis of some width, and how.

    Dates are written at the beginnings of days, months or years. Short labels are thinned. Long ones are turned, cut
    in the middle if they are very long, and thinned.

    Args:
        labels: one for each place, from left to right.
        width: width of all places.
        room: most that a label may reach beyond the middle of its place, to the right.
    """
    distance = width / len(labels)
    if (dates := Dates.of(labels)) is not None:
        return Labels(_dated(dates, distance, room), turned=False, height=LINE, common=dates.common)
    widest = max(map(width_of, labels))
    if widest + GAP <= distance:
        return Labels(tuple(map(Label, range(len(labels)), labels)), turned=False, height=LINE)
    if widest <= SHORT:
        return Labels(_thinned(labels, (widest + GAP) / distance), turned=False, height=LINE)
    every = math.ceil(LINE / distance)
    written = tuple(shortened(index, labels[index], LONGEST) for index in range(0, len(labels), every))
    return Labels(written, turned=True, height=max(width_of(label.text) for label in written) + 4)


def labels_beside(labels: Sequence[str], height: float, room: float) -> tuple[Label, ...]:
    """Return which labels are written beside rows of together some height, each at most as wide as the room."""
    every = math.ceil(LINE * len(labels) / height)
    return tuple(shortened(index, labels[index], room) for index in range(0, len(labels), every))


def shortened(index: int, text: str, room: float) -> Label:
    """Return a label that is at most as wide as the room."""
    short = cut(text, room)
    return Label(index, short, text if short != text else "")


def _thinned(labels: Sequence[str], least: float) -> tuple[Label, ...]:
    """Return every so many labels, at least every `least`-th; of consecutive numbers the round ones."""
    every = next(step for power in count() for step in (10**power, 2 * 10**power, 5 * 10**power) if step >= least)
    try:
        first = int(labels[0])
        consecutive = [int(label) for label in labels] == list(range(first, first + len(labels)))
    except ValueError:
        consecutive = False
    start = -int(labels[0]) % every if consecutive and len(labels) > 2 * every else 0
    return tuple(Label(index, labels[index]) for index in range(start, len(labels), every))


def _dated(dates: Dates, distance: float, room: float) -> tuple[Label, ...]:
    """Return the finest ticks for which there is room; the thinned finest ones, if that leaves too few."""

    def fits(ticks: Sequence[Tick]) -> bool:
        return all(
            width_of(a) / 2 + width_of(b) / 2 + GAP <= (j - i) * distance for (i, a), (j, b) in pairwise(ticks)
        ) and all(width_of(text) / 2 <= room + (len(dates.times) - 1 - i) * distance for i, text in ticks)

    levels = dates.ticks()
    for ticks in levels:
        if fits(ticks) and len(ticks) >= min(FEWEST, len(dates.times)):
            return tuple(Label(*tick) for tick in ticks)
    finest = levels[0]
    every = next(every for every in range(1, len(finest) + 1) if fits(finest[::every]) or every == len(finest))
    return tuple(Label(*tick) for tick in finest[::every])
