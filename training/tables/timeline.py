"""The timestep of each row of a long table."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from service.artifact.card import Timing
from training.data import MOST_COLUMNS, Indices
from training.tables.columns import Columns
from training.tables.rows import Table, quoted
from training.tables.times import Steps, Times, Unit, steps_of

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
        steps: equal steps; None for uneven times.
        shared: the times of all timesteps, ascending, if all sequences have the same timeline; else None.
    """

    times: Times | None
    steps: Steps | None
    shared: NDArray[Any] | None

    @property
    def sql(self) -> str:
        """The SQL of a row's time."""
        return self.times.sql if self.times else "0"

    @property
    def is_uneven(self) -> bool:
        """Whether rows are timesteps, although the times between them differ."""
        return self.times is not None and self.steps is None and self.shared is None

    def labels(self) -> tuple[str, ...]:
        """Return the labels of the timesteps; empty if sequences differ in their times."""
        return () if self.shared is None or self.times is None else self.times.labels(self.shared)

    def timing(self) -> Timing | None:
        """Return the timeline for the card; None if rows are timesteps."""
        if self.times is None or self.is_uneven:
            return None
        unit, scale = UNITS[self.times.unit]
        return Timing(
            unit=unit,
            times=() if self.shared is None else tuple((self.shared / scale).tolist()),
            step=None if self.steps is None else self.steps.size / scale,
            formats=self.times.formats,
        )

    def positions(self, times: NDArray[Any], starts: Indices) -> Indices:
        """Return the timestep of each row of some whole sequences.

        Args:
            times: `(rows,)`, ascending in each sequence.
            starts: `(sequences,)`, the first row of each sequence.
        """
        sizes = np.diff(starts, append=len(times))
        if self.steps is not None:
            return self.steps.positions(times, np.repeat(times[starts], sizes))
        if self.shared is not None:
            return np.searchsorted(self.shared, times)
        return np.arange(len(times)) - np.repeat(starts, sizes)


def timeline_of(table: Table, columns: Columns, times: Times | None, *, gaps: bool) -> Timeline:
    """Return the timeline of a long table. Without `gaps`, rows are timesteps, whatever the times between them."""
    if times is None or not gaps:
        return Timeline(times, None, None)
    most = MOST_COLUMNS // len(columns.features)
    if (steps := steps_of(table, times, columns.sequence, most)) is not None:
        if steps.start is None:
            return Timeline(_with_sql(times, steps), steps, None)
        ((last,),) = table.ask(f"SELECT max({steps.sql}) FROM rows")
        count = round((last - steps.start) / steps.size) + 1
        return Timeline(_with_sql(times, steps), steps, steps.start + steps.size * np.arange(count))
    by = "" if columns.sequence is None else f"GROUP BY {quoted(columns.sequence)}"
    ((longest,),) = table.ask(f"SELECT max(n) FROM (SELECT count(*) AS n FROM rows {by})")
    distinct = table.ask(
        f"SELECT DISTINCT {times.sql} AS t FROM rows ORDER BY t LIMIT {round(MOST_SHARED * longest) + 1}"
    )
    if len(distinct) > MOST_SHARED * longest:
        return Timeline(times, None, None)
    return Timeline(times, None, np.array([time for (time,) in distinct]))


def _with_sql(times: Times, steps: Steps) -> Times:
    return replace(times, sql=steps.sql, unit="months") if steps.sql != times.sql else times
