"""Judging a model on data that its fit did not see."""

from dataclasses import dataclass

import keras
import numpy as np

from service.inference.artifact import ATTENTION_VEC, PREDICTION, Array
from service.inference.card import AttentionProfile, Task
from training.data import Indices, Split
from training.errors import TrainingError

BATCH_SIZE = 1024


@dataclass(frozen=True)
class Evaluation:
    """What held-out data says of a model."""

    metrics: dict[str, float]
    profile: AttentionProfile


def evaluate(model: keras.Model, test: Split, task: Task) -> Evaluation:
    """Predict held-out sequences once; both the metrics and the attention profile come from that pass.

    Args:
        model: as `models.build` makes it, trained.
        test: held-out sequences.
        task: decides the metrics.

    Raises:
        TrainingError: the model answers what is not finite.
    """
    outputs = model.predict(test.x[:], batch_size=BATCH_SIZE, verbose=0)
    if not all(np.isfinite(output).all() for output in outputs.values()):
        raise TrainingError("training diverged: the model's answers are not finite; try a smaller --learning-rate")
    attention = outputs[ATTENTION_VEC].mean(axis=-1)  # (n, timesteps)
    return Evaluation(metrics(outputs[PREDICTION], test.y, task), profile(attention))


def metrics(predictions: Array, labels: Indices, task: Task) -> dict[str, float]:
    """Accuracy and mean cross-entropy, in nats.

    Args:
        predictions: `(n, 1)` probabilities of class 1 (binary), or `(n, classes)` (multiclass).
        labels: `(n,)` class indices.
        task: `binary` or `multiclass`.
    """
    p = predictions.astype(np.float64)
    if task == "binary":
        p = np.hstack([1 - p, p])
        chosen = predictions[:, 0] >= 0.5
    else:
        chosen = predictions.argmax(axis=1)
    of_label = p[np.arange(len(labels)), labels]
    return {
        "accuracy": float(np.mean(chosen == labels)),
        "loss": float(-np.log(np.maximum(of_label, np.finfo(np.float32).tiny)).mean()),
    }


def profile(attention: Array) -> AttentionProfile:
    """Average attention over sequences.

    Args:
        attention: `(n, timesteps)`, each row summing to 1.
    """
    mean = attention.mean(axis=0, dtype=np.float64)
    return AttentionProfile(
        sequences=len(attention),
        mean=tuple(mean.tolist()),
        spread=tuple(attention.std(axis=0, dtype=np.float64).tolist()),
        peak=int(mean.argmax()),
        sum_error=float(np.abs(attention.sum(axis=1, dtype=np.float64) - 1).max()),
    )
