"""Models that take sequences of different lengths, or with missing values; untrained."""

from datetime import UTC, datetime
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from service.inference.artifact import ATTENTION_VEC, INPUT, PREDICTION, Array
from service.inference.card import AttentionProfile, ModelCard, Target, TrainingRecord
from training.export import publish

TIMESTEPS, FEATURES, UNITS = 6, 2, 3
#: Models by name: whether sequences may be shorter, and whether values may be missing.
MASKED = {"both": (True, True), "shorter": (True, False), "gaps": (False, True)}


def build() -> keras.Model:
    """NaN is missing, a timestep of nothing but NaN absent; attention over the hidden states of an LSTM."""
    keras.utils.set_random_seed(0)
    sequence = keras.Input((TIMESTEPS, FEATURES), name=INPUT)
    missing = ops.isnan(sequence)
    present = ops.logical_not(ops.all(missing, axis=2, keepdims=True))  # (batch, timesteps, 1)
    states = layers.LSTM(UNITS, return_sequences=True)(ops.where(missing, 0.0, sequence))
    scores = ops.where(present, layers.Dense(UNITS)(states) * 9, -1e9)  # (batch, timesteps, units)
    attention_vec = ops.softmax(scores, axis=1) * ops.cast(present, "float32")
    prediction = layers.Dense(1, activation="sigmoid")(ops.sum(states * attention_vec, axis=1) * 9)
    return keras.Model(sequence, {PREDICTION: prediction, ATTENTION_VEC: attention_vec})


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
        publish(build(), card(name, **allowed), sample(**allowed), folder / name)
