"""Where a model looks while it serves: the attention of the traffic, counted in all worker processes."""

import asyncio
import logging
import time
from collections import deque
from pathlib import Path
from typing import Final

import numpy as np

from service.inference.artifact import Array
from service.inference.tally import Seen, Tally, Window

#: Attention is counted once there are so many weights of it, or after so many seconds: to add up what many requests
#: were answered takes hardly longer than to add up one.
PENDING_WEIGHTS: Final = 2**14
PENDING_SECONDS: Final = 0.1

logger = logging.getLogger(__name__)


class LiveProfile:
    """The attention of what one version was asked.

    Everything but the constructor is called from one thread, that of the event loop.

    Args:
        timesteps: timesteps of the model.
        folder: where the worker processes of one service tell each other; none where there is one process.
        key: names the version among those of the service.
    """

    def __init__(self, timesteps: int, folder: Path | None, key: str) -> None:
        began = time.monotonic()
        try:
            self._tally = Tally(timesteps, began, folder, key)
        except OSError as error:
            logger.warning("%s: the live profile is that of each process alone: %s", key, error)
            self._tally = Tally(timesteps, began)
        self._rows = max(1, PENDING_WEIGHTS // timesteps)
        self._pending: deque[Array] = deque()
        self._weights = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, attention: Array) -> None:
        """Count sequences in.

        Args:
            attention: `(n, timesteps)`, each row summing to 1, 0 where a timestep is absent.
        """
        if len(attention) <= self._rows:
            self._pending.append(attention)
        else:
            starts = range(0, len(attention), self._rows)
            self._pending.extend(attention[start : start + self._rows] for start in starts)
        self._weights += attention.size
        loop = asyncio.get_running_loop()
        if self._weights >= PENDING_WEIGHTS:
            self._count_some(loop)
        elif self._timer is None:
            self._timer = loop.call_later(PENDING_SECONDS, self._count_in_time)

    def seen(self) -> dict[Window, Seen]:
        """What was counted, by window; of other processes up to `PENDING_SECONDS` ago."""
        while self._pending:
            self._count()
        return self._tally.seen(time.monotonic())

    def _count_in_time(self) -> None:
        self._timer = None
        self._count()

    def _count_some(self, loop: asyncio.AbstractEventLoop) -> None:
        """Count what a turn of the event loop has time for, and the rest in the next ones."""
        self._count()
        if self._weights >= PENDING_WEIGHTS:
            loop.call_soon(self._count_some, loop)

    def _count(self) -> None:
        some: list[Array] = []
        weights = 0
        while self._pending and weights < PENDING_WEIGHTS:
            some.append(self._pending.popleft())
            weights += some[-1].size
        self._weights -= weights
        if some:
            self._tally.add(np.concatenate(some), time.monotonic())
