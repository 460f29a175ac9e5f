"""Values that a model allows: NaN where one is missing, which makes timesteps absent, tokens, indices of categories."""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.artifact.card import ModelCard
from service.artifact.categories import expected_index, wrong_indices
from service.artifact.tensors import Array
from service.artifact.tokens import expected_token, wrong_tokens


def absent(sequences: Array) -> NDArray[np.bool_]:
    """Return `(n, timesteps)`, whether each timestep of sequences `(n, timesteps, features)` is without any value."""
    without_value: NDArray[np.bool_] = np.all(np.isnan(sequences), axis=2)
    return without_value


def refused(sequences: Array, card: ModelCard) -> NDArray[np.bool_]:
    """Return whether the model refuses each value: infinity, wrong integers, and NaN where the card does not allow it.

    With `missing_values`, NaN may be anywhere. With only `variable_length`, it may fill the last timesteps.

    Args:
        sequences: `(n, timesteps, features)`.
        card: the model's card.

    Returns:
        `(n, timesteps, features)`.
    """
    if card.categories:
        without = card.model_copy(update={"categories": {}})
        return wrong_indices(sequences, card) | refused(sequences, without)
    if card.tokens is not None:
        without = card.model_copy(update={"tokens": None})
        return wrong_tokens(sequences, card.tokens, card.feature_labels) | refused(sequences, without)
    if card.missing_values:
        return np.isinf(sequences)
    wrong = ~np.isfinite(sequences)
    if card.variable_length:
        padding = np.logical_and.accumulate(absent(sequences)[:, ::-1], axis=1)[:, ::-1]
        wrong[padding] = False
    return wrong


#: The problem of a sequence without a row for a timestep between two others.
NO_ROW: Final = "expected a row for each step of time, got none between this row and the next of the same sequence"


def absent_row(rows: NDArray[Any], step: int, start: int) -> bool:
    """Return whether a timestep of a long table has no row of its own.

    Args:
        rows: the row of each timestep; that of the timestep before where there is none.
        step: the timestep.
        start: the first timestep of the same sequence.
    """
    return step > start and bool(rows[step] == rows[step - 1])


def problem_of(value: float | str, card: ModelCard, label: str) -> str:
    """Return the problem of a refused value of a feature: what is expected, and what came.

    Args:
        value: the value, NaN for a missing one; or how a message shows it.
        card: the model's card.
        label: the feature's label.
    """
    categories = card.categories.get(label)
    noun = "a number" if categories is None else f"a name or {expected_index(categories)}"
    if card.tokens is not None:
        noun = expected_token(card.tokens, label)
    expected = f"{noun} or no value" if card.missing_values else noun
    if isinstance(value, str):
        return f"expected {expected}, got {value}"
    if math.isnan(value):
        return f"expected {expected}, got no value"
    finite = "a finite float32" if categories is None and card.tokens is None else expected
    return f"expected {finite}, got {value:g}"
