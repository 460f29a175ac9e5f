"""Sequences from .ts files, as the aeon project publishes them, and from the data sets of its package."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.artifact.tensors import Array
from training import TrainingError
from training.data import SourceData
from training.sources.arrays import SourcePart, checked, joined, refuse_many


def read(files: Mapping[str, Path]) -> SourceData:
    """Read one .ts file, or the one to fit and the one to hold out.

    Raises:
        TrainingError: a file cannot be read, or does not hold what it should.
    """
    from aeon.datasets import load_from_ts_file

    parts = []
    for where, path in files.items():
        try:
            x, y = load_from_ts_file(str(path))
        except Exception as error:  # aeon lets any failure through
            raise TrainingError(f"{where}: not a readable .ts file: {error}") from error
        parts.append(_part(where, x, y))
    return joined(parts)


def read_dataset(where: str, name: str) -> SourceData:
    """Read a data set of the aeon package, with its published split.

    Args:
        where: what errors call it.
        name: its name there.

    Raises:
        TrainingError: there is no such data set.
    """
    from aeon.datasets import load_classification, load_regression
    from aeon.datasets.tser_datasets import tsr_zenodo

    load = load_regression if name in tsr_zenodo else load_classification
    parts = []
    for split in ("train", "test"):
        try:
            x, y = load(name, split=split)
        except Exception as error:  # aeon downloads what it does not ship, and lets any failure through
            raise TrainingError(
                f"{where}: expected a classification or regression data set that the aeon package ships, such as "
                f"ItalyPowerDemand, BasicMotions, JapaneseVowels or Covid3Month: {error}"
            ) from error
        parts.append(_part(f"{where}, {split}", x, y))
    return joined(parts)


def _part(where: str, x: NDArray[Any] | Sequence[NDArray[Any]], labels: NDArray[Any]) -> SourcePart:
    """One part.

    Args:
        where: what errors call it.
        x: `(n, features, timesteps)`, or `n` of `(features, timesteps)` where those differ.
        labels: `(n,)`.
    """
    if len(x) == 0:
        raise TrainingError(f"{where}: expected sequences, got none")
    if len(labels) != len(x):
        raise TrainingError(f"{where}: expected a class label or target for each sequence, got {len(labels)}")
    if isinstance(x, np.ndarray):
        return SourcePart(where, checked(where, x.transpose(0, 2, 1)), labels, {})
    longest = max(sequence.shape[1] for sequence in x)
    refuse_many(where, (len(x), longest, x[0].shape[0]))
    return SourcePart(where, checked(where, _padded(x, longest)), labels, {})


def _padded(sequences: Sequence[NDArray[Any]], timesteps: int) -> Array:
    """From `n` of `(features, timesteps)` to `(n, timesteps, features)`, with nothing after the end of each."""
    x = np.full((len(sequences), timesteps, sequences[0].shape[0]), np.nan)
    for row, sequence in zip(x, sequences, strict=True):
        row[: sequence.shape[1]] = sequence.T
    return x
