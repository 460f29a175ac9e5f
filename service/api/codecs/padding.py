"""Padding: sequences of any length to one array of the length that the model takes."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: How many timesteps each of n sequences was posted with: None if all have as many as the model takes, one number if
#: all have the same, else `(n,)`.
Lengths = NDArray[np.intp] | int | None


class PaddedSequences(NamedTuple):
    """Sequences that a model can run.

    Attributes:
        array: `(n, timesteps, features)`; NaN where a value is missing and after the end of a shorter sequence.
        lengths: how many timesteps each was posted with.
    """

    array: NDArray[Any]
    lengths: Lengths


def padded(array: NDArray[Any], timesteps: int) -> PaddedSequences:
    """Pad sequences of one length. They are not copied if they have `timesteps` already.

    Args:
        array: `(n, length, features)`, length ≤ `timesteps`.
        timesteps: how many timesteps the model takes.
    """
    n, length, features = array.shape
    if length == timesteps:
        return PaddedSequences(array, None)
    longer = np.full((n, timesteps, features), np.nan, array.dtype)
    longer[:, :length] = array
    return PaddedSequences(longer, length)


def padded_each(steps: NDArray[Any], lengths: NDArray[np.intp], timesteps: int) -> PaddedSequences:
    """Pad sequences of different lengths, each at most `timesteps`.

    Args:
        steps: the timesteps of all sequences in order, `(sum of lengths, features)`.
        lengths: how many timesteps each sequence has, `(n,)`, at least 1 each.
        timesteps: how many timesteps the model takes.
    """
    n, features = len(lengths), steps.shape[1]
    if (lengths == lengths[0]).all():
        return padded(steps.reshape(n, lengths[0], features), timesteps)
    array = np.full((n, timesteps, features), np.nan, steps.dtype)
    array[np.arange(timesteps) < lengths[:, np.newaxis]] = steps
    return PaddedSequences(array, lengths)
