"""The seed's architectures, layer for layer."""

import keras
import numpy as np
import pytest
from keras import layers

from service.inference.artifact import ATTENTION_VEC, INPUT, PREDICTION
from service.inference.card import Target
from training.models import attention_block, build
from training.options import Architecture

BINARY = Target(task="binary", classes=("0", "1"))
X = np.random.default_rng(0).standard_normal((64, 20, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("architecture", "parameters", "kinds"),
    [
        (
            "after_lstm",
            5541,
            ["InputLayer", "LSTM", "Permute", "Dense", "Permute", "Multiply", "Flatten", "Dense"],
        ),
        (
            "before_lstm",
            4933,
            ["InputLayer", "Permute", "Dense", "Permute", "Multiply", "LSTM", "Dense"],
        ),
    ],
)
def test_the_architecture_is_the_seeds(architecture: Architecture, parameters: int, kinds: list[str]) -> None:
    """The same layers in the same order, and as many weights at 20 × 2 and 32 units."""
    model = build(architecture, X, BINARY, 32, standardise=False)
    assert model.count_params() == parameters
    assert [type(layer).__name__ for layer in model.layers] == kinds
    assert model.input.name == INPUT
    assert model.get_layer(ATTENTION_VEC).output is model.output[ATTENTION_VEC]


def test_the_attention_block_is_its_formula() -> None:
    """P[b,t,u] = softmax over t of (bias_t + Σ_t' W[t',t]·H[b,t',u]); the output is H times P."""
    states = keras.Input((5, 3))
    block = keras.Model(states, attention_block(states))
    rng = np.random.default_rng(0)
    w, bias = rng.standard_normal((5, 5)), rng.standard_normal(5)
    block.set_weights([w, bias])
    h = rng.standard_normal((4, 5, 3))
    scores = bias[None, :, None] + np.einsum("st,bsu->btu", w, h)
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    weighted, attention_vec = block(h)
    np.testing.assert_allclose(attention_vec, p, rtol=0, atol=1e-6)
    np.testing.assert_allclose(weighted, h * p, rtol=0, atol=1e-6)


@pytest.mark.parametrize("architecture", ["after_lstm", "before_lstm"])
def test_each_unit_has_a_distribution_over_time(architecture: Architecture) -> None:
    """One prediction and one distribution per unit, for every sequence."""
    model = build(architecture, X, BINARY, 8, standardise=False)
    outputs = model.predict(X, verbose=0)
    units = {"after_lstm": 8, "before_lstm": 2}[architecture]
    assert outputs[PREDICTION].shape == (64, 1)
    assert outputs[ATTENTION_VEC].shape == (64, 20, units)
    np.testing.assert_allclose(outputs[ATTENTION_VEC].sum(axis=1), 1, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("target", "outputs", "activation"),
    [
        (BINARY, 1, "sigmoid"),
        (Target(task="multiclass", classes=("a", "b", "c")), 3, "softmax"),
        (Target(task="regression"), 1, "linear"),
    ],
)
def test_the_target_decides_the_head(target: Target, outputs: int, activation: str) -> None:
    """Sigmoid for two classes, softmax for more, a plain number for regression."""
    head = build("after_lstm", X, target, 4, standardise=False).get_layer(PREDICTION)
    assert isinstance(head, layers.Dense)
    assert (head.units, head.activation.__name__) == (outputs, activation)


def test_raw_units_are_scaled_inside_the_graph() -> None:
    """The model sees each feature at mean 0 and variance 1, however large, and a constant feature as 0."""
    x = np.concatenate([X * [5, 1e-3] + [1e5, -2], np.full((64, 20, 1), 7.0)], axis=-1).astype(np.float32)
    model = build("before_lstm", x, BINARY, 4, standardise=True)
    scaled = keras.Model(model.input, model.layers[3].input).predict(x, verbose=0)
    expected = (x - x.mean(axis=(0, 1), dtype=float)) / x.std(axis=(0, 1), dtype=float).clip(1e-12)
    np.testing.assert_allclose(scaled[..., :2], expected[..., :2], rtol=0, atol=1e-3)
    np.testing.assert_array_equal(scaled[..., 2], 0)
    plain = build("before_lstm", x, BINARY, 4, standardise=False)
    assert model.count_params() == plain.count_params()
