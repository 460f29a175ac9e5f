"""Keras models: what the service answers is what they compute."""

import importlib
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops
from numpy.typing import NDArray

from service.artifact.gate import open_verified
from service.artifact.tensors import PREDICTION, Array
from service.artifact.version import Artifact
from service.engines import opener
from tests.foreign import (
    FEATURES,
    TIMESTEPS,
    context_model,
    decoder,
    examples,
    imported,
    labels,
    notebook_model,
    served,
    text_classifier,
    transformer,
)
from training import TrainingError

X = examples()
#: More sequences than were imported.
MORE = np.random.default_rng(1).standard_normal((100, TIMESTEPS, FEATURES)).astype(np.float32)


# Keras converts its variables to arrays in a way that NumPy will not support.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("suffix", [".keras", ".h5", None])
def test_the_model_of_the_notebook_is_served(tmp_path: Path, suffix: str | None) -> None:
    """Its attention is found, in a file and in memory; the card has metrics, importance and a judgement."""
    model, both = notebook_model()
    given = model if suffix is None else tmp_path / f"model{suffix}"
    if suffix is not None:
        model.save(given)
    answers = served(imported(given, X, tmp_path, y=labels()[:, np.newaxis]), MORE)
    prediction, weights = both.predict(MORE, verbose=0)
    np.testing.assert_allclose(answers.prediction, prediction, rtol=0, atol=1e-5)
    np.testing.assert_allclose(answers.attention_vec, weights, rtol=0, atol=1e-5)
    np.testing.assert_allclose(answers.attention, weights.mean(axis=-1), rtol=0, atol=1e-5)
    card = answers.card
    assert card.target.classes == ("0", "1")
    assert card.origin is not None
    assert card.origin.format == "keras"
    assert card.origin.file == (model.name if suffix is None else f"model{suffix}")
    assert card.metrics["accuracy"] == np.mean((model.predict(X, verbose=0)[:, 0] >= 0.5) == labels())
    assert [source.tensor for source in card.attention_from] == ["attention_vec"]
    assert [layer.kind for layer in card.layers][:1] == ["InputLayer"]
    assert card.importance is not None
    assert card.judgement is not None


@pytest.mark.parametrize("as_layer", [False, True])
def test_a_layer_may_be_named(tmp_path: Path, *, as_layer: bool) -> None:
    """The name of the layer is enough; in memory, the layer itself is, too."""
    model, both = notebook_model()
    attention = model.get_layer("attention_vec") if as_layer else "attention_vec"
    answers = served(imported(model, X, tmp_path, attention=attention), MORE)
    np.testing.assert_allclose(answers.attention_vec, both.predict(MORE, verbose=0)[1], rtol=0, atol=1e-5)


def test_attention_that_no_layer_returns_is_found(tmp_path: Path) -> None:
    """A layer of one's own that returns its context alone; three classes with names."""
    model = context_model()
    answers = served(imported(model, X, tmp_path, classes=["a", "b", "c"]), MORE)
    attend = model.get_layer("attend")
    states = model.layers[1](MORE)
    scores = np.tanh(states) @ attend.score.kernel.numpy()
    weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answers.attention_vec, weights, rtol=0, atol=1e-5)
    np.testing.assert_allclose(answers.prediction, model.predict(MORE, verbose=0), rtol=0, atol=1e-5)
    assert answers.card.target.classes == ("a", "b", "c")


def test_a_layer_of_ones_own_is_named_by_its_scope(tmp_path: Path) -> None:
    """The distribution is inside the layer, which does not return it."""
    answers = served(imported(context_model(), X, tmp_path, attention="attend"), MORE)
    assert answers.attention_vec.shape == (100, TIMESTEPS, 1)


def test_layers_of_a_transformer_are_found_together(tmp_path: Path) -> None:
    """Each unit is one query of one head of one layer, in the order of the card."""
    model, both = transformer()
    answers = served(imported(model, X, tmp_path, task="regression"), MORE)
    prediction, *layers = both.predict(MORE, verbose=0)
    units = np.concatenate([one.reshape(100, -1, TIMESTEPS) for one in layers], axis=1).swapaxes(1, 2)
    np.testing.assert_allclose(answers.prediction, prediction, rtol=0, atol=1e-5)
    np.testing.assert_allclose(answers.attention_vec, units, rtol=0, atol=1e-5)
    np.testing.assert_allclose(answers.attention, units.mean(axis=-1), rtol=0, atol=1e-5)


def test_scores_before_the_softmax_are_refused(tmp_path: Path) -> None:
    """The message says what the layer holds, and what there is."""
    model, _ = notebook_model()
    with pytest.raises(TrainingError, match=r"--attention lstm\S*: holds negative values .* attention_vec"):
        imported(model, X, tmp_path, attention=model.layers[1].name)
    assert not (tmp_path / "mine").exists()


def test_tokens_of_free_length(tmp_path: Path) -> None:
    """A masked model ignores padding: each length has the answer of the sequence alone."""
    model, both = text_classifier(masked=True)
    tokens = np.random.default_rng(0).integers(1, 20, (30, 8))
    tokens[::2, 5:] = 0
    answers = served(imported(model, tokens, tmp_path, y=labels(30)), as_sequences(tokens, pad=0))
    card = answers.card
    assert card.variable_length
    assert (card.timesteps, card.features) == (8, 1)
    assert card.target.task == "binary"
    assert card.tokens is not None
    assert (card.tokens.least, card.tokens.most, card.tokens.pad) == (0, 19, 0)
    for row, given in enumerate(tokens):
        length = 5 if row % 2 == 0 else 8
        prediction, weights = both(given[np.newaxis, :length])
        np.testing.assert_allclose(answers.prediction[row], prediction[0, 1:], rtol=0, atol=1e-5)
        np.testing.assert_allclose(answers.attention[row, :length], weights[0, :, 0], rtol=0, atol=1e-5)
        assert (answers.attention[row, length:] == 0).all()


def test_tokens_without_a_mask_have_one_length(tmp_path: Path) -> None:
    """Padding would change the answer, so the length is that of the examples."""
    model, both = text_classifier(masked=False)
    tokens = np.random.default_rng(0).integers(2, 15, (30, 8))  # not all that the model has
    (tmp_path / "words.txt").write_text("\n".join(f"word{i}" for i in range(20)))
    answers = served(imported(model, tokens, tmp_path, vocabulary=tmp_path / "words.txt"), as_sequences(tokens))
    assert not answers.card.variable_length
    assert answers.card.tokens is not None
    assert (answers.card.tokens.pad, (answers.card.tokens.vocabulary or {})["word3"]) == (None, 3)
    prediction, weights = both.predict(tokens, verbose=0)
    np.testing.assert_allclose(answers.prediction, prediction[:, 1:], rtol=0, atol=1e-5)
    np.testing.assert_allclose(answers.attention_vec, weights, rtol=0, atol=1e-5)


def as_sequences(tokens: NDArray[np.int64], pad: int | None = None) -> Array:
    """Return tokens `(n, timesteps)` as sequences in which the padding is absent."""
    x = tokens.astype(np.float32)[..., np.newaxis]
    if pad is not None:
        x[tokens == pad] = np.nan
    return x


def test_two_inputs_become_one_sequence(tmp_path: Path) -> None:
    """Static values are further features, the same at each timestep."""
    keras.utils.set_random_seed(0)
    series, site = keras.Input((TIMESTEPS, FEATURES), name="series"), keras.Input((3,), name="site")
    states = layers.LSTM(6, return_sequences=True)(series)
    scores = layers.Dense(1)(layers.Concatenate()([states, layers.RepeatVector(TIMESTEPS)(site)]))
    weights = layers.Softmax(axis=1, name="weights")(scores)
    context = ops.sum(states * weights, axis=1)
    number = layers.Dense(1, name="number")(layers.Concatenate()([context, site]))
    model = keras.Model([series, site], [number, weights])
    sites = np.random.default_rng(2).standard_normal((len(X), 3)).astype(np.float32)
    version = imported(model, {"series": X, "site": sites}, tmp_path, y=sites[:, 0])
    x = np.concatenate([X, np.repeat(sites[:, np.newaxis], TIMESTEPS, axis=1)], axis=2)
    answers = served(version, x)
    assert answers.card.static_labels == ("site 0", "site 1", "site 2")
    assert answers.card.feature_labels == ("series 0", "series 1", "site 0", "site 1", "site 2")
    prediction, attention = model.predict([X, sites], verbose=0)
    np.testing.assert_allclose(answers.prediction, prediction, rtol=0, atol=1e-5)
    np.testing.assert_allclose(answers.attention_vec, attention, rtol=0, atol=1e-5)


def test_a_sequence_is_predicted_with_attention_of_each_step(tmp_path: Path) -> None:
    """An encoder and decoder: the steps of the unrolled loop are one source with the axis `step`."""
    model, both = decoder()
    answers = served(imported(model, X, tmp_path), MORE)
    prediction, weights = both.predict(MORE, verbose=0)  # (n, 3, 4) and (n, 3, timesteps)
    np.testing.assert_allclose(answers.prediction, prediction, rtol=0, atol=1e-5)
    np.testing.assert_allclose(answers.attention_vec, weights.swapaxes(1, 2), rtol=0, atol=1e-5)
    assert answers.card.target.steps == 3
    assert [source.axes for source in answers.card.attention_from] == [{"step": 3}]


@pytest.mark.parametrize("form", ["indices", "one column", "one-hot"])
def test_labels_of_each_step_are_judged(tmp_path: Path, form: str) -> None:
    """Each step counts as a prediction; the model is right in all steps but the last of each example."""
    model, _ = decoder()
    right = model.predict(X, verbose=0).argmax(axis=2)  # (n, 3)
    y = np.concatenate([right[:, :2], (right[:, 2:] + 1) % 4], axis=1)
    forms = {"indices": y, "one column": y[..., np.newaxis], "one-hot": np.eye(4)[y]}
    card = Artifact(imported(model, X, tmp_path, y=forms[form])).read().card()
    assert card.metrics["accuracy"] == pytest.approx(2 / 3)
    assert card.judgement is not None
    assert card.judgement.confusion is not None
    assert np.sum(card.judgement.confusion) == 3 * len(X)
    assert card.importance is not None
    assert len(card.importance.drop) == TIMESTEPS


@pytest.mark.parametrize("shape", [(len(X),), (len(X), 2), (len(X), 3, 5), (len(X) - 1, 3, 4), (len(X), 3, 4, 1)])
def test_labels_of_other_steps_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """The message has the shape that came."""
    with pytest.raises(TrainingError, match=re.escape(f"got {shape}")):
        imported(decoder()[0], X, tmp_path, y=np.zeros(shape, int))


def test_attention_of_each_step_may_be_an_output(tmp_path: Path) -> None:
    """The output has all steps, so that it is taken rather than the tensor of each step."""
    _, both = decoder()
    answers = served(imported(both, X, tmp_path), MORE)
    np.testing.assert_allclose(
        answers.attention_vec, both.predict(MORE, verbose=0)[1].swapaxes(1, 2), rtol=0, atol=1e-5
    )
    assert [source.axes for source in answers.card.attention_from] == [{"step": 3}]


def test_a_model_without_attention_is_served(tmp_path: Path) -> None:
    """With labels its card has importance, metrics and a judgement."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((TIMESTEPS, FEATURES))
    model = keras.Model(inputs, layers.Dense(1)(layers.LSTM(4)(inputs)))
    version = imported(model, X, tmp_path, attention="none", task="binary", y=labels(), classes=["no", "yes"])
    contents = Artifact(version).read()
    card = contents.card()
    assert card.attention is None
    assert card.importance is not None
    assert card.judgement is not None
    engine = open_verified(contents, opener("onnx", threads=1)).engine
    prediction = engine.run(MORE, [PREDICTION])[PREDICTION]
    np.testing.assert_allclose(prediction, ops.sigmoid(model.predict(MORE, verbose=0)), rtol=0, atol=1e-5)


# Keras converts its variables to arrays in a way that NumPy will not support.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_module_has_the_code_of_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--custom` imports it."""
    code = "import keras\n\n\nclass Doubled(keras.layers.Layer):\n    def call(self, x):\n        return 2 * x\n"
    (tmp_path / "their_layers.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    doubled = importlib.import_module("their_layers").Doubled
    model, _ = notebook_model()
    extended = keras.Model(model.inputs, doubled()(model.outputs[0]))
    extended.save(tmp_path / "model.keras")
    version = imported(tmp_path / "model.keras", X, tmp_path, custom="their_layers", task="regression")
    np.testing.assert_allclose(served(version, X).prediction, 2 * model.predict(X, verbose=0), rtol=0, atol=1e-5)


def test_one_of_two_layers_is_named(tmp_path: Path) -> None:
    """The name of a layer stands for the distribution inside it."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((TIMESTEPS, FEATURES))
    y = layers.Dense(8)(inputs)
    y = y + layers.MultiHeadAttention(2, 4, name="near")(y, y)
    y = y + layers.MultiHeadAttention(2, 4, name="far")(y, y)
    model = keras.Model(inputs, layers.Dense(1)(layers.GlobalAveragePooling1D()(y)))
    answers = served(imported(model, X, tmp_path, attention="far", task="regression"), X)
    assert answers.attention_vec.shape == (len(X), TIMESTEPS, 2 * TIMESTEPS)
    assert ["far" in source.tensor for source in answers.card.attention_from] == [True]
