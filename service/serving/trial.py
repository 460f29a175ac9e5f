"""Trials: a version is loaded in a process of its own, within limits, before this process loads it.

A graph may run for ever or take all memory. Versions whose work follows from the graph need no trial. On the TensorFlow
engine, whose import alone takes seconds, loading has a deadline instead.
"""

import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from service.artifact.gate import open_verified
from service.artifact.layout import LOWERING, SAVED_MODEL
from service.artifact.version import Contents
from service.artifact.work import work_of
from service.engines import EngineChoice, opener, runs_lowering
from service.errors import ArtifactError
from service.serving.model import Limits, Model, most_rows

#: Most work of one run without a trial: numbers in all inputs and outputs, which take 2 GiB, and products, which take
#: some 10 s.
MOST_NUMBERS: Final = 2**29
MOST_PRODUCTS: Final = 2**36
#: Most bytes of a graph without a trial. Small parts of a graph take a microsecond for each byte.
MOST_GRAPH_BYTES: Final = 2**24
#: Memory that a trial may take: this, and several times the files of the version.
MEMORY: Final = 2**31
COPIES: Final = 3
#: Time between two checks that the service is still running, in seconds.
WATCH_SECONDS: Final = 1.0
#: Exit status of a trial that refuses its version, and prints why.
REFUSED: Final = 3

logger = logging.getLogger(__name__)


class _Task(NamedTuple):
    """One trial.

    Attributes:
        contents: the files of the version.
        choice: the engine.
        threads: number of threads that one call may use.
        limits: the limits of the model.
        seconds: most processor time.
        memory: most bytes.
        service: the process that waits for the outcome.
    """

    contents: Contents
    choice: EngineChoice
    threads: int
    limits: Limits
    seconds: float
    memory: int
    service: int


class Trials:
    """Loads versions within limits, one at a time.

    Args:
        choice: the engine of the service.
        threads: number of threads that one call may use.
        limits: the limits of each model.
        seconds: longest time of a trial, and of loading on the TensorFlow engine.
    """

    def __init__(self, choice: EngineChoice, threads: int, limits: Limits, seconds: float) -> None:
        self._choice: EngineChoice = choice
        self._threads = threads
        self._limits = limits
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def load(self, contents: Contents, load: Callable[[], Model]) -> Model:
        """Load a version, after a trial if its work does not follow from its graph.

        Args:
            contents: its files.
            load: loads it.

        Raises:
            ArtifactError: it fails, or takes more time or memory than it may take.
        """
        if not runs_lowering(self._choice, contents):
            return self._in_time(contents, load)
        if (reason := self._reason(contents)) is not None:
            self._try(contents, reason)
        return load()

    def close(self) -> None:
        """End the trial that runs, and let no other begin. Any thread may call this."""
        self._closed = True
        if (process := self._process) is not None:
            process.kill()

    def _in_time(self, contents: Contents, load: Callable[[], Model]) -> Model:
        """Load a version in a thread. Nothing can end a thread, so one that is late goes on."""
        outcome: Future[Model] = Future()

        def run() -> None:
            try:
                outcome.set_result(load())
            except BaseException as error:  # noqa: BLE001 - the caller gets it
                outcome.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        try:
            return outcome.result(self._seconds)
        except TimeoutError as error:
            if outcome.done():  # an error of the version
                raise
            raise ArtifactError(
                f"{contents.directory} is not loaded within {self._seconds:g} s; TensorFlow goes on until the service "
                "starts again"
            ) from error

    def _try(self, contents: Contents, reason: str) -> None:
        memory = MEMORY + COPIES * sum(entry.status.st_size for entry in contents.entries.values())
        task = _Task(contents, self._choice, self._threads, self._limits, self._seconds, memory, os.getpid())
        within = f"in a trial within {self._seconds:g} s and {memory >> 20} MiB, because of {reason}"
        logger.info("%s is loaded %s", contents.directory, within)
        with subprocess.Popen(  # noqa: S603 - the same Python
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libraries write what they like
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "MALLOC_ARENA_MAX": "2"},
            start_new_session=True,  # Ctrl+C is for the service
        ) as process:
            self._process = process
            try:
                if self._closed:
                    process.kill()
                answer, _ = process.communicate(pickle.dumps(task), timeout=self._seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                raise ArtifactError(f"{contents.directory} is not loaded {within}") from None
            finally:
                self._process = None
        if process.returncode == REFUSED:
            raise ArtifactError(f"{answer.decode(errors='replace')} ({within})")
        if process.returncode:
            raise ArtifactError(f"{contents.directory} ended its process with status {process.returncode} {within}")

    def _reason(self, contents: Contents) -> str | None:
        """Return why a version needs a trial; None if it needs none."""
        for name in (SAVED_MODEL, LOWERING):
            if len(contents.files.get(name, b"")) > MOST_GRAPH_BYTES:
                return f"{name} of more than {MOST_GRAPH_BYTES} bytes"
        golden = contents.golden()
        rows = max(len(golden.sequence), min(most_rows(golden), self._limits.max_batch))
        try:
            work = work_of(contents.file(LOWERING), rows)
        except ValueError as error:
            return str(error)
        if work.numbers > MOST_NUMBERS or work.products > MOST_PRODUCTS:
            return f"{work.numbers} numbers and {work.products} products in a run of {rows} sequences"
        return None


def main() -> None:
    """Run the trial that comes by standard input.

    Raises:
        SystemExit: the version is refused.
    """
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print there
    task: _Task = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the service
    threading.Thread(target=_end_with, args=(task.service,), daemon=True).start()
    _limit(task.seconds, task.memory)
    try:
        verified = open_verified(task.contents, opener(task.choice, task.threads))
        Model(verified, 1, task.limits).warm_up()
    except Exception as error:  # noqa: BLE001 - runtimes raise anything
        answer.write(str(error) if isinstance(error, ArtifactError) else repr(error))
        answer.close()
        raise SystemExit(REFUSED) from None


def _limit(seconds: float, memory: int) -> None:
    """Limit the processor time and the memory of this process. If memory runs out, the kernel ends it first."""
    import resource

    with suppress(OSError):  # there is no such file on systems other than Linux
        Path("/proc/self/oom_score_adj").write_text("1000")

    for kind, most in (
        (resource.RLIMIT_CPU, int(seconds) + 1),
        (resource.RLIMIT_DATA, memory),  # unlike RLIMIT_AS, without the addresses that libraries only reserve
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (limit, limit))


def _end_with(service: int) -> None:
    """End this process soon after the service has ended."""
    while os.getppid() == service:
        time.sleep(WATCH_SECONDS)
    os._exit(REFUSED)


if __name__ == "__main__":
    main()
