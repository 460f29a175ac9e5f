"""Removal: how far predictions move without the top timesteps of an order, and with these alone."""

import copy
from collections.abc import Sequence
from typing import Final, Self

import numpy as np
from numpy.typing import DTypeLike

from service.artifact.card import Target
from service.artifact.distances import moved
from service.artifact.missing import absent
from service.artifact.occlusion import varying_or_all
from service.artifact.tensors import Array

#: The fractions of the present timesteps that are taken away, or alone kept.
#: Source: DeYoung and others, ERASER, arXiv 1911.03429, section 4.2.
FRACTIONS: Final = (0.01, 0.05, 0.1, 0.2, 0.5)


class Removals:
    """Copies of sequences in which the top timesteps of an order are replaced, or all others are.

    Each sequence has a pair of copies for each of the `FRACTIONS`: first without the top timesteps, then with these
    alone. A fraction is that of the present timesteps, rounded to at least one. Absent timesteps stay absent. The
    baseline replaces all varying features of a timestep, as in `Occlusions`. The copies are large, so they are only
    made when they are converted to an array.

    Args:
        sequences: `(n, timesteps, features)`.
        baseline: `(timesteps, features)`.
        scores: `(n, timesteps)`; the order goes from the highest score to the lowest, and from earlier timesteps to
            later ones of the same score.
        varying: the indices of the features that change with time; by default all.
    """

    def __init__(self, sequences: Array, baseline: Array, scores: Array, varying: Sequence[int] | None = None) -> None:
        self._varying = varying_or_all(sequences, varying)
        n, timesteps, _ = sequences.shape
        self._sequences, self._baseline = sequences, baseline
        self._present = ~absent(sequences)
        order = np.argsort(np.where(self._present, -scores, np.inf), axis=1, kind="stable")
        self._place = np.empty((n, timesteps), np.int64)  # of each timestep in the order
        np.put_along_axis(self._place, order, np.arange(timesteps)[np.newaxis], axis=1)
        counts = np.rint(self._present.sum(axis=1)[:, np.newaxis] * np.array(FRACTIONS))
        self._counts = np.maximum(counts, 1).astype(np.int64)  # (n, fractions)
        self._copies = np.arange(n * len(FRACTIONS) * 2)

    def __len__(self) -> int:
        return len(self._copies)

    def __getitem__(self, rows: slice, /) -> Self:
        part = copy.copy(self)
        part._copies = self._copies[rows]
        return part

    def __array__(self, dtype: DTypeLike = None, copy: bool | None = None) -> Array:  # noqa: FBT001 - numpy's
        """Return the copies, `(k, timesteps, features)`."""
        owner, fraction, kept = np.unravel_index(self._copies, (len(self._sequences), len(FRACTIONS), 2))
        is_top = self._place[owner] < self._counts[owner, fraction, np.newaxis]  # (k, timesteps)
        replaced = self._present[owner] & (is_top ^ (kept == 1)[:, np.newaxis])
        return np.where(replaced[..., np.newaxis] & self._varying, self._baseline, self._sequences[owner])

    def moved(
        self, prediction: Array, others: Array, target: Target, units: Array | None = None
    ) -> tuple[Array, Array]:
        """Return comprehensiveness and sufficiency, `(n, fractions)` each.

        Comprehensiveness is how far the prediction moves without the top timesteps. Sufficiency is how far it moves
        with these alone. See `distances.moved` for the distance.

        Args:
            prediction: `(n, outputs)` or `(n, steps, outputs)`, the predictions of the sequences.
            others: the predictions of all copies, of the same axes.
            target: the target of the model.
            units: of several predicted numbers, `(outputs,)`.
        """
        pairs = len(FRACTIONS) * 2
        distances = moved(np.repeat(prediction, pairs, axis=0), others, target, units).reshape(-1, len(FRACTIONS), 2)
        return distances[..., 0], distances[..., 1]
