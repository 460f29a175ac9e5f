"""Keras models: what the service answers is what they compute."""

from pathlib import Path

import numpy as np
import pytest

from tests.foreign import (
    FEATURES,
    TIMESTEPS,
    context_model,
    examples,
    imported,
    labels,
    notebook_model,
    served,
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
    answers = served(imported(given, X, tmp_path, y=labels()), MORE)
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
    assert card.importance is not None
    assert card.judgement is not None


def test_a_layer_may_be_named(tmp_path: Path) -> None:
    """The name of the layer is enough."""
    model, both = notebook_model()
    answers = served(imported(model, X, tmp_path, attention="attention_vec"), MORE)
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
