"""The architectures, as Keras functional models built from one attention block.

Both come from github.com/philipperemy/keras-attention-mechanism, as told by a 2020 post on attention in Keras.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import layers

from service.inference.artifact import ATTENTION_VEC, INPUT, PREDICTION, Array
from service.inference.card import Target
from training.options import Architecture

# Keras ships no types.
Tensor = Any


def attention_block(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Weigh every timestep of every unit.

    For unit u, P[b,t,u] = softmax over t of (bias_t + Σ_t' W[t',t]·inputs[b,t',u]), W and bias shared by all units.

    Args:
        inputs: `(batch, timesteps, units)`.

    Returns:
        `inputs` times their weights, and the weights; both `(batch, timesteps, units)`.
    """
    timesteps = inputs.shape[1]
    scores = layers.Permute((2, 1))(inputs)  # (batch, units, timesteps)
    weights = layers.Dense(timesteps, activation="softmax")(scores)  # (batch, units, timesteps)
    attention_vec = layers.Permute((2, 1), name=ATTENTION_VEC)(weights)  # (batch, timesteps, units)
    return layers.Multiply()([inputs, attention_vec]), attention_vec


def after_lstm(inputs: Tensor, units: int) -> tuple[Tensor, Tensor]:
    """Attention over the hidden states of an LSTM.

    Args:
        inputs: `(batch, timesteps, features)`.
        units: units of the LSTM.

    Returns:
        What the head reads, `(batch, timesteps * units)`, and `attention_vec (batch, timesteps, units)`.
    """
    states = layers.LSTM(units, return_sequences=True)(inputs)  # (batch, timesteps, units)
    weighted, attention_vec = attention_block(states)
    return layers.Flatten()(weighted), attention_vec


def before_lstm(inputs: Tensor, units: int) -> tuple[Tensor, Tensor]:
    """Attention over the inputs of an LSTM.

    Args:
        inputs: `(batch, timesteps, features)`.
        units: units of the LSTM.

    Returns:
        What the head reads, `(batch, units)`, and `attention_vec (batch, timesteps, features)`.
    """
    weighted, attention_vec = attention_block(inputs)
    return layers.LSTM(units)(weighted), attention_vec


ARCHITECTURES: Mapping[Architecture, Callable[[Tensor, int], tuple[Tensor, Tensor]]] = {
    "after_lstm": after_lstm,
    "before_lstm": before_lstm,
}


def build(architecture: Architecture, x: Array, target: Target, units: int, *, standardise: bool) -> keras.Model:
    """Build an untrained model for some data.

    Args:
        architecture: name of the architecture.
        x: training data `(n, timesteps, features)`: gives the shape and, where wanted, the scale.
        target: what to predict; decides the head.
        units: units of the LSTM.
        standardise: whether the graph first brings each feature to mean 0 and variance 1 over `x`.

    Returns:
        A model from `sequence (batch, timesteps, features)` to `prediction (batch, outputs)` and
        `attention_vec (batch, timesteps, units)`.
    """
    sequence = keras.Input(x.shape[1:], name=INPUT)
    inputs = sequence
    if standardise:
        inputs = _standardised(sequence, x)
    summary, attention_vec = ARCHITECTURES[architecture](inputs, units)
    return keras.Model(sequence, {PREDICTION: _head(target)(summary), ATTENTION_VEC: attention_vec})


def _standardised(inputs: Tensor, x: Array) -> Tensor:
    """Bring each feature to mean 0 and variance 1 over `x`; a feature that never changes becomes 0.

    Two Rescaling layers rather than one Normalization, whose statistics tf2onnx leaves behind as inputs of the graph.
    Subtracting comes first: large offsets would otherwise cost precision.
    """
    mean = x.mean(axis=(0, 1), dtype=np.float64)
    deviation = x.std(axis=(0, 1), dtype=np.float64)
    centred = layers.Rescaling(1.0, offset=-mean)(inputs)
    return layers.Rescaling(1 / np.where(deviation > 0, deviation, 1))(centred)


def _head(target: Target) -> layers.Layer:
    match target.task:
        case "binary":
            return layers.Dense(1, activation="sigmoid", name=PREDICTION)
        case "multiclass":
            return layers.Dense(len(target.classes or ()), activation="softmax", name=PREDICTION)
        case "regression":
            return layers.Dense(1, name=PREDICTION)
