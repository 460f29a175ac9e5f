"""SavedModels: of Keras, of a tf.Module and of TensorFlow 1."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.foreign import FEATURES, TIMESTEPS, context_model, examples, imported, labels, notebook_model, served
from training import TrainingError

X = examples()
SIGNATURE = [tf.TensorSpec((None, TIMESTEPS, FEATURES), tf.float32, name="series")]


def test_a_keras_export_is_served(tmp_path: Path) -> None:
    """`model.export` needs no code of the author's layers, and attention is found inside."""
    model, both = notebook_model()
    model.export(tmp_path / "exported", verbose=False)
    answers = served(imported(tmp_path / "exported", X, tmp_path, y=labels()), X)
    prediction, weights = both.predict(X, verbose=0)
    np.testing.assert_allclose(answers.prediction, prediction, rtol=0, atol=1e-5)
    np.testing.assert_allclose(answers.attention_vec, weights, rtol=0, atol=1e-5)
    assert answers.card.origin is not None
    assert (answers.card.origin.format, answers.card.origin.file) == ("savedmodel", "exported")


def test_a_custom_layer_is_served_without_its_code(tmp_path: Path) -> None:
    """A SavedModel has the computation itself."""
    model = context_model()
    model.export(tmp_path / "exported", verbose=False)
    answers = served(imported(tmp_path / "exported", X, tmp_path), X)
    np.testing.assert_allclose(answers.prediction, model.predict(X, verbose=0), rtol=0, atol=1e-5)
    np.testing.assert_allclose(answers.attention.sum(axis=1), 1, atol=1e-5)


class Module(tf.Module):  # type: ignore[misc]
    """A model without Keras, which returns its prediction and its attention."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = tf.Variable(tf.random.stateless_normal((FEATURES, 1), seed=(0, 0)))

    @tf.function(input_signature=SIGNATURE)  # type: ignore[untyped-decorator]
    def __call__(self, series: Any) -> dict[str, Any]:
        attention = tf.nn.softmax(tf.tensordot(series, self.weights, 1), axis=1)
        return {"level": tf.reduce_sum(attention * series, axis=1)[:, :1], "focus": tf.squeeze(attention, -1)}


def test_a_module_of_tensorflow_is_served(tmp_path: Path) -> None:
    """The output with the name is the attention, and the other one the prediction."""
    module = Module()
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=module.__call__)
    answers = served(imported(tmp_path / "saved", X, tmp_path, attention="focus", task="regression"), X)
    expected = module(X)
    np.testing.assert_allclose(answers.prediction, expected["level"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(answers.attention, expected["focus"], rtol=0, atol=1e-5)


def test_a_model_of_tensorflow_1_is_served(tmp_path: Path) -> None:
    """A graph with a session, as the first version of TensorFlow saved it."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        series = v1.placeholder(tf.float32, (None, TIMESTEPS, FEATURES))
        kernel = v1.get_variable("kernel", (FEATURES, 1), initializer=v1.constant_initializer([[0.5], [-1.0]]))
        attention = tf.nn.softmax(tf.tensordot(series, kernel, 1), axis=1)
        level = tf.reduce_sum(attention * series, axis=1)[:, :1]
        session.run(v1.global_variables_initializer())
        expected = session.run([level, attention], {series: X})
        v1.saved_model.simple_save(session, str(tmp_path / "old"), {"series": series}, {"level": level})
    answers = served(imported(tmp_path / "old", X, tmp_path, task="regression"), X)
    np.testing.assert_allclose(answers.prediction, expected[0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(answers.attention_vec, expected[1], rtol=0, atol=1e-5)


def test_a_model_that_runs_python_is_refused(tmp_path: Path) -> None:
    """A function of Python is no part of the graph, so that nothing could serve it."""
    module = tf.Module()

    def halved(series: Any) -> Any:
        return tf.reduce_mean(tf.numpy_function(lambda x: x / 2, [series], tf.float32), axis=(1, 2))[:, None]

    module.call = tf.function(halved, input_signature=SIGNATURE)
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=module.call)
    with pytest.raises(TrainingError, match=r"the model has the operation PyFunc\w*, which reaches outside of it"):
        imported(tmp_path / "saved", X, tmp_path, task="regression")
    assert not (tmp_path / "mine").exists()


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    """The message says which file is expected."""
    with pytest.raises(TrainingError, match=r"expected a SavedModel, which has a file saved_model\.pb"):
        imported(tmp_path, X, tmp_path)


def test_a_module_without_a_signature_is_refused(tmp_path: Path) -> None:
    """The message says how to save it."""
    tf.saved_model.save(tf.Module(), str(tmp_path / "saved"))
    with pytest.raises(
        TrainingError, match=r"expected a signature serving_default, got none: .*signatures=module.function"
    ):
        imported(tmp_path / "saved", X, tmp_path)
