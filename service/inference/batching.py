"""The Batcher: joins whatever is waiting into one call, off the event loop."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from service.errors import QueueFull, Unavailable
from service.inference.artifact import Array

Run = Callable[[Array, Collection[str]], dict[str, Array]]


@dataclass(frozen=True, eq=False)
class _Part:
    """Rows that travel together: a request, or one of the pieces that a large request was cut into."""

    rows: Array
    outputs: frozenset[str]
    result: asyncio.Future[dict[str, Array]]


class Batcher:
    """Runs a callable over batches of rows for many concurrent callers.

    Work-conserving: an idle callable is called at once with what there is; what arrives while it runs is joined into
    the next call. There is no timer, so a lone request never waits. The callable runs in one thread of its own.

    Args:
        run: takes rows `(batch, …)` and the names of the outputs wanted; returns each output with `batch` rows.
        max_batch: most rows in one call; larger requests are cut into pieces.
        max_queue: most rows waiting or running before further requests are refused; an idle batcher refuses none.
    """

    def __init__(self, run: Run, *, max_batch: int, max_queue: int) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._waiting: deque[_Part] = deque()
        self._rows = 0
        self._worker: asyncio.Task[None] | None = None
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batcher")
        self._closed = False

    async def submit(self, rows: Array, outputs: Collection[str]) -> dict[str, Array]:
        """Run rows, together with others' where that saves a call, and return their own outputs.

        Args:
            rows: `(n, …)`, n ≥ 1, already validated: rows that make `run` fail cost the whole batch a retry.
            outputs: names of the outputs wanted.

        Raises:
            QueueFull: `max_queue` rows are waiting already.
            Unavailable: the batcher is closed.
        """
        if self._closed:
            raise Unavailable("the model is being unloaded")
        if self._rows and self._rows + len(rows) > self._max_queue:
            raise QueueFull(
                f"expected at most {self._max_queue} sequences waiting, got {self._rows} before these {len(rows)}"
            )
        parts = [
            self._enqueue(rows[start : start + self._max_batch], frozenset(outputs))
            for start in range(0, len(rows), self._max_batch)
        ]
        results = await asyncio.gather(*parts)
        if len(results) == 1:
            return results[0]
        return {name: np.concatenate([result[name] for result in results]) for name in outputs}

    async def close(self) -> None:
        """Refuse new work, finish what was accepted, and free the thread."""
        self._closed = True
        if self._worker is not None:
            await self._worker
        self._executor.shutdown()

    def _enqueue(self, rows: Array, outputs: frozenset[str]) -> asyncio.Future[dict[str, Array]]:
        loop = asyncio.get_running_loop()
        part = _Part(rows, outputs, loop.create_future())
        self._waiting.append(part)
        self._rows += len(rows)
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._work())
        return part.result

    async def _work(self) -> None:
        while batch := self._take():
            try:
                await self._call(batch)
            finally:
                self._rows -= sum(len(part.rows) for part in batch)

    def _take(self) -> list[_Part]:
        """Take the parts that fit into one call, first come first served, without those whose caller left."""
        batch: list[_Part] = []
        rows = 0
        while self._waiting and rows + len(self._waiting[0].rows) <= self._max_batch:
            part = self._waiting.popleft()
            if part.result.done():
                self._rows -= len(part.rows)
                continue
            batch.append(part)
            rows += len(part.rows)
        return batch

    async def _call(self, batch: list[_Part]) -> None:
        rows = batch[0].rows if len(batch) == 1 else np.concatenate([part.rows for part in batch])
        outputs = frozenset[str]().union(*(part.outputs for part in batch))
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._executor, self._run, rows, outputs)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to whoever waits for these rows
            if len(batch) > 1:  # alone, so that only the part at fault fails
                for part in batch:
                    await self._call([part])
            elif not batch[0].result.done():
                batch[0].result.set_exception(error)
            return
        start = 0
        for part in batch:
            stop = start + len(part.rows)
            if not part.result.done():
                part.result.set_result({name: results[name][start:stop] for name in part.outputs})
            start = stop
