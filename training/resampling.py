"""Resamples of sequences, for confidence intervals."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from training.data import Indices, LabelledSequences

Numbers = NDArray[np.float64]

#: Number of resamples, and the most sequences in all of them, which bounds the time to a few seconds.
RESAMPLES, FEWEST_RESAMPLES, MOST_RESAMPLED = 1000, 200, 6_000_000


def resamples(sequences: LabelledSequences, rng: np.random.Generator, *, ordered: bool) -> Iterator[Numbers]:
    """Yield how often each sequence was drawn, `(n,)`, for each resample.

    As many groups as there are, else sequences, are drawn with replacement. Windows of a series resemble their
    neighbours, so blocks of √n neighbours are drawn together.

    Args:
        sequences: n sequences.
        rng: draws them.
        ordered: whether they are windows of a series, in the order of time.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 8.6 (blocks).
    """
    n = len(sequences)
    units: Indices = np.arange(n)
    if sequences.groups is not None:
        units = np.unique(sequences.groups, return_inverse=True)[1]
    elif ordered:
        units = units // max(1, round(n**0.5))  # blocks of neighbours
    count = int(units.max()) + 1
    for _ in range(max(FEWEST_RESAMPLES, min(RESAMPLES, MOST_RESAMPLED // n))):
        yield np.bincount(rng.integers(count, size=count), minlength=count)[units].astype(np.float64)
