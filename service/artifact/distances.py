"""How far distributions over time are from each other, and whether two quantities rank timesteps alike."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def total_variation(p: Floats, q: Floats) -> Floats:
    """The share of attention that lies elsewhere: half the sum of the differences, from 0 to 1.

    Args:
        p: `(…, timesteps)`, summing to 1 over the timesteps.
        q: likewise.

    Returns:
        `(…)`.
    """
    distance: Floats = np.abs(p - q).sum(axis=-1) / 2
    return distance


def jensen_shannon(p: Floats, q: Floats) -> Floats:
    """Jensen–Shannon distance: the root of the divergence in bits, from 0 to 1.

    Unlike the total variation it counts for more where there was next to no attention before.
    Source: Endres and Schindelin, A new metric for probability distributions, 2003.

    Args:
        p: `(…, timesteps)`, summing to 1 over the timesteps.
        q: likewise.

    Returns:
        `(…)`.
    """
    mixed = (p + q) / 2
    divergence = (_information(p, mixed) + _information(q, mixed)) / 2
    distance: Floats = np.sqrt(np.clip(divergence, 0, 1))  # rounding may leave it outside
    return distance


def rank_correlation(a: Floats, b: Floats, present: NDArray[np.bool_]) -> Floats:
    """Spearman's rank correlation over the timesteps that are present.

    Args:
        a: `(n, timesteps)`.
        b: likewise.
        present: likewise; what is absent counts for nothing.

    Returns:
        `(n,)` from -1 to 1; NaN where either is the same everywhere.
    """
    n = len(a)
    both = np.concatenate([a, b])
    ranks = _ranks(np.where(np.concatenate([present, present]), both, np.inf)).reshape(2, n, -1)
    mean = ranks.sum(axis=2, where=present) / present.sum(axis=1)
    deviations = np.where(present, ranks - mean[:, :, np.newaxis], 0.0)
    spread = np.sqrt(np.square(deviations).sum(axis=2).prod(axis=0))
    correlation: Floats = np.full(n, np.nan)
    np.divide(deviations.prod(axis=0).sum(axis=1), spread, out=correlation, where=spread > 0)
    return correlation


def _information(p: Floats, q: Floats) -> Floats:
    """Kullback–Leibler divergence in bits; nothing where p is 0."""
    there = p > 0
    terms = np.zeros(np.broadcast_shapes(p.shape, q.shape))
    np.divide(p, q, out=terms, where=there)
    np.log2(terms, out=terms, where=there)
    information: Floats = (p * terms).sum(axis=-1)
    return information


def _ranks(values: Floats) -> NDArray[np.float64]:
    """The rank of each value in its row, from 0, equals sharing the mean of theirs: `(n, timesteps)`."""
    n, timesteps = values.shape
    places = np.arange(timesteps)
    order = values.argsort(axis=1) + timesteps * np.arange(n)[:, np.newaxis]  # indices of all values
    ordered = values.ravel()[order]
    ranks = np.empty(values.size)
    equal = ordered[:, 1:] == ordered[:, :-1]
    if equal.any():
        edges = np.ones((n, timesteps + 1), bool)  # whether others begin at a place
        np.logical_not(equal, out=edges[:, 1:-1])
        first = np.maximum.accumulate(np.where(edges[:, :-1], places, 0), axis=1)
        last = np.minimum.accumulate(np.where(edges[:, 1:], places, timesteps)[:, ::-1], axis=1)[:, ::-1]
        ranks[order] = (first + last) / 2
    else:
        ranks[order] = places
    return ranks.reshape(n, timesteps)
