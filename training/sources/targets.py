"""The prediction target, derived from the labels of a source."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.artifact.card import Target
from training import TrainingError
from training.data import Indices, SourceData
from training.options import TaskChoice

#: Largest number of classes. Each is an output of the model.
MOST_CLASSES: Final = 10_000


def encode(source: SourceData, task: TaskChoice, known: Sequence[str] = ()) -> tuple[Target, NDArray[Any]]:
    """Return the target, and the labels for the fit: `(n,)` int64 class indices or `(n, outputs)` float32 numbers.

    With the task `auto`, strings, booleans and integers are classes, other numbers are not. With the task `multilabel`
    each column is a class, and the numbers are 0 and 1. Labels of a single class have one of the `known` classes
    beside it, if there is one.
    """
    labels = source.labels
    if labels.dtype.kind not in "biufSUO":
        raise TrainingError(
            f"{source.where}: expected labels that are strings, booleans or numbers, got {labels.dtype}"
        )
    if task == "multilabel":
        return _several_labels(source)
    if task == "auto":
        task = "regression" if labels.ndim == 2 or labels.dtype.kind == "f" else "classification"
        if labels.dtype == object:
            _refuse_words_among_fractions(source)
    return _numbers(source) if task == "regression" else _classes(source, known)


def _numbers(source: SourceData) -> tuple[Target, NDArray[np.float32]]:
    labels = source.labels.reshape(len(source.labels), -1)
    if labels.dtype.kind not in "biuf":
        row = next((row for row, (label, *_) in enumerate(labels) if not _is_number(label)), 0)
        raise TrainingError(f"{source.locate(row)}: expected numbers to predict, got {_shown(labels[row, 0])}")
    _refuse_infinite(source, labels)
    return Target(task="regression", names=source.label_names), labels.astype(np.float32)


def _classes(source: SourceData, known: Sequence[str]) -> tuple[Target, Indices]:
    labels = source.labels
    if labels.ndim != 1:
        raise TrainingError(
            f"{source.locate(0)}: expected one class, got {labels.shape[1]} numbers; classes are of one column"
        )
    if labels.dtype.kind == "f":
        _refuse_infinite(source, labels[:, np.newaxis])
    if labels.dtype == object:  # few distinct strings: np.unique would sort all of them
        values = sorted(set(labels.tolist()))
        index = {value: position for position, value in enumerate(values)}
        codes = np.fromiter(map(index.__getitem__, labels), np.int64, len(labels))
    else:
        distinct, codes = np.unique(labels, return_inverse=True)
        values = distinct.tolist()
    names = tuple(map(_name, values))
    if len(names) == 1:
        names += tuple(name for name in known if name not in names)[:1]
    if not 2 <= len(names) <= MOST_CLASSES:
        got = _shown(values[0]) + " alone" if len(values) == 1 else f"{len(values):,}"
        raise TrainingError(
            f"{source.where}: expected 2 to {MOST_CLASSES:,} classes, got {got}"
            + ("" if len(values) < 2 else "; --task regression predicts numbers")
        )
    return Target(task="binary" if len(names) == 2 else "multiclass", classes=names), codes.astype(np.int64)


def _several_labels(source: SourceData) -> tuple[Target, NDArray[np.float32]]:
    labels = source.labels
    if labels.ndim != 2 or labels.shape[1] < 2:
        raise TrainingError(
            f"{source.where}: expected at least 2 columns of 0 and 1 for --task multilabel, got 1; "
            "--target-column A,B names several"
        )
    wrong = np.argwhere(~np.isin(labels, (0, 1)))
    if len(wrong):
        row, column = wrong[0]
        raise TrainingError(
            f"{source.locate(row)}: expected 0 or 1 in {source.label_names[column]}, got {_shown(labels[row, column])}"
        )
    return Target(task="multilabel", classes=source.label_names), labels.astype(np.float32)


def _refuse_words_among_fractions(source: SourceData) -> None:
    """Refuse labels that are fractions except for a few words, which are probably mistakes."""
    values = set(source.labels.tolist())
    words = {value for value in values if not _is_number(value)}
    if words and any("." in value for value in values - words) and len(words) < len(values) / 2:
        row = next(row for row, label in enumerate(source.labels) if label in words)
        raise TrainingError(
            f"{source.locate(row)}: expected a number, as most labels are, got {_shown(source.labels[row])}; "
            "--task classification uses all of them as classes"
        )


def _refuse_infinite(source: SourceData, labels: NDArray[Any]) -> None:
    """Refuse labels that are not finite in float32."""
    with np.errstate(over="ignore"):
        wrong = np.argwhere(~np.isfinite(labels.astype(np.float32)))
    if len(wrong):
        row, column = wrong[0]
        raise TrainingError(
            f"{source.locate(row)}: expected a finite {source.label_names[column]}, got {labels[row, column]}"
        )


def _name(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _is_number(label: object) -> bool:
    try:
        return not math.isnan(float(_name(label)))
    except ValueError:
        return False


def _shown(value: object) -> str:
    return repr(_name(value))
