"""The Batcher: joins whatever is waiting into one call, and lets nobody's rows hurt another's."""

import asyncio
import math
import time
import weakref
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, Self

import numpy as np

from service.artifact.tensors import Array
from service.errors import DeadlineExceeded, QueueFull, Unavailable
from service.serving.durations import SMOOTHING, Durations

Outputs = dict[str, Array]
Run = Callable[[Array, Collection[str]], Outputs]


class Rows(Protocol):
    """Rows `(n, …)` that become an array once they are run; an array is such rows, too."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Self:
        """Some of them."""

    def __array__(self, dtype: Any = ..., /) -> Array:
        """All of them."""


#: Longest call that may run on the event loop itself, in seconds. A thread costs a tenth of a millisecond to reach and,
#: where both threads want the interpreter, up to 5 ms (`sys.getswitchinterval`) to come back from. Shorter calls than
#: this are not worth it; and since reading one request takes about 0.2 ms, a batch of them does not make others wait
#: much longer than its requests did already.
INLINE_SECONDS: Final = 0.002
#: Longest that a request is kept for others that are on their way, in seconds. Whoever comes is read meanwhile, so
#: nothing idles; more than this gains nothing where one request comes after another.
GATHERING_SECONDS: Final = 0.004
#: Each size of call to warm up with is this many times smaller than the one before.
WARM_UP_STEP: Final = 8
#: How often each of them is made.
WARM_UP_ROUNDS: Final = 3
#: A call is run in steps of the next smaller size unless that takes so many times longer, for each row: what fits the
#: processor's caches is mostly faster by a tenth to a quarter, though among others' work it may look slower than it is;
#: an engine that takes long to begin a run is slower by far.
STRIDE_SLACK: Final = 1.5


class Result(NamedTuple):
    """What a caller asked for, and how long it took.

    Attributes:
        outputs: the outputs by name, `(n, …)` each.
        queue: seconds from submission to the start of the first call.
        inference: seconds that the calls took.
    """

    outputs: Outputs
    queue: float
    inference: float


class _Part(NamedTuple):
    """What one call came to for the rows of one request in it.

    Attributes:
        outputs: the outputs by name, `(m, …)` each.
        started: when the call began, by `time.perf_counter`.
        seconds: how long it took.
    """

    outputs: Outputs
    started: float
    seconds: float


@dataclass(eq=False, slots=True)
class _Request:
    """Rows of one caller, run in one call or in several.

    Attributes:
        rows: `(n, …)`.
        size: n.
        outputs: names of the outputs wanted.
        answer: what the caller waits for; done early if the caller left.
        submitted: when the caller came, by `time.perf_counter`.
        taken: rows that were put into a call so far.
        parts: what those came to, in order, but for the last.
    """

    rows: Rows
    size: int
    outputs: Collection[str]
    answer: asyncio.Future[Result]
    submitted: float
    taken: int = 0
    parts: tuple[_Part, ...] = ()

    def finish(self, outcome: "_Part | BaseException", *, last: bool) -> None:
        """Take what came of some of the rows; answer if they were the last, or if they failed."""
        if self.answer.done():
            return
        if isinstance(outcome, BaseException):
            self.answer.set_exception(outcome)
        elif not last:
            self.parts = (*self.parts, outcome)
        else:
            part = _joined((*self.parts, outcome)) if self.parts else outcome
            self.answer.set_result(Result(part.outputs, part.started - self.submitted, part.seconds))


class _Piece(NamedTuple):
    """Rows of one request that travel in one call.

    Attributes:
        request: whose they are.
        rows: `(m, …)`.
        size: m.
        last: whether the request has no rows after these.
    """

    request: _Request
    rows: Rows
    size: int
    last: bool


class Batcher:
    """Runs a callable over batches of rows for many concurrent callers.

    Work-conserving: an idle callable is called at once for a request that comes alone; where requests come together,
    as soon as a turn of the event loop brings no further one. What arrives while it runs is joined into the next call.
    There is no timer: nobody waits for requests that may never come. Calls that will be short run on the event loop
    itself, longer ones in a thread. There is one call at a time.

    Args:
        run: takes rows `(batch, …)` and the names of the outputs wanted; returns each output with `batch` rows.
        max_batch: most rows in one call; larger requests are cut into pieces, between which others get their turn.
        max_queue: most rows waiting or running before further requests are refused; an idle batcher refuses none.
        timeout: seconds after which a request is given up; what has not run by then is dropped.
    """

    def __init__(self, run: Run, *, max_batch: int, max_queue: int, timeout: float) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._timeout = timeout
        self._queue: deque[_Request] = deque()
        self._unanswered: dict[_Request, None] = {}  # oldest first
        self._timer: asyncio.TimerHandle | None = None
        self._rows = 0
        self._durations = Durations(2 * INLINE_SECONDS, 0)  # unknown yet, so that the first calls run in the thread
        # Of a large request no more than this counts as usual: who is let in may still have nothing to submit.
        self._most_usual_rows = max(1, max_queue // 4)
        self._stride = max_batch
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batcher")
        self._idle = asyncio.Event()
        self._idle.set()
        self._usual_rows = 1.0  # in a request
        self._expected = 0.0  # rows of those who were let in since the latest call, and may not have come yet
        self._came = 0  # requests since the last call began
        self._met = 0  # how many of them the latest turn of the event loop began with
        self._crowded = False  # whether that call was for more than one
        self._closed = False

    def admit(self, rows: int) -> None:
        """Raise what `submit` would for so many rows.

        Raises:
            QueueFull: `max_queue` rows are waiting already.
            Unavailable: the batcher is closed.
        """
        if self._closed:
            raise Unavailable("the model is being unloaded")
        if self._rows and self._rows + rows > self._max_queue:
            raise QueueFull(
                f"expected at most {self._max_queue} sequences waiting, got {self._rows} before these {rows}"
            )

    def let_in(self) -> bool:
        """Whether there is room for one row more than those who were let in just before may bring.

        Many may ask at once, long before the first of them submits anything: all would be let in for the room of one.
        Who is let in may still be refused, as all are that come to a closed batcher.
        """
        full = self._rows and self._rows + self._expected + 1 > self._max_queue and not self._closed
        if not full:
            self._expected += self._usual_rows
        return not full

    async def submit(self, rows: Rows, outputs: Collection[str]) -> Result:
        """Run rows, together with others' where that saves a call, and return their own outputs.

        Cancelling the call drops the rows if they have not run yet.

        Args:
            rows: `(n, …)`, n ≥ 1, already validated: rows that make `run` fail cost the whole batch a retry.
            outputs: names of the outputs wanted.

        Raises:
            QueueFull: `max_queue` rows are waiting already.
            DeadlineExceeded: the rows have not run within the timeout.
            Unavailable: the batcher is closed.
            Exception: whatever `run` raises for these rows alone.
        """
        count = len(rows)
        self.admit(count)
        self._usual_rows += SMOOTHING * (min(count, self._most_usual_rows) - self._usual_rows)
        loop = asyncio.get_running_loop()
        self._came += 1
        alone = self._came == 1 and not self._crowded and self._idle.is_set()
        if alone and self._is_short(count):
            return self._run_alone(np.asarray(rows), outputs, loop)
        request = _Request(rows, count, outputs, loop.create_future(), time.perf_counter())
        self._queue.append(request)
        self._rows += count
        self._watch(request, loop)
        if self._idle.is_set():
            self._idle.clear()
            # After what the loop has at hand: requests that arrived together run together.
            loop.call_soon(self._next, loop)
        return await request.answer

    def warm_up(self, rows: Array, outputs: Collection[str]) -> None:
        """Run calls of sizes up to the largest, before there are requests; learns how long they take, and which pays.

        Args:
            rows: `(n, …)` to make them of.
            outputs: names of the outputs wanted.
        """
        sizes = [self._max_batch]
        while sizes[-1] >= WARM_UP_STEP:
            sizes.append(sizes[-1] // WARM_UP_STEP)
        batches = {size: np.resize(rows, (size, *rows.shape[1:])) for size in sizes}
        seconds = dict.fromkeys(sizes, math.inf)
        row_seconds = dict.fromkeys(sizes, math.inf)  # of this thread, without what others have of the processor
        for size in sizes * WARM_UP_ROUNDS:
            started, computed = time.perf_counter(), time.thread_time()
            self._run(batches[size], outputs)
            seconds[size] = min(seconds[size], time.perf_counter() - started)
            row_seconds[size] = min(row_seconds[size], (time.thread_time() - computed) / size)
        self._stride = next(size for size in sizes[1::-1] if row_seconds[size] <= STRIDE_SLACK * row_seconds[sizes[0]])
        self._durations = Durations.through(*((size, seconds[size]) for size in (sizes[-1], self._stride)))

    async def close(self) -> None:
        """Refuse new work, finish what was accepted, and free the thread."""
        self._closed = True
        await self._idle.wait()
        self._executor.shutdown()
        if self._timer is not None:
            self._timer.cancel()

    def _run_alone(self, rows: Array, outputs: Collection[str], loop: asyncio.AbstractEventLoop) -> Result:
        """Run rows at once; whoever else comes in this turn of the event loop is joined."""
        loop.call_soon(self._end_turn)
        results, _, seconds = self._timed(rows, outputs)
        return Result(results, queue=0, inference=seconds)

    def _end_turn(self) -> None:
        if self._idle.is_set():
            self._came = 0

    def _is_short(self, rows: int) -> bool:
        return rows <= self._most_short_rows()

    def _most_short_rows(self) -> int:
        """Most rows of a call that may run on the event loop."""
        return min(self._max_batch, self._durations.rows_within(INLINE_SECONDS))

    def _timed(self, rows: Array, outputs: Collection[str]) -> tuple[Outputs, float, float]:
        """Run rows; returns their outputs, when the call began and how long it took."""
        started = time.perf_counter()
        results = self._run_in_strides(rows, outputs)
        seconds = time.perf_counter() - started
        self._durations.learn(len(rows), seconds)
        return results, started, seconds

    def _run_in_strides(self, rows: Array, outputs: Collection[str]) -> Outputs:
        """Run rows in steps of the size that pays."""
        if len(rows) <= self._stride:
            return self._run(rows, outputs)
        starts = range(0, len(rows), self._stride)
        parts = [self._run(rows[start : start + self._stride], outputs) for start in starts]
        return {name: np.concatenate([part[name] for part in parts]) for name in outputs}

    def _watch(self, request: _Request, loop: asyncio.AbstractEventLoop) -> None:
        """See to it that a request is answered in time: with one timer for all of them, as most never need it."""
        self._unanswered[request] = None
        if self._timer is None:
            self._call_later(self._timeout, loop)

    def _call_later(self, seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        # By a weak reference: a timer that nobody needs any more must not keep the model in memory.
        self._timer = loop.call_later(seconds, _expire_if_alive, weakref.ref(self), loop)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give up the requests whose time is over, and wait for the next one's to be."""
        self._timer = None
        while self._unanswered:
            request = next(iter(self._unanswered))
            left = request.submitted + self._timeout - time.perf_counter()
            if not request.answer.done():
                if left > 0:
                    self._call_later(left, loop)
                    return
                request.answer.set_exception(DeadlineExceeded(f"no answer within {self._timeout:g} s"))
            del self._unanswered[request]

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the next call, or come to rest."""
        if self._gathers():
            loop.call_soon(self._next, loop)
            return
        crowded, self._came, self._met, self._expected = self._came > 1, 0, 0, 0
        pieces = self._take()
        if not pieces:
            self._idle.set()
            return
        self._crowded = crowded
        if self._is_short(sum([piece.size for piece in pieces])):
            self._deliver(pieces, self._execute(pieces))
            loop.call_soon(self._next, loop)  # not now: what arrived meanwhile joins the next call
        else:
            call = loop.run_in_executor(self._executor, self._execute, pieces)
            call.add_done_callback(partial(self._called, loop, pieces))

    def _gathers(self) -> bool:
        """Whether to give the event loop another turn first: the last one brought requests, so that may bring more.

        A short call takes hardly longer with some rows more; each call that this saves takes as long as several rows.
        """
        came, self._met = self._came - self._met, self._came
        return (
            came > 0
            and self._rows < self._most_short_rows()
            and time.perf_counter() - self._queue[0].submitted < GATHERING_SECONDS
        )

    def _called(
        self, loop: asyncio.AbstractEventLoop, pieces: list[_Piece], call: asyncio.Future[list[_Part | BaseException]]
    ) -> None:
        self._deliver(pieces, call.result())
        self._next(loop)

    def _take(self) -> list[_Piece]:
        """Take what fits into one call, first come first served.

        A request that does not fit goes to the back of the queue with what is left of it, so that small requests wait
        for one call of a large one, not for all. Requests whose caller left are dropped.
        """
        pieces: list[_Piece] = []
        room = self._max_batch
        short = self._most_short_rows()
        # Many small requests had better run in short calls than in a thread, unless these do little but begin.
        if self._queue and self._queue[0].size <= short and short >= self._durations.break_even_rows():
            room = short
        for _ in range(len(self._queue)):
            if not room:
                break
            request = self._queue.popleft()
            if request.answer.done():
                self._unanswered.pop(request, None)
                self._rows -= request.size - request.taken
                continue
            start, size = request.taken, min(request.size - request.taken, room)
            rows = request.rows if size == request.size else request.rows[start : start + size]
            request.taken += size
            room -= size
            last = request.taken == request.size
            pieces.append(_Piece(request, rows, size, last))
            if not last:
                self._queue.append(request)
        return pieces

    def _execute(self, pieces: list[_Piece]) -> list[_Part | BaseException]:
        """Run pieces in one call; if it fails, each alone, so that only the one at fault does."""
        try:
            return self._call(pieces)
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to whoever waits for these rows
            if len(pieces) == 1:
                return [error]
            return [outcome for piece in pieces for outcome in self._execute([piece])]

    def _call(self, pieces: list[_Piece]) -> list[_Part | BaseException]:
        arrays = [np.asarray(piece.rows) for piece in pieces]
        rows = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        outputs = {name for piece in pieces for name in piece.request.outputs}
        results, started, seconds = self._timed(rows, outputs)
        parts: list[_Part | BaseException] = []
        stop = 0
        for piece in pieces:
            start, stop = stop, stop + piece.size
            parts.append(_Part({name: results[name][start:stop] for name in piece.request.outputs}, started, seconds))
        return parts

    def _deliver(self, pieces: list[_Piece], outcomes: list[_Part | BaseException]) -> None:
        for piece, outcome in zip(pieces, outcomes, strict=True):
            self._rows -= piece.size
            piece.request.finish(outcome, last=piece.last)
            if piece.request.answer.done():
                self._unanswered.pop(piece.request, None)


def _expire_if_alive(batcher: weakref.ref[Batcher], loop: asyncio.AbstractEventLoop) -> None:
    if (alive := batcher()) is not None:
        alive._expire(loop)


def _joined(parts: Sequence[_Part]) -> _Part:
    """Parts of one request as if one call had come to them."""
    outputs = {name: np.concatenate([part.outputs[name] for part in parts]) for name in parts[0].outputs}
    return _Part(outputs, parts[0].started, sum(part.seconds for part in parts))
