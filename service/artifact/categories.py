"""Categories: features whose values are words. Sequences hold the index of a value in the card's list."""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.artifact.card import ModelCard
from service.artifact.tensors import Array

#: Most values that a message lists.
MOST_LISTED: Final = 5


def categories_of(card: ModelCard) -> dict[int, tuple[str, ...]]:
    """Return the values of each feature that is a category, by the feature's position."""
    return {f: card.categories[label] for f, label in enumerate(card.feature_labels) if label in card.categories}


def index_of(name: str, values: tuple[str, ...]) -> int:
    """Return the index of a value by its name; the number of values for any other name."""
    return _positions(values).get(name, len(values))


@lru_cache(256)
def _positions(values: tuple[str, ...]) -> Mapping[str, int]:
    return {value: index for index, value in enumerate(values)}


@lru_cache(256)
def have_numbers(values: tuple[str, ...]) -> bool:
    """Return whether the name of some value is a number, so that a number in text is a name rather than an index."""
    return any(map(_is_number, values))


def _is_number(name: str) -> bool:
    try:
        return math.isfinite(float(name))
    except ValueError:
        return False


def wrong_indices(sequences: Array, card: ModelCard) -> NDArray[np.bool_]:
    """Return whether each value is a number in place of a category's index: a fraction, negative or too large.

    Args:
        sequences: `(n, timesteps, features)`.
        card: the model's card.

    Returns:
        `(n, timesteps, features)`. NaN is not wrong here.
    """
    wrong = np.zeros(sequences.shape, bool)
    for f, values in categories_of(card).items():
        column = sequences[:, :, f]
        index = np.nan_to_num(column, nan=0.0)
        wrong[:, :, f] = (index < 0) | (index > len(values)) | (index != np.floor(index))
    return wrong


def expected_index(values: tuple[str, ...]) -> str:
    """Return what a value of a category must be, for messages."""
    listed = ", ".join(f"{index} {name[:40]!r}" for index, name in enumerate(values[:MOST_LISTED]))
    more = ", …" if len(values) > MOST_LISTED else ""
    return f"the index of a value ({listed}{more}, or {len(values)} for any other)"
