"""The live profile: the attention of the traffic, counted in all worker processes."""

import asyncio
import time
from pathlib import Path
from typing import Final

import numpy as np

from service.artifact.tensors import Array
from service.serving.tally import Tally, Totals, Window

#: Pending attention is counted at this number of weights, or after this number of seconds. Adding up the answers of
#: many requests takes hardly longer than adding up those of one.
PENDING_WEIGHTS: Final = 2**14
PENDING_SECONDS: Final = 0.1


class LiveProfile:
    """The attention of all sequences that one version has answered.

    Call its methods from the thread of the event loop; `retire` also from others.

    Args:
        timesteps: timesteps of the model.
        folder: the folder that the worker processes of one service share; None with one process.
        key: identifies the version within the service.
    """

    def __init__(self, timesteps: int, folder: Path | None, key: str) -> None:
        self._tally = Tally(timesteps, time.monotonic(), folder, key)
        # Attention is copied here, so that the arrays of answers leave memory and the processor's caches early.
        self._pending: Array = np.empty((max(1, PENDING_WEIGHTS // timesteps), timesteps), np.float32)
        self._filled = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, attention: Array) -> None:
        """Add sequences; more than fit into one turn of the event loop are added in the next turns.

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

    async def totals(self) -> dict[Window, Totals]:
        """Return the totals of all processes by window; other processes may be `PENDING_SECONDS` behind."""
        self._count()
        return await asyncio.to_thread(self._tally.totals, time.monotonic())

    def close(self) -> None:
        """Count the pending attention, for the other processes and for the successor of this one."""
        self._count()

    def retire(self) -> None:
        """Mark the version as no longer served by this process."""
        self._tally.retire()

    def _count_in_time(self) -> None:
        self._timer = None
        self._count()

    def _count(self) -> None:
        if self._filled:
            self._tally.add(self._pending[: self._filled], time.monotonic())
            self._filled = 0
