"""The timesteps of sequences from the rows of a table: static features, the end of a sequence, its last window."""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.artifact.card import ModelCard

#: Most timesteps of a sequence: so many for each of its rows, and so many more.
MOST_ABSENT: Final = 100
MORE_ABSENT: Final = 1000


class Steps(NamedTuple):
    """The timesteps of some sequences, one sequence after the other.

    Attributes:
        values: `(sum of lengths, features)`; NaN where a value is missing.
        rows: `(sum of lengths,)`, the row of each timestep.
        lengths: `(sequences,)`, at least 1 each.
    """

    values: NDArray[Any]
    rows: NDArray[np.intp]
    lengths: NDArray[np.intp]

    @property
    def starts(self) -> NDArray[np.intp]:
        """The first timestep of each sequence, `(sequences,)`."""
        starts: NDArray[np.intp] = np.cumsum(self.lengths) - self.lengths
        return starts

    def kept(self, timesteps: NDArray[np.bool_], lengths: NDArray[np.intp]) -> "Steps":
        """Return some of the timesteps, and the lengths that the sequences have then."""
        return Steps(self.values[timesteps], self.rows[timesteps], lengths)


def too_sparse(timesteps: NDArray[np.intp], rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return which sequences have too many absent timesteps to be read: one wrong time may add millions.

    Args:
        timesteps: `(sequences,)`, from the first to the last row of each.
        rows: `(sequences,)`, the number of rows of each.
    """
    sparse: NDArray[np.bool_] = timesteps > MOST_ABSENT * rows + MORE_ABSENT
    return sparse


def complete_static(steps: Steps, card: ModelCard) -> None:
    """Give static features their value at each timestep that has other values, and none at any other timestep.

    One row of a sequence may have the value, as in training.
    """
    static = np.isin(card.feature_labels, card.static_labels)
    starts, lengths = steps.starts, steps.lengths
    for feature in np.flatnonzero(static):
        values = steps.values[:, feature]
        known = np.where(np.isnan(values), len(values), np.arange(len(values)))
        first = np.minimum(np.minimum.reduceat(known, starts), starts + lengths - 1)  # of the rows with a value
        steps.values[:, feature] = np.where(np.isnan(values), values[first].repeat(lengths), values)
    if static.any() and not static.all():
        steps.values[np.isnan(steps.values[:, ~static]).all(axis=1)] = np.nan


def up_to_last_value(steps: Steps) -> Steps:
    """Return sequences that end with their last value. The length of one without any value is 0."""
    starts = steps.starts
    present = np.where(np.isnan(steps.values).all(axis=1), -1, np.arange(len(steps.values)))
    last = np.maximum.reduceat(present, starts)
    kept = np.arange(len(steps.values)) <= last.repeat(steps.lengths)
    return steps.kept(kept, np.maximum(last - starts + 1, 0))


def last_windows(steps: Steps, timesteps: int) -> Steps:
    """Return the last `timesteps` of each sequence; a shorter one as it is."""
    kept = np.arange(len(steps.values)) >= (steps.starts + steps.lengths - timesteps).repeat(steps.lengths)
    return steps.kept(kept, np.minimum(steps.lengths, timesteps))
