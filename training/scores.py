"""Metrics of predictions, and the attention profile."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    root_mean_squared_error,
)

from service.artifact.card import AttentionProfile, Target, Task
from service.artifact.classes import chosen
from service.artifact.tensors import Array
from training import TrainingError

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
        target: the meaning of both. If its output is a sequence, both have an axis of steps after the first, and each
            step counts as a prediction.

    Raises:
        TrainingError: a prediction is not finite.
    """
    predictions, y = of_each_step(predictions, target), of_each_step(y, target)
    if not np.isfinite(predictions).all():
        raise TrainingError("training diverged: the loss is not finite; try a smaller --learning-rate")
    if target.task == "regression":
        return _of_numbers(predictions.astype(np.float64), y.astype(np.float64), target.names or ())
    if target.task == "multilabel":
        return _of_labels(predictions.astype(np.float64), y.astype(bool))
    p = probabilities(predictions)
    return {
        "accuracy": float(accuracy_score(y, chosen(predictions, target.task))),
        "loss": float(log_loss(y, p, labels=np.arange(p.shape[1]))),
    }


def _of_labels(p: NDArray[np.float64], y: NDArray[np.bool_]) -> dict[str, float]:
    predicted = chosen(p, "multilabel")
    right = predicted == y
    return {
        "accuracy": float(right.mean()),
        "exact match": float(right.all(axis=1).mean()),
        "f1": float(f1_score(y, predicted, average="macro", zero_division=0.0)),
        "loss": float(-np.log(np.maximum(np.where(y, p, 1 - p), np.finfo(np.float32).tiny)).mean()),
    }


def main_score(predictions: Array, y: NDArray[Any], target: Target) -> float:
    """Return the main metric alone, which is faster than `compute_metrics`. The arguments are the same."""
    predictions, y = of_each_step(predictions, target), of_each_step(y, target)
    if target.task == "regression":
        return float(_r2(predictions.astype(np.float64), y.astype(np.float64)).mean())
    return float(np.mean(chosen(predictions, target.task) == y))


def of_each_step(values: NDArray[Any], target: Target) -> NDArray[Any]:
    """Return predictions or labels `(n, steps, …)` as `(n * steps, …)`, and others as they are."""
    return values if target.steps is None else values.reshape(-1, *values.shape[2:])


def probabilities(predictions: Array) -> NDArray[np.float64]:
    """Return probabilities `(n, classes)` that sum to 1 exactly, from a model's outputs `(n, 1)` or `(n, classes)`."""
    p = predictions.astype(np.float64)
    if p.shape[1] == 1:
        return np.hstack([1 - p, p])
    p /= p.sum(axis=1, keepdims=True)  # float32 does not sum to 1 exactly
    return p


def _of_numbers(predictions: NDArray[np.float64], y: NDArray[np.float64], names: tuple[str, ...]) -> dict[str, float]:
    r2 = _r2(predictions, y)
    each = {
        "r2": r2,
        "mae": mean_absolute_error(y, predictions, multioutput="raw_values"),
        "rmse": root_mean_squared_error(y, predictions, multioutput="raw_values"),
    }
    if len(names) == 1:
        return {metric: float(values[0]) for metric, values in each.items()}
    named = {
        f"{metric} of {name}": float(value)
        for metric, values in each.items()
        for name, value in zip(names, values, strict=True)
    }
    return {"r2": float(r2.mean()), **named}


def _r2(predictions: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the R² of each number, `(outputs,)`. A constant has no variance to explain: its R² is 0."""
    r2, varies = np.zeros(y.shape[1]), np.ptp(y, axis=0) > 0
    if varies.any():
        r2[varies] = r2_score(y[:, varies], predictions[:, varies], multioutput="raw_values")
    return r2


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
