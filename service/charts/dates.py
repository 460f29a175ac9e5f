"""Labels that are dates or times, as ticks at years, months, days, hours and so on."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import Final

#: A month, a date, or a date with a time, as ISO 8601 writes them.
ISO: Final = re.compile(r"\d{4}-\d{2}(-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.0+)?)?(Z|[+-]\d{2}:\d{2})?)?)?")
YEAR, MONTH, DAY, HOUR, MINUTE, SECOND = range(6)
#: Each part of a time at its beginning.
BEGINNING: Final = (0, 1, 1, 0, 0, 0)

#: A tick: index of the label, and its text.
Tick = tuple[int, str]


@dataclass(frozen=True)
class Dates:
    """Points in time, each later than the one before.

    Attributes:
        times: the time of each label.
    """

    times: tuple[datetime, ...]

    @classmethod
    def of(cls, labels: Sequence[str]) -> "Dates | None":
        """Return the times of labels; None unless all labels are such."""
        if len(labels) < 2 or not all(map(ISO.fullmatch, labels)):
            return None
        try:
            times = tuple(datetime.fromisoformat(label if len(label) > 7 else f"{label}-01") for label in labels)
        except ValueError:  # the 30th of February
            return None
        zones = {time.utcoffset() for time in times}
        if len(zones) > 1 or any(late <= early for early, late in pairwise(times)):
            return None
        return cls(times)

    @property
    def common(self) -> str:
        """What all dates have in common and ticks leave out: nothing, a year, or a day."""
        return self.times[0].strftime({YEAR: "", MONTH: "%Y", DAY: "%Y"}.get(self._first, "%Y-%m-%d"))

    def ticks(self) -> list[list[Tick]]:
        """Return the ticks at the beginnings of seconds, minutes and so on, from the finest to the coarsest."""
        return [self._ticks(part) for part in range(self._finest, self._first - 1, -1)]

    @cached_property
    def _parts(self) -> list[tuple[int, ...]]:
        """Year, month, day, hour, minute and second of each time."""
        return [time.timetuple()[:6] for time in self.times]

    @cached_property
    def _first(self) -> int:
        """The first part of the times that differs."""
        return next(part for part, values in enumerate(zip(*self._parts, strict=True)) if len(set(values)) > 1)

    @cached_property
    def _finest(self) -> int:
        """The last part of the times that is not at its beginning."""
        columns = zip(*self._parts, BEGINNING, strict=True)
        return max(self._first, *(part for part, values in enumerate(columns) if len(set(values)) > 1))

    def _ticks(self, part: int) -> list[Tick]:
        begins = [
            index
            for index, parts in enumerate(self._parts)
            if index == 0 or parts[: part + 1] != self._parts[index - 1][: part + 1]
        ]
        # The first label is seldom the beginning of its month. It has a tick if there are few others.
        if len(begins) > 2 and self._parts[0][part + 1 :] != BEGINNING[part + 1 :]:
            begins = begins[1:]
        return [(index, self._text(self.times[index], part)) for index in begins]

    def _text(self, time: datetime, part: int) -> str:
        """Return a time up to one of its parts, without what all times have in common."""
        if part <= DAY:
            form = ("%Y", "%b", "%b %d")[part] if self._first > YEAR else ("%Y", "%Y-%m", "%Y-%m-%d")[part]
            return f"{time:{form}}"
        clock = f"{time:%H:%M:%S}" if part == SECOND else f"{time:%H:%M}"
        return clock if self._first > DAY else f"{time:%m-%d} {clock}"
