"""The architectures, as Keras functional models built from a few shared layers."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops

from service.artifact.tensors import ATTENTION_VEC, PREDICTION, SEQUENCE
from training.data import Dataset, Scale
from training.lstm import LSTM
from training.options import Architecture, Options

# Keras ships no types.
Tensor = Any

#: Stands for the score of an absent timestep: its weight comes out as exactly 0. No score that is one is lower.
NEVER = float(np.finfo(np.float32).min)


class Inputs(NamedTuple):
    """What an architecture reads.

    Attributes:
        values: `(batch, timesteps, features)`, 0 where there is nothing.
        present: `(batch, timesteps, 1)`, whether there is a timestep at all; none where there always is.
    """

    values: Tensor
    present: Tensor | None


#: What the head reads, `(batch, …)`, and `attention_vec (batch, timesteps, units)`.
Attended = tuple[Tensor, Tensor]


def after_lstm(inputs: Inputs, options: Options) -> Attended:
    """Attention over the hidden states of an LSTM, one distribution per unit.

    Source: github.com/philipperemy/keras-attention-mechanism.
    """
    states = LSTM(options.units, return_sequences=True)(inputs.values)  # (batch, timesteps, units)
    weighted, attention_vec = attention_block(states, inputs.present, shared=options.shared_attention)
    return layers.Flatten()(weighted), attention_vec


def before_lstm(inputs: Inputs, options: Options) -> Attended:
    """Attention over the inputs of an LSTM, one distribution per feature.

    Source: github.com/philipperemy/keras-attention-mechanism.
    """
    weighted, attention_vec = attention_block(inputs.values, inputs.present, shared=options.shared_attention)
    if inputs.present is None:
        return LSTM(options.units)(weighted), attention_vec
    states = LSTM(options.units, return_sequences=True)(weighted)
    return last(states, inputs.present), attention_vec


def additive(inputs: Inputs, options: Options) -> Attended:
    """Attention of the last hidden state over all of them, one distribution: score = v·tanh(W h + U q + b).

    Source: Bahdanau, Cho and Bengio, arXiv 1409.0473.
    """
    states = LSTM(options.units, return_sequences=True)(inputs.values)  # (batch, timesteps, units)
    query = last(states, inputs.present)  # (batch, units)
    keys = layers.Dense(options.units)(states)
    asked = layers.Dense(options.units, use_bias=False)(query)[:, np.newaxis]  # (batch, 1, units)
    scores = layers.Dense(1, use_bias=False)(ops.tanh(keys + asked))  # (batch, timesteps, 1)
    return _summed(states, query, weights_over_time(scores, inputs.present))


def multiplicative(inputs: Inputs, options: Options) -> Attended:
    """Attention of the last hidden state over all of them, one distribution: score = q·W h.

    Source: Luong, Pham and Manning, arXiv 1508.04025, where it is called general.
    """
    states = LSTM(options.units, return_sequences=True)(inputs.values)  # (batch, timesteps, units)
    query = last(states, inputs.present)  # (batch, units)
    keys = layers.Dense(options.units, use_bias=False)(states)
    scores = ops.sum(keys * query[:, np.newaxis], axis=-1, keepdims=True)  # (batch, timesteps, 1)
    return _summed(states, query, weights_over_time(scores, inputs.present))


ARCHITECTURES: Mapping[Architecture, Callable[[Inputs, Options], Attended]] = {
    "after_lstm": after_lstm,
    "before_lstm": before_lstm,
    "additive": additive,
    "multiplicative": multiplicative,
}


def build(data: Dataset, options: Options) -> keras.Model:
    """Build an untrained model for some data.

    Args:
        data: decides the shape, the scale, the head, and whether timesteps and values may be absent.
        options: architecture, units, and whether the units share their attention.

    Returns:
        A model from `sequence (batch, timesteps, features)` to `prediction (batch, outputs)` and
        `attention_vec (batch, timesteps, units)`.
    """
    sequence = keras.Input(data.train.x.shape[1:], name=SEQUENCE)
    summary, attention_vec = ARCHITECTURES[options.architecture](_prepared(sequence, data), options)
    return keras.Model(sequence, {PREDICTION: _predicted(summary, data), ATTENTION_VEC: attention_vec})


def attention_block(inputs: Tensor, present: Tensor | None, *, shared: bool) -> tuple[Tensor, Tensor]:
    """Weigh every timestep of every unit.

    For unit u, P[b,t,u] = softmax over t of (bias_t + Σ_t' W[t',t]·inputs[b,t',u]), W and bias shared by all units.

    Args:
        inputs: `(batch, timesteps, units)`.
        present: `(batch, timesteps, 1)`, which timesteps there are; none where there are all.
        shared: whether all units use the mean of their distributions.

    Returns:
        `inputs` times their weights, `(batch, timesteps, units)`; and the weights, likewise or, where they are shared,
        `(batch, timesteps, 1)`.
    """
    timesteps = inputs.shape[1]
    name = None if shared else ATTENTION_VEC
    if present is None:
        scores = layers.Permute((2, 1))(inputs)  # (batch, units, timesteps)
        weights = layers.Dense(timesteps, activation="softmax")(scores)  # (batch, units, timesteps)
        attention_vec = layers.Permute((2, 1), name=name)(weights)  # (batch, timesteps, units)
    else:
        inputs = inputs * ops.cast(present, inputs.dtype)  # no score may depend on what is absent
        scores = layers.Dense(timesteps)(layers.Permute((2, 1))(inputs))  # (batch, units, timesteps)
        attention_vec = weights_over_time(layers.Permute((2, 1))(scores), present, name)
    if shared:
        attention_vec = layers.Identity(name=ATTENTION_VEC)(ops.mean(attention_vec, axis=-1, keepdims=True))
    return layers.Multiply()([inputs, attention_vec]), attention_vec


def weights_over_time(scores: Tensor, present: Tensor | None, name: str | None = ATTENTION_VEC) -> Tensor:
    """Scores `(batch, timesteps, units)` to weights that sum to 1 over time, exactly 0 where a timestep is absent."""
    if present is None:
        return layers.Softmax(axis=1, name=name)(scores)
    weights = ops.softmax(ops.where(present, scores, NEVER), axis=1)
    # Once more, for a sequence without a single timestep.
    return layers.Identity(name=name)(weights * ops.cast(present, weights.dtype))


def last(states: Tensor, present: Tensor | None) -> Tensor:
    """The state of the last timestep that there is: `(batch, timesteps, units)` to `(batch, units)`."""
    if present is None:
        return states[:, -1]
    counting = np.arange(1, states.shape[1] + 1, dtype=np.float32)[:, np.newaxis]  # (timesteps, 1)
    positions = ops.cast(present, states.dtype) * counting  # (batch, timesteps, 1)
    is_last = ops.logical_and(present, ops.equal(positions, ops.max(positions, axis=1, keepdims=True)))
    return ops.sum(states * ops.cast(is_last, states.dtype), axis=1)


def _summed(states: Tensor, query: Tensor, attention_vec: Tensor) -> Attended:
    """The weighted sum of the states, beside the query, as the head reads them.

    Source: Luong, Pham and Manning, arXiv 1508.04025, equation 5.
    """
    context = ops.sum(states * attention_vec, axis=1)  # (batch, units)
    both = layers.Concatenate()([context, query])
    return layers.Dense(states.shape[-1], activation="tanh", use_bias=False)(both), attention_vec


def _prepared(sequence: Tensor, data: Dataset) -> Inputs:
    """Scale a sequence as wanted; what is missing becomes the mean, that is 0."""
    values = sequence if data.scale is None else _standardised(sequence, data.scale)
    if not (data.variable_length or data.missing_values):
        return Inputs(values, None)
    missing = ops.isnan(sequence)
    # Straight from isnan(): where() on any other condition is lowered to products, and NaN times 0 is NaN.
    values = ops.where(missing, 0.0, values)
    return Inputs(values, ops.any(ops.logical_not(missing), axis=-1, keepdims=True))


def _standardised(sequence: Tensor, scale: Scale) -> Tensor:
    """Bring each feature to mean 0 and variance 1; a feature that never changes becomes 0.

    Two Rescaling layers rather than one Normalization, whose statistics tf2onnx leaves behind as inputs of the graph.
    Subtracting comes first: large offsets would otherwise cost precision.
    """
    centred = layers.Rescaling(1.0, offset=-scale.mean)(sequence)
    return layers.Rescaling(1 / np.where(scale.deviation > 0, scale.deviation, 1))(centred)


def _predicted(summary: Tensor, data: Dataset) -> Tensor:
    outputs = data.target.outputs
    match data.target.task:
        case "binary":
            return layers.Dense(1, activation="sigmoid", name=PREDICTION)(summary)
        case "multiclass":
            return layers.Dense(outputs, activation="softmax", name=PREDICTION)(summary)
        case "regression":  # in raw units: what is learned is how far they are from their mean
            scale = data.target_scale
            return layers.Rescaling(scale.deviation, scale.mean, name=PREDICTION)(layers.Dense(outputs)(summary))
