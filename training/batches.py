"""Batches of sequences in the order of the fit, several for each call of the compiled steps."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.artifact.tensors import Array
from training.data import LabelledSequences

T = TypeVar("T")

#: Largest number of batches in one call, and of bytes of their sequences. A call costs as much as a few small batches.
MOST_STEPS, MOST_BYTES = 100, 2**25


class Batches(NamedTuple):
    """The batches of one call. All calls of a fit have the same shape, so that one compiled program serves them.

    Attributes:
        x: `(most steps, batch, timesteps, features)`.
        y: `(most steps, batch)` class indices, or `(most steps, batch, outputs)` numbers.
        weights: `(most steps, batch)`, the weight of each sequence; 0 for padding.
        steps: the number of steps to run.
    """

    x: Array
    y: NDArray[Any]
    weights: Array
    steps: int


def batches_of(
    sequences: LabelledSequences, class_weights: Array | None, batch_size: int, seed: Sequence[int], start: int
) -> Iterator[Batches]:
    """Yield one epoch from batch `start` on: every sequence once, in an order that depends on the seed alone.

    The last batch may have fewer sequences than `batch_size`. Class weights `(classes,)` are 1 if None.
    """
    order = np.random.default_rng(seed).permutation(len(sequences))
    steps = -(-len(order) // batch_size)
    batch_size = min(batch_size, len(order))
    bytes_of_batch = 4 * batch_size * int(np.prod(sequences.x.shape[1:]))
    most = max(1, min(steps, MOST_STEPS, MOST_BYTES // bytes_of_batch))
    return prefetch(
        _batches(sequences.take(order[step * batch_size : (step + most) * batch_size]), class_weights, most, batch_size)
        for step in range(start, steps, most)
    )


def _batches(some: LabelledSequences, class_weights: Array | None, most: int, batch_size: int) -> Batches:
    weights = np.ones(len(some), np.float32) if class_weights is None else class_weights[some.y]
    x, y, weights = (_padded(one, (most, batch_size)) for one in (some.x[:], some.y, weights))
    return Batches(x, y, weights, -(-len(some) // batch_size))


def _padded(array: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Reshape `(n, …)` to `(*shape, …)`, with zeros at the end."""
    padded = np.zeros((shape[0] * shape[1], *array.shape[1:]), array.dtype)
    padded[: len(array)] = array
    return padded.reshape(*shape, *array.shape[1:])


def prefetch(items: Iterable[T]) -> Iterator[T]:
    """Yield the items. A thread computes the next one while the caller uses the current one."""
    iterator = iter(items)
    with ThreadPoolExecutor(1) as executor:
        coming = executor.submit(next, iterator, None)
        while (item := coming.result()) is not None:
            coming = executor.submit(next, iterator, None)
            yield item
