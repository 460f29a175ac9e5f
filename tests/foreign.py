"""Models of other programs, and examples for them."""

from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

import training
from service.artifact.card import ModelCard
from service.artifact.gate import open_verified
from service.artifact.tensors import ATTENTION, ATTENTION_VEC, PREDICTION, Array
from service.artifact.version import Artifact
from service.engines import opener

N, TIMESTEPS, FEATURES = 40, 6, 2


class Served(NamedTuple):
    """A published version as the service runs it.

    Attributes:
        card: its card.
        prediction, attention, attention_vec: its outputs for some sequences.
    """

    card: ModelCard
    prediction: Array
    attention: Array
    attention_vec: Array


def examples(timesteps: int = TIMESTEPS, features: int = FEATURES, n: int = N) -> Array:
    """Return random sequences."""
    return np.random.default_rng(0).standard_normal((n, timesteps, features)).astype(np.float32)


def labels(n: int = N, classes: int = 2) -> NDArray[Any]:
    """Return class indices that do not depend on the sequences."""
    return np.arange(n) % classes


def served(directory: Path, x: Array) -> Served:
    """Return the answers of a published version, as the service runs it after its checks."""
    contents = Artifact(directory).read()
    engine = open_verified(contents, opener("onnx", threads=1)).engine
    outputs = engine.run(x.astype(np.float32), (PREDICTION, ATTENTION, ATTENTION_VEC))
    return Served(contents.card(), outputs[PREDICTION], outputs[ATTENTION], outputs[ATTENTION_VEC])


def imported(model: Any, x: Any, folder: Path, **options: Any) -> Path:
    """Import a model and return the directory of its version."""
    return training.publish(model, examples=x, name="mine", artifacts=folder, **options).directory


def notebook_model() -> tuple[keras.Model, keras.Model]:
    """Return the model of the seed's notebook, and one that returns its attention as well."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((TIMESTEPS, FEATURES))
    states = layers.LSTM(8, return_sequences=True)(inputs)
    weights = layers.Permute((2, 1))(states)
    weights = layers.Dense(TIMESTEPS, activation="softmax")(weights)
    weights = layers.Permute((2, 1), name="attention_vec")(weights)
    merged = layers.Flatten()(layers.Multiply()([states, weights]))
    prediction = layers.Dense(1, activation="sigmoid")(merged)
    return keras.Model(inputs, prediction), keras.Model(inputs, [prediction, weights])


@keras.saving.register_keras_serializable("tests")
class Attention(layers.Layer):  # type: ignore[misc]
    """A layer of one's own: it returns the context, and keeps its weights to itself."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.score = layers.Dense(1, use_bias=False)

    def build(self, shape: Any) -> None:
        self.score.build(shape)

    def call(self, states: Any) -> Any:
        weights = ops.softmax(self.score(ops.tanh(states)), axis=1)  # (batch, timesteps, 1)
        return ops.sum(states * weights, axis=1)


def context_model() -> keras.Model:
    """Return a model whose attention no layer returns."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((TIMESTEPS, FEATURES))
    context = Attention(name="attend")(layers.LSTM(8, return_sequences=True)(inputs))
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(context))


def transformer(timesteps: int = TIMESTEPS, heads: int = 2, blocks: int = 2) -> tuple[keras.Model, keras.Model]:
    """Return an encoder of several layers and heads, and one that returns its attention as well."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((timesteps, FEATURES))
    y, found = layers.Dense(8)(inputs), []
    for _ in range(blocks):
        attended, weights = layers.MultiHeadAttention(heads, 4)(y, y, return_attention_scores=True)
        y = layers.LayerNormalization()(y + attended)
        y = layers.LayerNormalization()(y + layers.Dense(8)(layers.Dense(16, activation="gelu")(y)))
        found.append(weights)
    prediction = layers.Dense(1)(layers.GlobalAveragePooling1D()(y))
    return keras.Model(inputs, prediction), keras.Model(inputs, [prediction, *found])


def text_classifier(*, masked: bool, timesteps: int | None = None) -> tuple[keras.Model, keras.Model]:
    """Return a classifier of tokens 0 to 19 with attention, and one that returns its attention as well.

    If masked, token 0 fills up sequences, and neither the states nor attention depend on it.
    """
    keras.utils.set_random_seed(0)
    tokens = keras.Input((timesteps,), dtype="int32", name="ids")
    embedded = layers.Embedding(20, 8, mask_zero=masked)(tokens)
    states = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(embedded)
    scores = layers.Dense(1)(states)
    if masked:
        scores = scores - 1e9 * ops.cast(ops.equal(tokens, 0), "float32")[..., None]
    weights = ops.softmax(scores, axis=1)
    context = ops.sum(weights * states, axis=1)
    prediction = layers.Dense(2, activation="softmax")(context)
    return keras.Model(tokens, prediction), keras.Model(tokens, [prediction, weights])


def decoder(steps: int = 3) -> tuple[keras.Model, keras.Model]:
    """Return an encoder and decoder with additive attention, and one that returns its attention as well.

    The prediction `(n, steps, 4)` has probabilities of four classes; attention is `(n, steps, timesteps)`.
    """
    keras.utils.set_random_seed(0)
    inputs = keras.Input((TIMESTEPS, FEATURES))
    states, state, cell = layers.LSTM(6, return_sequences=True, return_state=True)(inputs)
    keys, query, score, step = layers.Dense(6), layers.Dense(6), layers.Dense(1), layers.LSTMCell(6)
    carried, out, predicted, attended = [state, cell], layers.Dense(4, activation="softmax"), [], []
    for _ in range(steps):
        scores = score(ops.tanh(keys(states) + query(carried[0])[:, None]))
        weights = ops.softmax(scores, axis=1)  # (n, timesteps, 1)
        context = ops.sum(weights * states, axis=1)
        _, carried = step(context, carried)
        predicted.append(out(carried[0]))
        attended.append(weights[..., 0])
    prediction = ops.stack(predicted, axis=1)
    return keras.Model(inputs, prediction), keras.Model(inputs, [prediction, ops.stack(attended, axis=1)])
