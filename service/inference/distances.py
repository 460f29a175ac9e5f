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
    ranks = np.stack([_ranks(values, present) for values in (a, b)])  # (2, n, timesteps)
    mean = ranks.sum(axis=2, keepdims=True) / present.sum(axis=1)[:, np.newaxis]
    a, b = np.where(present, ranks - mean, 0.0)
    spread = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    correlation: Floats = np.full(len(a), np.nan)
    np.divide((a * b).sum(axis=1), spread, out=correlation, where=spread > 0)
    return correlation


def _information(p: Floats, q: Floats) -> Floats:
    """Kullback–Leibler divergence in bits; nothing where p is 0."""
    there = p > 0
    terms = np.zeros(np.broadcast_shapes(p.shape, q.shape))
    np.divide(p, q, out=terms, where=there)
    np.log2(terms, out=terms, where=there)
    information: Floats = (p * terms).sum(axis=-1)
    return information


def _ranks(values: Floats, present: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The rank of each timestep among those present, equals sharing the mean of theirs; 0 where it is absent."""
    n, timesteps = values.shape
    values = np.where(present, values, np.inf)  # ranks of the others are as without them
    order = values.argsort(axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    places = np.arange(timesteps)
    differs = np.ones((n, timesteps + 1), bool)  # whether there begin others at a place
    differs[:, 1:-1] = ordered[:, 1:] != ordered[:, :-1]
    first = np.maximum.accumulate(np.where(differs[:, :-1], places, 0), axis=1)
    last = np.minimum.accumulate(np.where(differs[:, 1:], places, timesteps)[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty((n, timesteps))
    np.put_along_axis(ranks, order, (first + last) / 2, axis=1)
    return np.where(present, ranks, 0.0)
