"""Small models of every kind that can be imported, with what their own programs compute."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

import training
from service.artifact.tensors import Array
from tests.foreign import (
    FEATURES,
    TIMESTEPS,
    Attention,
    decoder,
    examples,
    labels,
    notebook_model,
    text_classifier,
    transformer,
)
from tests.server import ROOT

PYTORCH: Final = ROOT / "tests" / "pytorch"
#: The sequences at import, and those that are asked for.
X = examples()
MORE = np.random.default_rng(1).standard_normal((16, TIMESTEPS, FEATURES)).astype(np.float32)
#: The one name of all imported models. Each has a folder of its own.
NAME: Final = "mine"


class Original(NamedTuple):
    """A model and the answers of its own program.

    Attributes:
        model: a path or a Keras model.
        examples: the sequences at import.
        sequences: the sequences of the answers, `(n, timesteps, features)`; NaN where a timestep is absent.
        prediction: `(n, outputs)` or `(n, steps, outputs)`, as the service answers it.
        weights: attention, `(n, timesteps, units)`; 0 where a timestep is absent.
        options: further options of the import.
        tolerance: how far the service's numbers may be from these.
    """

    model: Any
    examples: Any
    sequences: Array
    prediction: Array
    weights: Array
    options: Mapping[str, Any]
    tolerance: float = 1e-5


def notebook(folder: Path, suffix: str) -> Original:
    """Return the model of the seed's notebook in a file, or in a directory without a suffix."""
    model, both = notebook_model()
    path = folder / f"model{suffix}"
    if suffix:
        model.save(path)
    else:
        model.export(path, verbose=False)
    prediction, weights = both.predict(MORE, verbose=0)
    return Original(path, X, MORE, prediction, weights, {"y": labels()})


def of_layers(states_of: Callable[[Any], Any], x: Array = X, more: Array = MORE, **options: Any) -> Original:
    """Return a model that attends to the states of a layer. It does not return its attention."""
    inputs = keras.Input((TIMESTEPS, FEATURES))
    states = states_of(inputs)
    weights = ops.softmax(layers.Dense(1)(states), axis=1)
    number = layers.Dense(1)(ops.sum(weights * states, axis=1))
    computed = keras.Model(inputs, [number, weights]).predict(more, verbose=0)
    return Original(keras.Model(inputs, number), x, more, computed[0], computed[1], {"task": "regression"}, **options)


def custom_layer(folder: Path) -> Original:
    """Return a file of a model with a layer of one's own that keeps its attention to itself."""
    inputs = keras.Input((TIMESTEPS, FEATURES))
    states = layers.LSTM(8, return_sequences=True)(inputs)
    attend = Attention()
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(attend(states)))
    model.save(folder / "model.keras")
    scores = attend.score(ops.tanh(keras.Model(inputs, states)(MORE)))
    weights = ops.convert_to_numpy(ops.softmax(scores, axis=1))
    options = {"custom": "tests.foreign"}
    return Original(folder / "model.keras", X, MORE, model.predict(MORE, verbose=0), weights, options)


def encoder(_: Path) -> Original:
    """Return a Transformer of two layers with four heads. Each query of each head is a unit."""
    model, both = transformer(heads=4, blocks=2)
    prediction, *found = both.predict(MORE, verbose=0)
    units = [one.reshape(len(MORE), -1, TIMESTEPS) for one in found]
    return Original(model, X, MORE, prediction, np.concatenate(units, axis=1).swapaxes(1, 2), {"task": "regression"})


def tokens(folder: Path) -> Original:
    """Return a classifier of tokens of any length with an embedding, a bidirectional LSTM and a vocabulary."""
    (folder / "words.txt").write_text("\n".join(f"word{token}" for token in range(20)))
    model, both = text_classifier(masked=True)
    given, asked = (np.random.default_rng(seed).integers(1, 20, (24, 8)) for seed in (0, 1))
    given[::2, 5:] = asked[::2, 3:] = 0
    prediction, weights = both.predict(asked, verbose=0)
    sequences = np.where(asked == 0, np.nan, asked)[..., np.newaxis].astype(np.float32)
    return Original(
        model, given, sequences, prediction[:, 1:], weights, {"y": labels(24), "vocabulary": folder / "words.txt"}
    )


def output_steps(_: Path) -> Original:
    """Return an encoder and decoder with additive attention."""
    model, both = decoder()
    prediction, weights = both.predict(MORE, verbose=0)
    return Original(model, X, MORE, prediction, weights.swapaxes(1, 2), {})


def two_inputs(_: Path) -> Original:
    """Return a model of a series and static values beside it."""
    series, site = keras.Input((TIMESTEPS, FEATURES), name="series"), keras.Input((3,), name="site")
    states = layers.LSTM(6, return_sequences=True)(series)
    scores = layers.Dense(1)(layers.Concatenate()([states, layers.RepeatVector(TIMESTEPS)(site)]))
    weights = ops.softmax(scores, axis=1)
    number = layers.Dense(1)(layers.Concatenate()([ops.sum(states * weights, axis=1), site]))
    sites = np.random.default_rng(2).standard_normal((len(X), 3)).astype(np.float32)
    some = sites[: len(MORE)]
    computed = keras.Model([series, site], [number, weights]).predict([MORE, some], verbose=0)
    sequences = np.concatenate([MORE, np.repeat(some[:, np.newaxis], TIMESTEPS, axis=1)], axis=2)
    options = {"task": "regression"}
    given = {"series": X, "site": sites}
    return Original(keras.Model([series, site], number), given, sequences, computed[0], computed[1], options)


def pytorch(model: str, exporter: str, task: str) -> Original:
    """Return a model that PyTorch wrote, with what PyTorch computed."""
    computed = np.load(PYTORCH / f"{model}.npz")
    units = computed["attention"].reshape(len(computed["x"]), -1, TIMESTEPS).swapaxes(1, 2)
    path = PYTORCH / f"{model}_{exporter}.onnx"
    return Original(path, X, computed["x"], computed["prediction"], units, {"task": task})


def attended(series: Any, kernel: Any) -> tuple[Any, Any]:
    """Return a level and attention in TensorFlow's own functions."""
    weights = tf.nn.softmax(tf.tensordot(series, kernel, 1), axis=1)
    return tf.reduce_sum(weights * series, axis=1)[:, :1], weights


def tensorflow_module(folder: Path) -> Original:
    """Return a `tf.Module` without Keras."""
    module = tf.Module()
    module.kernel = tf.Variable([[0.5], [-1.0]])
    signature = [tf.TensorSpec((None, TIMESTEPS, FEATURES), tf.float32, name="series")]
    module.call = tf.function(lambda series: {"level": attended(series, module.kernel)[0]}, input_signature=signature)
    tf.saved_model.save(module, str(folder / "module"), signatures=module.call)
    prediction, weights = (one.numpy() for one in attended(MORE, module.kernel))
    return Original(folder / "module", X, MORE, prediction, weights, {"task": "regression"})


def tensorflow_1(folder: Path) -> Original:
    """Return a graph that a session of TensorFlow 1 saved."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        series = v1.placeholder(tf.float32, (None, TIMESTEPS, FEATURES))
        kernel = v1.get_variable("kernel", (FEATURES, 1), initializer=v1.constant_initializer([[0.5], [-1.0]]))
        outputs = attended(series, kernel)
        session.run(v1.global_variables_initializer())
        prediction, weights = session.run(outputs, {series: MORE})
        v1.saved_model.simple_save(session, str(folder / "old"), {"series": series}, {"level": outputs[0]})
    return Original(folder / "old", X, MORE, prediction, weights, {"task": "regression"})


def adapted() -> Any:
    """Return a layer that normalises by the statistics of the examples."""
    layer = layers.Normalization()
    layer.adapt(X)
    return layer


def trained_batch_norm(x: Any) -> Any:
    """Return states normalised by statistics that are not those of a new layer."""
    layer = layers.BatchNormalization(moving_mean_initializer="random_normal", moving_variance_initializer="ones")
    return layer(layers.Dense(6)(x))


def with_gaps(x: Array) -> Array:
    """Return sequences in which some timesteps are 0, which masks leave out."""
    gaps = x.copy()
    gaps[::3, 4:] = gaps[1::3, 2] = 0
    return gaps


def recurrent(x: Any, **options: Any) -> Any:
    return layers.LSTM(6, return_sequences=True, **options)(x)


def half(x: Any, policy: str) -> Any:
    """Return states of a projection in half precision."""
    return recurrent(layers.Activation("linear", dtype="float32")(layers.Dense(6, dtype=policy)(x)))


#: Each original by the name of its kind. The names of files are those of the folder that is given.
ORIGINALS: dict[str, Callable[[Path], Original]] = {
    "notebook .keras": lambda folder: notebook(folder, ".keras"),
    "notebook .h5": lambda folder: notebook(folder, ".h5"),
    "notebook SavedModel": lambda folder: notebook(folder, ""),
    "custom layer": custom_layer,
    "Transformer": encoder,
    "tokens": tokens,
    "encoder-decoder": output_steps,
    "PyTorch LSTM, torchscript": lambda _: pytorch("recurrent", "torchscript", "binary"),
    "PyTorch LSTM, dynamo": lambda _: pytorch("recurrent", "dynamo", "binary"),
    "PyTorch MultiheadAttention, torchscript": lambda _: pytorch("self_attention", "torchscript", "regression"),
    "PyTorch MultiheadAttention, dynamo": lambda _: pytorch("self_attention", "dynamo", "regression"),
    "two inputs": two_inputs,
    "GRU": lambda _: of_layers(layers.GRU(6, return_sequences=True)),
    "stacked": lambda _: of_layers(lambda x: recurrent(recurrent(x))),
    "Conv1D": lambda _: of_layers(layers.Conv1D(6, 3, padding="same", activation="relu")),
    "BatchNormalization": lambda _: of_layers(trained_batch_norm),
    "LayerNormalization": lambda _: of_layers(lambda x: layers.LayerNormalization()(recurrent(x))),
    "GELU": lambda _: of_layers(layers.Dense(6, activation="gelu")),
    "Masking": lambda _: of_layers(lambda x: recurrent(layers.Masking()(x)), with_gaps(X), with_gaps(MORE)),
    "Normalization": lambda _: of_layers(lambda x: recurrent(adapted()(x))),
    "bfloat16": lambda _: of_layers(lambda x: half(x, "mixed_bfloat16"), tolerance=1e-3),
    "float16": lambda _: of_layers(lambda x: half(x, "mixed_float16"), tolerance=1e-3),
    "tf.Module": tensorflow_module,
    "TensorFlow 1": tensorflow_1,
}


def import_originals(folder: Path) -> None:
    """Import all originals below a folder, each to a folder of its own with its own answers as `original.npz`.

    No import names the attention.
    """
    for place, make in enumerate(ORIGINALS.values()):
        home = folder / str(place)
        (home / "program").mkdir(parents=True)
        keras.utils.set_random_seed(0)
        with warnings.catch_warnings():
            # Keras converts its variables to arrays in a way that NumPy will not support.
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
            one = make(home / "program")
        training.publish(one.model, examples=one.examples, name=NAME, artifacts=home / "artifacts", **one.options)
        names = ("sequences", "prediction", "weights", "tolerance")
        np.savez(home / "original.npz", **{name: getattr(one, name) for name in names})
