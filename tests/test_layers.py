"""The layers of Keras models: kinds, shapes, weights, and what each computes from."""

import keras
from keras import layers, ops

from service.artifact.card import Layer
from training.layers import layers_of


def test_branches_and_operations_are_layers() -> None:
    """An operation between layers is one of them, and a sum has two inputs."""
    sequence = keras.Input((20, 2), name="sequence")
    states = layers.LSTM(8, return_sequences=True, name="states")(sequence)
    scores = layers.Dense(1, name="scores")(states) + ops.mean(states, axis=-1, keepdims=True)
    found = {layer.name: layer for layer in layers_of(keras.Model(sequence, scores))}
    assert found["sequence"] == Layer(name="sequence", kind="InputLayer", shape=(None, 20, 2), inputs=(), weights=0)
    assert found["states"] == Layer(
        name="states", kind="LSTM", shape=(None, 20, 8), inputs=("sequence",), weights=4 * 8 * (2 + 8 + 1)
    )
    *_, last = found.values()
    assert (last.kind, last.shape, len(last.inputs)) == ("Add", (None, 20, 1), 2)
    assert "scores" in last.inputs


def test_a_sequential_model_is_a_row() -> None:
    """Each layer computes from the one before."""
    model = keras.Sequential([keras.Input((4, 2)), layers.LSTM(3, name="a"), layers.Dense(1, name="b")])
    *_, first, last = layers_of(model)
    assert (first.name, last.name, last.inputs) == ("a", "b", ("a",))


def test_a_layer_that_is_used_twice_is_listed_once() -> None:
    """It has the inputs of its first use. A second model on the same layers changes nothing."""
    sequence = keras.Input((4,), name="sequence")
    shared = layers.Dense(4, name="shared")
    model = keras.Model(sequence, shared(layers.ReLU(name="relu")(shared(sequence))))
    found = {layer.name: layer.inputs for layer in layers_of(model)}
    assert found == {"sequence": (), "shared": ("sequence",), "relu": ("shared",)}
    shared(keras.Input((4,)))
    assert {layer.name: layer.inputs for layer in layers_of(model)} == found


class Subclass(keras.Model):  # type: ignore[misc]
    """A model whose graph is Python code."""

    def call(self, inputs: object) -> object:
        return inputs


def test_a_subclass_has_no_layers() -> None:
    """There is no graph to look at."""
    assert layers_of(Subclass()) == ()
