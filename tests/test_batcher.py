"""The Batcher joins waiting requests, gives each its own rows, and keeps a failure from other requests."""

import asyncio
import pkgutil
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.artifact.tensors import Array
from service.errors import DeadlineExceeded, QueueFull, Unavailable
from service.serving.batcher import Batcher
from service.serving.call_policy import GATHERING_SECONDS, INLINE_SECONDS
from service.serving.durations import Durations
from service.serving.request_queue import Call, Part, Piece, Request, Result
from tests.fakes import until

pytestmark = pytest.mark.anyio


def rows(*values: float) -> Array:
    return np.array(values, dtype=np.float32)[:, np.newaxis]


#: Calls that all run on the event loop, and calls that all run in the thread.
SHORT, LONG = (0.0, 1e-9), (1.0, 0.0)


class Fixed(Durations):
    """An estimate that measured calls do not change, so that the load of the machine does not matter."""

    def record(self, rows: int, seconds: float) -> None:
        """Ignore the call."""


class Doubler:
    """Doubles rows and records its batches. It waits at a closed gate, and fails on a row of -1."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.outputs: list[set[str]] = []
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, batch: Array, outputs: Collection[str]) -> dict[str, Array]:
        self.batches.append(batch[:, 0].tolist())
        self.outputs.append(set(outputs))
        self.threads.add(threading.get_ident())
        if not self.gate.wait(timeout=10):
            raise TimeoutError("the gate stayed closed")
        if -1 in batch:
            raise ValueError("a row of -1")
        return dict.fromkeys(outputs, batch * 2)


@asynccontextmanager
async def batcher(
    run: Doubler,
    takes: tuple[float, float] = LONG,
    max_batch: int = 8,
    max_queue: int = 100,
    timeout: float = 60,
) -> AsyncIterator[Batcher]:
    """Yield a Batcher whose calls take `takes[0]` seconds to begin and `takes[1]` seconds for each row."""
    made = Batcher(run, max_batch=max_batch, max_queue=max_queue, timeout=timeout, durations=Fixed(*takes))
    try:
        yield made
    finally:
        run.gate.set()
        await made.close()


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never cut a wait for further requests short, however slow the machine is."""
    monkeypatch.setattr("service.serving.call_policy.GATHERING_SECONDS", 60)


async def submit_together(batcher: Batcher, run: Doubler) -> None:
    """Submit requests together, so that the Batcher waits for further requests from now on."""
    for _ in range(2):
        await asyncio.gather(*(batcher.submit(rows(0), ["out"]) for _ in range(2)))
    for _ in range(3):  # turns of the event loop, after which the Batcher is idle
        await asyncio.sleep(0)
    run.batches.clear()
    run.threads.clear()


@asynccontextmanager
async def busy(batcher: Batcher, run: Doubler) -> AsyncIterator[None]:
    """Hold the callable at its gate by a separate request until the block ends."""
    run.gate.clear()
    first = asyncio.create_task(batcher.submit(rows(0), ["out"]))
    await until(lambda: run.batches == [[0]])
    yield
    run.gate.set()
    await first


async def test_a_lone_request_runs_at_once_and_alone() -> None:
    """A request does not wait for others."""
    run = Doubler()
    async with batcher(run) as b:
        result = await b.submit(rows(1, 2), ["out"])
    assert result.outputs["out"][:, 0].tolist() == [2, 4]
    assert run.batches == [[1, 2]]


@pytest.mark.usefixtures("unhurried")
async def test_a_lone_request_runs_at_once_and_requests_that_arrive_together_share_a_call() -> None:
    """With short calls, requests wait for others only after an earlier call had several requests."""
    run = Doubler()
    async with batcher(run, SHORT) as b:
        together = [[[1], [2, 3]], [[1, 2, 3]], [[1, 2, 3]]]
        for expected in (*together, [[1, 2, 3]]):
            run.batches.clear()
            await asyncio.gather(*(b.submit(rows(i), ["out"]) for i in (1, 2, 3)))
            assert run.batches == expected
        for _ in range(2):
            run.batches.clear()
            await b.submit(rows(1), ["out"])
            assert run.batches == [[1]]
        run.batches.clear()
        await asyncio.gather(*(b.submit(rows(i), ["out"]) for i in (1, 2, 3)))
        assert run.batches == together[0]


async def submit_one_by_one(b: Batcher, run: Doubler, requests: int, seconds: float = 0) -> list[int]:
    """Submit one request in each turn of the event loop. Return how many rows had run after each turn.

    Each turn takes `seconds` longer.
    """
    callers, ran = [], []
    for i in range(requests):
        time.sleep(seconds)
        callers.append(asyncio.create_task(b.submit(rows(i), ["out"])))
        await asyncio.sleep(0)
        ran.append(sum(map(len, run.batches)))
    for i, result in enumerate(await asyncio.gather(*callers)):
        assert result.outputs["out"][:, 0].tolist() == [2 * i]
    return ran


@pytest.mark.usefixtures("unhurried")
async def test_requests_of_successive_turns_share_a_call() -> None:
    """A short call waits for as long as each turn of the event loop brings a request."""
    run = Doubler()
    async with batcher(run, SHORT) as b:
        await submit_together(b, run)
        assert await submit_one_by_one(b, run, 5) == [0] * 5
    assert run.batches == [[0, 1, 2, 3, 4]]


@pytest.mark.usefixtures("unhurried")
async def test_a_turn_without_a_request_ends_the_wait() -> None:
    run = Doubler()
    async with batcher(run, SHORT) as b:
        await submit_together(b, run)
        callers = [asyncio.create_task(b.submit(rows(i), ["out"])) for i in range(2)]
        for _ in range(3):  # requests arrive, no request arrives, the call runs
            assert not run.batches
            await asyncio.sleep(0)
        assert run.batches == [[0, 1]]
        await asyncio.gather(*callers)


@pytest.mark.usefixtures("unhurried")
async def test_a_full_call_does_not_wait_for_more_requests() -> None:
    run = Doubler()
    async with batcher(run, SHORT, max_batch=3) as b:
        await submit_together(b, run)
        assert await submit_one_by_one(b, run, 6) == [0, 0, 0, 3, 3, 3]
        assert run.batches == [[0, 1, 2], [3, 4, 5]]
    run.batches.clear()
    async with batcher(run, (0, INLINE_SECONDS / 2)) as b:
        await submit_together(b, run)
        assert await submit_one_by_one(b, run, 4) == [0, 0, 2, 2]
        assert run.batches == [[0, 1], [2, 3]]


async def test_a_request_waits_only_briefly_for_others_to_join() -> None:
    """A call starts after `GATHERING_SECONDS`, even if each turn brings a request."""
    run = Doubler()
    async with batcher(run, SHORT) as b:
        await submit_together(b, run)
        await submit_one_by_one(b, run, 5, GATHERING_SECONDS)
    assert max(map(len, run.batches)) <= 2


async def test_many_small_requests_run_in_short_calls() -> None:
    """The calls run on the event loop, and none is longer than the longest call allowed there."""
    run = Doubler()
    async with batcher(run, (0, INLINE_SECONDS / 2)) as b:
        results = await asyncio.gather(*(b.submit(rows(i), ["out"]) for i in range(9)))
        assert [result.outputs["out"].item() for result in results] == [2 * i for i in range(9)]
        assert run.batches[0] == [0]
        assert len(run.batches[1]) == 2
        assert run.threads == {threading.get_ident()}


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize(
    ("begin", "row", "in_thread"),
    [
        (0.9, 0.01, False),  # one row takes almost the longest inline call; more rows add little
        (0.6, 0.1, True),  # short calls would spend most of their time on beginning
    ],
)
async def test_small_requests_run_together_where_a_call_takes_long_to_begin(
    begin: float, row: float, *, in_thread: bool
) -> None:
    run = Doubler()
    async with batcher(run, (INLINE_SECONDS * begin, INLINE_SECONDS * row)) as b:
        await submit_together(b, run)
        await asyncio.gather(*(b.submit(rows(i), ["out"]) for i in range(8)))
        assert run.batches == [[*range(8)]]
        assert (run.threads != {threading.get_ident()}) == in_thread


async def test_requests_that_arrive_while_the_engine_is_busy_run_together() -> None:
    """One call serves all waiting requests, and each gets its own rows."""
    run = Doubler()
    async with batcher(run) as b:
        async with busy(b, run):
            waiting = [asyncio.create_task(b.submit(rows(i, i + 0.5), ["out"])) for i in (1, 2, 3)]
            await asyncio.sleep(0)
        results = await asyncio.gather(*waiting)
    assert run.batches == [[0], [1, 1.5, 2, 2.5, 3, 3.5]]
    assert [result.outputs["out"][:, 0].tolist() for result in results] == [[2, 3], [4, 5], [6, 7]]


async def test_a_batch_never_exceeds_its_limit() -> None:
    """Rows that do not fit wait for the next call."""
    run = Doubler()
    async with batcher(run, max_batch=3) as b:
        async with busy(b, run):
            waiting = [asyncio.create_task(b.submit(rows(i, i + 0.5), ["out"])) for i in (1, 2)]
            await asyncio.sleep(0)
        results = await asyncio.gather(*waiting)
    assert run.batches == [[0], [1, 1.5, 2], [2.5]]
    assert [result.outputs["out"][:, 0].tolist() for result in results] == [[2, 3], [4, 5]]


async def test_small_requests_wait_for_one_call_of_a_large_one() -> None:
    """The remaining rows of the large request go to the back of the queue."""
    run = Doubler()
    async with batcher(run, max_batch=4) as b:
        async with busy(b, run):
            large = asyncio.create_task(b.submit(rows(*range(10, 20)), ["out"]))
            await asyncio.sleep(0)
            small = [asyncio.create_task(b.submit(rows(i), ["out"])) for i in (1, 2)]
            await asyncio.sleep(0)
        result = await large
        await asyncio.gather(*small)
    assert run.batches == [[0], [10, 11, 12, 13], [1, 2, 14, 15], [16, 17, 18, 19]]
    assert result.outputs["out"][:, 0].tolist() == [2 * value for value in range(10, 20)]


async def test_a_large_request_is_cut_and_put_together_again() -> None:
    """The caller gets one answer, in order."""
    run = Doubler()
    async with batcher(run, max_batch=3) as b:
        result = await b.submit(rows(*range(8)), ["out"])
    assert run.batches == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert result.outputs["out"][:, 0].tolist() == [0, 2, 4, 6, 8, 10, 12, 14]


async def test_the_inference_time_of_a_request_in_several_calls_is_their_sum() -> None:
    class Slow(Doubler):
        def __call__(self, batch: Array, outputs: Collection[str]) -> dict[str, Array]:
            time.sleep(0.02)
            return super().__call__(batch, outputs)

    async with batcher(Slow(), max_batch=3) as b:
        submitted = time.perf_counter()
        result = await b.submit(rows(*range(8)), ["out"])
        taken = time.perf_counter() - submitted
    assert 3 * 0.02 <= result.inference <= result.queue + result.inference <= taken


async def test_each_request_gets_the_outputs_that_it_names() -> None:
    """A batch computes the outputs of all its requests, and each request gets only its own outputs."""
    run = Doubler()
    async with batcher(run) as b:
        async with busy(b, run):
            one = asyncio.create_task(b.submit(rows(1), ["a"]))
            two = asyncio.create_task(b.submit(rows(2), ["b"]))
            await asyncio.sleep(0)
        results = await asyncio.gather(one, two)
    assert run.outputs[1] == {"a", "b"}
    assert [set(result.outputs) for result in results] == [{"a"}, {"b"}]


async def test_only_the_request_at_fault_fails() -> None:
    """The other requests of a failed batch run again without the request at fault."""
    run = Doubler()
    async with batcher(run) as b:
        async with busy(b, run):
            waiting = [asyncio.create_task(b.submit(rows(i), ["out"])) for i in (1, -1, 2)]
            await asyncio.sleep(0)
        good, bad, also_good = await asyncio.gather(*waiting, return_exceptions=True)
    assert not isinstance(good, BaseException)
    assert not isinstance(also_good, BaseException)
    assert good.outputs["out"][0, 0] == 2
    assert also_good.outputs["out"][0, 0] == 4
    assert isinstance(bad, ValueError)


async def test_a_request_cancelled_in_the_queue_does_not_run() -> None:
    """A cancelled request does not run, and the other requests are answered."""
    run = Doubler()
    async with batcher(run) as b:
        async with busy(b, run):
            cancelled = asyncio.create_task(b.submit(rows(1), ["out"]))
            other = asyncio.create_task(b.submit(rows(2), ["out"]))
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.sleep(0)
        assert (await other).outputs["out"][0, 0] == 4
    assert run.batches == [[0], [2]]


async def test_a_request_cancelled_in_a_running_batch_does_not_affect_the_others() -> None:
    """The call goes on for the other requests."""
    run = Doubler()
    async with batcher(run) as b:
        async with busy(b, run):
            cancelled = asyncio.create_task(b.submit(rows(1), ["out"]))
            other = asyncio.create_task(b.submit(rows(2), ["out"]))
            await asyncio.sleep(0)
        run.gate.clear()
        await until(lambda: len(run.batches) == 2)
        cancelled.cancel()
        await asyncio.sleep(0)
        run.gate.set()
        assert (await other).outputs["out"][0, 0] == 4
    assert run.batches == [[0], [1, 2]]


async def test_a_full_queue_refuses_requests_until_it_is_empty() -> None:
    """The limit is in rows. Once the queue is empty, requests are accepted again."""
    run = Doubler()
    async with batcher(run, max_queue=3) as b:
        async with busy(b, run):
            waiting = asyncio.create_task(b.submit(rows(1, 2), ["out"]))
            await asyncio.sleep(0)
            with pytest.raises(QueueFull, match="expected at most 3 sequences waiting or arriving, got 3 and 1"):
                await b.submit(rows(3), ["out"])
        await waiting
        assert (await b.submit(rows(1, 2, 3), ["out"])).outputs["out"].shape == (3, 1)


async def test_several_kinds_of_rows_run_in_one_call() -> None:
    """Each kind gets its own rows and outputs."""
    run = Doubler()
    async with batcher(run) as b:
        first, second = await b.submit_all([(rows(1, 2), ["out"]), (rows(3), ["other"])])
    assert run.batches == [[1, 2, 3]]
    assert first.outputs.keys() == {"out"}
    assert first.outputs["out"][:, 0].tolist() == [2, 4]
    assert second.outputs.keys() == {"other"}
    assert second.outputs["other"][:, 0].tolist() == [6]


async def test_several_kinds_of_rows_are_admitted_together_or_not_at_all() -> None:
    """Those that would have room are refused with the others, and do not run."""
    run = Doubler()
    async with batcher(run, max_queue=4) as b:
        async with busy(b, run):
            with pytest.raises(QueueFull, match="expected at most 4 sequences waiting or arriving, got 1 and 4"):
                await b.submit_all([(rows(1, 2), ["out"]), (rows(3, 4), ["out"])])
            waiting = asyncio.create_task(b.submit_all([(rows(5, 6), ["out"]), (rows(7), ["out"])]))
            await asyncio.sleep(0)
        await waiting
        assert b.queue.rows == 0
    assert run.batches == [[0], [5, 6, 7]]


async def test_one_kind_of_rows_that_fails_is_the_error_of_all() -> None:
    """Requests of others are not affected."""
    run = Doubler()
    async with batcher(run) as b:
        async with busy(b, run):
            other = asyncio.create_task(b.submit(rows(5), ["out"]))
            both = asyncio.create_task(b.submit_all([(rows(1), ["out"]), (rows(-1), ["out"])]))
            await asyncio.sleep(0)
        assert (await other).outputs["out"][0, 0] == 10
        with pytest.raises(ValueError, match="a row of -1"):
            await both


async def test_room_that_is_held_is_not_given_to_others() -> None:
    """It is free again once the context ends."""
    run = Doubler()
    async with batcher(run, max_queue=4) as b:
        with b.queue.hold(3):
            assert (await b.submit(rows(1), ["out"])).outputs["out"][0, 0] == 2
            with pytest.raises(QueueFull, match="expected at most 4 sequences waiting or arriving, got 3 and 2"):
                await b.submit(rows(1, 2), ["out"])
            with pytest.raises(QueueFull), b.queue.hold(2):
                pass
        assert (await b.submit(rows(1, 2, 3, 4), ["out"])).outputs["out"].shape == (4, 1)


async def test_rows_of_a_cancelled_request_make_room_again() -> None:
    """A cancelled request no longer counts once the engine has passed its place."""
    run = Doubler()
    async with batcher(run, max_queue=3) as b:
        async with busy(b, run):
            cancelled = asyncio.create_task(b.submit(rows(1, 2), ["out"]))
            await asyncio.sleep(0)
            cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        assert b.queue.rows == 0


async def test_a_request_past_its_deadline_fails_and_does_not_run() -> None:
    """Each request has its own deadline, also behind requests that were answered."""
    run = Doubler()
    async with batcher(run, timeout=0.05) as b:
        assert (await b.submit(rows(5), ["out"])).outputs["out"][0, 0] == 10
        run.batches.clear()
        run.gate.clear()
        running = asyncio.create_task(b.submit(rows(0), ["out"]))
        await until(lambda: run.batches == [[0]])
        waiting = asyncio.create_task(b.submit(rows(1), ["out"]))
        for request in (running, waiting):
            with pytest.raises(DeadlineExceeded, match=r"no answer within 0\.05 s"):
                await asyncio.wait_for(request, timeout=5)
        run.gate.set()
        assert (await b.submit(rows(2), ["out"])).outputs["out"][0, 0] == 4
    assert run.batches == [[0], [2]]


async def test_answered_requests_are_not_kept_for_their_deadlines() -> None:
    """Memory stays constant under traffic, however long the timeout."""
    run = Doubler()
    async with batcher(run, timeout=3600) as b:
        for i in range(1000):
            await b.submit(rows(i), ["out"])
        assert b.queue.unanswered == 0


async def test_an_idle_batcher_takes_any_request() -> None:
    """An empty queue accepts a request that is larger than the queue."""
    run = Doubler()
    async with batcher(run, max_queue=2) as b:
        assert (await b.submit(rows(*range(5)), ["out"])).outputs["out"].shape == (5, 1)


async def test_an_unused_batcher_is_freed_with_its_thread() -> None:
    """It is freed at once, even if its requests had deadlines. Versions are replaced often."""
    threads = threading.active_count()
    run = Doubler()
    unused = Batcher(run, max_batch=8, max_queue=8, timeout=60)
    await unused.submit(rows(1), ["out"])
    assert run.threads != {threading.get_ident()}, "the first call, whose duration is unknown, runs in a thread"
    freed = weakref.ref(unused)
    del unused
    await until(lambda: freed() is None)
    await until(lambda: threading.active_count() == threads)


async def test_warming_up_runs_calls_up_to_the_largest() -> None:
    """After the warm-up, the durations of calls are known, so the first request runs on the event loop."""
    run = Doubler()
    async with batcher(run, max_batch=64) as warm:
        warm.warm_up(rows(1, 2, 3), ["out"])
        assert sorted({len(batch) for batch in run.batches}) == [1, 8, 64]
        run.threads.clear()
        await warm.submit(rows(1), ["out"])
        assert run.threads == {threading.get_ident()}


def spin(seconds: float) -> None:
    """Use the processor for some seconds of this thread's time."""
    started = time.thread_time()
    while time.thread_time() - started < seconds:
        pass


@pytest.mark.parametrize(
    ("cost", "longest"),
    [
        (lambda size: 1e-6 * size**2, 8),  # a large run takes longer for each row
        (lambda size: 2e-3, 64),  # noqa: ARG005 - only the start of a run takes time
        (lambda size: 3e-2, 64),  # noqa: ARG005 - the same on a busy machine
    ],
)
async def test_a_large_call_is_run_in_steps_where_that_takes_less_time(
    cost: Callable[[int], float], longest: int
) -> None:
    """Steps do not change the rows of the answers."""
    run = Doubler()

    def costly(batch: Array, outputs: Collection[str]) -> dict[str, Array]:
        spin(cost(len(batch)))
        return run(batch, outputs)

    made = Batcher(costly, max_batch=64, max_queue=1000, timeout=60)
    made.warm_up(rows(1, 2, 3), ["out"])
    run.batches.clear()
    values = [float(value) for value in range(150)]
    result = await made.submit(rows(*values), ["out"])
    np.testing.assert_array_equal(result.outputs["out"], rows(*values) * 2)
    assert max(map(len, run.batches)) == longest
    await made.close()


async def test_closing_finishes_accepted_requests_and_refuses_new_ones() -> None:
    """Accepted requests are answered, and a new request is refused."""
    run = Doubler()
    b = Batcher(run, max_batch=1, max_queue=100, timeout=60)
    run.gate.clear()
    accepted = [asyncio.create_task(b.submit(rows(i), ["out"])) for i in (1, 2)]
    await until(lambda: run.batches == [[1]])
    closing = asyncio.create_task(b.close())
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await b.submit(rows(3), ["out"])
    run.gate.set()
    results = await asyncio.gather(*accepted)
    await closing
    assert [result.outputs["out"][0, 0] for result in results] == [2, 4]


async def test_the_event_loop_runs_on_while_the_engine_works() -> None:
    """A long call does not block the event loop."""
    run = Doubler()
    async with batcher(run) as b, busy(b, run):
        await asyncio.wait_for(asyncio.sleep(0.01), timeout=5)
        assert not run.gate.is_set()


async def test_a_missing_output_is_an_error_not_a_hang() -> None:
    """If the result lacks a requested output, the caller gets the error."""
    b = Batcher(lambda rows, _: {"other": rows}, max_batch=4, max_queue=8, timeout=60)
    with pytest.raises(KeyError):
        await asyncio.wait_for(b.submit(rows(1), ["out"]), timeout=5)
    await b.close()


@dataclass(frozen=True)
class Arrival:
    """A request: arrives some turns of the event loop after the previous one, and may be cancelled some turns later."""

    turns: int
    rows: int
    outputs: frozenset[str]
    poisoned: bool
    cancelled_after: int | None


ARRIVALS = st.builds(
    Arrival,
    turns=st.integers(0, 3),
    rows=st.integers(1, 12),
    outputs=st.frozensets(st.sampled_from("ab"), min_size=1),
    poisoned=st.sampled_from([False] * 4 + [True]),
    cancelled_after=st.none() | st.integers(0, 4),
)
FACTORS = {"a": 2, "b": 3}
POISON = -1.0


@given(
    arrivals=st.lists(ARRIVALS, max_size=20),
    failing_calls=st.frozensets(st.integers(0, 9)),
    inline=st.booleans(),
    max_batch=st.integers(1, 16),
    max_queue=st.integers(1, 60),
    timeout=st.sampled_from([60.0, 0.001, 0.0]),
)
@settings(max_examples=300)
def test_each_request_gets_its_own_rows_or_one_clear_error(  # noqa: PLR0913 - each is a dimension
    arrivals: list[Arrival],
    failing_calls: frozenset[int],
    *,
    inline: bool,
    max_batch: int,
    max_queue: int,
    timeout: float,
) -> None:
    """Each request ends, and the queue is then empty, for any arrivals, sizes, cancellations, deadlines, failures."""
    calls = 0

    def run(batch: Array, outputs: Collection[str]) -> dict[str, Array]:
        nonlocal calls
        calls += 1
        assert 1 <= len(batch) <= max_batch
        if calls - 1 in failing_calls:
            raise RuntimeError("the engine failed")
        if POISON in batch:
            raise ValueError("a poisoned row")
        return {name: batch * FACTORS[name] for name in outputs}

    async def caller(index: int, arrival: Arrival, b: Batcher) -> None:
        values = np.arange(arrival.rows, dtype=np.float32)[:, np.newaxis] + 100 * (index + 1)
        if arrival.poisoned:
            values[-1] = POISON
        try:
            result = await b.submit(values, arrival.outputs)
        except DeadlineExceeded:
            assert timeout < 60
        except ValueError:
            assert arrival.poisoned
        except RuntimeError:
            assert failing_calls
        except QueueFull:
            assert b.queue.rows > max(0, max_queue - arrival.rows)
        else:
            assert not arrival.poisoned
            assert set(result.outputs) == arrival.outputs
            for name, output in result.outputs.items():
                np.testing.assert_array_equal(output, values * FACTORS[name])

    async def run_all() -> None:
        durations = Fixed(*(SHORT if inline else LONG))
        b = Batcher(run, max_batch=max_batch, max_queue=max_queue, timeout=timeout, durations=durations)
        callers = []
        for index, arrival in enumerate(arrivals):
            for _ in range(arrival.turns):
                await asyncio.sleep(0)
            callers.append(asyncio.create_task(caller(index, arrival, b)))
            if arrival.cancelled_after is not None:
                for _ in range(arrival.cancelled_after):
                    await asyncio.sleep(0)
                callers[-1].cancel()
        async with asyncio.timeout(10):
            for outcome in await asyncio.gather(*callers, return_exceptions=True):
                assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome
            await b.close()
        assert (b.queue.rows, b.queue.unanswered) == (0, 0)

    asyncio.run(run_all())


async def test_a_reservation_holds_room_while_a_request_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many rows as requests have on average, but no longer than its time, so that slow uploads close no queue."""
    run = Doubler()
    async with batcher(run, max_queue=8) as b:
        for _ in range(50):
            await b.submit(rows(1, 2, 3), ["out"])
        run.batches.clear()
        async with busy(b, run):  # 1 row of 8
            with (
                b.queue.reserve(),
                b.queue.reserve(),
                pytest.raises(QueueFull, match=r"got 1 and 8$"),
            ):
                b.queue.reserve().__enter__()
            with b.queue.reserve(), b.queue.reserve():  # released by the block before
                pass
            monkeypatch.setattr("service.serving.request_queue.RESERVED_SECONDS", -1)
            for _ in range(10):
                b.queue.reserve().__enter__()
        with b.queue.reserve(), b.queue.reserve(), b.queue.reserve(), b.queue.reserve():  # an idle engine refuses none
            pass


@pytest.mark.parametrize("takes", [SHORT, LONG])
def test_an_event_loop_may_end_with_the_last_answer(takes: tuple[float, float]) -> None:
    """The Batcher is idle by then, so that the next event loop can use it."""
    b = Batcher(Doubler(), max_batch=8, max_queue=100, timeout=60, durations=Fixed(*takes))

    async def ask_twice() -> None:
        async with asyncio.timeout(10):
            await asyncio.gather(*(b.submit(rows(value), ["out"]) for value in (1, 2)))

    for _ in range(20):
        asyncio.run(ask_twice())
    asyncio.run(b.close())


@pytest.mark.parametrize("takes", [SHORT, LONG], ids=["on the event loop", "in the thread"])
@pytest.mark.parametrize("where", ["batcher:_split", "request_queue:_joined", "request_queue:RequestQueue.take"])
async def test_an_error_outside_of_the_engine_fails_no_later_request(
    where: str, takes: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory runs out once, when rows are taken, or results are cut or joined. All requests get an answer or that."""
    run = Doubler()
    async with batcher(run, takes, max_batch=2) as b:
        name = f"service.serving.{where}"
        monkeypatch.setattr(name.replace(":", "."), failing_once(pkgutil.resolve_name(name)))
        requests = [b.submit(rows(*range(size)), ["out"]) for size in (1, 5, 5)]
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
        failed = [outcome for outcome in outcomes if isinstance(outcome, MemoryError)]
        assert len(failed) <= (3 if where.endswith("take") else 1)
        assert failed or where.endswith("_split")  # requests of one call run again, each by itself
        assert (await b.submit(rows(1, 2, 3), ["out"])).outputs["out"][:, 0].tolist() == [2, 4, 6]
        assert (b.queue.rows, b.queue.unanswered) == (0, 0)


def failing_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that raises MemoryError the first time."""
    errors = [MemoryError()]

    def call(*arguments: Any, **named: Any) -> Any:
        if errors:
            raise errors.pop()
        return function(*arguments, **named)

    return call


async def test_a_call_that_does_not_end_shows() -> None:
    """The Batcher is stuck until the call ends."""
    run = Doubler()
    async with batcher(run, timeout=0.05) as b:
        assert b.stuck_for == 0
        run.gate.clear()
        late = asyncio.create_task(b.submit(rows(0), ["out"]))
        await until(lambda: b.stuck_for > 0)
        run.gate.set()
        with pytest.raises(DeadlineExceeded):
            await late
        await until(lambda: b.stuck_for == 0)


async def test_the_log_has_no_data_of_requests() -> None:
    """The event loop logs the arguments of callbacks, and the results of futures."""
    array = rows(123456)
    part = Part({"out": array}, 0.0, 0.0)
    request = Request(array, 1, ["out"], asyncio.get_running_loop().create_future(), 0.0, parts=(part,))
    call = Call([Piece(request, array, 1, last=True)], [(request, 1)])
    assert "123456" not in repr((call, part, Result({"out": array}, 0.0, 0.0)))
