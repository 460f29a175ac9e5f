"""Sequences from .ts files, the format of the aeon project, and from the data sets of its package."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training import TrainingError
from training.data import SourceData
from training.sources.arrays import SourcePart, checked, joined, refuse_many


def read(files: Mapping[str, Path]) -> SourceData:
    """Read one .ts file, or a file to fit and a file to hold out."""
    from aeon.datasets import load_from_ts_file

    parts = []
    for where, path in files.items():
        try:
            x, y = load_from_ts_file(str(path))
        except Exception as error:  # aeon raises errors of any type
            raise TrainingError(f"{where}: not a readable .ts file: {error}") from error
        parts.append(_part(where, x, y if y.dtype.kind == "f" else _labels(path, y)))
    return joined(parts)


def _labels(path: Path, lowered: NDArray[Any]) -> NDArray[Any]:
    """Return the labels as the file writes them. aeon gives them in lower case, which would join `A` and `a`."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = [line.strip() for line in lines]
    begin = next((at for at, row in enumerate(rows) if row.lower() == "@data"), len(rows))
    written = [row.rpartition(":")[2].strip() for row in rows[begin + 1 :] if row and row[0] not in "#%"]
    same = [label.lower() for label in written] == [str(label).lower() for label in lowered]
    return np.array(written) if same else lowered


def read_dataset(where: str, name: str) -> SourceData:
    """Read a data set of the aeon package, with its published split. `where` is its name in error messages."""
    from aeon.datasets import load_classification, load_regression
    from aeon.datasets.tser_datasets import tsr_zenodo

    load = load_regression if name in tsr_zenodo else load_classification
    parts = []
    for split in ("train", "test"):
        try:
            x, y = load(name, split=split)
        except Exception as error:  # aeon downloads other data sets, and raises errors of any type
            raise TrainingError(
                f"{where}: expected a classification or regression data set that the aeon package ships, such as "
                f"ItalyPowerDemand, BasicMotions, JapaneseVowels or Covid3Month: {error}"
            ) from error
        parts.append(_part(f"{where}, {split}", x, y))
    return joined(parts)


def _part(where: str, x: NDArray[Any] | Sequence[NDArray[Any]], labels: NDArray[Any]) -> SourcePart:
    """Check sequences of aeon: `(n, features, timesteps)`, or `n` arrays `(features, timesteps)` of mixed lengths."""
    if len(x) == 0:
        raise TrainingError(f"{where}: expected sequences, got none")
    if len(labels) != len(x):
        raise TrainingError(f"{where}: expected a class label or target for each sequence, got {len(labels)}")
    if isinstance(x, np.ndarray):
        return SourcePart(where, checked(where, x.transpose(0, 2, 1)), labels, {})
    longest = max(sequence.shape[1] for sequence in x)
    refuse_many(where, (len(x), longest, x[0].shape[0]))
    padded = np.full((len(x), longest, x[0].shape[0]), np.nan)
    for row, sequence in zip(padded, x, strict=True):
        row[: sequence.shape[1]] = sequence.T
    return SourcePart(where, checked(where, padded), labels, {})
