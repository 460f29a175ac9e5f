"""How much a prediction depends on each timestep: what becomes of it once the timestep is occluded."""

import copy
from typing import Self

import numpy as np
from numpy.typing import DTypeLike

from service.artifact.card import Target
from service.artifact.missing import absent
from service.artifact.tensors import Array


class Occlusions:
    """Sequences, each as often as it has timesteps, every time with another one replaced by the baseline.

    Timesteps that are absent stay so. What replaces all features of one is what is typical there, so that the
    difference is what it tells beyond that. They become an array, a large one, when they are asked for.
    Source: Zeiler and Fergus, arXiv 1311.2901, section 4.2, of images.

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
        some = copy.copy(self)
        some._owner, some._timestep = self._owner[rows], self._timestep[rows]
        return some

    def __array__(self, dtype: DTypeLike = None, copy: bool | None = None) -> Array:  # noqa: FBT001 - numpy's
        """All of them, `(k, timesteps, features)`."""
        occluded = self._sequences[self._owner]
        occluded[np.arange(len(self)), self._timestep] = self._baseline[self._timestep]
        return occluded

    def importance(self, prediction: Array, occluded: Array, target: Target) -> Array:
        """How far each timestep moves the prediction: `(n, timesteps)`, 0 where it is absent.

        Args:
            prediction: `(n, outputs)`, of the sequences.
            occluded: `(len(self), outputs)`, of the occlusions.
            target: what is predicted. Of classes it is the total variation, the share of probability that goes to other
                classes; of numbers the absolute difference, their mean where there are several.
        """
        importance = np.zeros(self._sequences.shape[:2], np.float32)
        difference = np.abs(occluded - prediction[self._owner])
        moved = difference.sum(axis=1) / 2 if target.task == "multiclass" else difference.mean(axis=1)
        importance[self._owner, self._timestep] = moved
        return importance
