"""Checkpoints of fits on disk, from which `--resume` continues."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from training.data import Dataset, parts_of
from training.options import Options
from training.plan import Plan

#: Shortest time between two saves: in seconds, and as a multiple of the duration of a save.
SHORTEST, MULTIPLE = 1.0, 20
#: Prefix of the directories of checkpoints. Readers of versions ignore them.
PREFIX = ".checkpoint-"
#: Options that do not change the weights.
IRRELEVANT = {"resume", "tensorboard"}


@dataclass(frozen=True)
class Progress:
    """The progress of a fit.

    Attributes:
        epoch: finished epochs.
        step: finished steps of the current epoch.
        best_epoch: the epoch with the lowest loss on the validation data, from 1; 0 for none.
        best_loss: the loss of that epoch.
        seconds: duration so far.
        history: the losses and metrics after each finished epoch, by name.
    """

    epoch: int = 0
    step: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    seconds: float = 0.0
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def is_over(self, plan: Plan) -> bool:
        """Return whether all epochs are done, or the last `patience` epochs did not lower the loss."""
        stale = plan.patience is not None and self.best_epoch and self.epoch - self.best_epoch >= plan.patience
        return self.epoch >= plan.epochs or bool(stale)

    def after_steps(self, steps: int, seconds: float) -> Self:
        """Return the progress after more steps, given the duration of the whole fit."""
        return replace(self, step=self.step + steps, seconds=seconds)

    def after_epoch(self, logs: Mapping[str, float], seconds: float) -> Self:
        """Return the progress after an epoch, given its losses and metrics, and the duration of the whole fit."""
        history = {name: [*self.history.get(name, ()), value] for name, value in logs.items()}
        after = replace(self, epoch=self.epoch + 1, step=0, seconds=seconds, history=history)
        loss = logs.get("validation loss", float("inf"))
        return replace(after, best_epoch=after.epoch, best_loss=loss) if loss < self.best_loss else after


class Checkpoint:
    """The file with the state of one fit."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._due = 0.0

    def restore(self, variables: Sequence[Any]) -> Progress:
        """Set variables to their saved values. Return the saved progress, or none at all without a file."""
        if not self._path.exists():
            return Progress()
        with np.load(self._path, allow_pickle=False) as arrays:
            for index, variable in enumerate(variables):
                variable.assign(arrays[str(index)])
            return Progress(**json.loads(str(arrays["progress"])))

    def save_if_due(self, progress: Progress, variables: Sequence[Any]) -> None:
        """Save, unless the last save is so recent that saving would slow down the fit."""
        if time.monotonic() >= self._due:
            self.save(progress, variables)

    def save(self, progress: Progress, variables: Sequence[Any]) -> None:
        """Save, by one rename. After a kill at any moment the file is complete: the old or the new one."""
        began = time.monotonic()
        arrays: dict[str, Any] = {str(index): np.asarray(variable) for index, variable in enumerate(variables)}
        self._path.parent.mkdir(exist_ok=True)
        temporary = self._path.with_suffix(f".{os.getpid()}")
        try:
            with temporary.open("wb") as file:
                np.savez(file, progress=json.dumps(asdict(progress)), **arrays)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        finally:
            temporary.unlink(missing_ok=True)
        now = time.monotonic()
        self._due = now + max(SHORTEST, MULTIPLE * (now - began))


class Checkpoints:
    """The checkpoints of one training, beside the versions in `home`. Other options or data have other checkpoints."""

    def __init__(self, home: Path, options: Options, dataset: Dataset) -> None:
        digest = hashlib.sha256(options.model_dump_json(exclude=IRRELEVANT).encode())
        digest.update(dataset.target.model_dump_json().encode())
        for sequences in (dataset.train, dataset.test):
            digest.update(repr((sequences.x.shape, sequences.y.shape)).encode())
            digest.update(sequences.y.tobytes())
            for part in parts_of(sequences.x):
                digest.update(part.tobytes())
        self._directory = home / f"{PREFIX}{digest.hexdigest()[:16]}"

    def __bool__(self) -> bool:
        """Return whether a checkpoint exists."""
        return self._directory.exists()

    def of(self, seed: int, fold: int = 0) -> Checkpoint:
        """Return the checkpoint of the fit with a seed; with a fold, from 1, that of the fit of this fold."""
        return Checkpoint(self._directory / (f"{seed}-{fold}.npz" if fold else f"{seed}.npz"))

    def discard(self) -> None:
        """Remove all checkpoints."""
        shutil.rmtree(self._directory, ignore_errors=True)
