"""Tasks for processes side by side. Each process imports this module, so that it imports little itself."""

import os
import signal
import sys
from functools import partial
from pathlib import Path

from training import TrainingError
from training.jobs import SideBySide, processes

side_by_side = SideBySide(partial(processes, 2, os.getpid))


def process_of(path: Path, task: str) -> tuple[str, int]:
    """Return a task with the id of its process. The task "wait" ends after the task "go"."""
    if task == "wait":
        path.read_text()
    elif task == "go":
        path.write_text("go")
    sys.stderr.write("a bar")
    return task, os.getpid()


def end(path: Path, task: str) -> str:
    """Do what the task says, after the task "wait" has begun, which lasts for ever."""
    if task == "wait":
        with path.open():
            signal.pause()
    with path.open("w"):
        if task == "raise":
            raise TrainingError("the fit diverges")
        if task == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return task


def wait(path: Path, task: str) -> None:
    """Say that the task has begun. The task "one" lasts for ever; the process of the other is idle after it."""
    with path.open("a") as begun:
        begun.write(f"{task}\n")
    if task == "one":
        signal.pause()


def quotient(data: int, task: int) -> tuple[int, int]:
    """Return a quotient and the id of this process."""
    if task == 0:
        raise TrainingError("expected a number above 0, got 0")
    return data // task, os.getpid()
