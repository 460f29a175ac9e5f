"""The policy of calls: when the next call starts, where it runs, and how many rows it takes."""

import time
from typing import Final

from service.serving.durations import Durations
from service.serving.request_queue import RequestQueue

#: Longest call that runs on the event loop, in seconds. A thread costs 0.1 ms to reach and, where both threads want the
#: interpreter, up to 5 ms (`sys.getswitchinterval`) to come back from. A call of 2 ms delays other requests about as
#: much as reading the requests of its batch does.
INLINE_SECONDS: Final = 0.002
#: Longest time that a request waits for others to join its call, in seconds. Requests are read in this time, so the
#: processor is not idle.
GATHERING_SECONDS: Final = 0.004


class CallPolicy:
    """Decides when the next call starts, where it runs and how many rows it takes.

    A request that arrives alone starts a call at once. Where requests arrive together, a short call waits for further
    turns of the event loop, as long as each turn brings a request, but no longer than `GATHERING_SECONDS`: a few
    more rows cost little, and a saved call costs as much as several rows.

    Args:
        durations: how long calls take.
        most_rows: most rows of a call.
    """

    def __init__(self, durations: Durations, most_rows: int) -> None:
        self.durations = durations
        self.most_rows = most_rows
        self._arrived = 0  # requests since the last call started
        self._arrived_before_turn = 0
        self._crowded = False  # whether the last call was for several requests

    def arrive(self) -> None:
        """Note that a request has arrived."""
        self._arrived += 1

    def starts_at_once(self, rows: int) -> bool:
        """Return whether the request that has just arrived is alone, and its call short."""
        return self._arrived == 1 and not self._crowded and self.runs_inline(rows)

    def gathers(self, queue: RequestQueue) -> bool:
        """Return whether to wait for another turn of the event loop before the next call."""
        arrived, self._arrived_before_turn = self._arrived - self._arrived_before_turn, self._arrived
        oldest = queue.oldest
        return (
            arrived > 0
            and oldest is not None
            and queue.rows < self._most_inline_rows()
            and time.perf_counter() - oldest.submitted < GATHERING_SECONDS
        )

    def start(self) -> None:
        """Note that a queued call starts."""
        self._crowded = self._arrived > 1
        self.end_turn()

    def end_turn(self) -> None:
        """Forget the requests that have arrived."""
        self._arrived = self._arrived_before_turn = 0

    def room(self, queue: RequestQueue) -> int:
        """Return the largest number of rows of the next call.

        Many small requests run in calls that are short enough for the event loop, unless such calls would spend most
        of their time on beginning.
        """
        inline, oldest = self._most_inline_rows(), queue.oldest
        if oldest is not None and oldest.size <= inline and inline >= self.durations.break_even_rows():
            return inline
        return self.most_rows

    def runs_inline(self, rows: int) -> bool:
        """Return whether a call of so many rows runs on the event loop, not in the thread."""
        return rows <= self._most_inline_rows()

    def _most_inline_rows(self) -> int:
        return min(self.most_rows, self.durations.rows_within(INLINE_SECONDS))
