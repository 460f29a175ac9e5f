"""The part of the training data that a fit is validated on, and the parts of a cross-validation."""

import warnings
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import (
    BaseCrossValidator,
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    TimeSeriesSplit,
)

from training.data import Dataset, Indices, LabelledSequences


class Part(NamedTuple):
    """The indices of the training sequences to fit and of those to hold out."""

    fitted: Indices
    held_out: Indices


def parts_of(dataset: Dataset, count: int, seed: int) -> list[Part]:
    """Return parts of the training data, so many as asked for, each with what it is predicted from.

    Each class has the same share in all parts. Groups stay together, if there are enough. Of sequences in the order of
    time, the held-out ones are later than the fitted ones, with a gap as long as a sequence, so that no values are in
    both.
    """
    train, splitter = dataset.train, _splitter(dataset, count, seed)
    # y may be several numbers; the splits of numbers do not read them
    labels = train.y if _has_classes(dataset) else np.zeros(len(train))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class may have fewer sequences than there are parts
        return [Part(*one) for one in splitter.split(labels, labels, train.groups)]


def _splitter(dataset: Dataset, count: int, seed: int) -> BaseCrossValidator:
    train, classes = dataset.train, _has_classes(dataset)
    if dataset.ordered:
        return TimeSeriesSplit(count, gap=min(train.x.shape[1], len(train) // (2 * count)))
    if train.groups is not None and len(np.unique(train.groups)) >= count:
        return (StratifiedGroupKFold if classes else GroupKFold)(count, shuffle=True, random_state=seed)
    if classes and np.bincount(train.y).max() >= count:
        return StratifiedKFold(count, shuffle=True, random_state=seed)
    return KFold(count, shuffle=True, random_state=seed)


def _has_classes(dataset: Dataset) -> bool:
    return dataset.target.classes is not None and dataset.train.y.ndim == 1


def split(dataset: Dataset, fraction: float, seed: int) -> tuple[LabelledSequences, LabelledSequences]:
    """Return the sequences to fit and those to validate on, which are about a fraction of the training data.

    Sequences in the order of time are validated on their last part; sequences of the fitted part that overlap it are
    left out. Otherwise each class has about the same share in both parts, numbers to predict have about the same
    distribution, and a group stays together.
    """
    train = dataset.train
    if dataset.ordered:
        held_out = int(len(train) * fraction)
        # A window begins one row after the one before it or later, so that this many windows may overlap the last part.
        gap = min(train.x.shape[1] - 1, (len(train) - held_out) // 2) if held_out else 0
        start = len(train) - held_out
        return train.take(slice(0, start - gap)), train.take(slice(start, None))
    if dataset.scale is None:  # synthetic data is in random order
        start = len(train) - int(len(train) * fraction)
        return train.take(slice(0, start)), train.take(slice(start, None))
    validated = _validated(train, fraction, seed)
    return train.take(np.flatnonzero(~validated)), train.take(np.flatnonzero(validated))


def _validated(train: LabelledSequences, fraction: float, seed: int) -> Indices:
    """Return whether each sequence is validated on, `(n,)`.

    Of the groups in the order of their labels, one in each `1 / fraction` is taken.
    """
    groups = np.arange(len(train)) if train.groups is None else train.groups
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    labels = train.y[first] if train.y.ndim == 1 else train.y[first, 0]
    by_label = np.lexsort((np.random.default_rng(seed).random(len(first)), labels))
    taken = np.zeros(len(first), bool)
    taken[by_label] = np.diff((np.arange(len(first) + 1) * fraction).astype(int)) > 0
    return taken[group]
