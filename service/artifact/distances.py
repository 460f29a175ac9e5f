"""Distances between distributions over time and between predictions, and the rank correlation over time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.artifact.card import Target
from service.artifact.tensors import Array

Floats = NDArray[np.floating[Any]]


def units_of(target: Target, predictions: Array, deviation: Sequence[float] = ()) -> Array | None:
    """Return the unit of each of several predicted numbers, `(outputs,)`; None for classes and for a single number.

    The unit is the standard deviation, as R² has it: a number of large values does not hide the others. A number that
    is always the same does not count, so that its unit is infinite.

    Args:
        target: the target of the model.
        predictions: `(n, outputs)` or `(n, steps, outputs)`, whose deviation is taken if that of training is not known.
        deviation: `(outputs,)`, the deviation in training; empty if it is not known.
    """
    outputs = predictions.shape[-1]
    if target.task != "regression" or outputs == 1:
        return None
    known = len(deviation) == outputs
    found = np.array(deviation) if known else predictions.reshape(-1, outputs).std(axis=0, dtype=np.float64)
    return np.where(found > 0, found, np.inf).astype(np.float32)


def moved(predictions: Array, others: Array, target: Target, units: Array | None = None) -> Array:
    """Return how far predictions are from others: `(n,)`.

    For several classes this is the total variation, the share of probability that lies at other classes. Else it is the
    absolute difference, in units if there are any, and its mean over the outputs. If the output is a sequence, it is
    the mean over its steps.

    Args:
        predictions: `(n, outputs)` or `(n, steps, outputs)`.
        others: of the same shape.
        target: the target of the model.
        units: `(outputs,)`, as `units_of` returns them.
    """
    difference = np.abs(others - predictions) / (1 if units is None else units)
    distance: Array = difference.sum(axis=-1) / 2 if target.task == "multiclass" else difference.mean(axis=-1)
    return distance if target.steps is None else distance.mean(axis=1)


def total_variation(p: Floats, q: Floats) -> Floats:
    """Return the total variation distance, from 0 to 1: the share of attention that lies at other timesteps.

    Args:
        p: `(…, timesteps)`, summing to 1 over the timesteps.
        q: of the same shape.
    """
    distance: Floats = np.abs(p - q).sum(axis=-1) / 2
    return distance


def jensen_shannon(p: Floats, q: Floats) -> Floats:
    """Return the Jensen–Shannon distance, from 0 to 1: the square root of the divergence in bits.

    It gives more weight than the total variation to timesteps that had almost no attention.
    Source: Endres and Schindelin, A new metric for probability distributions, 2003.

    Args:
        p: `(…, timesteps)`, summing to 1 over the timesteps.
        q: of the same shape.
    """
    mixed = (p + q) / 2
    divergence = (_information(p, mixed) + _information(q, mixed)) / 2
    distance: Floats = np.sqrt(np.clip(divergence, 0, 1))  # rounding may exceed the range
    return distance


def by_chance(mean: Floats, spread: Floats, counted: float) -> float:
    """Return the total variation distance to expect between the means of two samples of the same distribution.

    The means of n and of m weights differ by √(2/π) · spread · √(1/n + 1/m) on average, if both are many. Of few, or
    of a weight that is rarely above 0, they may differ by less: weights lie between 0 and 1, so the difference is at
    most 2 · mean · (1 - mean), which it is if all weights are 0 or 1 and n = m = 1. The distance is therefore below 1.

    Args:
        mean: `(timesteps,)`, the mean of attention.
        spread: `(timesteps,)`, its standard deviation over the sequences.
        counted: 1/n + 1/m.
    """
    differences = np.minimum(spread * np.sqrt(2 / np.pi * counted), 2 * mean * (1 - mean))
    return float(differences.sum() / 2)


def rank_correlation(a: Floats, b: Floats, present: NDArray[np.bool_]) -> Floats:
    """Return Spearman's rank correlation over the timesteps that are present.

    Args:
        a: `(n, timesteps)`.
        b: `(n, timesteps)`.
        present: `(n, timesteps)`; absent timesteps are ignored. Each row has at least one present timestep.

    Returns:
        `(n,)`, from -1 to 1; NaN if either has the same value at all timesteps.
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
    """Return the Kullback–Leibler divergence in bits. Timesteps where p is 0 add 0."""
    positive = p > 0
    terms = np.zeros(np.broadcast_shapes(p.shape, q.shape))
    np.divide(p, q, out=terms, where=positive)
    np.log2(terms, out=terms, where=positive)
    information: Floats = (p * terms).sum(axis=-1)
    return information


def _ranks(values: Floats) -> NDArray[np.float64]:
    """Return the rank of each value in its row, from 0; equal values share their mean rank: `(n, timesteps)`."""
    n, timesteps = values.shape
    places = np.arange(timesteps)
    order = values.argsort(axis=1) + timesteps * np.arange(n)[:, np.newaxis]  # indices of all values
    ordered = values.ravel()[order]
    ranks = np.empty(values.size)
    equal = ordered[:, 1:] == ordered[:, :-1]
    if equal.any():
        edges = np.ones((n, timesteps + 1), bool)  # whether a new value begins at each place
        np.logical_not(equal, out=edges[:, 1:-1])
        first = np.maximum.accumulate(np.where(edges[:, :-1], places, 0), axis=1)
        last = np.minimum.accumulate(np.where(edges[:, 1:], places, timesteps)[:, ::-1], axis=1)[:, ::-1]
        ranks[order] = (first + last) / 2
    else:
        ranks[order] = places
    return ranks.reshape(n, timesteps)
