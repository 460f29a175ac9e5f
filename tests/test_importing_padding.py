"""Imports of models that take sequences of different lengths: absent queries, and missing values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from numpy.typing import NDArray

from service.artifact.version import Artifact
from tests.foreign import examples, imported, served, text_classifier
from training import TrainingError

TIMESTEPS = 8
RNG = np.random.default_rng(0)
LENGTHS = np.arange(24) % (TIMESTEPS - 1) + 2  # 2 to 8
IDS = np.where(np.arange(TIMESTEPS) < LENGTHS[:, np.newaxis], RNG.integers(1, 20, (24, TIMESTEPS)), 0)


def by_hand() -> tuple[keras.Model, keras.Model]:
    """Return a Transformer whose keys alone are masked: a query in the padding has weights like any other."""
    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), dtype="int32")
    keep = ops.cast(ops.not_equal(ids, 0), "float32")
    embedded = layers.Embedding(20, 8)(ids) * 60
    queries, keys = layers.Dense(8)(embedded), layers.Dense(8)(embedded)
    scores = ops.matmul(queries, ops.transpose(keys, (0, 2, 1))) + (1 - keep)[:, None] * -1e9
    weights = layers.Softmax(axis=-1, name="weights")(scores)
    attended = ops.matmul(weights, embedded) * keep[..., None]
    pooled = ops.sum(attended, axis=1) / ops.sum(keep, axis=1)[:, None]
    prediction = layers.Dense(2, activation="softmax")(pooled)
    return keras.Model(ids, prediction), keras.Model(ids, [prediction, weights[:, None]])


def of_keras() -> tuple[keras.Model, keras.Model]:
    """Return a Transformer with Keras's own mask: a query in the padding has equal weights for all timesteps."""
    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), dtype="int32")
    embedded = layers.Embedding(20, 8, mask_zero=True)(ids)
    attended, weights = layers.MultiHeadAttention(2, 4)(embedded, embedded, return_attention_scores=True)
    states = layers.LayerNormalization()(layers.Add()([embedded, attended]))
    prediction = layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling1D()(states))
    return keras.Model(ids, prediction), keras.Model(ids, [prediction, weights])


def sequences(ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return tokens as sequences whose padding is absent."""
    return np.where(ids == 0, np.nan, ids).astype(np.float32)[..., np.newaxis]


@pytest.mark.parametrize("build", [by_hand, of_keras])
def test_attention_is_the_mean_over_the_queries_that_are_present(
    tmp_path: Path, build: Callable[[], tuple[keras.Model, keras.Model]]
) -> None:
    """Each length has the attention that the model has for the sequence alone; each unit sums to 1."""
    model, both = build()
    answers = served(imported(model, IDS, tmp_path), sequences(IDS))
    assert answers.card.variable_length
    np.testing.assert_allclose(answers.attention_vec.sum(axis=1), 1, rtol=0, atol=1e-5)
    for length in range(2, TIMESTEPS + 1):
        rows = length == LENGTHS
        prediction, weights = both(IDS[rows, :length])  # (n, heads, queries, timesteps)
        np.testing.assert_allclose(answers.prediction[rows], prediction[:, 1:], rtol=0, atol=1e-5)
        expected = ops.convert_to_numpy(weights).mean(axis=(1, 2))
        np.testing.assert_allclose(answers.attention[rows, :length], expected, rtol=0, atol=1e-5)
        assert (answers.attention_vec[rows, length:] == 0).all()


def test_an_absent_query_has_the_mean_of_the_others(tmp_path: Path) -> None:
    """A present query has the model's own weights."""
    model, both = by_hand()
    x = sequences(IDS)[LENGTHS == 3]
    units = served(imported(model, IDS, tmp_path), x).attention_vec  # (n, timesteps, queries)
    own = ops.convert_to_numpy(both(IDS[LENGTHS == 3, :3])[1])[:, 0].swapaxes(1, 2)
    np.testing.assert_allclose(units[:, :3, :3], own, rtol=0, atol=1e-5)
    np.testing.assert_allclose(units[:, :3, 7], own.mean(axis=2), rtol=0, atol=1e-5)


def test_a_hint_says_why_all_sequences_have_one_length(tmp_path: Path) -> None:
    """A model that does not mask its softmax attends to padding, and the hint names the token that fills up."""
    card = Artifact(imported(text_classifier(masked=False)[0], IDS, tmp_path)).read().card()
    assert not card.variable_length
    (hint,) = card.hints
    assert hint.startswith("every sequence has 8 timesteps, as attention on padding is up to 0.")
    assert hint.endswith("(filled up with 0)")


def numbers(*, masked: bool) -> keras.Model:
    """Return a model of numbers that may ignore timesteps of zeros."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, 2))
    scores = layers.Dense(1)(inputs)
    if masked:
        scores = scores - 1e9 * ops.cast(ops.all(ops.equal(inputs, 0), axis=-1, keepdims=True), "float32")
    weights = ops.softmax(scores, axis=1)
    return keras.Model(inputs, layers.Dense(1)(ops.sum(weights * inputs, axis=1)))


@pytest.mark.parametrize(
    ("masked", "missing", "message"),
    [
        (
            False,
            (3, 4, 1),
            r"^examples: the model allows no missing values, as attention on padding .* NaN at x\[3\]\[4\]\[1\]",
        ),
        (False, (3, slice(4, None)), r"the model allows no missing values, .* got NaN at x\[3\]\[4\]\[0\]$"),
        (True, (3, 4, 1), r"missing values at the end of shorter sequences alone: got NaN at x\[3\]\[4\]\[1\]$"),
    ],
)
def test_missing_values_are_refused(tmp_path: Path, masked: Any, missing: Any, message: str) -> None:
    """Nothing else takes their place."""
    x = examples()
    x[missing] = np.nan
    with pytest.raises(TrainingError, match=message):
        imported(numbers(masked=masked), x, tmp_path, task="regression")


def test_the_end_of_a_shorter_sequence_may_be_missing(tmp_path: Path) -> None:
    """The model ignores the padding."""
    x = examples()
    x[3, 4:] = np.nan
    assert Artifact(imported(numbers(masked=True), x, tmp_path, task="regression")).read().card().variable_length
