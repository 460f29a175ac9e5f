"""The first layers of each model: scaled numbers, encoded categories, and features that do not change with time."""

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from keras import layers, ops

from training.data import SMALLEST_DEVIATION, Dataset, Scale

# Keras ships no types.
Tensor = Any

#: A category of at most this many values is one-hot, and one of more has an embedding.
MOST_ONE_HOT: Final = 16
#: Most dimensions of an embedding.
MOST_DIMENSIONS: Final = 16


class Inputs(NamedTuple):
    """The inputs of an architecture.

    Attributes:
        values: `(batch, timesteps, columns)`: the numbers, then the encoded categories; 0 for a missing value.
        present: `(batch, timesteps, 1)`, whether a timestep is present; None if all are.
        static: `(batch, columns)`, the features that do not change with time, for the head; None without any.
    """

    values: Tensor
    present: Tensor | None
    static: Tensor | None = None


def prepared(sequence: Tensor, dataset: Dataset) -> Inputs:
    """Return what the architecture and the head take of sequences `(batch, timesteps, features)` in raw units.

    Numbers are scaled if the dataset has a scale. Missing values become the mean, which is 0. A timestep is present if
    any of its values is there, static ones included. If all features are static, the architecture takes them, too.
    """
    labels = dataset.feature_labels
    missing = ops.isnan(sequence) if dataset.variable_length or dataset.missing_values else None
    present = None if missing is None else ops.any(ops.logical_not(missing), axis=-1, keepdims=True)
    static = [index for index, label in enumerate(labels) if label in dataset.static_labels]
    varying = [index for index in range(len(labels)) if index not in static] or static
    values = _encoded(sequence, missing, dataset, varying)
    return Inputs(values, present, _mean(_encoded(sequence, missing, dataset, static), present) if static else None)


def joined(summary: Tensor, inputs: Inputs) -> Tensor:
    """Return the input of the last layer: the summary of an architecture `(batch, …)`, and the static features."""
    return summary if inputs.static is None else layers.Concatenate()([summary, inputs.static])


def _encoded(sequence: Tensor, missing: Tensor | None, dataset: Dataset, features: Sequence[int]) -> Tensor:
    """Return some features as columns: numbers first, then each category, `(batch, timesteps, columns)`."""
    categories = {index: dataset.categories.get(dataset.feature_labels[index]) for index in features}
    numbers = [index for index, values in categories.items() if values is None]
    columns = [_numbers(sequence, missing, dataset.scale, numbers)] if numbers else []
    for index, values in categories.items():
        if values is not None:
            columns.append(_category(sequence[..., index : index + 1], missing is not None, len(values)))
    return columns[0] if len(columns) == 1 else layers.Concatenate()(columns)


def _numbers(sequence: Tensor, missing: Tensor | None, scale: Scale | None, features: Sequence[int]) -> Tensor:
    if len(features) < sequence.shape[-1]:
        sequence = ops.take(sequence, features, axis=-1)
        missing = None if missing is None else ops.isnan(sequence)
        scale = None if scale is None else Scale(scale.mean[features], scale.deviation[features])
    values = sequence if scale is None else _standardised(sequence, scale)
    # The condition must be isnan() itself: tf2onnx lowers other conditions to products, and NaN times 0 is NaN.
    return values if missing is None else ops.where(missing, 0.0, values)


def _standardised(sequence: Tensor, scale: Scale) -> Tensor:
    """Scale each feature to mean 0 and variance 1; a constant feature, or one of too small numbers, to almost 0.

    Two Rescaling layers replace a Normalization, because tf2onnx makes inputs of its statistics. Subtraction comes
    first, because large offsets would cost precision.
    """
    centred = layers.Rescaling(1.0, offset=-scale.mean)(sequence)
    return layers.Rescaling(1 / np.where(scale.deviation > SMALLEST_DEVIATION, scale.deviation, 1))(centred)


def _category(index: Tensor, gaps: bool, count: int) -> Tensor:  # noqa: FBT001 - a private function
    """Return the columns of a category, given the index of its value, `(batch, timesteps, 1)`.

    All columns are 0 for a missing value, and for the index `count`, which stands for any other value.
    """
    if count <= MOST_ONE_HOT:
        return ops.cast(ops.equal(index, np.arange(count, dtype=np.float32)), "float32")
    if gaps:
        index = ops.where(ops.isnan(index), float(count), index)
    known = ops.cast(ops.greater(float(count), index), "float32")
    rows = ops.cast(ops.squeeze(index, axis=-1), "int32")
    return layers.Embedding(count + 1, embedding_size(count))(rows) * known


def embedding_size(count: int) -> int:
    """Return the number of dimensions of the embedding of a category with `count` values.

    Source of the rule: Howard and others, fastai, `emb_sz_rule`, https://docs.fast.ai/tabular.model.html.
    """
    return min(MOST_DIMENSIONS, round(1.6 * math.pow(count, 0.56)))


def _mean(values: Tensor, present: Tensor | None) -> Tensor:
    """Return the mean over the present timesteps, `(batch, columns)`, of `(batch, timesteps, columns)`; 0 for none."""
    if present is None:
        return ops.mean(values, axis=1)
    weights = ops.cast(present, values.dtype)
    return ops.sum(values * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1.0)
