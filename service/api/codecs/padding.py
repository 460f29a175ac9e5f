"""Posted sequences, all as long as the model takes them, and how long they were."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: How many timesteps each of several sequences has: none if all have as many as the model takes, one number if all have
#: as many as each other, else `(n)`.
Lengths = NDArray[np.intp] | int | None


class Sequences(NamedTuple):
    """Sequences that the model can run.

    Attributes:
        array: `(n, timesteps, features)`; NaN where a value is missing, and after the end of a shorter sequence.
        lengths: how many timesteps each came with.
    """

    array: NDArray[Any]
    lengths: Lengths


def padded(array: NDArray[Any], timesteps: int) -> Sequences:
    """Sequences of one length, at most `timesteps`: not copied if they have as many.

    Args:
        array: `(n, length, features)`.
        timesteps: how many the model takes.
    """
    n, length, features = array.shape
    if length == timesteps:
        return Sequences(array, None)
    longer = np.full((n, timesteps, features), np.nan, array.dtype)
    longer[:, :length] = array
    return Sequences(longer, length)


def padded_each(steps: NDArray[Any], lengths: NDArray[np.intp], timesteps: int) -> Sequences:
    """Sequences of different lengths, each at most `timesteps`.

    Args:
        steps: their timesteps one after another, `(sum of lengths, features)`.
        lengths: how many of them each has, `(n)`, at least 1 each.
        timesteps: how many the model takes.
    """
    n, features = len(lengths), steps.shape[1]
    if (lengths == lengths[0]).all():
        return padded(steps.reshape(n, lengths[0], features), timesteps)
    array = np.full((n, timesteps, features), np.nan, steps.dtype)
    array[np.arange(timesteps) < lengths[:, np.newaxis]] = steps
    return Sequences(array, lengths)
