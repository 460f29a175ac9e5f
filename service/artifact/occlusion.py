"""Occlusion: the importance of timesteps, features and cells, from predictions of the sequence without each."""

import copy
from collections.abc import Mapping, Sequence
from typing import Final, Literal, Self, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

from service.artifact.card import ModelCard, Target
from service.artifact.distances import moved
from service.artifact.golden import Golden
from service.artifact.missing import absent
from service.artifact.tensors import CELL_IMPORTANCE, FEATURE_IMPORTANCE, IMPORTANCE, Array

#: Most sequences that `marginal` draws from.
DRAWS: Final = 8
#: What replaces a part: the card's baseline, or the values of other sequences, those of the golden example.
Replacement = Literal["baseline", "marginal"]
REPLACEMENTS: Final[tuple[Replacement, ...]] = get_args(Replacement)
ImportanceOf = Literal["timesteps", "features", "both"]
#: The importances that are measured for each value of `importance`.
MEASURED: Final[Mapping[str, tuple[str, ...]]] = {
    "timesteps": (IMPORTANCE,),
    "features": (FEATURE_IMPORTANCE,),
    "both": (IMPORTANCE, FEATURE_IMPORTANCE, CELL_IMPORTANCE),
}


class Occlusions:
    """Copies of sequences, one for each part that is present and for each replacement, in which that part is replaced.

    A part is a timestep with all its varying features, a feature at all timesteps, or a cell of a timestep and a
    varying feature. Static features have the same value at each timestep, so they are replaced at all timesteps or at
    none. Absent timesteps stay absent. The copies are large, so they are only made when they are converted to an array.
    Source: Zeiler and Fergus, arXiv 1311.2901, section 4.2, for images.

    Args:
        sequences: `(n, timesteps, features)`.
        replacements: values that are typical of each cell: `(timesteps, features)`, the baseline, or
            `(draws, timesteps, features)`. They have no NaN.
        name: the importance to measure, which says what a part is: `importance` for timesteps, `feature_importance`
            or `cell_importance`.
        varying: the indices of the features that change with time; by default all.
    """

    def __init__(
        self, sequences: Array, replacements: Array, name: str = IMPORTANCE, varying: Sequence[int] | None = None
    ) -> None:
        self._sequences = sequences
        self._varying = varying_or_all(sequences, varying)
        self._replacements = replacements.reshape(-1, *sequences.shape[1:])
        self._name = name
        self._absent = absent(sequences)
        self._parts = _parts(self._absent, self._varying, name)
        owner, *places = np.nonzero(self._parts)
        draws = len(self._replacements)
        self._owner, self._draw = owner.repeat(draws), np.tile(np.arange(draws), len(owner))
        self._places = [place.repeat(draws) for place in places]

    def __len__(self) -> int:
        return len(self._owner)

    def __getitem__(self, rows: slice, /) -> Self:
        part = copy.copy(self)
        part._owner, part._draw = self._owner[rows], self._draw[rows]
        part._places = [place[rows] for place in self._places]
        return part

    def __array__(self, dtype: DTypeLike = None, copy: bool | None = None) -> Array:  # noqa: FBT001 - numpy's
        """Return the copies, `(k, timesteps, features)`."""
        occluded = self._sequences[self._owner]
        each = np.arange(len(self))
        if self._name == FEATURE_IMPORTANCE:
            (feature,) = self._places
            occluded[each, :, feature] = self._replacements[self._draw, :, feature]
            occluded[self._absent[self._owner]] = np.nan
        elif self._name == IMPORTANCE:
            (timestep,) = self._places
            cells = timestep[:, np.newaxis], np.flatnonzero(self._varying)
            occluded[each[:, np.newaxis], *cells] = self._replacements[self._draw[:, np.newaxis], *cells]
        else:
            occluded[each, *self._places] = self._replacements[self._draw, *self._places]
        return occluded

    def importance(self, prediction: Array, occluded: Array, target: Target, units: Array | None = None) -> Array:
        """Return how far the prediction moves without each part, as the mean over the replacements.

        See `moved` for the distance.

        Args:
            prediction: `(n, outputs)` or `(n, steps, outputs)`, the predictions of the sequences.
            occluded: the predictions of the copies, of the same axes.
            target: the target of the model.
            units: of several predicted numbers, `(outputs,)`.

        Returns:
            `(n, timesteps)`, `(n, features)` or `(n, timesteps, features)`; 0 where a timestep is absent, and in
            the cells of static features.
        """
        importance = np.zeros(self._parts.shape, np.float32)
        distances = moved(prediction[self._owner], occluded, target, units)
        importance[self._parts] = distances.reshape(-1, len(self._replacements)).mean(axis=1)
        return importance


def marginal(sequences: Array, baseline: Array) -> Array:
    """Return values to replace others by, which come from other sequences: `(draws, timesteps, features)`.

    At most `DRAWS` of the sequences are taken, evenly. Where one of them lacks a value, it has that of the first which
    has one; the baseline's, if none has.

    Args:
        sequences: `(n, timesteps, features)`; NaN where a value is missing.
        baseline: `(timesteps, features)`.
    """
    drawn = sequences[np.linspace(0, len(sequences) - 1, min(len(sequences), DRAWS)).astype(np.intp)]
    missing = np.isnan(drawn)
    first = np.take_along_axis(drawn, missing.argmin(axis=0)[np.newaxis], axis=0)  # that has a value, if any has
    return np.where(missing, np.where(np.isnan(first), baseline, first), drawn)


def replacements_of(card: ModelCard, golden: Golden) -> Mapping[str, Array]:
    """Return what may replace parts of sequences, by name: `(draws, timesteps, features)` each.

    There is nothing without a baseline on the card, and no `marginal` for a golden example of a single sequence.
    """
    if card.baseline is None:
        return {}
    baseline = np.array(card.baseline, np.float32)
    others = {"marginal": marginal(golden.sequence, baseline)} if len(golden.sequence) > 1 else {}
    return {"baseline": baseline[np.newaxis], **others}


def varying_or_all(sequences: Array, varying: Sequence[int] | None) -> NDArray[np.bool_]:
    """Return `(features,)`, whether each feature is one of some; all are, if none are given."""
    mask = np.full(sequences.shape[2], not varying)
    mask[list(varying or ())] = True
    return mask


def _parts(without: NDArray[np.bool_], varying: NDArray[np.bool_], name: str) -> NDArray[np.bool_]:
    """Return whether each part is there, given the absent timesteps `(n, timesteps)` and the varying features."""
    if name == FEATURE_IMPORTANCE:
        return np.ones((len(without), len(varying)), bool)
    if name == CELL_IMPORTANCE:
        return ~without[:, :, np.newaxis] & varying
    return ~without
