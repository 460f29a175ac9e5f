"""The Batcher: joins the queued requests of a model into calls of its engine."""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import numpy as np

from service.artifact.tensors import Array
from service.serving.call_policy import INLINE_SECONDS, CallPolicy
from service.serving.cpus import lower_priority
from service.serving.durations import Durations
from service.serving.request_queue import Call, Outputs, Part, Piece, RequestQueue, Result, Rows
from service.serving.warm_up import Run, calibrate

#: Niceness of the thread that runs long calls. On one processor, the event loop can then refuse requests and answer
#: health checks while the engine is busy.
NICENESS: Final = 2

#: Calls are stuck if one takes so many times as long as the longest should, and so many seconds.
STUCK_FACTOR, STUCK_SECONDS = 20, 10.0

#: A call, and the outcome of each of its pieces.
Outcome = tuple[Call, list[Part | BaseException]]


class Batcher:
    """Runs an engine over batches of rows for many concurrent callers.

    An idle engine runs a request that arrives alone at once. Requests that arrive together, or while a call runs, are
    joined into the next call; `CallPolicy` says when it starts. There is one call at a time. Short calls run on the
    event loop, longer ones in a thread. If a call of several requests fails, each runs again by itself, so that only
    the request at fault fails. An error at any other point, such as a lack of memory, fails the requests that wait, and
    the Batcher runs the next ones.

    Args:
        run: the engine.
        max_batch: most rows in one call. Larger requests are cut into pieces, and other requests run between them.
        max_step: most rows in one run of the engine. A larger call is several runs.
        max_queue: most rows waiting or running before further requests are refused. An idle Batcher refuses none.
        timeout: seconds after which a request fails. Rows that have not run by then are dropped.
        durations: how long calls take, if that is known before `warm_up`. By default they run in the thread until then.
        count: called with the rows and the seconds of each call that succeeds, in the thread that ran it.
        waiting: its first element is kept equal to the rows waiting or running, for other processes.

    Attributes:
        queue: the queue of requests, which admits or refuses them.
    """

    def __init__(  # noqa: PLR0913 - each by its name
        self,
        run: Run,
        *,
        max_batch: int,
        max_queue: int,
        timeout: float,
        max_step: int | None = None,
        durations: Durations | None = None,
        count: Callable[[int, float], object] = lambda _rows, _seconds: None,
        waiting: "memoryview[float] | None" = None,
    ) -> None:
        self._run = run
        self._count = count
        self._max_batch = max_batch
        self._step = self._max_step = max_step or max_batch
        self.queue = RequestQueue(max_rows=max_queue, timeout=timeout, shown=waiting)
        self._policy = CallPolicy(durations or Durations(2 * INLINE_SECONDS, 0), max_batch)
        self._executor = ThreadPoolExecutor(1, "batcher", lower_priority, (NICENESS,))
        self._idle = asyncio.Event()
        self._idle.set()
        self._timeout = timeout
        self._moved = 0.0  # when a call last started or ended, by `time.perf_counter`

    @property
    def stuck_for(self) -> float:
        """How many seconds longer than any call should take no call has started or ended; 0 if calls proceed.

        After the timeout, every request is answered 504. A model without waiting requests is not stuck.
        """
        if self._idle.is_set():
            return 0.0
        longest = STUCK_FACTOR * self._policy.durations.seconds(self._policy.most_rows)
        return max(0.0, time.perf_counter() - self._moved - min(max(STUCK_SECONDS, longest), self._timeout))

    async def submit(self, rows: Rows, outputs: Collection[str]) -> Result:
        """Run rows, together with the rows of other requests where that saves a call.

        Cancelling drops the rows if they have not run yet.

        Args:
            rows: `(n, …)`, n ≥ 1, validated: rows that make the engine fail cost the whole batch a second run.
            outputs: names of the outputs wanted.

        Raises:
            QueueFull: `max_queue` rows are waiting or running already.
            DeadlineExceeded: the rows have not run within the timeout.
            Unavailable: the Batcher is closed.
            Exception: any exception of the engine for these rows alone.
        """
        count = len(rows)
        self.queue.require_room(count)
        loop = asyncio.get_running_loop()
        idle = self._idle.is_set()
        self._policy.arrive()
        if idle and self._policy.starts_at_once(count):
            loop.call_soon(self._end_turn)  # requests of this turn that come later are queued
            part = self._call(np.asarray(rows), outputs)
            return Result(part.outputs, queue=0, inference=part.seconds)
        request = self.queue.add(rows, outputs)
        if idle:
            self._start()
        return await request.answer

    async def submit_all(self, requests: Sequence[tuple[Rows, Collection[str]]]) -> list[Result]:
        """Run several kinds of rows `(n, …)`, n ≥ 1, each with its outputs, all in one call where it is large enough.

        Either all are admitted or none. Errors are those of `submit`.
        """
        self.queue.require_room(sum([len(rows) for rows, _ in requests]))
        self._policy.arrive()
        added = [self.queue.add(rows, outputs) for rows, outputs in requests]
        if self._idle.is_set():
            self._start()
        return await asyncio.gather(*[request.answer for request in added])

    def _start(self) -> None:
        """Start the first call in the next turn of the event loop, as other requests of this turn join it."""
        self._idle.clear()
        self._moved = time.perf_counter()
        loop = asyncio.get_running_loop()
        loop.call_soon(self._next, loop)

    def warm_up(self, rows: Array, outputs: Collection[str]) -> None:
        """Run the engine at several sizes before there are requests, and choose the sizes of calls.

        Args:
            rows: `(n, …)` rows to run.
            outputs: names of the outputs wanted.
        """
        found = calibrate(self._run, rows, outputs, max_batch=self._max_batch, max_step=self._max_step)
        self._policy = CallPolicy(found.durations, found.most_rows)
        self._step = found.step

    async def close(self) -> None:
        """Refuse new requests, finish the accepted ones, and free the thread."""
        self.queue.close()
        await self._idle.wait()
        self._executor.shutdown()

    def _end_turn(self) -> None:
        if self._idle.is_set():
            self._policy.end_turn()

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the next call, or become idle."""
        try:
            self._start_next(loop)
        except Exception as error:  # noqa: BLE001 - all requests get it
            self._recover(error)

    def _start_next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._moved = time.perf_counter()
        if self._policy.gathers(self.queue):
            loop.call_soon(self._next, loop)
            return
        call = self.queue.take(self._policy.room(self.queue))
        if not call.pieces:
            self.queue.finish(call, [])
            self._policy.end_turn()
            self._idle.set()
            return
        self._policy.start()
        if self._policy.runs_inline(sum([piece.size for piece in call.pieces])):
            self.queue.finish(call, self._run_pieces(call.pieces))
            loop.call_soon(self._next, loop)  # not now: requests that arrived meanwhile join the next call
        else:
            running = loop.run_in_executor(self._executor, self._run_calls, call, loop)
            running.add_done_callback(partial(self._finish, loop))

    def _finish(self, loop: asyncio.AbstractEventLoop, running: asyncio.Future[list[Outcome]]) -> None:
        try:
            for call, outcomes in running.result():
                self.queue.finish(call, outcomes)
        except Exception as error:  # noqa: BLE001 - all requests get it
            self._recover(error)
        else:
            self._next(loop)

    def _recover(self, error: Exception) -> None:
        """Fail all requests, and become idle. The requests of the call at fault cannot be told from the others."""
        self._idle.set()
        self._policy.end_turn()
        self.queue.fail(error)

    def _run_calls(self, call: Call, loop: asyncio.AbstractEventLoop) -> list[Outcome]:
        """Run a call in the thread, then the calls that queue meanwhile, so that a busy event loop does not delay them.

        Returns:
            The last call, and the empty call after it. The event loop finishes both together.
        """
        while True:
            self._moved = time.perf_counter()
            outcomes = self._run_pieces(call.pieces)
            following = self.queue.take(self._policy.room(self.queue))
            if not following.pieces:
                return [(call, outcomes), (following, [])]
            loop.call_soon_threadsafe(self.queue.finish, call, outcomes)
            call = following

    def _run_pieces(self, pieces: list[Piece]) -> list[Part | BaseException]:
        """Run pieces in one call. If it fails, run each piece alone, so that only the one at fault fails."""
        try:
            arrays = [np.asarray(piece.rows) for piece in pieces]
            outputs = {name for piece in pieces for name in piece.request.outputs}
            part = self._call(arrays[0] if len(arrays) == 1 else np.concatenate(arrays), outputs)
            return _split(part, pieces)
        except BaseException as error:  # noqa: BLE001 - any error is the answer to the request at fault
            if len(pieces) == 1:
                return [error]
            return [outcome for piece in pieces for outcome in self._run_pieces([piece])]

    def _call(self, rows: Array, outputs: Collection[str]) -> Part:
        """Run rows in steps, record their duration, and count the call."""
        started = time.perf_counter()
        results = self._run_in_steps(rows, outputs)
        seconds = time.perf_counter() - started
        self._policy.durations.record(len(rows), seconds)
        self._count(len(rows), seconds)
        return Part(results, started, seconds)

    def _run_in_steps(self, rows: Array, outputs: Collection[str]) -> Outputs:
        if len(rows) <= self._step:
            return self._run(rows, outputs)
        starts = range(0, len(rows), self._step)
        steps = [self._run(rows[start : start + self._step], outputs) for start in starts]
        return {name: np.concatenate([step[name] for step in steps]) for name in outputs}


def _split(part: Part, pieces: Sequence[Piece]) -> list[Part | BaseException]:
    """Return the share of each piece in the outcome of a call."""
    shares: list[Part | BaseException] = []
    stop = 0
    for piece in pieces:
        start, stop = stop, stop + piece.size
        outputs = {name: part.outputs[name][start:stop] for name in piece.request.outputs}
        shares.append(Part(outputs, part.started, part.seconds))
    return shares
