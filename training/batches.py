"""Batches of sequences in the order of a fit, as a data set of TensorFlow."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from service.artifact.tensors import Array
from training.data import LabelledSequences

#: Largest number of batches that are read at once, and of bytes of their sequences.
MOST_STEPS: Final = 100
MOST_BYTES: Final = 2**25
#: Largest size of sequences in memory that TensorFlow copies, in bytes.
MOST_COPIED: Final = 2**29


def batches_of(
    sequences: LabelledSequences, class_weights: Array | None, batch_size: int, seed: Sequence[int], start: int
) -> tf.data.Dataset:
    """Return one epoch from batch `start` on: every sequence once, in an order that depends on the seed alone.

    Each batch is x `(batch, timesteps, features)`, y `(batch, outputs)` and the weight of each sequence, `(batch,)`.
    Class weights `(classes,)` are 1 if None. All batches have the same shape, so that one compiled program serves
    them: the last one is filled with sequences of weight 0. The mean over a batch of weights times losses is the one
    over its other sequences.

    TensorFlow gathers the batches of small data itself, without a call of Python. Of other data, several batches are
    read at once, because a step of a small model takes less time than such a call.
    """
    batch_size = min(batch_size, len(sequences))
    steps = -(-len(sequences) // batch_size)
    order = np.random.default_rng(seed).permutation(len(sequences))
    counts = np.ones(steps * batch_size, np.float32)
    counts[len(order) :] = 0
    if (rest := len(order) % batch_size) != 0:
        counts[(steps - 1) * batch_size : len(order)] = batch_size / rest
    order = np.resize(order, len(counts))
    y = sequences.y.reshape(len(sequences), -1)
    if isinstance(sequences.x, np.ndarray) and sequences.x.nbytes <= MOST_COPIED:
        weights = counts if class_weights is None else counts * class_weights[sequences.y[order]]
        parts = order.reshape(steps, batch_size)[start:], weights.reshape(steps, batch_size)[start:]
        every_x, every_y = tf.constant(sequences.x), tf.constant(y)
        slices = tf.data.Dataset.from_tensor_slices(parts)
        return slices.map(lambda rows, some: (tf.gather(every_x, rows), tf.gather(every_y, rows), some)).prefetch(2)
    most = max(1, min(MOST_STEPS, MOST_BYTES // (4 * batch_size * int(np.prod(sequences.x.shape[1:])))))

    def several() -> Iterator[tuple[NDArray[Any], ...]]:
        for step in range(start, steps, most):
            some = slice(step * batch_size, (step + most) * batch_size)
            rows = order[some]
            weights = counts[some] if class_weights is None else counts[some] * class_weights[sequences.y[rows]]
            parts = sequences.take(rows).x[:], y[rows], weights
            yield tuple(part.reshape(-1, batch_size, *part.shape[1:]) for part in parts)

    signature = (
        tf.TensorSpec((None, batch_size, *sequences.x.shape[1:]), tf.float32),
        tf.TensorSpec((None, batch_size, y.shape[1]), y.dtype),
        tf.TensorSpec((None, batch_size), tf.float32),
    )
    batches = tf.data.Dataset.from_generator(several, output_signature=signature).prefetch(1).unbatch()
    return batches.apply(tf.data.experimental.assert_cardinality(steps - start))
