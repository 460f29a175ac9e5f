"""How far a fit is, kept on disk so that it can go on from there after it was killed."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from training.data import Dataset, parts_of
from training.options import Options

#: Shortest time from one save to the next, in seconds and as a multiple of what a save takes.
SHORTEST, MULTIPLE = 1.0, 20
#: Directories that start like this hold checkpoints; readers of versions pass over them.
PREFIX = ".checkpoint-"
#: Options that change nothing about the weights.
IRRELEVANT = {"resume", "tensorboard"}


@dataclass(frozen=True)
class Progress:
    """How far a fit is.

    Attributes:
        epoch: epochs done.
        step: steps done of the one after them.
        loss: sum of the losses of those steps.
        best_epoch: epoch with the lowest loss on validation data, from 1; 0 before there is one.
        best_loss: that loss.
        seconds: time taken.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    best_epoch: int = 0
    best_loss: float = float("inf")
    seconds: float = 0.0

    def is_over(self, options: Options) -> bool:
        """Whether there is nothing left to do: all epochs are done, or the latest have brought nothing."""
        stale = options.patience is not None and self.best_epoch and self.epoch - self.best_epoch >= options.patience
        return self.epoch >= options.epochs or bool(stale)

    def after_steps(self, steps: int, loss: float, seconds: float) -> Self:
        """After more steps, with the sum of their losses."""
        return replace(self, step=self.step + steps, loss=self.loss + loss, seconds=seconds)

    def after_epoch(self, validation_loss: float | None, seconds: float) -> Self:
        """After an epoch, with its loss on validation data where there is any."""
        after = replace(self, epoch=self.epoch + 1, step=0, loss=0.0, seconds=seconds)
        if validation_loss is None or validation_loss >= self.best_loss:
            return after
        return replace(after, best_epoch=after.epoch, best_loss=validation_loss)


class Checkpoint:
    """The state of one fit, in one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._due = 0.0

    def restore(self, variables: Sequence[Any]) -> Progress:
        """Set variables to what was saved last; returns how far that was, the very beginning if nothing was."""
        if not self._path.exists():
            return Progress()
        with np.load(self._path, allow_pickle=False) as arrays:
            for index, variable in enumerate(variables):
                variable.assign(arrays[str(index)])
            return Progress(**json.loads(str(arrays["progress"])))

    def save_if_due(self, progress: Progress, variables: Sequence[Any]) -> None:
        """Save unless the last time was a moment ago: it may not cost more than a small part of the fit."""
        if time.monotonic() >= self._due:
            self.save(progress, variables)

    def save(self, progress: Progress, variables: Sequence[Any]) -> None:
        """Replace what was saved before, by one rename: whenever this is killed, one of both is there whole."""
        began = time.monotonic()
        arrays: dict[str, Any] = {str(index): np.asarray(variable) for index, variable in enumerate(variables)}
        self._path.parent.mkdir(exist_ok=True)
        whole = self._path.with_suffix(f".{os.getpid()}")
        try:
            with whole.open("wb") as file:
                np.savez(file, progress=json.dumps(asdict(progress)), **arrays)
                file.flush()
                os.fsync(file.fileno())
            whole.replace(self._path)
        finally:
            whole.unlink(missing_ok=True)
        now = time.monotonic()
        self._due = now + max(SHORTEST, MULTIPLE * (now - began))


class Checkpoints:
    """The checkpoints of one training: those of its options and its data, and of no other.

    Args:
        home: directory of the model's versions; the checkpoints lie beside them until they are discarded.
        options: what is trained, and how.
        data: what on.
    """

    def __init__(self, home: Path, options: Options, data: Dataset) -> None:
        digest = hashlib.sha256(options.model_dump_json(exclude=IRRELEVANT).encode())
        digest.update(data.target.model_dump_json().encode())
        for split in (data.train, data.test):
            digest.update(repr((split.x.shape, split.y.shape)).encode())
            digest.update(split.y.tobytes())
            for part in parts_of(split.x):
                digest.update(part.tobytes())
        self._directory = home / f"{PREFIX}{digest.hexdigest()[:16]}"

    def __bool__(self) -> bool:
        """Whether there are any."""
        return self._directory.exists()

    def of(self, seed: int) -> Checkpoint:
        """That of the fit with a seed."""
        return Checkpoint(self._directory / f"{seed}.npz")

    def discard(self) -> None:
        """Remove them all."""
        shutil.rmtree(self._directory, ignore_errors=True)
