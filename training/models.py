"""The architectures, as Keras functional models built from a few shared layers."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from service.artifact.tensors import ATTENTION_VEC, PREDICTION, SEQUENCE
from training.data import Dataset
from training.options import ArchitectureChoice, Options
from training.preparation import Inputs, joined, prepared

# Keras ships no types.
Tensor = Any

#: The score of an absent timestep. It is the lowest float32, so that the weight is exactly 0.
NEVER = float(np.finfo(np.float32).min)
#: Number of blocks of the inception architecture, and the widths of its convolutions in timesteps.
INCEPTION_BLOCKS, INCEPTION_WIDTHS = 3, (9, 19, 39)


#: The input of the head, `(batch, …)`, and `attention_vec (batch, timesteps, units)`.
Attended = tuple[Tensor, Tensor]


def after_lstm(inputs: Inputs, options: Options) -> Attended:
    """Build attention over the hidden states of an LSTM, one distribution per unit.

    Source: github.com/philipperemy/keras-attention-mechanism.
    """
    states = recurrent(inputs, options)  # (batch, timesteps, units)
    weighted, attention_vec = attention_block(states, inputs.present, shared=options.shared_attention)
    return layers.Flatten()(weighted), attention_vec


def before_lstm(inputs: Inputs, options: Options) -> Attended:
    """Build attention over the inputs of an LSTM, one distribution per feature.

    Source: github.com/philipperemy/keras-attention-mechanism.
    """
    weighted, attention_vec = attention_block(inputs.values, inputs.present, shared=options.shared_attention)
    if inputs.present is None and options.layers == 1 and not options.bidirectional:
        summary = recurrent_layer(options)(weighted)  # the original form
        return layers.Dropout(options.dropout)(summary) if options.dropout else summary, attention_vec
    states = recurrent(Inputs(weighted, inputs.present), options)
    return last(states, inputs.present), attention_vec


def additive(inputs: Inputs, options: Options) -> Attended:
    """Build attention of the last hidden state over all states, one distribution: score = v·tanh(W h + U q + b).

    Source: Bahdanau, Cho and Bengio, arXiv 1409.0473.
    """
    states = recurrent(inputs, options)  # (batch, timesteps, units)
    query = last(states, inputs.present)  # (batch, units)
    keys = layers.Dense(options.units)(states)
    projected = layers.Dense(options.units, use_bias=False)(query)[:, np.newaxis]  # (batch, 1, units)
    scores = layers.Dense(1, use_bias=False)(ops.tanh(keys + projected))  # (batch, timesteps, 1)
    return _summed(states, query, weights_over_time(scores, inputs.present))


def multiplicative(inputs: Inputs, options: Options) -> Attended:
    """Build attention of the last hidden state over all states, one distribution: score = q·W h.

    Source: Luong, Pham and Manning, arXiv 1508.04025, under the name "general".
    """
    states = recurrent(inputs, options)  # (batch, timesteps, units)
    query = last(states, inputs.present)  # (batch, units)
    keys = layers.Dense(states.shape[-1], use_bias=False)(states)
    scores = ops.sum(keys * query[:, np.newaxis], axis=-1, keepdims=True)  # (batch, timesteps, 1)
    return _summed(states, query, weights_over_time(scores, inputs.present))


def inception(inputs: Inputs, options: Options) -> Attended:
    """Build additive attention over the features of convolutions of several widths, one distribution.

    The score is v·tanh(W h + b). Absent timesteps are 0 before each convolution, so that they add nothing.

    Sources: Ismail Fawaz and others, arXiv 1909.04939, for the convolutions; Lin and others, arXiv 1703.03130, for
    the attention.
    """
    x = shortcut = inputs.values
    filters = max(1, options.units // 2)
    for _ in range(INCEPTION_BLOCKS):
        narrow = layers.Conv1D(options.units, 1, use_bias=False)(x)
        branches = [
            layers.Conv1D(filters, min(width, 2 * x.shape[1] - 1), padding="same", use_bias=False)(narrow)
            for width in INCEPTION_WIDTHS
        ]
        pooled = layers.MaxPooling1D(3, strides=1, padding="same")(x)
        branches.append(layers.Conv1D(filters, 1, use_bias=False)(pooled))
        x = _only_present(layers.ReLU()(layers.BatchNormalization()(layers.Concatenate()(branches))), inputs.present)
    shortcut = layers.BatchNormalization()(layers.Conv1D(x.shape[-1], 1, use_bias=False)(shortcut))
    x = _only_present(layers.ReLU()(layers.Add()([x, shortcut])), inputs.present)
    hidden = layers.Dense(options.units, activation="tanh")(x)
    attention_vec = weights_over_time(layers.Dense(1, use_bias=False)(hidden), inputs.present)
    summary = ops.sum(x * attention_vec, axis=1)
    return layers.Dropout(options.dropout)(summary) if options.dropout else summary, attention_vec


#: The architectures that gradients fit. `training.minirocket` builds and fits its own.
ARCHITECTURES: Mapping[ArchitectureChoice, Callable[[Inputs, Options], Attended]] = {
    "after_lstm": after_lstm,
    "before_lstm": before_lstm,
    "additive": additive,
    "multiplicative": multiplicative,
    "inception": inception,
}


def build(dataset: Dataset, options: Options) -> keras.Model:
    """Build an untrained model for a dataset.

    It maps `sequence (batch, timesteps, features)` to `prediction (batch, outputs)` and
    `attention_vec (batch, timesteps, units)`.
    """
    sequence = keras.Input(dataset.train.x.shape[1:], name=SEQUENCE)
    inputs = prepared(sequence, dataset)
    summary, attention_vec = ARCHITECTURES[options.architecture_or_default](inputs, options)
    return keras.Model(
        sequence, {PREDICTION: predicted(joined(summary, inputs), dataset), ATTENTION_VEC: attention_vec}
    )


def recurrent(inputs: Inputs, options: Options) -> Tensor:
    """Return the states of the last of some recurrent layers on top of each other, `(batch, timesteps, units)`.

    If bidirectional, a second one reads each sequence from its last present timestep, and its states are added as
    further units.
    """
    values = inputs.values
    for _ in range(options.layers):
        states = recurrent_layer(options, return_sequences=True)(values)
        if options.bidirectional:
            backwards = recurrent_layer(options, return_sequences=True)(_reversed(values, inputs.present))
            backwards = _reversed(backwards, inputs.present)
            states = layers.Concatenate()([states, backwards])
        values = layers.Dropout(options.dropout)(states) if options.dropout else states
    return values


def recurrent_layer(options: Options, *, return_sequences: bool = False) -> layers.RNN:
    """Return an LSTM or a GRU. XLA compiles Keras's own steps, but not those of cuDNN."""
    kind = layers.LSTM if options.cell == "lstm" else layers.GRU
    return kind(options.units, return_sequences=return_sequences, use_cudnn=False)


def _reversed(values: Tensor, present: Tensor | None) -> Tensor:
    """Reverse sequences `(batch, timesteps, units)` up to the last present timestep; what follows becomes 0.

    It is a product with a matrix of 0 and 1, because ONNX Runtime has no other reversal of each sequence by its length.
    """
    timesteps = values.shape[1]
    sums = np.add.outer(np.arange(timesteps), np.arange(timesteps)).astype(np.float32)  # (timesteps, timesteps)
    if present is None:
        return ops.matmul((sums == timesteps - 1).astype(np.float32), values)
    counting = np.arange(1, timesteps + 1, dtype=np.float32)[:, np.newaxis]
    lengths = ops.max(ops.cast(present, values.dtype) * counting, axis=1, keepdims=True)  # (batch, 1, 1)
    return ops.matmul(ops.cast(ops.equal(sums, lengths - 1), values.dtype), values)


def _only_present(values: Tensor, present: Tensor | None) -> Tensor:
    return values if present is None else values * ops.cast(present, values.dtype)


def attention_block(inputs: Tensor, present: Tensor | None, *, shared: bool) -> tuple[Tensor, Tensor]:
    """Weight each timestep of each unit.

    For unit u, P[b,t,u] = softmax over t of (bias_t + Σ_t' W[t',t]·inputs[b,t',u]). All units share W and bias.

    If `shared`, all units use the mean of their distributions. `present` is that of `Inputs`.

    Returns:
        `inputs` times the weights, `(batch, timesteps, units)`; and the weights, of the same shape or, if shared,
        `(batch, timesteps, 1)`.
    """
    timesteps = inputs.shape[1]
    name = None if shared else ATTENTION_VEC
    if present is None:
        scores = layers.Permute((2, 1))(inputs)  # (batch, units, timesteps)
        weights = layers.Dense(timesteps, activation="softmax")(scores)  # (batch, units, timesteps)
        attention_vec = layers.Permute((2, 1), name=name)(weights)  # (batch, timesteps, units)
    else:
        inputs = inputs * ops.cast(present, inputs.dtype)  # no score may depend on an absent timestep
        scores = layers.Dense(timesteps)(layers.Permute((2, 1))(inputs))  # (batch, units, timesteps)
        attention_vec = weights_over_time(layers.Permute((2, 1))(scores), present, name)
    if shared:
        attention_vec = layers.Identity(name=ATTENTION_VEC)(ops.mean(attention_vec, axis=-1, keepdims=True))
    return layers.Multiply()([inputs, attention_vec]), attention_vec


def weights_over_time(scores: Tensor, present: Tensor | None, name: str | None = ATTENTION_VEC) -> Tensor:
    """Return the softmax over time of scores `(batch, timesteps, units)`; exactly 0 for absent timesteps."""
    if present is None:
        return layers.Softmax(axis=1, name=name)(scores)
    weights = ops.softmax(ops.where(present, scores, NEVER), axis=1)
    # The product matters for a sequence without any timestep: all its scores are equal.
    return layers.Identity(name=name)(weights * ops.cast(present, weights.dtype))


def last(states: Tensor, present: Tensor | None) -> Tensor:
    """Return the state of the last present timestep, `(batch, units)`, of states `(batch, timesteps, units)`."""
    if present is None:
        return states[:, -1]
    counting = np.arange(1, states.shape[1] + 1, dtype=np.float32)[:, np.newaxis]  # (timesteps, 1)
    positions = ops.cast(present, states.dtype) * counting  # (batch, timesteps, 1)
    is_last = ops.logical_and(present, ops.equal(positions, ops.max(positions, axis=1, keepdims=True)))
    return ops.sum(states * ops.cast(is_last, states.dtype), axis=1)


def _summed(states: Tensor, query: Tensor, attention_vec: Tensor) -> Attended:
    """Combine the weighted sum of the states with the query, for the head.

    Source: Luong, Pham and Manning, arXiv 1508.04025, equation 5.
    """
    context = ops.sum(states * attention_vec, axis=1)  # (batch, units)
    both = layers.Concatenate()([context, query])
    return layers.Dense(states.shape[-1], activation="tanh", use_bias=False)(both), attention_vec


def predicted(summary: Tensor, dataset: Dataset) -> Tensor:
    """Return the prediction `(batch, outputs)` of a dense layer on a summary `(batch, columns)`."""
    outputs = dataset.target.outputs
    match dataset.target.task:
        case "binary":
            return layers.Dense(1, activation="sigmoid", name=PREDICTION)(summary)
        case "multilabel":
            return layers.Dense(outputs, activation="sigmoid", name=PREDICTION)(summary)
        case "multiclass":
            return layers.Dense(outputs, activation="softmax", name=PREDICTION)(summary)
        case "regression":  # the layer before learns standardised numbers
            scale = dataset.target_scale
            return layers.Rescaling(scale.deviation, scale.mean, name=PREDICTION)(layers.Dense(outputs)(summary))
