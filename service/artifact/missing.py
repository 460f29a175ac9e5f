"""Missing values, which are NaN: where a model takes them, and the timesteps that they make absent."""

import numpy as np
from numpy.typing import NDArray

from service.artifact.card import ModelCard
from service.artifact.tensors import Array


def absent(sequences: Array) -> NDArray[np.bool_]:
    """Which timesteps are absent, as no feature has a value there.

    Args:
        sequences: `(n, timesteps, features)`.

    Returns:
        `(n, timesteps)`.
    """
    nowhere: NDArray[np.bool_] = np.all(np.isnan(sequences), axis=2)
    return nowhere


def refused(sequences: Array, card: ModelCard) -> NDArray[np.bool_]:
    """Which values a model does not take: infinite ones, and NaN unless its card allows it there.

    With `missing_values` NaN may stand anywhere; with `variable_length` alone, in absent timesteps at the end.

    Args:
        sequences: `(n, timesteps, features)`.
        card: the model's.

    Returns:
        `(n, timesteps, features)`.
    """
    if card.missing_values:
        return np.isinf(sequences)
    wrong = ~np.isfinite(sequences)
    if card.variable_length:
        from_the_end = np.logical_and.accumulate(absent(sequences)[:, ::-1], axis=1)
        wrong[from_the_end[:, ::-1]] = False
    return wrong
