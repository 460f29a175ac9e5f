"""Statistics of one version: its requests and its calls, counted in all worker processes."""

import os
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from service.serving.histograms import SECONDS
from service.serving.shared_table import SharedTable

#: Buckets of a histogram of durations. The last one has no bound.
BUCKETS: Final = len(SECONDS) + 1


@dataclass(frozen=True)
class Duration:
    """How often something happened, and how many seconds it took altogether."""

    count: int
    seconds: float


@dataclass(frozen=True)
class Counts:
    """The statistics of a version since the service began.

    Attributes:
        sequences: sequences of the answered requests.
        last_call: end of the last call of the engine, in seconds since the epoch; 0 without one.
        success: answered requests, from the arrival of the body to the encoded answer.
        failure: requests that the queue refused, and those that were decoded but not answered.
        decode: reading sequences from the bodies of the answered requests.
        queue: their waiting for a call.
        inference: the calls that ran them. Requests that share a call count its whole duration each.
        encode: writing their answers.
        calls: the calls of the engine, by their number of rows. Occlusions are rows, too.
        queue_histogram: how many of the answered requests waited how long, by the bounds `SECONDS`.
        call_histogram: how many calls took how long, likewise.
        waiting: sequences waiting or running, by the id of the process that writes the table.
    """

    sequences: int
    last_call: float
    success: Duration
    failure: Duration
    decode: Duration
    queue: Duration
    inference: Duration
    encode: Duration
    calls: Mapping[int, Duration]
    queue_histogram: Sequence[int]
    call_histogram: Sequence[int]
    waiting: Mapping[int, int]


class Statistics:
    """Counts the requests and the calls of one version in this process, and adds up those of all processes.

    The thread of the event loop counts requests. One thread at a time counts calls. So no counter has two writers, and
    none needs a lock.

    Args:
        most_rows: most rows of one call.
        folder: the folder that the worker processes of one service share; None with one process.
        key: identifies the version within the service.

    Attributes:
        waiting: one number, the sequences waiting or running in this process. The queue writes it.
    """

    def __init__(self, most_rows: int, folder: Path | None = None, key: str = "") -> None:
        layout = [
            ("retired", "i8"),
            ("process", "i8"),
            ("requests", "f8", 9),
            ("last_call", "f8", (1,)),
            ("calls", "f8", 2 * most_rows),
            ("queue_histogram", "f8", BUCKETS),
            ("call_histogram", "f8", BUCKETS),
            ("waiting", "f8", (1,)),
        ]
        self._shared = SharedTable(np.dtype(layout), folder, key)
        # A process that ended may have left sequences behind.
        self._shared.own["process"], self._shared.own["waiting"] = os.getpid(), 0
        # Adding to an entry of a memoryview takes half the time of adding to one of an array.
        self._requests, self._last_call, self._calls, self._queue_histogram, self._call_histogram, self.waiting = (
            memoryview(self._shared.own[name][0]).cast("B").cast("d")
            for name in ("requests", "last_call", "calls", "queue_histogram", "call_histogram", "waiting")
        )

    def count_success(  # noqa: PLR0913, PLR0917 - naming them takes longer
        self, sequences: int, total: float, decode: float, queue: float, inference: float, encode: float
    ) -> None:
        """Count an answered request: its sequences, and its durations in seconds."""
        requests = self._requests
        requests[0] += sequences
        requests[1] += 1
        requests[2] += total
        requests[3] += decode
        requests[4] += queue
        requests[5] += inference
        requests[6] += encode
        self._queue_histogram[bisect_left(SECONDS, queue)] += 1

    def count_failure(self, seconds: float) -> None:
        """Count a request that failed after some seconds."""
        self._requests[7] += 1
        self._requests[8] += seconds

    def count_call(self, rows: int, seconds: float) -> None:
        """Count a call of the engine."""
        self._calls[2 * rows - 2] += 1
        self._calls[2 * rows - 1] += seconds
        self._call_histogram[bisect_left(SECONDS, seconds)] += 1
        self._last_call[0] = time.time()

    def counts(self) -> Counts:
        """Return the counts of all processes."""
        tables = self._shared.all()
        sequences, answered, total, decode, queue, inference, encode, failed, failing = np.sum(
            [table["requests"][0] for table in tables], axis=0
        ).tolist()
        calls = np.sum([table["calls"][0] for table in tables], axis=0).reshape(-1, 2).tolist()
        queue_histogram, call_histogram = (
            np.sum([table[name][0] for table in tables], axis=0).astype(int).tolist()
            for name in ("queue_histogram", "call_histogram")
        )
        return Counts(
            sequences=int(sequences),
            last_call=max(float(table["last_call"][0, 0]) for table in tables),
            success=Duration(int(answered), total),
            failure=Duration(int(failed), failing),
            decode=Duration(int(answered), decode),
            queue=Duration(int(answered), queue),
            inference=Duration(int(answered), inference),
            encode=Duration(int(answered), encode),
            calls={rows: Duration(int(count), seconds) for rows, (count, seconds) in enumerate(calls, 1) if count},
            queue_histogram=queue_histogram,
            call_histogram=call_histogram,
            waiting={int(table["process"][0]): int(table["waiting"][0, 0]) for table in tables},
        )

    def retire(self) -> None:
        """Mark the version as no longer served by this process. Any thread may call this."""
        self._shared.retire()
