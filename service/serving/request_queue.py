"""The queue of one model: requests in order of arrival, bounded by their rows, each with a deadline."""

import asyncio
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, Self

import numpy as np

from service.artifact.tensors import Array
from service.errors import DeadlineExceeded, QueueFull, Unavailable
from service.serving.durations import SMOOTHING

Outputs = dict[str, Array]

#: Longest time that a reservation holds room, in seconds.
RESERVED_SECONDS: Final = 1.0


class Rows(Protocol):
    """Rows `(n, …)` that become an array when they are run. An array is such rows, too."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Self:
        """Return some of the rows."""

    def __array__(self, dtype: Any = ..., /) -> Array:
        """Return all rows as an array."""


class Result(NamedTuple):
    """The outputs of a request, and where its time went.

    Attributes:
        outputs: the outputs by name, `(n, …)` each.
        queue: seconds from submission to the start of the first call.
        inference: seconds that the calls took.
    """

    outputs: Outputs
    queue: float
    inference: float

    # asyncio logs the values of its callbacks and futures. The log must hold no data of requests.
    def __repr__(self) -> str:
        return object.__repr__(self)


class Part(NamedTuple):
    """The outputs `(m, …)` of one call for one request, when it started, by `time.perf_counter`, and its duration."""

    outputs: Outputs
    started: float
    seconds: float

    def __repr__(self) -> str:
        return object.__repr__(self)


@dataclass(eq=False, repr=False, slots=True)
class Request:
    """Rows of one caller. They run in one call or in several.

    Attributes:
        rows: `(n, …)`.
        size: n.
        outputs: names of the outputs wanted.
        answer: the future that the caller awaits. It is done early if the caller cancels or the deadline passes.
        submitted: time of submission, by `time.perf_counter`.
        taken: how many rows were taken into calls so far.
        parts: the outcomes of the calls so far, except for the last.
    """

    rows: Rows
    size: int
    outputs: Collection[str]
    answer: asyncio.Future[Result]
    submitted: float
    taken: int = 0
    parts: tuple[Part, ...] = ()

    def finish(self, outcome: Part | BaseException, *, last: bool) -> None:
        """Add the outcome of a call. Answer the caller if the call failed or had the last rows."""
        if self.answer.done():
            return
        try:
            if isinstance(outcome, BaseException):
                self.answer.set_exception(outcome)
            elif not last:
                self.parts = (*self.parts, outcome)
            else:
                part = _joined((*self.parts, outcome)) if self.parts else outcome
                self.answer.set_result(Result(part.outputs, part.started - self.submitted, part.seconds))
        except Exception as error:  # noqa: BLE001 - it is the answer to this request; others get theirs
            self.answer.set_exception(error)


class Piece(NamedTuple):
    """The rows `(size, …)` of one request in one call, and whether they are its last ones."""

    request: Request
    rows: Rows
    size: int
    last: bool

    def __repr__(self) -> str:
        return object.__repr__(self)


class Call(NamedTuple):
    """The rows of one call, and the requests that were answered before they ran, each with its remaining rows."""

    pieces: list[Piece]
    dropped: list[tuple[Request, int]]


@dataclass(eq=False, slots=True)
class Reservation:
    """Room for the rows of a request that is being read, until `expires` by `time.perf_counter`. A context manager."""

    queue: "RequestQueue"
    rows: float
    expires: float

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self.queue.release(self)


class RequestQueue:
    """Requests in order of arrival.

    `take` may be called from another thread than the event loop's; everything else belongs to the event loop.

    Args:
        max_rows: most rows waiting or running before further requests are refused. An empty queue refuses none.
        timeout: seconds after which a request fails. Rows that have not run by then are dropped.
        shown: its first element is kept equal to `rows`, for other processes.

    Attributes:
        rows: how many rows are waiting or running.
    """

    def __init__(self, *, max_rows: int, timeout: float, shown: "memoryview[float] | None" = None) -> None:
        self.rows = 0
        self._shown: memoryview[float] | list[float] = [0] if shown is None else shown
        self._closed = False
        self._max_rows = max_rows
        self._timeout = timeout
        self._waiting: deque[Request] = deque()
        self._unanswered: dict[Request, None] = {}  # oldest first
        self._rows_of_request = 1.0  # the running mean
        self._reservations: dict[Reservation, None] = {}  # oldest first
        self._reserved = 0.0
        self._held = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def unanswered(self) -> int:
        """How many requests have no answer yet."""
        return len(self._unanswered)

    @property
    def oldest(self) -> Request | None:
        """The request that is next in line."""
        return self._waiting[0] if self._waiting else None

    def reserve(self) -> Reservation:
        """Hold room for a request that is being read, as many rows as requests have on average.

        Without reservations, many requests could be read when there is room for only one. A reservation lasts
        `RESERVED_SECONDS`, so that slow uploads cannot fill the queue.

        Raises:
            QueueFull: there is no such room.
            Unavailable: the queue is closed.
        """
        now = time.perf_counter()
        while self._reservations and (oldest := next(iter(self._reservations))).expires < now:
            self.release(oldest)
        reservation = Reservation(self, self._rows_of_request, now + RESERVED_SECONDS)
        self.require_room(self._reserved + reservation.rows)
        self._reservations[reservation] = None
        self._reserved += reservation.rows
        return reservation

    def release(self, reservation: Reservation) -> None:
        """Release room, unless it has expired."""
        if reservation in self._reservations:
            del self._reservations[reservation]
            self._reserved -= reservation.rows

    def require_room(self, rows: float) -> None:
        """Check that the queue has room for rows.

        Raises:
            QueueFull: too many rows are waiting or running.
            Unavailable: the queue is closed.
        """
        if self._closed:
            raise Unavailable("the model is being unloaded")
        there = self.rows + self._held
        if there and there + rows > self._max_rows:
            raise QueueFull(
                f"expected at most {self._max_rows} sequences waiting or arriving, got {there} and {rows:.0f}"
            )

    @contextmanager
    def hold(self, rows: int) -> Iterator[None]:
        """Hold room for rows that a request will add later, until the context ends.

        Raises:
            QueueFull: too many rows are waiting or running.
            Unavailable: the queue is closed.
        """
        self.require_room(rows)
        self._held += rows
        try:
            yield
        finally:
            self._held -= rows

    def add(self, rows: Rows, outputs: Collection[str]) -> Request:
        """Append a request, and start its deadline."""
        loop = asyncio.get_running_loop()
        request = Request(rows, len(rows), outputs, loop.create_future(), time.perf_counter())
        self._waiting.append(request)
        self._unanswered[request] = None
        self.rows += request.size
        self._shown[0] = self.rows
        self._rows_of_request += SMOOTHING * (request.size - self._rows_of_request)
        if self._timer is None:  # one timer serves all requests, as few of them ever need it
            self._timer = loop.call_later(self._timeout, self._expire)
        return request

    def take(self, room: int) -> Call:
        """Take the rows of the next call.

        A request that does not fit goes to the back of the queue with its remaining rows, so that small requests wait
        for one call of a large request, not for all of them. Requests that are answered already are dropped.

        Args:
            room: most rows.
        """
        call = Call([], [])
        for _ in range(len(self._waiting)):
            if not room:
                break
            request = self._waiting.popleft()
            start, left = request.taken, request.size - request.taken
            if request.answer.done():
                call.dropped.append((request, left))
                continue
            size = min(left, room)
            rows = request.rows if size == request.size else request.rows[start : start + size]
            request.taken += size
            room -= size
            last = request.taken == request.size
            call.pieces.append(Piece(request, rows, size, last))
            if not last:
                self._waiting.append(request)
        return call

    def finish(self, call: Call, outcomes: Sequence[Part | BaseException]) -> None:
        """Give each piece of a call its outcome."""
        for request, left in call.dropped:
            self.rows -= left
            self._unanswered.pop(request, None)
        for piece, outcome in zip(call.pieces, outcomes, strict=True):
            self.rows -= piece.size
            piece.request.finish(outcome, last=piece.last)
            if piece.request.answer.done():
                self._unanswered.pop(piece.request, None)
        self._shown[0] = self.rows

    def fail(self, error: BaseException) -> None:
        """Fail all requests, waiting or running. No call may run."""
        unanswered = list(self._unanswered)
        self._waiting.clear()
        self._unanswered.clear()
        self.rows = 0
        for request in unanswered:
            request.finish(error, last=True)

    def close(self) -> None:
        """Refuse further requests."""
        self._closed = True

    def _expire(self) -> None:
        """Fail the requests whose deadline has passed, and wait for the next deadline."""
        self._timer = None
        while self._unanswered:
            request = next(iter(self._unanswered))
            left = request.submitted + self._timeout - time.perf_counter()
            if not request.answer.done():
                if left > 0:
                    self._timer = asyncio.get_running_loop().call_later(left, self._expire)
                    return
                request.answer.set_exception(DeadlineExceeded(f"no answer within {self._timeout:g} s"))
            del self._unanswered[request]


def _joined(parts: Sequence[Part]) -> Part:
    """Return several parts of one request as one."""
    outputs = {name: np.concatenate([part.outputs[name] for part in parts]) for name in parts[0].outputs}
    return Part(outputs, parts[0].started, sum(part.seconds for part in parts))
