"""Tests of the statistics of a version: counts of requests and calls, over several processes."""

import asyncio
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from service.artifact.tensors import Array
from service.serving.batcher import Batcher
from service.serving.durations import Durations
from service.serving.histograms import SECONDS
from service.serving.statistics import Counts, Duration, Statistics

NONE = Duration(0, 0)


def test_without_requests_all_counts_are_zero() -> None:
    """There was no call."""
    none = [0] * (len(SECONDS) + 1)
    expected = Counts(0, 0, NONE, NONE, NONE, NONE, NONE, NONE, {}, none, none, {os.getpid(): 0})
    assert Statistics(4).counts() == expected


def test_requests_and_calls_add_up() -> None:
    """Calls are counted by their rows, from one to the most."""
    statistics = Statistics(4)
    for _ in range(2):
        statistics.count_success(3, 31, 1, 2, 4, 8)
        statistics.count_failure(5)
        statistics.count_call(4, 0.5)
    before = time.time()
    statistics.count_call(1, 0.25)
    counts = statistics.counts()
    assert before <= counts.last_call <= time.time()
    assert (counts.sequences, counts.success, counts.failure) == (6, Duration(2, 62), Duration(2, 10))
    assert (counts.decode, counts.queue) == (Duration(2, 2), Duration(2, 4))
    assert (counts.inference, counts.encode) == (Duration(2, 8), Duration(2, 16))
    assert counts.calls == {1: Duration(1, 0.25), 4: Duration(2, 1)}
    assert {bound: count for bound, count in zip(SECONDS, counts.queue_histogram, strict=False) if count} == {2.5: 2}
    assert {bound: count for bound, count in zip(SECONDS, counts.call_histogram, strict=False) if count} == {
        0.25: 1,
        0.5: 2,
    }


def test_processes_add_up_their_counts(tmp_path: Path) -> None:
    """Counts outlive their process, and a version that is loaded again continues them."""
    one, two, other = (Statistics(2, tmp_path / "statistics", key) for key in ("m@1", "m@1", "m@2"))
    one.count_success(1, 1, 1, 1, 1, 1)
    two.count_call(2, 0.5)
    for statistics in (one, two):
        counts = statistics.counts()
        assert (counts.sequences, counts.calls) == (1, {2: Duration(1, 0.5)})
    assert other.counts().last_call == 0
    del two, statistics
    successor = Statistics(2, tmp_path / "statistics", "m@1")
    successor.count_call(2, 0.5)
    assert one.counts().calls == {2: Duration(2, 1)}
    one.retire()
    assert successor.counts().sequences == 1
    successor.retire()
    other.retire()
    assert not list((tmp_path / "statistics").iterdir())


@pytest.mark.anyio
async def test_the_batcher_counts_the_calls_that_succeed() -> None:
    """Requests that share a call count one call. A call that fails is not counted, but those that repeat it are."""
    started, released = threading.Event(), threading.Event()

    def run(rows: Array, _: object) -> dict[str, Array]:
        if len(rows) == 1:
            started.set()
            released.wait(30)
        if np.isnan(rows).any():
            raise ValueError("not a number")
        return {"rows": rows}

    statistics = Statistics(8)
    in_thread = Durations(1, 0)
    batcher = Batcher(run, max_batch=8, max_queue=100, timeout=30, durations=in_thread, count=statistics.count_call)

    async def ask(rows: int, value: float = 0) -> object:
        return await batcher.submit(np.full((rows, 1), value, np.float32), ("rows",))

    first = asyncio.create_task(ask(1))
    await asyncio.to_thread(started.wait)
    others = [asyncio.create_task(ask(2)), asyncio.create_task(ask(3)), asyncio.create_task(ask(2, np.nan))]
    await asyncio.sleep(0)
    released.set()
    outcomes = await asyncio.gather(first, *others, return_exceptions=True)
    assert [isinstance(outcome, ValueError) for outcome in outcomes] == [False, False, False, True]
    assert {rows: calls.count for rows, calls in statistics.counts().calls.items()} == {1: 1, 2: 1, 3: 1}
    await asyncio.gather(ask(3), ask(4))
    assert {rows: calls.count for rows, calls in statistics.counts().calls.items()} == {1: 1, 2: 1, 3: 1, 7: 1}
    await batcher.close()
