"""Recurrent layers become single nodes of ONNX that compute what Keras computes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from keras import layers, ops

from service.artifact.layout import LOWERING
from tests.foreign import FEATURES, TIMESTEPS, examples, imported, served

#: Sequences with timesteps that a mask leaves out: at the beginning, in the middle, at the end, and all of them.
GAPS = examples()
GAPS[::5, :2] = 0
GAPS[1::5, 3] = 0
GAPS[2::5, 4:] = 0
GAPS[3::5] = 0


def masked(layer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a layer that leaves out timesteps of zeros."""
    return lambda x: layer(layers.Masking()(x))


def gru(**options: Any) -> Any:
    return layers.GRU(4, return_sequences=True, bias_initializer="random_normal", **options)


def lstm(**options: Any) -> Any:
    return layers.LSTM(4, return_sequences=True, **options)


def from_a_state(x: Any) -> Any:
    """Return the states of a GRU that begins where another one ended."""
    _, state = layers.GRU(4, return_state=True)(x)
    return gru()(x, initial_state=state)


LAYERS: dict[str, Callable[[Any], Any]] = {
    "GRU": gru(),
    "GRU that resets before": gru(reset_after=False),
    "GRU without bias": layers.GRU(4, return_sequences=True, use_bias=False),
    "GRU backwards": gru(go_backwards=True),
    "GRU of both directions": layers.Bidirectional(gru()),
    "GRU from a state": from_a_state,
    "GRU with a mask": masked(gru()),
    "GRU backwards with a mask": masked(gru(go_backwards=True)),
    "LSTM with a mask": masked(lstm()),
    "LSTM of both directions with a mask": masked(layers.Bidirectional(lstm())),
    "LSTM with dropout of the states": lstm(recurrent_dropout=0.2),
    "last state with a mask": lambda x: (
        layers.RepeatVector(TIMESTEPS)(layers.LSTM(4)(layers.Masking()(x))) * x[..., :1]
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_recurrent_layer_is_one_node(tmp_path: Path, name: str) -> None:
    """There is no loop, and timesteps that a mask leaves out keep the state before them."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((TIMESTEPS, FEATURES))
    states = LAYERS[name](inputs)
    weights = ops.softmax(layers.Dense(1)(states), axis=1)
    model = keras.Model(inputs, [layers.Dense(1)(ops.sum(weights * states, axis=1)), weights])
    version = imported(model, GAPS, tmp_path, task="regression")
    answers = served(version, GAPS)
    prediction, attention = model.predict(GAPS, verbose=0)
    np.testing.assert_allclose(answers.prediction, prediction, rtol=0, atol=1e-5)
    np.testing.assert_allclose(answers.attention_vec, attention, rtol=0, atol=1e-5)
    operators = {node.op_type for node in onnx.load(version / LOWERING).graph.node}
    assert operators & {"GRU", "LSTM"}
    assert not operators & {"Loop", "Scan"}


def test_other_functions_than_those_of_onnx_stay_a_loop(tmp_path: Path) -> None:
    """A GRU with ReLU is served as it is."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((TIMESTEPS, FEATURES))
    states = layers.GRU(4, activation="relu", return_sequences=True)(inputs)
    weights = layers.Softmax(axis=1)(layers.Dense(1)(states))
    model = keras.Model(inputs, layers.Dense(1)(ops.sum(weights * states, axis=1)))
    answers = served(imported(model, GAPS, tmp_path, task="regression"), GAPS)
    np.testing.assert_allclose(answers.prediction, model.predict(GAPS, verbose=0), rtol=0, atol=1e-5)
