"""Small datasets to train on, and cards with default fields."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from service.artifact.card import AttentionProfile, ModelCard, Target, TrainingRecord
from training.data import Dataset, LabelledSequences, Scale, numbered
from training.options import Options

BINARY = Target(task="binary", classes=("0", "1"))
MULTICLASS = Target(task="multiclass", classes=("a", "b", "c"))
MULTILABEL = Target(task="multilabel", classes=("a", "b", "c"))
REGRESSION = Target(task="regression", names=("one",))
TWO_NUMBERS = Target(task="regression", names=("one", "two"))


def labels(n: int, target: Target) -> np.ndarray[Any, Any]:
    """Return random labels `(n,)` or numbers `(n, outputs)` for a target, 0 and 1 for several labels."""
    if target.task == "multilabel":
        return (np.arange(n)[:, np.newaxis] >> np.arange(target.outputs or 0) & 1).astype(np.float32)
    if target.names is None:
        return np.arange(n) % len(target.classes or ())
    return np.random.default_rng(0).standard_normal((n, len(target.names))).astype(np.float32)


def dataset(  # noqa: PLR0913 - each by its name
    x: np.ndarray[Any, Any],
    y: np.ndarray[Any, Any] | None = None,
    target: Target = BINARY,
    *,
    held_out: int = 0,
    variable_length: bool = False,
    missing_values: bool = False,
    scaled: bool = False,
) -> Dataset:
    """Return a dataset of sequences `(n, timesteps, features)`, of which the last `held_out` are test data."""
    everything = LabelledSequences(x.astype(np.float32), labels(len(x), target) if y is None else y)
    fitted = len(x) - held_out
    train, test = everything.take(slice(0, fitted)), everything.take(slice(fitted, None))
    return Dataset(
        train=train,
        test=test,
        target=target,
        timestep_labels=numbered(x.shape[1]),
        feature_labels=numbered(x.shape[2]),
        variable_length=variable_length,
        missing_values=missing_values,
        scale=Scale.of(train.x) if scaled else None,
    )


def card(**fields: Any) -> ModelCard:
    """Return a card with default fields, of 20 timesteps and 2 features by default."""
    timesteps, features = fields.pop("timesteps", 20), fields.pop("features", 2)
    defaults = {
        "name": "m",
        "created": datetime.now(UTC),
        "architecture": "after_lstm",
        "timestep_labels": numbered(timesteps),
        "feature_labels": numbered(features),
        "target": BINARY,
        "metrics": {"accuracy": 0.5},
        "attention": AttentionProfile(
            sequences=1, mean=(1 / timesteps,) * timesteps, spread=(0.0,) * timesteps, peak=0, sum_error=0
        ),
        "training": record(),
    }
    return ModelCard(**{**defaults, **fields}, timesteps=timesteps, features=features)


def record(**options: Any) -> TrainingRecord:
    """Return the record of a training that never ran."""
    return TrainingRecord(options=options, libraries={}, sequences=1, parameters=1, epochs=1, best_epoch=1, seconds=0)


def trained(**options: Any) -> Path:
    """Train and publish as `python -m training` does. Return the directory of the version.

    Tests train for so short a time that a model may not beat its baseline. It is published anyway.
    """
    # Only here: it imports TensorFlow.
    from training.run import run
    from training.sources.loading import load

    given = Options(**{"publish_anyway": True, **options})
    return run(given, load(given))
