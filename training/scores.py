"""Metrics of predictions, and the attention profile."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from service.artifact.card import AttentionProfile, Target, Task
from service.artifact.tensors import Array

#: The metric that importance is measured by; higher is better.
MAIN_METRIC: Mapping[Task, str] = {
    "binary": "accuracy",
    "multiclass": "accuracy",
    "multilabel": "accuracy",
    "regression": "r2",
}


def compute_metrics(predictions: Array, y: NDArray[Any], target: Target) -> dict[str, float]:
    """Return accuracy and mean cross-entropy in nats; for numbers R², mean absolute and root mean square error.

    Each of several numbers has its own metrics, such as `mae of NAME`; `r2` is the mean over them. Of several labels,
    accuracy and cross-entropy are the means over them; `exact match` is the fraction of the sequences whose labels are
    all right, and `f1` the mean of the labels' F1.

    Args:
        predictions: `(n, 1)` probabilities of class 1 (binary), `(n, classes)` (multiclass, multilabel) or
            `(n, outputs)` numbers.
        y: `(n,)` class indices, `(n, classes)` 0 or 1 (multilabel), or `(n, outputs)` numbers.
        target: the meaning of both.
    """
    if target.task == "regression":
        return _of_numbers(predictions.astype(np.float64), y.astype(np.float64), target.names or ())
    p = predictions.astype(np.float64)
    if target.task == "multilabel":
        return _of_labels(p, y.astype(bool))
    if target.task == "binary":
        p = np.hstack([1 - p, p])
        chosen = predictions[:, 0] >= 0.5
    else:
        chosen = predictions.argmax(axis=1)
    of_label = p[np.arange(len(y)), y]
    return {
        "accuracy": float(np.mean(chosen == y)),
        "loss": float(-np.log(np.maximum(of_label, np.finfo(np.float32).tiny)).mean()),
    }


def _of_labels(p: NDArray[np.float64], y: NDArray[np.bool_]) -> dict[str, float]:
    chosen = p >= 0.5
    right = chosen == y
    return {
        "accuracy": float(right.mean()),
        "exact match": float(right.all(axis=1).mean()),
        "f1": float(f1_score(y, chosen, average="macro", zero_division=0.0)),
        "loss": float(-np.log(np.maximum(np.where(y, p, 1 - p), np.finfo(np.float32).tiny)).mean()),
    }


def _of_numbers(predictions: NDArray[np.float64], y: NDArray[np.float64], names: tuple[str, ...]) -> dict[str, float]:
    errors = predictions - y
    squares, total = (errors**2).sum(axis=0), ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    # A constant has no variance to explain: its R² is 0.
    r2 = np.where(total > 0, 1 - squares / np.where(total > 0, total, 1), 0.0)
    each = {"r2": r2, "mae": np.abs(errors).mean(axis=0), "rmse": np.sqrt(squares / len(y))}
    if len(names) == 1:
        return {metric: float(values[0]) for metric, values in each.items()}
    named = {
        f"{metric} of {name}": float(value)
        for metric, values in each.items()
        for name, value in zip(names, values, strict=True)
    }
    return {"r2": float(r2.mean()), **named}


class ProfileSum:
    """Accumulates the attention profile over batches."""

    def __init__(self, timesteps: int) -> None:
        self._sequences = 0
        self._sum, self._squares = np.zeros(timesteps), np.zeros(timesteps)
        self._sum_error = 0.0

    def add(self, attention: Array) -> None:
        """Add the attention of more sequences, `(n, timesteps)`. Each row sums to 1; absent timesteps have 0."""
        a = attention.astype(np.float64)
        self._sequences += len(a)
        self._sum += a.sum(axis=0)
        self._squares += (a**2).sum(axis=0)
        self._sum_error = max(self._sum_error, float(np.abs(a.sum(axis=1) - 1).max()))

    def result(self) -> AttentionProfile:
        """Return the profile of all sequences so far."""
        mean = self._sum / self._sequences
        spread = np.sqrt(np.maximum(self._squares / self._sequences - mean**2, 0))
        return AttentionProfile(
            sequences=self._sequences,
            mean=tuple(mean.tolist()),
            spread=tuple(spread.tolist()),
            peak=int(mean.argmax()),
            sum_error=self._sum_error,
        )
