"""Worker processes, which start while the run is planned."""

import importlib
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import active_children, connection, get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.child_processes import interrupts_for_parent_only
from service.errors import ScoringError

if TYPE_CHECKING:  # imported later, while the processes import the same
    from service.bulk.source import Unit
    from service.bulk.worker import Job


class Processes:
    """Processes that run units. An error ends all of them.

    Args:
        count: the number of processes. They begin at once to import what a worker needs.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool = ProcessPoolExecutor(count, get_context("spawn"), initializer=_begin)
        with interrupts_for_parent_only():
            for _ in range(count):  # each starts a process, as none is idle yet
                self._pool.submit(importlib.import_module, "service.bulk.worker")

    def __call__(self, job: "Job", units: "Sequence[Unit]") -> "Iterator[Unit]":
        """Run units, and yield each when it is done.

        Raises:
            ScoringError, ArtifactError: a unit failed, or a process ended early.
        """
        try:
            futures = {self._pool.submit(_score, job, unit): unit for unit in _in_stretches(units, self._count)}
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BrokenProcessPool as error:
            raise ScoringError(
                "a worker process ended before its work was done: it was killed, or memory was short (--workers and "
                "--chunk can be smaller); --resume continues the run"
            ) from error
        finally:
            self.end()

    def end(self) -> None:
        """End the processes, so that none of them writes after this."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in active_children():
            process.kill()
            process.join()


@contextmanager
def started(count: int) -> Iterator[Processes]:
    """Yield processes. None of them is left after the block."""
    processes = Processes(count)
    try:
        yield processes
    finally:
        processes.end()


def _in_stretches(units: "Sequence[Unit]", workers: int) -> "list[Unit]":
    """Return units in such an order that a worker mostly takes the one behind its last, and reads on in its file."""
    length = -(-len(units) // workers)
    return [unit for start in range(length) for unit in units[start::length]]


def _begin() -> None:
    """Let this process end with the one that started it."""
    sentinel = _sentinel()

    def end_with_parent() -> None:
        connection.wait([sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _sentinel() -> Any:
    """Return what is ready when the process that started this one has ended."""
    parent = parent_process()
    assert parent is not None, "a worker was started by another process"
    return parent.sentinel


def _score(job: "Job", unit: "Unit") -> None:
    from service.bulk.worker import score_unit

    _hold(job.output)
    score_unit(job, unit)


@lru_cache(1)
def _hold(folder: Path) -> None:
    """Let no other run begin in a folder while this process lives."""
    from service.bulk.output import Output

    Output(folder).hold()
    if connection.wait([_sentinel()], 0):  # it ended before, and another run may have begun
        os._exit(1)
