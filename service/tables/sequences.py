"""Sequences that were read from a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.artifact.tensors import Array

Indices = NDArray[np.int64]

#: Largest number of columns of a table, and of values of a sequence. A table with more is probably transposed.
MOST_COLUMNS: Final = 20_000


@dataclass(frozen=True)
class Sequences:
    """Some whole sequences.

    Attributes:
        numbers: `(k,)`, the number of each sequence's row in its table.
        steps: `(sum of lengths, features)`, the timesteps of all sequences, one after the other.
        lengths: `(k,)`.
        targets: the columns to predict, as pyarrow arrays `(k,)`.
        groups: the group of each sequence, a pyarrow array; None if there are no groups.
    """

    numbers: Indices
    steps: Array
    lengths: Indices
    targets: Sequence[Any]
    groups: Any
