"""What every source of sequences gives."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from service.artifact.card import Target
from service.artifact.tensors import Array

Indices = NDArray[np.int64]

#: Most columns of a table, and most values of a sequence: more is rather a table that lies on its side.
MOST_COLUMNS: Final = 20_000
#: Most values that are looked at in one go; it takes some 20 bytes each.
VALUES_AT_A_TIME: Final = 2**20


class SequenceStore(Protocol):
    """Sequences, in memory or elsewhere; an array is one.

    NaN is a missing value; a timestep without any value is absent, and sequences that end early end in such ones.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """`(n, timesteps, features)`."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Indices | slice, /) -> Array:
        """Some sequences `(k, timesteps, features)`, in the order given."""


@dataclass(frozen=True)
class Subset:
    """Some of other rows, read when asked for.

    Attributes:
        rows: the others.
        order: `(n,)`, which of them.
    """

    rows: SequenceStore
    order: Indices

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.order), *self.rows.shape[1:])

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, rows: Indices | slice, /) -> Array:
        return self.rows[self.order[rows]]


@dataclass(frozen=True)
class LabelledSequences:
    """Labelled sequences.

    Attributes:
        x: `(n, timesteps, features)`.
        y: `(n,)` int64, index of each sequence's class; or `(n, outputs)` float32, its numbers.
        marked: `(n, timesteps)`, the timesteps that decide; only synthetic data knows.
    """

    x: SequenceStore
    y: NDArray[Any]
    marked: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: Indices | slice) -> "LabelledSequences":
        """Some of the sequences, in the order given; what is on disk stays there."""
        marked = None if self.marked is None else self.marked[rows]
        return LabelledSequences(_selected(self.x, rows), self.y[rows], marked)


def _selected(x: SequenceStore, rows: Indices | slice) -> SequenceStore:
    if isinstance(x, np.ndarray):
        return x[rows]
    if isinstance(x, Subset):
        return Subset(x.rows, x.order[rows])
    return Subset(x, np.arange(len(x))[rows])


@dataclass(frozen=True)
class Scale:
    """Where the values of each feature lie, over all that are present.

    Attributes:
        mean: `(features,)`; 0 for a feature without values.
        deviation: `(features,)`, standard deviation; exactly 0 for a feature that never changes.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def of(cls, x: SequenceStore) -> "Scale":
        """Measure sequences, a part at a time.

        Source of the merging: Chan, Golub and LeVeque (1979), "Updating formulae and a pairwise algorithm for
        computing sample variances".
        """
        features = x.shape[2]
        count, mean, squares = np.zeros(features), np.zeros(features), np.zeros(features)
        for part in parts_of(x):
            values = part.reshape(-1, features).astype(np.float64)
            present = ~np.isnan(values)
            added = present.sum(axis=0)
            # Exact for a feature that never changes: so many float32 add up in float64 without rounding.
            of_part = np.nansum(values, axis=0) / np.maximum(added, 1)
            values -= of_part
            delta = of_part - mean
            total = np.maximum(count + added, 1)
            squares += np.nansum(np.square(values, out=values), axis=0) + delta**2 * count * added / total
            mean += delta * added / total
            count += added
        return cls(mean, np.sqrt(squares / np.maximum(count, 1)))


@dataclass(frozen=True)
class Dataset:
    """What one run trains and is judged on.

    Attributes:
        train: sequences to fit.
        test: held-out sequences; nothing about the fit depends on them.
        target: what the labels mean.
        timestep_labels: one for each timestep.
        feature_labels: one for each feature.
        variable_length: whether some sequence ends early.
        missing_values: whether some value is missing before its sequence ends.
        scale: of the sequences to fit; none for synthetic ones, which, like their numbers, need no scaling.
    """

    train: LabelledSequences
    test: LabelledSequences
    target: Target
    timestep_labels: tuple[str, ...]
    feature_labels: tuple[str, ...]
    variable_length: bool
    missing_values: bool
    scale: Scale | None

    @property
    def target_scale(self) -> Scale:
        """Where the numbers to fit lie; 1 is the deviation of one that never changes, and of synthetic ones."""
        outputs = self.train.y.shape[1]
        if self.scale is None:
            return Scale(np.zeros(outputs), np.ones(outputs))
        scale = Scale.of(self.train.y[:, np.newaxis])
        return Scale(scale.mean, np.where(scale.deviation > 0, scale.deviation, 1.0))


@dataclass(frozen=True)
class SourceData:
    """What a source holds, before anything is held out.

    Attributes:
        where: what errors call the source.
        x: `(n, timesteps, features)`.
        labels: `(n,)` or `(n, numbers)`, as the source has them.
        label_names: one for each number.
        timestep_labels: one for each timestep, or more.
        feature_labels: one for each feature.
        place: what errors call the sequence of an index.
        fitted: how many of them, from the first, are to fit, where the source says what is held out.
    """

    where: str
    x: SequenceStore
    labels: NDArray[Any]
    label_names: tuple[str, ...]
    timestep_labels: tuple[str, ...]
    feature_labels: tuple[str, ...]
    place: Callable[[int], str]
    fitted: int | None


def mean_sequence(x: SequenceStore) -> NDArray[np.float64]:
    """What is typical of each timestep: `(timesteps, features)`, the mean over the sequences that have it.

    Where none has, it is the feature's mean over all timesteps, or 0 where that has no value at all.
    """
    total, count = np.zeros(x.shape[1:]), np.zeros(x.shape[1:])
    for part in parts_of(x):
        total += np.nansum(part, axis=0, dtype=np.float64)
        count += (~np.isnan(part)).sum(axis=0)
    of_feature = total.sum(axis=0) / np.maximum(count.sum(axis=0), 1)
    return np.where(count > 0, total / np.maximum(count, 1), of_feature)


def parts_of(x: SequenceStore) -> Iterator[Array]:
    """All sequences, `VALUES_AT_A_TIME` or so at a time."""
    step = max(1, VALUES_AT_A_TIME // (x.shape[1] * x.shape[2]))
    for start in range(0, len(x), step):
        yield x[start : start + step]


def numbered(count: int) -> tuple[str, ...]:
    """Labels of what has no names."""
    return tuple(map(str, range(count)))


def lengths_of(x: Array) -> Indices:
    """Timesteps up to the last present one; 0 where none is.

    Args:
        x: `(n, timesteps, features)`.

    Returns:
        `(n,)`.
    """
    present: NDArray[np.bool_] = np.any(~np.isnan(x), axis=2)  # (n, timesteps)
    from_end = present[:, ::-1].argmax(axis=1)
    return np.where(present.any(axis=1), x.shape[1] - from_end, 0)
