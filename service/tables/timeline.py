"""The timestep of each row of a long table."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from service.artifact.card import Timing
from service.artifact.timing import timesteps_of
from service.tables.columns import Columns
from service.tables.rows import Table, quoted
from service.tables.sequences import MOST_COLUMNS, Indices
from service.tables.times import Times, Unit, month_of, steps_of

#: The unit on the card for each unit of times, and how many are one of it.
UNITS: Final[Mapping[Unit, tuple[Literal["number", "seconds", "months"], float]]] = {
    "numbers": ("number", 1.0),
    "integers": ("number", 1.0),
    "months": ("months", 1.0),
    "us": ("seconds", 1e6),
    "ns": ("seconds", 1e9),
}
#: Uneven times are timesteps of their own if there are at most this many for each row of the longest sequence.
MOST_SHARED: Final = 1.25


@dataclass(frozen=True)
class Timeline:
    """How times become timesteps.

    Attributes:
        times: the column of times; None for rows in the order of the table.
        step: the time between two timesteps; None for uneven times.
        shared: the times of all timesteps, ascending; empty if sequences differ in their times.
    """

    times: Times | None
    step: float | None = None
    shared: NDArray[Any] = field(default_factory=lambda: np.zeros(0))

    @property
    def sql(self) -> str:
        """The SQL of a row's time."""
        return self.times.sql if self.times else "0"

    @property
    def is_uneven(self) -> bool:
        """Whether rows are timesteps, although the times between them differ."""
        return self.times is not None and self.step is None and not len(self.shared)

    def labels(self) -> tuple[str, ...]:
        """Return the labels of the timesteps; empty if sequences differ in their times."""
        return self.times.labels(self.shared) if self.times is not None and len(self.shared) else ()

    def timing(self) -> Timing | None:
        """Return the timeline for the card; None without times."""
        if self.times is None:
            return None
        unit, scale = UNITS[self.times.unit]
        step = None if self.step is None else self.step / scale
        return Timing(unit=unit, times=tuple((self.shared / scale).tolist()), step=step, formats=self.times.formats)

    def positions(self, times: NDArray[Any], starts: Indices) -> Indices:
        """Return the timestep of each row of some whole sequences.

        Args:
            times: `(rows,)`, ascending in each sequence.
            starts: `(sequences,)`, the first row of each sequence.
        """
        return timesteps_of(times, starts, self.shared, self.step)


def timeline_of(table: Table, columns: Columns, times: Times | None, *, gaps: bool) -> Timeline:
    """Return the timeline of a long table. Without `gaps`, rows are timesteps, whatever the times between them."""
    if times is None or not gaps:
        return Timeline(times)
    most = MOST_COLUMNS // len(columns.features)
    if (steps := steps_of(table, times, columns.sequence, most)) is not None:
        times = replace(times, sql=steps.sql, unit="months") if steps.sql != times.sql else times
        if steps.start is None:
            return Timeline(times, steps.size)
        ((last,),) = table.ask(f"SELECT max({steps.sql}) FROM rows")
        count = round((last - steps.start) / steps.size) + 1
        since = steps.size * np.arange(count)
        # Nanoseconds since 1970 are too large for numbers that are no integers.
        return Timeline(times, steps.size, steps.start + (since if times.unit == "numbers" else since.astype(np.int64)))
    by = "" if columns.sequence is None else f"GROUP BY {quoted(columns.sequence)}"
    ((longest,),) = table.ask(f"SELECT max(n) FROM (SELECT count(*) AS n FROM rows {by})")
    distinct = table.ask(
        f"SELECT DISTINCT {times.sql} AS t FROM rows ORDER BY t LIMIT {round(MOST_SHARED * longest) + 1}"
    )
    if len(distinct) > MOST_SHARED * longest:
        return Timeline(times)
    return Timeline(times, shared=np.array([time for (time,) in distinct]))


def timeline_on_card(times: Times | None, timing: Timing | None) -> Timeline:
    """Return the timeline of a version's training for another table with the column `times`."""
    if times is None or timing is None:
        return Timeline(times)
    if timing.unit == "months":
        times = replace(times, sql=month_of(times), unit="months")
    _, scale = UNITS[times.unit]
    step = None if timing.step is None else timing.step * scale
    return Timeline(times, step, np.array(timing.times) * scale)
