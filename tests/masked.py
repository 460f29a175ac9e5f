"""Models that take sequences of different lengths, or with missing values; untrained."""

from datetime import UTC, datetime
from pathlib import Path

import keras
import numpy as np

from service.inference.artifact import Array
from service.inference.card import AttentionProfile, ModelCard, Target, TrainingRecord
from training import models
from training.data import Data, Scale, Split
from training.export import publish
from training.options import Options

TIMESTEPS, FEATURES, UNITS = 6, 2, 3
#: Models by name: whether sequences may be shorter, and whether values may be missing.
MASKED = {"both": (True, True), "shorter": (True, False), "gaps": (False, True)}


def build(x: Array, card: ModelCard) -> keras.Model:
    """The default architecture, with weights so large that attention differs between timesteps."""
    keras.utils.set_random_seed(0)
    split = Split(x, np.zeros(len(x), np.int64))
    data = Data(
        train=split,
        test=split,
        target=card.target,
        timestep_labels=card.timestep_labels,
        feature_labels=card.feature_labels,
        variable_length=card.variable_length,
        missing_values=card.missing_values,
        scale=Scale.of(x),
    )
    model = models.build(data, Options(units=UNITS))
    model.set_weights([4 * weights for weights in model.get_weights()])
    return model


def card(name: str, *, variable_length: bool, missing_values: bool) -> ModelCard:
    """The card of such a model."""
    profile = AttentionProfile(sequences=1, mean=(1 / 6,) * 6, spread=(0.0,) * 6, peak=0, sum_error=0)
    return ModelCard(
        name=name,
        created=datetime.now(UTC),
        architecture="after_lstm",
        timesteps=TIMESTEPS,
        features=FEATURES,
        timestep_labels=("Mon", "Tue", "Wed", "Thu", "Fri", "Sat"),
        feature_labels=("a", "b"),
        variable_length=variable_length,
        missing_values=missing_values,
        target=Target(task="binary", classes=("0", "1")),
        metrics={},
        attention=profile,
        training=TrainingRecord(options={}, libraries={}, sequences=1, parameters=1, epochs=1, best_epoch=1, seconds=0),
    )


def sample(*, variable_length: bool, missing_values: bool) -> Array:
    """32 sequences that such a model takes: some shorter, some with gaps, one of which is a whole timestep."""
    rng = np.random.default_rng(0)
    sequences = rng.standard_normal((32, TIMESTEPS, FEATURES)).astype(np.float32)
    if missing_values:
        sequences[rng.random(sequences.shape) < 0.2] = np.nan
        sequences[:, 1] = rng.standard_normal((32, FEATURES))  # so that each has a value
        sequences[0, 2] = np.nan
    if variable_length:
        lengths = rng.integers(2, TIMESTEPS + 1, 32)
        sequences[np.arange(TIMESTEPS) >= lengths[:, np.newaxis]] = np.nan
    return sequences


def publish_masked(folder: Path) -> None:
    """Publish all of them."""
    for name, (variable_length, missing_values) in MASKED.items():
        (folder / name).mkdir()
        allowed = {"variable_length": variable_length, "missing_values": missing_values}
        described, sequences = card(name, **allowed), sample(**allowed)
        publish(build(sequences, described), described, sequences, folder / name)
