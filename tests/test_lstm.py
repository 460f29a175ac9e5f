"""The LSTM for XLA computes the same as Keras's LSTM."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from training.lstm import LSTM

X = np.random.default_rng(0).standard_normal((7, 5, 3)).astype(np.float32)


@pytest.fixture(params=[True, False], ids=["all states", "last state"])
def pair(request: pytest.FixtureRequest) -> tuple[layers.LSTM, LSTM]:
    """Return Keras's LSTM and ours, with the same weights, none of which is 0."""
    theirs, ours = (kind(4, return_sequences=request.param) for kind in (layers.LSTM, LSTM))
    theirs.build(X.shape)
    ours.build(X.shape)
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(weight.shape) for weight in theirs.get_weights()]
    theirs.set_weights(weights)
    ours.set_weights(weights)
    return theirs, ours


def states_and_gradients(layer: Any, *, training: bool, jit_compile: bool | None = None) -> list[np.ndarray]:
    """Return the states of X, and the gradients of a sum with a different weight for each state."""

    def both(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            states = layer(x, training=training)
            counted = tf.reshape(tf.range(1, tf.size(states) + 1, dtype=tf.float32), tf.shape(states))
            total = tf.reduce_sum(states * counted) / 10
        return [states, *tape.gradient(total, [x, *(weight.value for weight in layer.trainable_weights)])]

    run = both if jit_compile is None else tf.function(both, jit_compile=jit_compile)
    return [one.numpy() for one in run(tf.constant(X))]


@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_states_and_gradients_are_those_of_keras(pair: tuple[Any, Any], jit_compile: bool | None) -> None:  # noqa: FBT001
    """They differ by at most 1e-5 in training: eagerly, as a graph, and compiled by XLA."""
    theirs, ours = pair
    expected = states_and_gradients(theirs, training=True)
    got = states_and_gradients(ours, training=True, jit_compile=jit_compile)
    assert len(got) == len(expected) == 5
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_in_inference_the_layer_is_keras_s(pair: tuple[Any, Any]) -> None:
    """The outputs are equal to the last bit."""
    theirs, ours = pair
    np.testing.assert_array_equal(ours(X), theirs(X))
    np.testing.assert_array_equal(ours(X, training=False), theirs(X, training=False))


def test_states_do_not_depend_on_whether_it_is_training(pair: tuple[Any, Any]) -> None:
    """The served states are the fitted ones."""
    _, ours = pair
    np.testing.assert_allclose(ours(X, training=True), ours(X), rtol=0, atol=1e-6)


def test_the_weights_are_keras_s() -> None:
    """The same seed gives the same initial weights."""
    drawn = []
    for kind in (layers.LSTM, LSTM):
        keras.utils.set_random_seed(0)
        layer = kind(4)
        layer.build(X.shape)
        drawn.append(layer.get_weights())
    for theirs, ours in zip(*drawn, strict=True):
        np.testing.assert_array_equal(theirs, ours)
