"""The sequences that a source returns, and the dataset of one training."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from service.artifact.card import ModelCard, TableFormat, Target
from service.artifact.tensors import Array

Indices = NDArray[np.int64]

#: Smallest standard deviation of a feature that is scaled. float32 has fewer digits for the numbers around 1e-38.
SMALLEST_DEVIATION: Final = 1e-30
#: Largest number of values in one pass over a part of the data. Each takes some 20 bytes.
VALUES_AT_A_TIME: Final = 2**20


class SequenceStore(Protocol):
    """Sequences in memory or on disk. A numpy array is one.

    NaN is a missing value. A timestep without any value is absent. Sequences that end early are padded with absent
    timesteps.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """`(n, timesteps, features)`."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Indices | slice, /) -> Array:
        """Return the sequences of some indices, `(k, timesteps, features)`, in the order given."""


@dataclass(frozen=True)
class Subset:
    """The sequences of a store at some indices `(n,)`, read on access."""

    store: SequenceStore
    indices: Indices

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.indices), *self.store.shape[1:])

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, rows: Indices | slice, /) -> Array:
        return self.store[self.indices[rows]]


@dataclass(frozen=True)
class LabelledSequences:
    """Sequences with their labels.

    Attributes:
        x: `(n, timesteps, features)`.
        y: `(n,)` int64 class indices, or `(n, outputs)` float32 numbers.
        marked: `(n, timesteps)`, whether a timestep decides the label; only synthetic data has it.
        groups: `(n,)` int64, the group of each sequence. Sequences of one group stay on one side of every split.
        spans: `(n, 2)`, the time of the first timestep of each window, and of the last timestep that is predicted from
            it; None if the sequences are not windows.
        varying: indices of the features that change with time; None for all.
    """

    x: SequenceStore
    y: NDArray[Any]
    marked: NDArray[np.bool_] | None = None
    groups: Indices | None = None
    spans: NDArray[np.float64] | None = None
    varying: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: Indices | slice) -> "LabelledSequences":
        """Return the sequences of some indices, in the order given. Nothing is read from disk."""
        marked = None if self.marked is None else self.marked[rows]
        groups = None if self.groups is None else self.groups[rows]
        spans = None if self.spans is None else self.spans[rows]
        return LabelledSequences(_subset(self.x, rows), self.y[rows], marked, groups, spans, self.varying)


def _subset(x: SequenceStore, rows: Indices | slice) -> SequenceStore:
    if isinstance(x, np.ndarray):
        return x[rows]
    if isinstance(x, Subset):
        return Subset(x.store, x.indices[rows])
    return Subset(x, np.arange(len(x))[rows])


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of each feature, over all values present.

    Attributes:
        mean: `(features,)`; 0 for a feature without values.
        deviation: `(features,)`; exactly 0 for a constant feature.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def of(cls, x: SequenceStore) -> "Scale":
        """Measure sequences, one part at a time.

        Source of the merging: Chan, Golub and LeVeque (1979), "Updating formulae and a pairwise algorithm for
        computing sample variances".
        """
        features = x.shape[2]
        count, mean, squares = np.zeros(features), np.zeros(features), np.zeros(features)
        for part in parts_of(x):
            values = part.reshape(-1, features).astype(np.float64)
            present = ~np.isnan(values)
            added = present.sum(axis=0)
            # Exact for a constant feature: float64 adds this many float32 values without rounding.
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
    """The data of one training.

    Attributes:
        test: held-out sequences; the fit never uses them.
        variable_length: whether some sequence ends early.
        missing_values: whether some value is missing before its sequence ends.
        scale: of the sequences to fit; None for synthetic data, which needs no scaling.
        categories: the values of each feature that is a category, by the feature's label. Its column of `x` holds
            the index of a value; the number of values stands for any other value.
        static_labels: the features that do not change with time. They have the same value at each present timestep.
        ordered: whether the sequences are windows of a longer series, in the order of time. Then the validation data
            are the last sequences, and nothing is shuffled across a split.
        hints: sentences on choices that were made for the person, for the summary and the card.
        table: how the source's table was read, for the card; None for a source of another kind.
        past: for each number to forecast, the index of the feature that has its earlier values, or None; empty if
            nothing is forecast.
        robust: whether numbers to predict are scaled by median and quartiles, which outliers do not move.
        published_scale: the scale of the numbers to predict of a published version; None if they have one of their own.
    """

    train: LabelledSequences
    test: LabelledSequences
    target: Target
    timestep_labels: tuple[str, ...]
    feature_labels: tuple[str, ...]
    variable_length: bool
    missing_values: bool
    scale: Scale | None
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    static_labels: tuple[str, ...] = ()
    ordered: bool = False
    hints: tuple[str, ...] = ()
    table: TableFormat | None = None
    past: tuple[int | None, ...] = ()
    robust: bool = False
    published_scale: Scale | None = None

    @property
    def target_scale(self) -> Scale:
        """The scale of the numbers to fit. The deviation is 1 for a constant number and for synthetic data.

        If robust, it is the median and the distance of the quartiles, in units of that of a normal distribution.
        """
        if self.published_scale is not None:
            return self.published_scale
        outputs = self.train.y.shape[1]
        if self.scale is None:
            return Scale(np.zeros(outputs), np.ones(outputs))
        scale = Scale.of(self.train.y[:, np.newaxis])
        if self.robust:
            low, median, high = np.quantile(self.train.y.astype(np.float64), [0.25, 0.5, 0.75], axis=0)
            spread = (high - low) / (2 * NormalDist().inv_cdf(0.75))
            scale = Scale(median, np.where(spread > 0, spread, scale.deviation))
        return Scale(scale.mean, np.where(scale.deviation > 0, scale.deviation, 1.0))


@dataclass(frozen=True)
class SourceData:
    """All sequences of a source, before some are held out.

    Attributes:
        where: the source's name in error messages.
        x: `(n, timesteps, features)`.
        labels: `(n,)` or `(n, numbers)`, as in the source.
        label_names: one for each number.
        timestep_labels: one for each timestep, or more.
        locate: returns the place of the sequence of an index, for error messages.
        fitted: the number of sequences to fit, which come first; None if the source does not separate them.
        groups, spans: as in `LabelledSequences`.
        categories, static_labels, ordered, hints, table, past: as in `Dataset`.
    """

    where: str
    x: SequenceStore
    labels: NDArray[Any]
    label_names: tuple[str, ...]
    timestep_labels: tuple[str, ...]
    feature_labels: tuple[str, ...]
    locate: Callable[[int], str]
    fitted: int | None
    groups: Indices | None = None
    spans: NDArray[np.float64] | None = None
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    static_labels: tuple[str, ...] = ()
    ordered: bool = False
    hints: tuple[str, ...] = ()
    table: TableFormat | None = None
    past: tuple[int | None, ...] = ()


def mean_sequence(x: SequenceStore) -> NDArray[np.float64]:
    """Return the mean sequence `(timesteps, features)`, over the values present.

    A timestep without values has the feature's mean over all timesteps. A feature without values has 0.
    """
    total, count = np.zeros(x.shape[1:]), np.zeros(x.shape[1:])
    for part in parts_of(x):
        total += np.nansum(part, axis=0, dtype=np.float64)
        count += (~np.isnan(part)).sum(axis=0)
    of_feature = total.sum(axis=0) / np.maximum(count.sum(axis=0), 1)
    return np.where(count > 0, total / np.maximum(count, 1), of_feature)


def baseline_of(dataset: Dataset) -> NDArray[np.float64]:
    """Return a typical sequence `(timesteps, features)` of those to fit: the mean, and of a category the commonest."""
    baseline = mean_sequence(dataset.train.x)
    for f, label in enumerate(dataset.feature_labels):
        if label in dataset.categories:
            counts = np.zeros(len(dataset.categories[label]) + 1, np.int64)
            for part in parts_of(dataset.train.x):
                indices = part[:, :, f]
                counts += np.bincount(indices[~np.isnan(indices)].astype(np.int64), minlength=len(counts))
            baseline[:, f] = counts.argmax()
    return baseline


def as_published(x: Array, categories: Mapping[str, tuple[str, ...]], card: ModelCard) -> Array:
    """Return sequences `(n, timesteps, features)` with the timesteps and the indices of categories of a card.

    They are padded with absent timesteps. `categories` has the values that the indices in `x` stand for. A value that
    the card does not know gets the index for any other value.
    """
    x = np.pad(x, ((0, 0), (0, card.timesteps - x.shape[1]), (0, 0)), constant_values=np.nan)
    for label, values in card.categories.items():
        column = x[..., card.feature_labels.index(label)]
        found = categories.get(label, ())
        # The last index stands for any other value, here and in the card.
        indices = np.array([values.index(one) if one in values else len(values) for one in found] + [len(values)])
        present = ~np.isnan(column)
        column[present] = indices[np.minimum(column[present].astype(np.int64), len(found))]
    return x


def parts_of(x: SequenceStore) -> Iterator[Array]:
    """Yield all sequences, in parts of about `VALUES_AT_A_TIME` values."""
    step = max(1, VALUES_AT_A_TIME // (x.shape[1] * x.shape[2]))
    for start in range(0, len(x), step):
        yield x[start : start + step]


def numbered(count: int) -> tuple[str, ...]:
    """Return the labels "0", "1" and so on, for things without names."""
    return tuple(map(str, range(count)))


def lengths_of(x: Array) -> Indices:
    """Return the lengths `(n,)` of sequences `(n, timesteps, features)`, up to the last present timestep.

    The length is 0 if no timestep is present.
    """
    present: NDArray[np.bool_] = np.any(~np.isnan(x), axis=2)  # (n, timesteps)
    from_end = present[:, ::-1].argmax(axis=1)
    return np.where(present.any(axis=1), x.shape[1] - from_end, 0)
