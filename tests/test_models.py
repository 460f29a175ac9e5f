"""The architectures: the two original ones layer for layer, all formulas, and absent timesteps."""

from itertools import product
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from hypothesis import given, settings
from keras import layers

from service.artifact.card import Target
from service.artifact.graphs import ONNX_CONTROL
from service.artifact.tensors import ATTENTION_VEC, PREDICTION, SEQUENCE
from tests.samples import BINARY, MULTICLASS, MULTILABEL, REGRESSION, TWO_NUMBERS, dataset
from tests.sequences import sequences_with_gaps
from training.evaluate import forward
from training.lowering import TOLERANCE, write_lowering
from training.models import ARCHITECTURES, attention_block, build, last, recurrent, weights_over_time
from training.options import Architecture, Options
from training.preparation import Inputs

X = np.random.default_rng(0).standard_normal((64, 20, 2)).astype(np.float32)
ALL = tuple(ARCHITECTURES)
#: The architectures with one distribution per unit.
PER_UNIT = ("after_lstm", "before_lstm")
VARIANTS = [*product(ALL, [False]), *product(PER_UNIT, [True])]


def sigmoid(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(1 / (1 + np.exp(-x)))


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
def test_the_architecture_is_the_original_one(architecture: Architecture, parameters: int, kinds: list[str]) -> None:
    """The layers, their order and the number of weights at 20 × 2 and 32 units are the same."""
    model = build(dataset(X), Options(architecture=architecture))
    assert model.count_params() == parameters
    assert [type(layer).__name__ for layer in model.layers] == kinds
    assert model.input.name == SEQUENCE
    assert model.get_layer(ATTENTION_VEC).output is model.output[ATTENTION_VEC]


@pytest.mark.parametrize("masked", [False, True])
def test_the_attention_block_is_its_formula(masked: bool) -> None:  # noqa: FBT001
    """P[b,t,u] = softmax over t of (bias_t + Σ_t' W[t',t]·H[b,t',u]); the output is H times P.

    An absent timestep adds to no score and has no weight.
    """
    states, present = keras.Input((5, 3)), keras.Input((5, 1), dtype="bool")
    inputs = [states, present] if masked else states
    block = keras.Model(inputs, attention_block(states, present if masked else None, shared=False))
    rng = np.random.default_rng(0)
    w, bias = rng.standard_normal((5, 5)), rng.standard_normal(5)
    block.set_weights([w, bias])
    h = rng.standard_normal((4, 5, 3))
    there = np.arange(5)[None, :, None] < np.array([5, 3, 1, 4])[:, None, None] if masked else np.ones((4, 5, 1), bool)
    scores = bias[None, :, None] + np.einsum("st,bsu->btu", w, h * there)
    p = np.exp(scores) * there / (np.exp(scores) * there).sum(axis=1, keepdims=True)
    weighted, attention_vec = block([h, there] if masked else h)
    np.testing.assert_allclose(attention_vec, p, rtol=0, atol=1e-6)
    np.testing.assert_allclose(weighted, h * p, rtol=0, atol=1e-6)


def test_shared_attention_is_the_mean_of_the_units() -> None:
    """The mean weights all units."""
    states = keras.Input((5, 3))
    apart = keras.Model(states, attention_block(states, None, shared=False))
    shared = keras.Model(states, attention_block(states, None, shared=True))
    shared.set_weights(apart.get_weights())
    h = np.random.default_rng(0).standard_normal((4, 5, 3)).astype(np.float32)
    weighted, attention_vec = shared(h)
    mean = apart(h)[1].numpy().mean(axis=-1, keepdims=True)
    np.testing.assert_allclose(attention_vec, mean, rtol=0, atol=1e-6)
    np.testing.assert_allclose(weighted, h * mean, rtol=0, atol=1e-6)


@pytest.mark.parametrize("architecture", ["additive", "multiplicative"])
def test_attention_of_the_last_state_is_its_formula(architecture: Architecture) -> None:
    """Additive: v·tanh(W h + U q + b); multiplicative: q·W h; then tanh of C [Σ P h; q], and the head."""
    model = build(dataset(X), Options(architecture=architecture, units=4))
    weights = [np.random.default_rng(index).standard_normal(w.shape) for index, w in enumerate(model.get_weights())]
    model.set_weights(weights)
    states_of = next(layer for layer in model.layers if isinstance(layer, layers.LSTM)).output
    h = keras.Model(model.input, states_of).predict(X, verbose=0)  # (batch, timesteps, units)
    q = h[:, -1]
    of_lstm, attention, (combine, head, head_bias) = 3, weights[3:-3], weights[-3:]
    assert len(weights) == of_lstm + len(attention) + 3
    if architecture == "additive":
        u, w, b, v = attention
        scores = (np.tanh(h @ w + b + (q @ u)[:, None]) @ v)[..., 0]
    else:
        (w,) = attention
        scores = np.einsum("btu,bu->bt", h @ w, q)
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    context = np.einsum("bt,btu->bu", p, h)
    summary = np.tanh(np.concatenate([context, q], axis=1) @ combine)
    outputs = model.predict(X, verbose=0)
    np.testing.assert_allclose(outputs[ATTENTION_VEC][..., 0], p, rtol=0, atol=1e-5)
    np.testing.assert_allclose(outputs[PREDICTION], sigmoid(summary @ head + head_bias), rtol=0, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("architecture", "shared"), VARIANTS)
def test_attention_is_a_distribution_over_time(architecture: Architecture, shared: bool, masked: bool) -> None:  # noqa: FBT001
    """There is one distribution per unit or one in all, and one prediction for each sequence."""
    options = Options(architecture=architecture, shared_attention=shared, units=8)
    outputs = build(dataset(X, variable_length=masked), options).predict(X, verbose=0)
    units = 1 if shared else {"after_lstm": 8, "before_lstm": 2}.get(architecture, 1)
    assert outputs[PREDICTION].shape == (64, 1)
    assert outputs[ATTENTION_VEC].shape == (64, 20, units)
    np.testing.assert_allclose(outputs[ATTENTION_VEC].sum(axis=1), 1, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("target", "outputs", "activation"),
    [(BINARY, 1, "sigmoid"), (MULTICLASS, 3, "softmax"), (MULTILABEL, 3, "sigmoid")],
)
def test_the_target_decides_the_head(target: Target, outputs: int, activation: str) -> None:
    """The head is a sigmoid for two classes and for several labels, and a softmax for more classes."""
    head = build(dataset(X, target=target), Options(units=4)).get_layer(PREDICTION)
    assert isinstance(head, layers.Dense)
    assert (head.units, head.activation.__name__) == (outputs, activation)


def test_numbers_are_predicted_in_their_own_units() -> None:
    """An untrained head predicts their mean, however large they are."""
    y = np.random.default_rng(0).standard_normal((64, 2)) * [1e-3, 1e4] + [5, -1e6]
    model = build(dataset(X, y.astype(np.float32), TWO_NUMBERS, scaled=True), Options(units=4))
    model.layers[-2].set_weights([np.zeros_like(weight) for weight in model.layers[-2].get_weights()])
    predictions = model.predict(X, verbose=0)[PREDICTION]
    np.testing.assert_allclose(predictions, np.tile(y.mean(axis=0), (64, 1)), rtol=1e-5)
    model.layers[-2].set_weights([np.zeros_like(model.layers[-2].get_weights()[0]), np.ones(2)])
    predictions = model.predict(X, verbose=0)[PREDICTION]
    np.testing.assert_allclose(predictions, np.tile((y.mean(axis=0) + y.std(axis=0)), (64, 1)), rtol=1e-5)


def test_a_constant_number_is_predicted() -> None:
    """A deviation of 0 is not a divisor."""
    model = build(dataset(X, np.full((64, 1), 7, np.float32), REGRESSION, scaled=True), Options(units=4))
    assert np.isfinite(model.predict(X, verbose=0)[PREDICTION]).all()


def test_raw_units_are_scaled_inside_the_graph() -> None:
    """Each feature is scaled to mean 0 and variance 1, and a constant feature to 0."""
    x = np.concatenate([X * [5, 1e-3] + [1e5, -2], np.full((64, 20, 1), 7.0)], axis=-1).astype(np.float32)
    model = build(dataset(x, scaled=True), Options(architecture="before_lstm", units=4))
    scaled = keras.Model(model.input, model.layers[3].input).predict(x, verbose=0)
    expected = (x - x.mean(axis=(0, 1), dtype=float)) / x.std(axis=(0, 1), dtype=float).clip(1e-12)
    np.testing.assert_allclose(scaled[..., :2], expected[..., :2], rtol=0, atol=1e-3)
    np.testing.assert_array_equal(scaled[..., 2], 0)
    plain = build(dataset(x), Options(architecture="before_lstm", units=4))
    assert model.count_params() == plain.count_params()


def test_the_last_state_is_that_of_the_last_present_timestep() -> None:
    """Gaps before it do not matter; a sequence without timesteps gives zeros."""
    states = np.arange(1, 25, dtype=np.float32).reshape(4, 3, 2)
    present = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0]], bool)[..., np.newaxis]
    expected = [states[0, 2], states[1, 0], states[2, 1], np.zeros(2)]
    inputs = keras.Input((3, 2)), keras.Input((3, 1), dtype="bool")
    model = keras.Model(inputs, last(*inputs))  # symbolic tensors, as in the architectures, compare by identity
    np.testing.assert_array_equal(model([states, present]), expected)
    np.testing.assert_array_equal(last(states, present), expected)
    np.testing.assert_array_equal(last(states, None), states[:, 2])


def test_weights_of_absent_timesteps_are_exactly_0() -> None:
    """Very low scores and sequences without timesteps do not change that."""
    scores = np.array([[-1e6, 3.0], [2.0, 2.0], [5.0, 5.0]], np.float32)[..., np.newaxis]
    present = np.array([[1, 0], [1, 1], [0, 0]], bool)[..., np.newaxis]
    weights = weights_over_time(scores, present).numpy()[..., 0]
    np.testing.assert_array_equal(weights, [[1, 0], [0.5, 0.5], [0, 0]])


@pytest.mark.parametrize(("architecture", "shared"), VARIANTS)
def test_masks_change_nothing_without_gaps(architecture: Architecture, shared: bool) -> None:  # noqa: FBT001
    """A model with masks and the same weights has the same outputs."""
    options = Options(architecture=architecture, shared_attention=shared, units=4)
    plain, masked = (build(dataset(X, variable_length=absent, scaled=True), options) for absent in (False, True))
    masked.set_weights(plain.get_weights())
    expected, got = (model.predict(X, verbose=0) for model in (plain, masked))
    for name, output in expected.items():
        np.testing.assert_allclose(got[name], output, rtol=0, atol=1e-6)


#: Forms of the recurrent architectures.
FORMS: list[dict[str, Any]] = [
    {"bidirectional": True},
    {"cell": "gru"},
    {"architecture": "before_lstm", "cell": "gru"},
    {"architecture": "additive", "layers": 2, "bidirectional": True},
    {"architecture": "before_lstm", "layers": 2, "dropout": 0.5},
]


@pytest.fixture(
    scope="module",
    params=[*({"architecture": name, "shared_attention": shared} for name, shared in VARIANTS), *FORMS],
    ids=lambda form: "-".join(map(str, form.values())),
)
def masked_model(request: pytest.FixtureRequest) -> Any:
    """Return the forward pass of an untrained model for sequences with gaps, with large weights."""
    keras.utils.set_random_seed(0)
    options = Options(**request.param, units=4)
    x = np.random.default_rng(0).standard_normal((50, 6, 3)) * 3 + 1
    x[::2, 4:] = np.nan
    model = build(dataset(x, variable_length=True, missing_values=True, scaled=True), options)
    values = [np.random.default_rng(1).standard_normal(weight.shape) for weight in model.weights]
    # a convolution adds hundreds of products, and a variance is positive
    values = [one / np.sqrt(one[..., 0].size) if one.ndim == 3 else one for one in values]
    pairs = zip(model.weights, values, strict=True)
    model.set_weights([np.abs(value) + 0.5 if "variance" in weight.path else value for weight, value in pairs])
    return forward(model)


def test_a_bidirectional_lstm_reads_each_sequence_from_its_last_timestep() -> None:
    """The backward states are those of the reversed sequence, and 0 after its end."""
    options = Options(units=3, bidirectional=True)
    values, present = keras.Input((5, 2)), keras.Input((5, 1), dtype="bool")
    model = keras.Model([values, present], recurrent(Inputs(values, present), options))
    x = np.random.default_rng(0).standard_normal((2, 5, 2)).astype(np.float32)
    there = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)[..., np.newaxis]
    states = model([x * there, there]).numpy()
    backwards, _ = (layer for layer in model.layers if isinstance(layer, layers.LSTM))  # the deepest comes first
    np.testing.assert_allclose(states[:1, :3, 3:], backwards(x[:1, 2::-1])[:, ::-1], rtol=0, atol=1e-6)
    np.testing.assert_allclose(states[1:, :, 3:], backwards(x[1:, ::-1])[:, ::-1], rtol=0, atol=1e-6)
    assert (states[0, 3:, 3:] == 0).all()


@pytest.mark.parametrize("form", [{"architecture": "inception"}, *FORMS], ids=lambda form: "-".join(map(str, form)))
@pytest.mark.parametrize("gaps", [False, True])
def test_the_lowering_computes_the_same(form: dict[str, Any], gaps: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Outputs differ by at most 1e-5, and no operator is a loop, whose time has no bound."""
    x = X[:8, :6].copy()
    if gaps:
        x[::2, 4:] = np.nan
    model = build(dataset(x, variable_length=gaps, scaled=True), Options(**form, units=4))
    specification = tf.TensorSpec((None, 6, 2), tf.float32, name=SEQUENCE)
    attend = tf.function(lambda sequence: model(sequence, training=False), input_signature=[specification])
    assert write_lowering(attend, tmp_path / "model.onnx", x, BINARY) <= TOLERANCE
    kinds = {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    assert not kinds & ONNX_CONTROL


@settings(max_examples=30)
@given(x=sequences_with_gaps(timesteps=6, features=3))
def test_a_sequence_with_gaps_does_not_depend_on_its_batch(masked_model: Any, x: Any) -> None:
    """Outputs differ by at most 1e-6; attention sums to 1, and is exactly 0 for absent timesteps."""
    names = (PREDICTION, ATTENTION_VEC)
    together = masked_model(x, names)
    for index in range(len(x)):
        for name, output in masked_model(x[index : index + 1], names).items():
            np.testing.assert_allclose(output[0], together[name][index], rtol=0, atol=1e-6)
    attention = together[ATTENTION_VEC]
    present = ~np.isnan(x).all(axis=-1)
    assert (attention[~present] == 0).all()
    np.testing.assert_allclose(
        attention.sum(axis=1), np.where(present.any(axis=1), 1, 0)[:, None] + 0 * attention[:, 0], rtol=0, atol=1e-5
    )
    assert np.isfinite(together[PREDICTION]).all()


@pytest.mark.parametrize("value", [-1e12, 1e30])
def test_attention_sums_to_1_however_large_values_are(value: float) -> None:
    """Scores of inputs are unbounded, and absent timesteps have the lowest score."""
    x = np.full((1, 20, 2), np.nan, np.float32)
    x[0, :3] = [[value, 1], [1, -value], [value, value]]
    model = build(dataset(X, variable_length=True), Options(architecture="before_lstm", units=4))
    attention_vec = model.predict(x, verbose=0)[ATTENTION_VEC]
    np.testing.assert_allclose(attention_vec.sum(axis=1), 1, rtol=0, atol=1e-5)
    assert not attention_vec[:, 3:].any()
