"""How long a call takes, by the number of its rows."""

import math
from typing import Final

#: Weight of what came last in running estimates.
SMOOTHING: Final = 0.2
#: No row adds less and no call takes less, in seconds, whatever a coarse clock says.
SHORTEST: Final = 1e-9


class Durations:
    """What a call takes to begin with, and what each row adds; and how much longer or shorter calls take of late.

    Rows alone would mislead: an engine may take as long to begin as for fifty rows.

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
        """From how long two calls took: `(rows, seconds)` each."""
        (rows, seconds), (more_rows, more_seconds) = small, large
        row = (more_seconds - seconds) / (more_rows - rows) if more_rows > rows else seconds / rows
        return cls(seconds - rows * row, row)

    def rows_within(self, seconds: float) -> int:
        """Most rows of a call that will take no longer; 0 where none is as short."""
        return max(0, int((seconds / self._pace - self._begin) / self._row))

    def break_even_rows(self) -> int:
        """Fewest rows that take as long as their call takes to begin."""
        return math.ceil(self._begin / self._row)

    def learn(self, rows: int, seconds: float) -> None:
        """Take in how long a call took."""
        self._pace += SMOOTHING * (max(SHORTEST, seconds) / (self._begin + rows * self._row) - self._pace)
