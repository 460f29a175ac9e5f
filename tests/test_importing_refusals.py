"""What cannot be imported: each case ends with one line that says what to do, and nothing is published."""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import onnx
import pytest
from keras import layers, ops
from onnx import TensorProto, helper, numpy_helper

import training
from tests.foreign import FEATURES, TIMESTEPS, context_model, examples, labels, notebook_model, text_classifier
from training import TrainingError

X = examples()


class Case(NamedTuple):
    """A model, its examples and further options, and the message."""

    make: Callable[[Path], tuple[Any, Any, Mapping[str, Any]]]
    message: str


def written(name: str, content: bytes) -> Callable[[Path], tuple[Any, Any, Mapping[str, Any]]]:
    """Return a case of a file with some content."""

    def make(folder: Path) -> tuple[Any, Any, Mapping[str, Any]]:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path.parent if path.name == "saved_model.pb" and path.parent != folder else path, X, {}

    return make


def saved(build: Callable[[], keras.Model], **options: Any) -> Callable[[Path], tuple[Any, Any, Mapping[str, Any]]]:
    """Return a case of a Keras file."""

    def make(folder: Path) -> tuple[Any, Any, Mapping[str, Any]]:
        build().save(folder / "model.keras")
        return folder / "model.keras", X, options

    return make


def keras_case(
    build: Callable[[], Any], given: Any = X, **options: Any
) -> Callable[[Path], tuple[Any, Any, Mapping[str, Any]]]:
    """Return a case of a Keras model in memory."""
    return lambda _: (build(), given, options)


def onnx_case(
    *nodes: onnx.NodeProto,
    outputs: tuple[str, ...] = ("prediction",),
    shape: tuple[int | str, ...] = ("n", TIMESTEPS, FEATURES),
    kind: int = TensorProto.FLOAT,
    opset: int = 18,
    domain: str = "",
    **options: Any,
) -> Callable[[Path], tuple[Any, Any, Mapping[str, Any]]]:
    """Return a case of an ONNX file whose input is `x`."""

    def make(folder: Path) -> tuple[Any, Any, Mapping[str, Any]]:
        constants = {"one": np.array([1]), "time": np.array([1]), "flat": np.array([-1, TIMESTEPS * FEATURES])}
        graph = helper.make_graph(
            list(nodes),
            "theirs",
            [helper.make_tensor_value_info("x", kind, shape)],
            [helper.make_empty_tensor_value_info(name) for name in outputs],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), folder / "model.onnx")
        return folder / "model.onnx", X, options

    return make


node = helper.make_node
FOCUS = node("Softmax", ["x"], ["focus"], axis=1)
SUMMED = [
    node("Mul", ["focus", "x"], ["weighted"]),
    node("ReduceSum", ["weighted", "time"], ["prediction"], keepdims=0),
]
ATTENDS = [FOCUS, *SUMMED]


def lambda_model() -> keras.Model:
    inputs = keras.Input((TIMESTEPS, FEATURES))
    return keras.Model(inputs, layers.Dense(1)(layers.Flatten()(layers.Lambda(lambda x: x * 2)(inputs))))


def unknown_layer() -> keras.Model:
    class Mine(layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    inputs = keras.Input((TIMESTEPS, FEATURES))
    return keras.Model(inputs, layers.Dense(1)(layers.Flatten()(Mine()(inputs))))


def plain(outputs: int = 1, activation: str | None = None, *, shape: tuple[int, ...] = (TIMESTEPS, FEATURES)) -> Any:
    """Return a model without attention."""
    inputs = keras.Input(shape)
    return keras.Model(inputs, layers.Dense(outputs, activation, name="out")(layers.Flatten()(inputs)))


class Noise(layers.Layer):  # type: ignore[misc]
    """A layer that is never the same."""

    def __init__(self) -> None:
        super().__init__()
        self.seeds = keras.random.SeedGenerator(0)

    def call(self, x: Any) -> Any:
        return x + keras.random.normal(ops.shape(x), seed=self.seeds)


def random_model() -> keras.Model:
    inputs = keras.Input((TIMESTEPS, FEATURES))
    return keras.Model(inputs, layers.Dense(1)(layers.Flatten()(Noise()(inputs))))


def two_attentions() -> keras.Model:
    inputs = keras.Input((TIMESTEPS, FEATURES))
    first = layers.Softmax(axis=1, name="first")(layers.Dense(1)(inputs))
    second = layers.Softmax(axis=1, name="second")(layers.Dense(1)(inputs))
    return keras.Model(inputs, layers.Dense(1)(ops.sum((first + second) * inputs, axis=1)))


class Failing(keras.Model):  # type: ignore[misc]
    """A model that raises."""

    def call(self, _: Any) -> Any:
        raise ValueError("never\nworks")


def attending(outputs: int = 1) -> keras.Model:
    inputs = keras.Input((TIMESTEPS, FEATURES))
    weights = layers.Softmax(axis=1)(layers.Dense(1)(inputs))
    return keras.Model(inputs, layers.Dense(outputs)(ops.sum(weights * inputs, axis=1)))


def gated() -> keras.Model:
    inputs = keras.Input((TIMESTEPS, FEATURES))
    gate = layers.Dense(1, activation="sigmoid", name="gate")(inputs)
    return keras.Model(inputs, layers.Dense(1)(ops.sum(gate * inputs, axis=1)))


def positions_alone() -> keras.Model:
    inputs = keras.Input((TIMESTEPS, FEATURES))
    weights = layers.Softmax(axis=1)(layers.Dense(1)(0 * inputs + np.arange(FEATURES)))
    return keras.Model(inputs, layers.Dense(1)(ops.sum(weights * inputs, axis=1)))


def several_outputs() -> keras.Model:
    inputs = keras.Input((TIMESTEPS, FEATURES))
    flat = layers.Flatten()(inputs)
    return keras.Model(inputs, {"level": layers.Dense(1)(flat), "risk": layers.Dense(1)(flat)})


def tokens_beside_numbers() -> keras.Model:
    ids, x = keras.Input((TIMESTEPS,), dtype="int32", name="ids"), keras.Input((TIMESTEPS, 1), name="x")
    both = layers.Concatenate()([layers.Embedding(9, 2)(ids), x])
    weights = layers.Softmax(axis=1)(layers.Dense(1)(both))
    return keras.Model([ids, x], layers.Dense(1)(ops.sum(weights * both, axis=1)))


def notebook() -> keras.Model:
    return notebook_model()[0]


def text() -> keras.Model:
    return text_classifier(masked=False, timesteps=TIMESTEPS)[0]


IDS = np.arange(40 * TIMESTEPS).reshape(40, TIMESTEPS) % 20

CASES: dict[str, Case] = {
    "no file": Case(lambda folder: (folder / "model.keras", X, {}), "model.keras: no such file or directory"),
    "weights of PyTorch": Case(
        written("model.pt", b""), r"model.pt holds weights: export the model with torch.onnx.export"
    ),
    "a pickle": Case(
        written("model.pkl", pickle.dumps(1)), r"is a pickle, which may run anything: export the model as"
    ),
    "TensorFlow Lite": Case(written("model.tflite", b""), "is TensorFlow Lite: give the model that it was made from"),
    "a part of a SavedModel": Case(written("saved_model.pb", b""), "is a part of a SavedModel: give its directory"),
    "weights of Keras": Case(
        written("model.weights.h5", b""), "holds weights alone: save the whole model with model.save"
    ),
    "another file": Case(
        written("model.txt", b""), "expected a .keras, .h5 or .onnx file or the directory of a SavedModel"
    ),
    "a directory": Case(lambda folder: (folder, X, {}), "expected a SavedModel, which has a file saved_model.pb"),
    "a damaged .keras": Case(written("model.keras", b"damaged"), r"model.keras cannot be opened by Keras"),
    "a damaged .h5": Case(written("model.h5", b"damaged"), r"model.h5 cannot be opened by Keras"),
    "a damaged .onnx": Case(written("model.onnx", b"damaged"), r"model.onnx is not an ONNX model"),
    "an empty .onnx": Case(written("model.onnx", b""), r"model.onnx is not an ONNX model"),
    "a damaged SavedModel": Case(written("sm/saved_model.pb", b"damaged"), r"sm cannot be opened by TensorFlow"),
    "a Lambda layer": Case(
        saved(lambda_model), r"needs the code of its Lambda layer, .*: export the model \(model.export\)"
    ),
    "an unknown layer": Case(saved(unknown_layer), r"needs the code of its layer Mine: say --custom MODULE, or export"),
    "a missing module": Case(
        saved(context_model, custom="nowhere.at.all"), r"--custom nowhere.at.all: No module named"
    ),
    "no model": Case(keras_case(object), r"model: expected a path or a Keras model, got object"),
    "an old operator set": Case(
        onnx_case(FOCUS, outputs=("focus",), opset=11), r"operator set 11: export it with 13 or"
    ),
    "a batch of one": Case(
        onnx_case(*ATTENDS, shape=(1, TIMESTEPS, FEATURES)), r"open number of sequences, got 1: export"
    ),
    "an operator of a library": Case(
        onnx_case(
            *ATTENDS,
            node("Gelu", ["prediction"], ["better"], domain="com.microsoft"),
            outputs=("better",),
            domain="com.microsoft",
            task="regression",
        ),
        r"the graph uses operators of com.microsoft: expected ONNX's own operators only",
    ),
    "random numbers": Case(
        onnx_case(
            *ATTENDS,
            node("RandomNormalLike", ["prediction"], ["noise"]),
            node("Add", ["prediction", "noise"], ["noisy"]),
            outputs=("noisy",),
        ),
        r"output noisy differs from run to run .*: export the model for inference",
    ),
    "a layer with random numbers": Case(
        keras_case(random_model, task="regression"), r"differs from run to run on the same examples"
    ),
    "text as input": Case(
        onnx_case(node("Cast", ["x"], ["prediction"], to=TensorProto.FLOAT), kind=TensorProto.STRING),
        r"input x: expected numbers, got",
    ),
    "images": Case(
        onnx_case(node("Identity", ["x"], ["prediction"]), shape=("n", 3, 8, 8)),
        r"input x: expected \(batch, timesteps, features\), got \(n, 3, 8, 8\)",
    ),
    "one output for all": Case(
        onnx_case(FOCUS, node("ReduceSum", ["x"], ["prediction"])),
        r"expected one entry for each of 8 examples, got the shape",
    ),
    "integers beside numbers": Case(
        keras_case(tokens_beside_numbers, {"ids": IDS % 9, "x": X[..., :1]}, task="regression"),
        r"input ids takes integers beside an input of other numbers, .*: export the model with a column for each value",
    ),
    "other timesteps": Case(
        keras_case(plain, X[:, :4], task="regression", attention="none"), r"shape \(n, 6, 2\), .* got \(40, 4, 2\)"
    ),
    "too many timesteps": Case(
        keras_case(plain, examples(9)), r"expected examples of shape \(n, 6, 2\), .* got \(40, 9, 2\)"
    ),
    "other features": Case(keras_case(plain, examples(features=3)), r"shape \(n, 6, 2\), .* got \(40, 6, 3\)"),
    "one example": Case(keras_case(plain, X[:1]), "expected at least 2 examples, got 1"),
    "infinity": Case(keras_case(plain, np.where(X > 2, np.inf, X)), r"expected finite numbers, got inf at x\[\d+\]"),
    "words as examples": Case(keras_case(plain, np.full(X.shape, "a")), r"expected x to hold numbers"),
    "no array for an input": Case(
        keras_case(tokens_beside_numbers, {"ids": IDS % 9}), r"expected an array for each input, ids, x: got no x"
    ),
    "an array of another shape": Case(
        keras_case(tokens_beside_numbers, {"ids": IDS[:, :4] % 9, "x": X[..., :1]}),
        r"expected ids of shape \(n, 6\), .* got \(40, 4\)",
    ),
    "no file of examples": Case(keras_case(plain, "nowhere.npz"), r"--data nowhere.npz: no such file"),
    "fractions as tokens": Case(
        keras_case(text, IDS + 0.5), r"expected examples of integers, as the model's inputs take, got"
    ),
    "tokens outside the table": Case(
        keras_case(text, IDS + 15), r"Keras cannot run the model on the examples: .* = 20 is not in \[0, 20\)"
    ),
    "labels outside the classes": Case(
        keras_case(notebook, y=np.where(labels() > 0, "yes", "no"), classes=["off", "on"]),
        r"y\[0\]: expected one of the classes off, on, got no",
    ),
    "labels of another number": Case(keras_case(plain, y=labels(7)), r"expected x \(n, timesteps, features\) and y"),
    "an unknown name": Case(
        keras_case(context_model, attention="nowhere"),
        r"--attention nowhere: the model has no layer, output or tensor of that name; these are distributions",
    ),
    "a sum that is not 1": Case(
        keras_case(gated, attention="gate", task="regression"),
        r"--attention gate: sums over axis 1 to between [\d.]+ and [\d.]+, expected 1 within 0.001",
    ),
    "an axis that is not time": Case(
        keras_case(plain, attention="out", task="regression", prediction="out"),
        r"--attention out: has the shape \(8, 1\)",
    ),
    "several attentions": Case(
        keras_case(two_attentions, task="regression"),
        r"several distributions over the timesteps, say which: \w+ \(n, 6, 1\), \w+ \(n, 6, 1\)$",
    ),
    "no attention": Case(keras_case(plain, task="regression"), r"no attention was found: .*--attention none"),
    "attention to positions alone": Case(keras_case(positions_alone, task="regression"), r"no attention was found"),
    "several outputs": Case(
        keras_case(several_outputs),
        r"--prediction: say which of the model's outputs is the prediction: level \(n, 1\), risk",
    ),
    "an unknown output": Case(
        keras_case(several_outputs, prediction="x"), r"--prediction x: expected one of .*level \(n, 1\)"
    ),
    "logits": Case(
        keras_case(lambda: plain(3), y=labels(classes=3)),
        r"output out is from \S+ to \S+ and does not sum to 1: logits \(--task multiclass, multilabel\) or numbers",
    ),
    "fractions of unknown meaning": Case(
        onnx_case(
            *ATTENDS,
            node("ReduceMean", ["focus", "time"], ["part"], keepdims=0),
            node("Split", ["part"], ["a", "b"], axis=1, num_outputs=2),
            outputs=("a",),
        ),
        r"output a is from \S+ to \S+: probabilities \(--task binary\) or numbers",
    ),
    "binary of three": Case(
        keras_case(lambda: plain(3), task="binary"), r"--task binary: expected an output of 1 or 2 numbers, got 3"
    ),
    "multiclass of two": Case(
        keras_case(lambda: plain(2), task="multiclass"), r"--task multiclass: .* of 3 or more numbers, got 2"
    ),
    "too few classes": Case(keras_case(context_model, classes=["a", "b"]), r"--classes: expected 3 names, .* got 2"),
    "other labels than classes": Case(
        keras_case(context_model, y=np.array(["a", "b"] * 20)),
        r"--classes: say the 3 classes in the order .* have 2 \(a, b\)",
    ),
    "NaN": Case(
        onnx_case(node("ReduceMean", ["x", "time"], ["m"], keepdims=0), node("Log", ["m"], ["prediction"])),
        r"expected finite numbers for the examples, got NaN",
    ),
    "a vocabulary of too many words": Case(
        lambda folder: (text(), IDS, {"vocabulary": vocabulary(folder, 30)}),
        r"--vocabulary .*: expected tokens from 0 to 19",
    ),
    "no vocabulary": Case(
        keras_case(text, IDS, vocabulary="nowhere.txt"), r"--vocabulary nowhere.txt: no such file or dir"
    ),
    "a vocabulary of numbers": Case(
        lambda folder: (text(), IDS, {"vocabulary": vocabulary(folder, content="[1, 2]")}),
        r"--vocabulary .*words.json: expected words, as \[\"\[PAD\]\", .* or words with their tokens, as {",
    ),
    "a vocabulary with a word twice": Case(
        lambda folder: (text(), IDS, {"vocabulary": vocabulary(folder, content='["a", "b", "a"]')}),
        r"--vocabulary .*words.json: expected each word once, got 'a' twice",
    ),
    "a vocabulary of flags": Case(
        lambda folder: (text(), IDS, {"vocabulary": vocabulary(folder, content='{"a": true}')}),
        r"--vocabulary .*words.json: expected words, as \[",
    ),
    "negative tokens": Case(
        keras_case(lambda: text_classifier(masked=True)[0], IDS - 1), r"expected examples of tokens from 0 to 19, .*-1"
    ),
    "padding that is no token": Case(
        keras_case(lambda: text_classifier(masked=True)[0], IDS, pad=99),
        r"^--pad: expected a token from 0 to 19, as input ids of the model takes, got 99",
    ),
    "a subclass that fails": Case(
        keras_case(Failing, task="regression"), r"Keras cannot run the model on the examples: .*never works"
    ),
    "a module that fails": Case(saved(plain, custom="tests.programs.failing"), r"--custom tests.programs.failing: it"),
    "an operator set of the future": Case(
        onnx_case(*ATTENDS, opset=99), r"operator set 99: export it with one from 13 to \d+$"
    ),
    "an output of text": Case(
        onnx_case(node("Cast", ["x"], ["prediction"], to=TensorProto.STRING)),
        r"expected an output of numbers, got none",
    ),
    "an output of a list": Case(
        onnx_case(node("SequenceConstruct", ["x"], ["prediction"])), r"expected an output of numbers, got none"
    ),
    "labels of NaN": Case(
        keras_case(attending, y=np.full(40, np.nan), task="regression"), r"y: expected finite numbers .*, got nan"
    ),
    "labels of text for numbers": Case(
        keras_case(attending, y=np.array(["a", "b"] * 20), task="regression"), r"y: expected finite numbers .*, got 'a'"
    ),
    "labels of more numbers": Case(
        keras_case(attending, y=np.zeros((40, 3)), task="regression"), r"y: expected 1 numbers, as the model .*, got 3"
    ),
    "labels of fewer classes": Case(
        keras_case(lambda: attending(3), y=np.zeros((40, 2), int), task="multilabel"), r"y: expected 3 numbers.*, got 2"
    ),
    "labels of more than one": Case(
        keras_case(lambda: attending(3), y=np.full((40, 3), 2), task="multilabel"), r"expected 0 or 1 for .*, got 2"
    ),
    "classes with one name": Case(
        keras_case(context_model, classes=["a", "a", "b"]), r"--classes: expected a name of its own for .*, got a, a, b"
    ),
    "an attention named twice": Case(
        keras_case(notebook, attention=["attention_vec", "attention_vec"]),
        r"--attention: expected each layer, output or tensor once, got attention_vec twice",
    ),
    "attention that is a number": Case(
        keras_case(notebook, attention=3), r"attention: expected names of layers, outputs or tensors, got 3"
    ),
    "labels beside a file": Case(
        keras_case(notebook, "examples.npz", y=labels()), r"y: expected none beside a file of examples, which has the"
    ),
    "an unknown option": Case(keras_case(plain, epochs=3), r"expected an option, got 'epochs'"),
}


def vocabulary(folder: Path, words: int = 0, content: str | None = None) -> Path:
    path = folder / ("words.txt" if content is None else "words.json")
    path.write_text("\n".join(map(str, range(words))) if content is None else content)
    return path


# Keras converts its variables to arrays in a way that NumPy will not support, and warns of code in files.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning", "ignore:.*lambda:UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_imported(tmp_path: Path, name: str) -> None:
    """The message has one line, and nothing is published."""
    model, given, options = CASES[name].make(tmp_path)
    with pytest.raises(TrainingError, match=CASES[name].message) as error:
        training.publish(model, examples=given, name="mine", artifacts=tmp_path / "artifacts", **options)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "artifacts").glob("mine/*"))
