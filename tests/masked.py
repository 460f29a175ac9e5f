"""Untrained models for sequences of different lengths or with missing values."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from service.artifact.card import ModelCard
from service.artifact.tensors import Array
from tests.samples import card, dataset
from training.data import mean_sequence
from training.options import Options

if TYPE_CHECKING:
    import keras

TIMESTEPS, FEATURES, UNITS = 6, 2, 3
#: Whether sequences may be shorter, and whether values may be missing, by name of the model.
MASKED = {"both": (True, True), "shorter": (True, False), "gaps": (False, True)}


def masked_card(name: str, *, variable_length: bool, missing_values: bool) -> ModelCard:
    """Return the card of such a model."""
    return card(
        name=name,
        timesteps=TIMESTEPS,
        features=FEATURES,
        timestep_labels=("Mon", "Tue", "Wed", "Thu", "Fri", "Sat"),
        feature_labels=("a", "b"),
        variable_length=variable_length,
        missing_values=missing_values,
    )


def build(x: Array, described: ModelCard) -> "keras.Model":
    """Build the default architecture with weights large enough that attention differs between timesteps."""
    # Only here and below: they import TensorFlow.
    import keras

    from training import models

    keras.utils.set_random_seed(0)
    prepared = dataset(
        x, scaled=True, variable_length=described.variable_length, missing_values=described.missing_values
    )
    model = models.build(prepared, Options(units=UNITS))
    model.set_weights([4 * weights for weights in model.get_weights()])
    return model


def sample(*, variable_length: bool, missing_values: bool) -> Array:
    """Return 32 sequences for such a model: some shorter, some with gaps, one of which is a whole timestep."""
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
    """Publish all models of `MASKED`."""
    from training.export import publish

    for name, (variable_length, missing_values) in MASKED.items():
        (folder / name).mkdir()
        allowed = {"variable_length": variable_length, "missing_values": missing_values}
        sequences = sample(**allowed)
        baseline = tuple(map(tuple, mean_sequence(sequences).tolist()))
        described = masked_card(name, **allowed).model_copy(update={"baseline": baseline})
        publish(build(sequences, described), described, sequences, folder / name)
