"""Occlusion: the importance of each timestep, from predictions of the sequence without it."""

import copy
from typing import Self

import numpy as np
from numpy.typing import DTypeLike

from service.artifact.card import Target
from service.artifact.distances import moved
from service.artifact.missing import absent
from service.artifact.tensors import Array


class Occlusions:
    """Copies of sequences, one for each timestep that is present, in which that timestep is replaced.

    The baseline, which is typical of the timestep, replaces all its features. Absent timesteps stay absent. The copies
    are large, so they are only made when they are converted to an array.
    Source: Zeiler and Fergus, arXiv 1311.2901, section 4.2, for images.

    Args:
        sequences: `(n, timesteps, features)`.
        baseline: `(timesteps, features)`.
    """

    def __init__(self, sequences: Array, baseline: Array) -> None:
        self._sequences = sequences
        self._baseline = baseline
        self._owner, self._timestep = np.nonzero(~absent(sequences))

    def __len__(self) -> int:
        return len(self._owner)

    def __getitem__(self, rows: slice, /) -> Self:
        part = copy.copy(self)
        part._owner, part._timestep = self._owner[rows], self._timestep[rows]
        return part

    def __array__(self, dtype: DTypeLike = None, copy: bool | None = None) -> Array:  # noqa: FBT001 - numpy's
        """Return the copies, `(k, timesteps, features)`."""
        occluded = self._sequences[self._owner]
        occluded[np.arange(len(self)), self._timestep] = self._baseline[self._timestep]
        return occluded

    def importance(self, prediction: Array, occluded: Array, target: Target) -> Array:
        """Return how far occluding each timestep moves the prediction: `(n, timesteps)`, 0 where it is absent.

        See `moved` for the distance.

        Args:
            prediction: `(n, outputs)` or `(n, steps, outputs)`, the predictions of the sequences.
            occluded: the predictions of the copies, of the same axes.
            target: the target of the model.
        """
        importance = np.zeros(self._sequences.shape[:2], np.float32)
        importance[self._owner, self._timestep] = moved(prediction[self._owner], occluded, target)
        return importance
