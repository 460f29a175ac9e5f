"""The original program of an import: where it is asked, what is compared with it, and what it may not do."""

from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from keras import layers, ops
from onnx import TensorProto, helper, numpy_helper

from tests.foreign import FEATURES, TIMESTEPS, Attention, examples, imported, served
from training import TrainingError

X = examples()
#: More sequences than were imported.
MORE = np.random.default_rng(1).standard_normal((20, TIMESTEPS, FEATURES)).astype(np.float32)
REGRESSION: dict[str, Any] = {"task": "regression"}


def attending(states: Any, outputs: int = 1) -> Any:
    """Return a prediction from states, and its attention."""
    weights = ops.softmax(layers.Dense(1)(states), axis=1)
    return layers.Dense(outputs)(ops.sum(weights * states, axis=1)), weights


def agrees(model: keras.Model, both: keras.Model, folder: Path) -> None:
    """Import a model, and compare the version with the model that returns both prediction and attention."""
    answers = served(imported(model, X, folder, **REGRESSION), MORE)
    prediction, weights = both.predict(MORE, verbose=0)
    np.testing.assert_allclose(answers.prediction, prediction, rtol=0, atol=1e-5)
    np.testing.assert_allclose(answers.attention_vec, weights, rtol=0, atol=1e-5)


def test_a_model_inside_of_a_model_may_return_the_timesteps(tmp_path: Path) -> None:
    """Its output belongs to another graph than that of the model around it. It may be called twice, and hold others."""
    keras.utils.set_random_seed(0)
    first = keras.Input((TIMESTEPS, FEATURES))
    dense = keras.Model(first, layers.Dense(4)(first))
    second = keras.Input((TIMESTEPS, FEATURES))
    encoder = keras.Model(second, layers.LSTM(4, return_sequences=True)(dense(second)))
    inputs = keras.Input((TIMESTEPS, FEATURES))
    prediction, weights = attending(encoder(inputs) + encoder(2 * inputs))
    agrees(keras.Model(inputs, prediction), keras.Model(inputs, [prediction, weights]), tmp_path)


def test_a_layer_may_be_of_another_model(tmp_path: Path) -> None:
    """Its first output belongs to the graph of the model that used it before."""
    keras.utils.set_random_seed(0)
    before, layer = keras.Input((TIMESTEPS, FEATURES)), layers.LSTM(4, return_sequences=True)
    keras.Model(before, layer(before))
    inputs = keras.Input((TIMESTEPS, FEATURES))
    prediction, weights = attending(layer(inputs))
    agrees(keras.Model(inputs, prediction), keras.Model(inputs, [prediction, weights]), tmp_path)


class Units(keras.Model):  # type: ignore[misc]
    """A model with attention of several units, by TensorFlow's softmax over axis 1."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.score, self.out = layers.Dense(units), layers.Dense(1)

    def weights_of(self, x: Any) -> Any:
        return tf.nn.softmax(self.score(x), axis=1)  # (batch, timesteps, units)

    def call(self, x: Any) -> Any:
        return self.out(layers.Flatten()(tf.matmul(self.weights_of(x), x, transpose_a=True)))


@pytest.mark.parametrize("units", [3, TIMESTEPS])
def test_attention_of_units_whose_transposes_are_folded(tmp_path: Path, units: int) -> None:
    """The converted graph has a tensor of the same name as the original and with other axes, which is not compared."""
    keras.utils.set_random_seed(0)
    model = Units(units)
    expected = model(MORE)
    answers = served(imported(model, X, tmp_path, **REGRESSION), MORE)
    np.testing.assert_allclose(answers.prediction, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(answers.attention_vec, model.weights_of(MORE), rtol=0, atol=1e-5)


def over_the_batch() -> keras.Model:
    inputs = keras.Input((TIMESTEPS, FEATURES))
    context = Attention()(inputs)
    return keras.Model(inputs, layers.Dense(1)(context * ops.softmax(layers.Dense(1)(context), axis=0)))


def statistics_of_the_batch() -> keras.Model:
    inputs = keras.Input((TIMESTEPS, FEATURES))
    return keras.Model(inputs, layers.Dense(1)(Attention()(inputs - ops.mean(inputs, axis=(0, 1)))))


@pytest.mark.parametrize("build", [over_the_batch, statistics_of_the_batch])
def test_a_model_that_mixes_its_examples_is_refused(tmp_path: Path, build: Any) -> None:
    """The service puts requests of several clients into one batch, which must not change their answers."""
    keras.utils.set_random_seed(0)
    with pytest.raises(TrainingError, match=r"an example's output depends on the other examples in its batch: export"):
        imported(build(), X, tmp_path, **REGRESSION)
    assert not (tmp_path / "mine").exists()


SHARES = np.abs(X[..., :1]) / np.abs(X[..., :1]).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("scale", [1, 100])
def test_an_input_is_no_attention(tmp_path: Path, scale: float) -> None:
    """Shares sum to 1 over time, and so do percents that the model divides by 100."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((TIMESTEPS, 1), name="shares")
    states = layers.Conv1D(4, 3)(layers.Rescaling(1 / scale, name="scaled")(inputs))
    model = keras.Model(inputs, layers.Dense(1)(layers.GlobalMaxPooling1D()(states)))
    with pytest.raises(TrainingError, match="no attention was found: no tensor is a distribution"):
        imported(model, scale * SHARES, tmp_path, **REGRESSION)
    for name in ("shares", "scaled"):
        with pytest.raises(TrainingError, match=f"--attention {name}: holds the model's input, which is not computed"):
            imported(model, scale * SHARES, tmp_path, attention=name, **REGRESSION)
    imported(model, scale * SHARES, tmp_path, attention="none", **REGRESSION)


def test_attention_beside_an_input_of_shares_is_found(tmp_path: Path) -> None:
    """The input is no second candidate."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((TIMESTEPS, 1))
    prediction, weights = attending(layers.LSTM(4, return_sequences=True)(layers.Reshape((TIMESTEPS, 1))(inputs)))
    answers = served(imported(keras.Model(inputs, prediction), SHARES, tmp_path, **REGRESSION), SHARES)
    expected = keras.Model(inputs, weights).predict(SHARES, verbose=0)
    np.testing.assert_allclose(answers.attention_vec, expected, rtol=0, atol=1e-5)


node, value = helper.make_node, helper.make_tensor_value_info


def onnx_file(folder: Path, nodes: list[onnx.NodeProto], kind: int, **constants: Any) -> Path:
    """Write a graph with the input `x (n, timesteps, features)` and the output `y`."""
    graph = helper.make_graph(
        nodes,
        "theirs",
        [value("x", kind, ["n", TIMESTEPS, FEATURES])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.asarray(one), name) for name, one in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "theirs.onnx")
    return folder / "theirs.onnx"


def test_graphs_within_nodes_may_use_constants_of_the_graph_around_them(tmp_path: Path) -> None:
    """A loop doubles the weighted values twice, by a constant outside of it; a condition has the attention."""
    body = helper.make_graph(
        [node("Mul", ["carried", "two"], ["doubled"]), node("Identity", ["go_on"], ["still"])],
        "body",
        [value("place", TensorProto.INT64, []), value("go_on", TensorProto.BOOL, []), value("carried", 1, None)],
        [value("still", TensorProto.BOOL, []), value("doubled", 1, None)],
    )
    scaled = [node("Mul", ["scores", "two"], ["twice"]), node("Softmax", ["twice"], ["soft"], axis=1)]
    chosen = {
        "then_branch": helper.make_graph(scaled, "then", [], [value("soft", 1, None)]),
        "else_branch": helper.make_graph(
            [node("Identity", ["scores"], ["same"])], "else", [], [value("same", 1, None)]
        ),
    }
    nodes = [
        node("MatMul", ["x", "kernel"], ["scores"]),
        node("If", ["true"], ["weights"], **chosen),
        node("Mul", ["weights", "x"], ["weighted"]),
        node("Loop", ["count", "true", "weighted"], ["looped"], body=body),
        node("ReduceSum", ["looped", "axes"], ["y"], keepdims=0),
    ]
    kernel = np.array([[0.5], [-1]], np.float32)
    path = onnx_file(tmp_path, nodes, 1, kernel=kernel, two=np.float32(2), true=True, count=2, axes=np.array([1]))
    answers = served(imported(path, X, tmp_path, **REGRESSION), MORE)
    weights = np.exp(2 * MORE @ kernel)
    weights /= weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answers.attention_vec, weights, rtol=0, atol=1e-5)
    np.testing.assert_allclose(answers.prediction, 4 * (weights * MORE).sum(axis=1), rtol=0, atol=1e-5)


def with_lengths() -> tuple[keras.Model, keras.Model]:
    """Return a model with the inputs `x` and `lengths`, as PyTorch often has them, and one with its attention."""
    keras.utils.set_random_seed(0)
    x, lengths = keras.Input((TIMESTEPS, FEATURES), name="x"), keras.Input((1,), name="lengths")
    prediction, weights = attending(layers.Concatenate()([x, layers.RepeatVector(TIMESTEPS)(lengths)]))
    return keras.Model([x, lengths], prediction), keras.Model([x, lengths], [prediction, weights])


@pytest.mark.parametrize("form", ["dictionary", "list", "file"])
def test_an_array_with_the_name_of_an_input_is_this_input(tmp_path: Path, form: str) -> None:
    """`lengths` would cut the sequences otherwise."""
    model, both = with_lengths()
    lengths = np.random.default_rng(2).integers(3, TIMESTEPS, (len(X), 1)).astype(np.float32)
    given: Any = {"x": X, "lengths": lengths}
    np.savez(tmp_path / "examples.npz", **given)
    forms = {"dictionary": given, "list": [X, lengths], "file": tmp_path / "examples.npz"}
    answers = served(
        imported(model, forms[form], tmp_path, **REGRESSION),
        np.concatenate([X, np.repeat(lengths[:, np.newaxis], TIMESTEPS, axis=1)], axis=2),
    )
    prediction, weights = both.predict([X, lengths], verbose=0)
    np.testing.assert_allclose(answers.prediction, prediction, rtol=0, atol=1e-5)
    np.testing.assert_allclose(answers.attention_vec, weights, rtol=0, atol=1e-5)
    assert answers.card.static_labels == ("lengths",)


def test_an_input_may_have_the_name_of_the_labels(tmp_path: Path) -> None:
    """The labels are those of the argument `y`."""
    keras.utils.set_random_seed(0)
    x, y = keras.Input((TIMESTEPS, FEATURES), name="x"), keras.Input((2,), name="y")
    prediction, _ = attending(layers.Concatenate()([x, layers.RepeatVector(TIMESTEPS)(y)]))
    numbers = np.random.default_rng(2).standard_normal((len(X), 2)).astype(np.float32)
    version = imported(keras.Model([x, y], prediction), {"x": X, "y": numbers}, tmp_path, y=numbers[:, 0])
    card = served(version, np.zeros((2, TIMESTEPS, FEATURES + 2), np.float32)).card
    assert card.static_labels == ("y 0", "y 1")
    assert "r2" in card.metrics


class OfList(keras.Model):  # type: ignore[misc]
    """A model of one's own that takes its inputs as a list."""

    def __init__(self) -> None:
        super().__init__()
        self.score, self.out = layers.Dense(1), layers.Dense(1)

    def call(self, given: Any) -> Any:
        series, site = given
        weights = ops.softmax(self.score(series), axis=1)
        return self.out(ops.concatenate([ops.sum(weights * series, axis=1), site], axis=-1))


def test_a_subclass_may_take_a_list(tmp_path: Path) -> None:
    """Its examples are a list of arrays, which is no list of sequences."""
    keras.utils.set_random_seed(0)
    model, sites = OfList(), np.random.default_rng(2).standard_normal((len(X), 3)).astype(np.float32)
    expected = model([X, sites])
    version = imported(model, [X, sites], tmp_path, **REGRESSION)
    answers = served(version, np.concatenate([X, np.repeat(sites[:, np.newaxis], TIMESTEPS, axis=1)], axis=2))
    np.testing.assert_allclose(answers.prediction, expected, rtol=0, atol=1e-5)
    assert answers.card.static_labels == ("input_1 0", "input_1 1", "input_1 2")


def of_seconds(folder: Path) -> Path:
    """Write a model in double precision, whose attention and prediction are of seconds since 1970."""
    nodes = [
        node("Sub", ["x", "start"], ["since"]),
        node("Softmax", ["since"], ["weights"], axis=1),
        node("Mul", ["weights", "since"], ["weighted"]),
        node("ReduceSum", ["weighted", "axes"], ["y"], keepdims=0),
    ]
    return onnx_file(folder, nodes, TensorProto.DOUBLE, start=np.array([1.7e9, 0]), axes=np.array([1]))


def test_numbers_with_more_digits_than_requests_have_are_refused(tmp_path: Path) -> None:
    """Requests are rounded to float32, which counts such seconds in steps of 128."""
    x = X.astype(np.float64)
    seconds = np.stack([1.7e9 + 10 * x[..., 0], x[..., 1]], axis=2)
    with pytest.raises(TrainingError, match=r"changes by \S+ if the examples are rounded to float32, .* since the"):
        imported(of_seconds(tmp_path), seconds, tmp_path, **REGRESSION)
    assert not (tmp_path / "mine").exists()


def test_double_precision_of_small_numbers_is_served(tmp_path: Path) -> None:
    """The prediction of rounded examples is the same, but for rounding."""
    nodes = [
        node("Softmax", ["x"], ["weights"], axis=1),
        node("Mul", ["weights", "x"], ["weighted"]),
        node("ReduceSum", ["weighted", "axes"], ["y"], keepdims=0),
    ]
    x = np.random.default_rng(3).standard_normal(X.shape)
    path = onnx_file(tmp_path, nodes, TensorProto.DOUBLE, axes=np.array([1]))
    answers = served(imported(path, x, tmp_path, **REGRESSION), x.astype(np.float32))
    weights = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answers.prediction, (weights * x).sum(axis=1), rtol=0, atol=1e-5)


def half(policy: str) -> tuple[keras.Model, keras.Model]:
    """Return a model that computes its states in half precision, and one that returns its attention as well."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((TIMESTEPS, FEATURES))
    states = layers.Activation("linear", dtype="float32")(layers.Dense(4, "tanh", dtype=policy)(inputs))
    prediction, weights = attending(states)
    prediction = layers.Activation("sigmoid")(prediction)
    return keras.Model(inputs, prediction), keras.Model(inputs, [prediction, weights])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_saved_model_of_half_precision_is_served(tmp_path: Path, policy: str) -> None:
    """Its graph becomes float32, which differs by the rounding of the original."""
    model, both = half(policy)
    model.export(tmp_path / "exported", verbose=False)
    answers = served(imported(tmp_path / "exported", X, tmp_path, task="binary"), MORE)
    prediction, weights = both.predict(MORE, verbose=0)
    np.testing.assert_allclose(answers.prediction, prediction, rtol=0, atol=2e-3)
    np.testing.assert_allclose(answers.attention_vec, weights, rtol=0, atol=2e-3)


class Halves(layers.Layer):  # type: ignore[misc]
    """A layer that computes in half precision, and that Keras cannot build again: it has no configuration."""

    def __init__(self, units: int) -> None:
        super().__init__(dtype="mixed_float16")
        self.dense = layers.Dense(units, dtype="mixed_float16")

    def build(self, shape: Any) -> None:
        self.dense.build(shape)

    def call(self, x: Any) -> Any:
        return ops.cast(self.dense(x), "float32")


def test_a_layer_without_configuration_may_compute_in_half_precision(tmp_path: Path) -> None:
    """Its graph becomes float32 without its code."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((TIMESTEPS, FEATURES))
    prediction, _ = attending(layers.LSTM(4, return_sequences=True)(Halves(4)(inputs)))
    model = keras.Model(inputs, layers.Activation("sigmoid")(prediction))
    answers = served(imported(model, X, tmp_path, task="binary"), MORE)
    np.testing.assert_allclose(answers.prediction, model.predict(MORE, verbose=0), rtol=0, atol=2e-3)


@pytest.mark.parametrize("absent", [float("nan"), None])
def test_a_label_without_a_value_is_no_class(tmp_path: Path, absent: Any) -> None:
    """The message names the example."""
    y = np.array(["a", "b"] * 20, dtype=object) if absent is None else np.arange(len(X)) % 2.0
    y[5] = absent
    model, _ = half("float32")
    with pytest.raises(TrainingError, match=rf"y\[5\]: expected a class, got {absent}: leave out examples without"):
        imported(model, X, tmp_path, task="binary", y=y)


def test_labels_that_are_counts_may_be_numbers(tmp_path: Path) -> None:
    """The message names the task."""
    model, _ = half("float32")
    with pytest.raises(TrainingError, match=r"examples have 40 \(0, 1, 2, 3, 4\): say --task regression if they are"):
        imported(model, X, tmp_path, y=np.arange(len(X)))


def test_the_input_whose_timesteps_count_is_named(tmp_path: Path) -> None:
    """A static input that is wider than a series without an axis of features is taken for the sequence."""
    series, site = keras.Input((TIMESTEPS,), name="series"), keras.Input((TIMESTEPS + 4,), name="site")
    prediction, _ = attending(layers.Reshape((TIMESTEPS, 1))(series))
    model = keras.Model([series, site], layers.Dense(1)(layers.Concatenate()([prediction, site])))
    given = {"series": X[..., 0], "site": np.ones((len(X), TIMESTEPS + 4))}
    with pytest.raises(TrainingError, match="over the 10 timesteps of the input site that depends on it"):
        imported(model, given, tmp_path, **REGRESSION)


# Keras converts its variables to arrays in a way that NumPy will not support.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_an_argument_that_only_keras_2_knows_is_passed_over(tmp_path: Path) -> None:
    """Keras 2 wrote `time_major` for recurrent layers, also inside of a bidirectional one."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((TIMESTEPS, FEATURES))
    states = layers.GRU(4, return_sequences=True)(layers.Bidirectional(layers.LSTM(4, return_sequences=True))(inputs))
    weights = layers.Softmax(axis=1)(layers.Dense(1)(states))
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(layers.Dot(axes=1)([weights, states]))))
    model.save(tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5", "r+") as file:
        config = file.attrs["model_config"]
        assert config.count('"return_sequences": true') > 2
        old = config.replace('"return_sequences": true', '"return_sequences": true, "time_major": false')
        file.attrs["model_config"] = old
    answers = served(imported(tmp_path / "old.h5", X, tmp_path, **REGRESSION), MORE)
    np.testing.assert_allclose(answers.prediction, model.predict(MORE, verbose=0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["gate over experts", "features"])
def test_an_axis_of_the_same_length_by_chance_is_not_time(tmp_path: Path, kind: str) -> None:
    """A model of any length shows with shorter sequences that the axis is another one. Attention beside it is found."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, FEATURES))
    states = layers.LSTM(4, return_sequences=True)(inputs)
    gate = layers.Dense(TIMESTEPS, "softmax", name="gate")(states if kind == "features" else states[:, -1])
    if kind == "features":
        states = layers.LSTM(4, return_sequences=True)(gate)
        prediction, weights = attending(states)
    else:
        context, weights = attending(states, TIMESTEPS)
        prediction = ops.sum(gate * context, axis=1, keepdims=True)
    agrees(keras.Model(inputs, prediction), keras.Model(inputs, [prediction, weights]), tmp_path)
