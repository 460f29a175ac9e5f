"""What a model is to predict, from the labels that a source has."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.artifact.card import Target
from training import TrainingError
from training.data import Indices, SourceData
from training.options import TaskChoice

#: Most classes; each is an output of the model.
MOST_CLASSES: Final = 10_000
#: As words, for errors.
KINDS: Final = {"b": "booleans", "i": "integers", "u": "integers", "f": "numbers"}


def encode(sequences: SourceData, task: TaskChoice) -> tuple[Target, NDArray[Any]]:
    """Decide what the labels are, and bring them into the form that is trained on.

    Args:
        sequences: with their labels.
        task: classes, numbers, or `auto`: strings, booleans and integers are classes, other numbers are numbers.

    Returns:
        The target, and `(n,)` int64 class indices or `(n, outputs)` float32 numbers.

    Raises:
        TrainingError: the labels are no such target.
    """
    labels = sequences.labels
    if labels.dtype.kind not in "biufSUO":
        raise TrainingError(
            f"{sequences.where}: expected labels that are strings, booleans or numbers, got {labels.dtype}"
        )
    if task == "auto":
        task = "regression" if labels.ndim == 2 or labels.dtype.kind == "f" else "classification"
        if labels.dtype == object:
            _refuse_words_among_fractions(sequences)
    return _numbers(sequences) if task == "regression" else _classes(sequences)


def _numbers(sequences: SourceData) -> tuple[Target, NDArray[np.float32]]:
    labels = sequences.labels.reshape(len(sequences.labels), -1)
    if labels.dtype.kind not in KINDS:
        row = next((row for row, (label, *_) in enumerate(labels) if not _is_number(label)), 0)
        raise TrainingError(f"{sequences.locate(row)}: expected numbers to predict, got {_shown(labels[row, 0])}")
    _refuse_infinite(sequences, labels)
    return Target(task="regression", names=sequences.label_names), labels.astype(np.float32)


def _classes(sequences: SourceData) -> tuple[Target, Indices]:
    labels = sequences.labels
    if labels.ndim != 1:
        raise TrainingError(
            f"{sequences.locate(0)}: expected one class, got {labels.shape[1]} numbers; classes are of one column"
        )
    if labels.dtype.kind == "f":
        _refuse_infinite(sequences, labels[:, np.newaxis])
    if labels.dtype == object:  # few distinct strings, shared by many sequences: sorting all of them takes long
        values = sorted(set(labels.tolist()))
        index = {value: position for position, value in enumerate(values)}
        codes = np.fromiter(map(index.__getitem__, labels), np.int64, len(labels))
    else:
        distinct, codes = np.unique(labels, return_inverse=True)
        values = distinct.tolist()
    if not 2 <= len(values) <= MOST_CLASSES:
        got = _shown(values[0]) + " alone" if len(values) == 1 else f"{len(values):,}"
        raise TrainingError(
            f"{sequences.where}: expected 2 to {MOST_CLASSES:,} classes, got {got}"
            + ("" if len(values) < 2 else "; --task regression predicts numbers")
        )
    names = tuple(map(_name, values))
    return Target(task="binary" if len(names) == 2 else "multiclass", classes=names), codes.astype(np.int64)


def _refuse_words_among_fractions(sequences: SourceData) -> None:
    """Refuse a few words among fractions, which are no classes: somebody meant to write a number."""
    values = set(sequences.labels.tolist())
    words = {value for value in values if not _is_number(value)}
    if words and any("." in value for value in values - words) and len(words) < len(values) / 2:
        row = next(row for row, label in enumerate(sequences.labels) if label in words)
        raise TrainingError(
            f"{sequences.locate(row)}: expected a number, as most labels are, got {_shown(sequences.labels[row])}; "
            "--task classification takes all of them for classes"
        )


def _refuse_infinite(sequences: SourceData, labels: NDArray[Any]) -> None:
    """Those that float32 cannot hold, too."""
    with np.errstate(over="ignore"):
        wrong = np.argwhere(~np.isfinite(labels.astype(np.float32)))
    if len(wrong):
        row, column = wrong[0]
        raise TrainingError(
            f"{sequences.locate(row)}: expected a finite {sequences.label_names[column]}, got {labels[row, column]}"
        )


def _name(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _is_number(label: object) -> bool:
    try:
        float(_name(label))
    except ValueError:
        return False
    return True


def _shown(value: object) -> str:
    return repr(_name(value))
