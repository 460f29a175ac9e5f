"""Synthetic sequences, for which the deciding timesteps are known."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from service.artifact.card import Target
from training import TrainingError
from training.data import Dataset, LabelledSequences, numbered
from training.options import Options


@dataclass(frozen=True)
class Recipe:
    """A kind of synthetic data and its default sizes. `features` are names, or a number of features without names."""

    sequences: int
    timesteps: int
    features: tuple[str, ...] | int
    target: Target


RECIPES: Mapping[str, Recipe] = {
    "recurrent": Recipe(300_000, 20, 2, Target(task="binary", classes=("0", "1"))),
    "decoy": Recipe(100_000, 20, ("signal", "decoy"), Target(task="binary", classes=("0", "1"))),
    "add-two-numbers": Recipe(20_000, 20, ("number", "marker"), Target(task="regression", names=("sum",))),
    "find-max": Recipe(100_000, 10, ("number",), Target(task="regression", names=("maximum",))),
}


def load(options: Options, rng: np.random.Generator) -> Dataset:
    """Make the dataset that `--data` names, with a tenth as many held-out sequences as sequences to fit."""
    recipe = RECIPES[options.data]
    sequences = options.sequences or recipe.sequences
    timesteps = options.timesteps or recipe.timesteps
    features = _features(recipe, options)
    return Dataset(
        train=_make(sequences, timesteps, len(features), options, rng),
        test=_make(sequences // 10, timesteps, len(features), options, rng),
        target=recipe.target,
        timestep_labels=numbered(timesteps),
        feature_labels=features,
        variable_length=False,
        missing_values=False,
        scale=None,
    )


def recurrent(
    n: int, timesteps: int, features: int, attention_column: int, rng: np.random.Generator
) -> LabelledSequences:
    """Make standard normal sequences with their label, 0 or 1, in all features of one timestep.

    Source: `get_data_recurrent` of github.com/philipperemy/keras-attention-mechanism.
    """
    x = rng.standard_normal((n, timesteps, features), dtype=np.float32)
    y = rng.integers(0, 2, n)
    x[:, attention_column, :] = y[:, np.newaxis]
    marked = np.zeros((n, timesteps), dtype=np.bool_)
    marked[:, attention_column] = True
    return LabelledSequences(x, y, marked)


def decoy(n: int, timesteps: int, attention_column: int, rng: np.random.Generator) -> LabelledSequences:
    """Make sequences of two features. One has the label at one timestep, and the other a coin of its own there."""
    both = recurrent(n, timesteps, 2, attention_column, rng)
    x = both.x[:]
    x[:, attention_column, 1] = rng.integers(0, 2, n)
    return LabelledSequences(x, both.y, both.marked)


def add_two_numbers(n: int, timesteps: int, rng: np.random.Generator) -> LabelledSequences:
    """Make numbers between 0 and 1 with a marker, which is 1 for two of them and 0 else. The label is their sum.

    Source: "the adding problem" of Hochreiter and Schmidhuber (1997), with sequences of one length as in
    `examples/add_two_numbers.py` of github.com/philipperemy/keras-attention-mechanism.
    """
    numbers = rng.random((n, timesteps), dtype=np.float32)
    first = rng.integers(0, timesteps, n)
    second = (first + rng.integers(1, timesteps, n)) % timesteps  # any index but the first
    marked = np.zeros((n, timesteps), dtype=np.bool_)
    marked[np.arange(n), first] = marked[np.arange(n), second] = True
    y = np.where(marked, numbers, 0).sum(axis=1, keepdims=True, dtype=np.float32)
    return LabelledSequences(np.stack([numbers, marked.astype(np.float32)], axis=2), y, marked)


def find_max(n: int, timesteps: int, rng: np.random.Generator) -> LabelledSequences:
    """Make numbers between 0 and 1. The label is the largest of them.

    Source: `examples/find_max.py` of github.com/philipperemy/keras-attention-mechanism, with uniform numbers.
    """
    numbers = rng.random((n, timesteps), dtype=np.float32)
    marked = np.arange(timesteps) == numbers.argmax(axis=1)[:, np.newaxis]
    return LabelledSequences(numbers[..., np.newaxis], numbers.max(axis=1, keepdims=True), marked)


def _features(recipe: Recipe, options: Options) -> tuple[str, ...]:
    if isinstance(recipe.features, int):
        return numbered(options.features or recipe.features)
    if options.features not in {None, len(recipe.features)}:
        raise TrainingError(f"--features: {options.data} has {len(recipe.features)}, got {options.features}")
    return recipe.features


def _make(n: int, timesteps: int, features: int, options: Options, rng: np.random.Generator) -> LabelledSequences:
    if options.data == "find-max":
        return find_max(n, timesteps, rng)
    if options.data == "add-two-numbers":
        if timesteps < 2:
            raise TrainingError(f"--timesteps: expected at least 2 to add two numbers, got {timesteps}")
        return add_two_numbers(n, timesteps, rng)
    if options.attention_column >= timesteps:
        raise TrainingError(
            f"--attention-column: expected less than --timesteps ({timesteps}), got {options.attention_column}"
        )
    if options.data == "decoy":
        return decoy(n, timesteps, options.attention_column, rng)
    return recurrent(n, timesteps, features, options.attention_column, rng)
