"""Sequences in the order in which they are fitted, as many batches at a time as one call takes."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.artifact.tensors import Array
from training.data import LabelledSequences

T = TypeVar("T")

#: Most batches in one call, whose overhead is that of several small ones, and most bytes of their sequences.
MOST_STEPS, MOST_BYTES = 100, 2**25


class Batches(NamedTuple):
    """What one call trains on. All calls have the same shape, so that one program fits them all.

    Attributes:
        x: `(most steps, batch, timesteps, features)`.
        y: `(most steps, batch)` class indices, or `(most steps, batch, outputs)` numbers.
        weights: `(most steps, batch)`, what each sequence counts; 0 where there is none.
        steps: how many of the steps to make.
    """

    x: Array
    y: NDArray[Any]
    weights: Array
    steps: int


def batches_of(
    split: LabelledSequences, class_weights: Array | None, batch_size: int, seed: Sequence[int], start: int
) -> Iterator[Batches]:
    """One epoch: every sequence once, in an order that depends on the seed alone.

    Args:
        split: the sequences.
        class_weights: what a sequence of each class counts, `(classes,)`; 1 if none.
        batch_size: sequences in a batch; the last one may have fewer.
        seed: decides the order.
        start: how many batches to leave out.
    """
    order = np.random.default_rng(seed).permutation(len(split))
    steps = -(-len(order) // batch_size)
    batch_size = min(batch_size, len(order))
    bytes_of_batch = 4 * batch_size * int(np.prod(split.x.shape[1:]))
    most = max(1, min(steps, MOST_STEPS, MOST_BYTES // bytes_of_batch))
    return prefetch(
        _batches(split, class_weights, order[step * batch_size : (step + most) * batch_size], (most, batch_size))
        for step in range(start, steps, most)
    )


def _batches(
    split: LabelledSequences, class_weights: Array | None, rows: NDArray[np.int64], shape: tuple[int, int]
) -> Batches:
    some = split.take(rows)
    y = some.y
    weights = np.ones(len(rows), np.float32) if class_weights is None else class_weights[y]
    x, y, weights = (_filled(one, shape) for one in (some.x[:], y, weights))
    return Batches(x, y, weights, -(-len(rows) // shape[1]))


def _filled(array: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Rows `(n, …)` as `(*shape, …)`, with zeros at the end where there are fewer."""
    filled = np.zeros((shape[0] * shape[1], *array.shape[1:]), array.dtype)
    filled[: len(array)] = array
    return filled.reshape(*shape, *array.shape[1:])


def prefetch(items: Iterable[T]) -> Iterator[T]:
    """The same items, each made while the one before is used."""
    iterator = iter(items)
    with ThreadPoolExecutor(1) as executor:
        coming = executor.submit(next, iterator, None)
        while (item := coming.result()) is not None:
            coming = executor.submit(next, iterator, None)
            yield item
