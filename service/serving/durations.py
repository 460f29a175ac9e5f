"""An estimate of how long a call takes, by the number of its rows."""

import math
from typing import Final

#: Weight of the newest call in the running estimate.
SMOOTHING: Final = 0.2
#: Shortest time of a row and of a call, in seconds: a coarse clock may show 0.
SHORTEST: Final = 1e-9


class Durations:
    """A fixed time for each call and a time for each row, scaled by how fast the latest calls were.

    The fixed time matters: some engines take as long to begin as for fifty rows.

    Args:
        begin: seconds that a call would take without rows.
        row: seconds that each row adds.
    """

    def __init__(self, begin: float, row: float) -> None:
        self._begin = max(0.0, begin)
        self._row = max(SHORTEST, row)
        self._pace = 1.0

    @classmethod
    def through(cls, small: tuple[int, float], large: tuple[int, float]) -> "Durations":
        """Return the estimate that two measured calls give, `(rows, seconds)` each."""
        (rows, seconds), (more_rows, more_seconds) = small, large
        row = (more_seconds - seconds) / (more_rows - rows) if more_rows > rows else seconds / rows
        return cls(seconds - rows * row, row)

    def seconds(self, rows: int) -> float:
        """Return how long a call of some rows takes."""
        return self._pace * (self._begin + rows * self._row)

    def rows_within(self, seconds: float) -> int:
        """Return most rows of a call that takes no longer; 0 if even one row takes longer."""
        return max(0, int((seconds / self._pace - self._begin) / self._row))

    def break_even_rows(self) -> int:
        """Return the fewest rows whose time equals the fixed time of a call."""
        return math.ceil(self._begin / self._row)

    def record(self, rows: int, seconds: float) -> None:
        """Take a measured call into account."""
        self._pace += SMOOTHING * (max(SHORTEST, seconds) / (self._begin + rows * self._row) - self._pace)
