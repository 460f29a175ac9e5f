"""Warm-up: runs an engine at several sizes, to find how long calls take and how large they should be."""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

import numpy as np

from service.artifact.tensors import Array
from service.serving.durations import Durations

#: Each measured size is this many times the one before.
GROWTH: Final = 8
#: How often each size is run.
ROUNDS: Final = 3
#: Longest run of the engine, in seconds. Sizes that are expected to take longer are not tried.
LONGEST_RUN: Final = 0.1
#: A call runs in steps of a smaller size, unless the time of each row is then larger by more than this factor. Steps
#: that fit the processor's caches are mostly faster by a tenth to a quarter, though a busy machine may hide it. An
#: engine with a long fixed time for each run is far slower in small steps.
STEP_SLACK: Final = 1.5

#: Takes rows `(batch, …)` and the names of the outputs wanted; returns each output with `batch` rows.
Run = Callable[[Array, Collection[str]], dict[str, Array]]


class Measured(NamedTuple):
    """The fastest of several runs of one size.

    Attributes:
        rows: the size.
        seconds: how long a run took.
        computing: the same without the time in which other processes had the processor. Sizes are compared by it.
    """

    rows: int
    seconds: float
    computing: float


class Calibration(NamedTuple):
    """The outcome of a warm-up.

    Attributes:
        durations: how long calls take.
        most_rows: most rows of one call. It bounds how long other requests wait for it.
        step: rows of one run of the engine. It bounds the memory that the engine takes.
    """

    durations: Durations
    most_rows: int
    step: int


def calibrate(run: Run, rows: Array, outputs: Collection[str], *, max_batch: int, max_step: int) -> Calibration:
    """Run an engine at sizes from one row up, and choose the sizes of calls.

    Args:
        run: the engine.
        rows: `(n, …)` rows to run.
        outputs: names of the outputs to ask for.
        max_batch: most rows of one call.
        max_step: most rows of one run of the engine.
    """
    sizes, largest = [_measure(run, rows, outputs, 1)], min(max_batch, max_step)
    while sizes[-1].rows < largest:
        size = min(sizes[-1].rows * GROWTH, largest)
        if _expected(sizes, size) > LONGEST_RUN:
            break
        sizes.append(_measure(run, rows, outputs, size))
    row_seconds = sizes[-1].computing / sizes[-1].rows
    step = next(one for one in sizes[-2:] if one.computing / one.rows <= STEP_SLACK * row_seconds)
    durations = Durations.through(sizes[0][:2], step[:2])
    most_rows = min(max_batch, max(step.rows, durations.rows_within(LONGEST_RUN)))
    return Calibration(durations, most_rows, step.rows)


def _expected(sizes: Sequence[Measured], rows: int) -> float:
    """Return how long a run of some rows takes, from the last two sizes; from one size alone, at least how long.

    The time of one row may be the start of a run for the most part.
    """
    if len(sizes) == 1:
        return sizes[0].computing
    before, last = sizes[-2:]
    return Durations.through((before.rows, before.computing), (last.rows, last.computing)).seconds(rows)


def _measure(run: Run, rows: Array, outputs: Collection[str], size: int) -> Measured:
    batch = np.resize(rows, (size, *rows.shape[1:]))
    seconds, computing = [], []
    for _ in range(ROUNDS):
        started, computed = time.perf_counter(), time.process_time()
        run(batch, outputs)
        seconds.append(time.perf_counter() - started)
        # Several threads may compute at once, so this is at most the time that passed.
        computing.append(min(seconds[-1], time.process_time() - computed))
    return Measured(size, min(seconds), min(computing))
