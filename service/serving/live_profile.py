"""Where a model looks while it serves: the attention of the traffic, counted in all worker processes."""

import asyncio
import logging
import time
from pathlib import Path
from typing import Final

import numpy as np

from service.artifact.tensors import Array
from service.serving.tally import Seen, Tally, Window

#: Attention is counted once there are so many weights of it, or after so many seconds: to add up what many requests
#: were answered takes hardly longer than to add up one.
PENDING_WEIGHTS: Final = 2**14
PENDING_SECONDS: Final = 0.1

logger = logging.getLogger(__name__)


class LiveProfile:
    """The attention of what one version was asked.

    What is not said to be otherwise is called from one thread, that of the event loop.

    Args:
        timesteps: timesteps of the model.
        folder: where the worker processes of one service tell each other; none where there is one process.
        key: names the version among those of the service.
    """

    def __init__(self, timesteps: int, folder: Path | None, key: str) -> None:
        began = time.monotonic()
        try:
            self._tally = Tally(timesteps, began, folder, key)
        except (OSError, ImportError) as error:  # the latter where files cannot be locked
            logger.warning("%s: the live profile is that of each process alone: %s", key, error)
            self._tally = Tally(timesteps, began)
        # Copied here, so that the arrays of answers do not stay in memory, and in the processor's caches, until then.
        self._pending: Array = np.empty((max(1, PENDING_WEIGHTS // timesteps), timesteps), np.float32)
        self._filled = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, attention: Array) -> None:
        """Count sequences in: as many as a turn of the event loop has time for, and the rest in the next ones.

        Args:
            attention: `(n, timesteps)`, each row summing to 1, 0 where a timestep is absent.
        """
        stop = self._filled + len(attention)
        if stop > len(self._pending):
            self._count()
            stop = min(len(attention), len(self._pending))
            if stop < len(attention):
                asyncio.get_running_loop().call_soon(self.add, attention[stop:])
                attention = attention[:stop]
        self._pending[self._filled : stop] = attention
        self._filled = stop
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PENDING_SECONDS, self._count_in_time)

    async def seen(self) -> dict[Window, Seen]:
        """What was counted, by window; of other processes up to `PENDING_SECONDS` ago."""
        self._count()
        return await asyncio.to_thread(self._tally.seen, time.monotonic())

    def close(self) -> None:
        """Count what is left, for the other processes and whoever takes this one's place."""
        self._count()

    def retire(self) -> None:
        """The version is not served any more by this process. May be called from another thread."""
        self._tally.retire()

    def _count_in_time(self) -> None:
        self._timer = None
        self._count()

    def _count(self) -> None:
        if self._filled:
            self._tally.add(self._pending[: self._filled], time.monotonic())
            self._filled = 0
