"""An untrained model whose sequences have numbers, two categories and static features."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from service.artifact.card import ModelCard, TableFormat
from service.artifact.tensors import Array
from tests.samples import card, dataset
from training.data import Dataset, baseline_of
from training.options import Options

TIMESTEPS, FEATURES = 6, ("speed", "colour", "age", "town")
COLOURS = ("red", "green", "blue")
#: So many that they have an embedding.
TOWNS = tuple(f"town {index}" for index in range(40))
CATEGORIES = {"colour": COLOURS, "town": TOWNS}
STATIC = ("age", "town")


def sample() -> Array:
    """Return 32 sequences `(n, 6, 4)`: some shorter, some with gaps, and with unknown values of each category."""
    rng = np.random.default_rng(0)
    sequences = rng.normal(50, 9, (32, TIMESTEPS, 4)).astype(np.float32)
    sequences[:, :, 1] = rng.integers(0, len(COLOURS) + 1, (32, TIMESTEPS))
    sequences[:, :, 2] = rng.normal(40, 20, (32, 1))
    sequences[:, :, 3] = rng.integers(0, len(TOWNS) + 1, (32, 1))
    sequences[1::4, 4:] = np.nan
    sequences[2::4, 1, 1] = np.nan
    sequences[3::4, 2] = np.nan
    return sequences


def described_dataset() -> Dataset:
    """Return the sample as a dataset."""
    prepared = dataset(sample(), scaled=True, variable_length=True, missing_values=True)
    return replace(prepared, feature_labels=FEATURES, categories=CATEGORIES, static_labels=STATIC)


def categorized_card() -> ModelCard:
    """Return the card of the model."""
    return card(
        name="goods",
        timesteps=TIMESTEPS,
        features=len(FEATURES),
        feature_labels=FEATURES,
        categories=CATEGORIES,
        static_labels=STATIC,
        variable_length=True,
        missing_values=True,
        baseline=tuple(map(tuple, baseline_of(described_dataset()).tolist())),
        table=TableFormat(
            sequence_column="id", timestep_column="day", target_columns=("label",), delimiter=";", decimal=","
        ),
    )


def publish_categorized(folder: Path) -> None:
    """Publish the model `goods` with weights large enough that each input matters."""
    import keras

    from training import models
    from training.export import publish

    keras.utils.set_random_seed(0)
    model = models.build(described_dataset(), Options(units=3))
    model.set_weights([2 * weights for weights in model.get_weights()])
    (folder / "goods").mkdir()
    publish(model, categorized_card(), sample(), folder / "goods")
