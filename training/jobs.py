"""Tasks on the same data, such as the fits of several seeds: in turn, in processes side by side, or on a cluster."""

import multiprocessing
import os
import pickle
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, chdir, contextmanager, redirect_stderr
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from tqdm import tqdm

from service.child_processes import interrupts_for_parent_only
from service.cluster import ClusterError, connected
from training import TrainingError
from training.frameworks import import_frameworks
from training.options import Options
from training.progress import progress_bar

Data = TypeVar("Data")
Task = TypeVar("Task")
Outcome = TypeVar("Outcome")

#: Tasks that run elsewhere. The results are the pickled outcomes.
Futures = Sequence["Future[bytes]"]

#: The error message when a process ends without an outcome.
PROCESS_ENDED: Final = (
    "a process of --jobs ended before its fit: expected memory for all of them (fewer --jobs need less), and a script "
    "that calls training.train below: if __name__ == '__main__'"
)


class Runner(Protocol):
    """Runs a function on data and each of several tasks. Yields the outcomes in the order of the tasks.

    Closing the generator ends the tasks whose outcomes were not taken.
    """

    def __call__(
        self, function: Callable[[Data, Task], Outcome], data: Data, tasks: Sequence[Task], /
    ) -> Generator[Outcome]: ...


def runner(options: Options) -> Runner:
    """Return how the fits of a training run: in this process, in `--jobs` processes, or on the cluster of `--ray`."""
    if options.ray is not None:
        return SideBySide(partial(cluster, options.ray, import_frameworks))
    return in_turn if options.jobs == 1 else SideBySide(partial(processes, options.jobs, import_frameworks))


def in_turn(function: Callable[[Data, Task], Outcome], data: Data, tasks: Sequence[Task]) -> Generator[Outcome]:
    """Run each task in this process when its outcome is asked for."""
    for task in tasks:
        yield function(data, task)


@dataclass(frozen=True)
class SideBySide:
    """Runs tasks in other processes, which show no progress of their own: one bar counts the tasks.

    Function, data, tasks and outcomes are pickled. The first error ends all tasks. A single task runs in this process.

    Attributes:
        started: takes the pickled function and data, and the tasks; returns the block in which they run.
    """

    started: Callable[[bytes, Sequence[Any]], AbstractContextManager[Futures]]

    def __call__(
        self, function: Callable[[Data, Task], Outcome], data: Data, tasks: Sequence[Task]
    ) -> Generator[Outcome]:
        if len(tasks) == 1:
            yield from in_turn(function, data, tasks)
            return
        with (
            self.started(pickle.dumps((function, data)), tasks) as futures,
            progress_bar(len(tasks), "fits side by side", "fit") as bar,
        ):
            waiting = deque(futures)
            for done in as_completed(futures):
                done.result()  # an error is raised now, not when its turn comes
                bar.update()
                while waiting and waiting[0].done():
                    yield pickle.loads(waiting.popleft().result())  # noqa: S301 - by our own process


@contextmanager
def processes(count: int, prepare: Callable[[], object], work: bytes, tasks: Sequence[Any]) -> Iterator[Futures]:
    """Run tasks in new processes of this machine, which end at the latest when this process does.

    Each process calls `prepare` first. Processes are not forked, because TensorFlow's threads would not be in the copy.

    Raises:
        ChildProcessError: a process ended without an outcome.
    """
    context = multiprocessing.get_context("spawn")
    watched, lifeline = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="attention-training-") as private, watched:
        path = Path(private, "work")  # a file, because a queue would hold a copy for each task
        path.write_bytes(work)
        del work
        executor = ProcessPoolExecutor(min(count, len(tasks)), context, _begin, (watched, prepare))
        try:
            with interrupts_for_parent_only():
                futures = [executor.submit(_perform_stored, path, task) for task in tasks]
                executor.submit(int)  # only with the next task does the executor watch a process that has just started
            yield futures
        except BrokenProcessPool:
            raise ChildProcessError(PROCESS_ENDED) from None
        finally:
            lifeline.close()
            executor.shutdown(cancel_futures=True)


@contextmanager
def cluster(address: str, prepare: Callable[[], object], work: bytes, tasks: Sequence[Any]) -> Iterator[Futures]:
    """Run tasks on a Ray cluster, whose nodes have this package and share the working directory.

    Raises:
        TrainingError: Ray is not installed, there is no such cluster, or a process ended without an outcome.
    """
    try:
        with connected(address) as ray:
            perform_there = ray.remote(max_retries=0)(_perform_on_node)
            stored = ray.put(work)
            yield [perform_there.remote(Path.cwd(), prepare, stored, task).future() for task in tasks]
    except ClusterError as error:
        raise TrainingError(str(error)) from error


def _perform_on_node(folder: Path, prepare: Callable[[], object], work: bytes, task: Any) -> bytes:
    """Run a task in the same working directory, as paths of options may be relative."""
    prepare()
    with chdir(folder):
        return perform(work, task)


def _begin(watched: Connection, prepare: Callable[[], object]) -> None:
    """Prepare a process: it ends when the other end of the pipe is closed, be it by a kill of the parent."""

    def watch() -> None:
        watched.poll(None)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    tqdm.set_lock(threading.RLock())  # tqdm's own lock is a semaphore of the system, which such an end leaves behind
    prepare()


def _perform_stored(path: Path, task: Any) -> bytes:
    return perform(path.read_bytes(), task)


def perform(work: bytes, task: Any) -> bytes:
    """Run a task in a process of its own: `work` is the pickled function and data. Return the pickled outcome."""
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        function, data = pickle.loads(work)  # noqa: S301 - by our own process
        return pickle.dumps(function(data, task))
