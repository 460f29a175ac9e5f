"""The part of the training data that a fit is validated on."""

import numpy as np

from training.data import Dataset, Indices, LabelledSequences


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
