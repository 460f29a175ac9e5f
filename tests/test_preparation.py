"""The first layers scale numbers, encode categories and take static features out of the sequence."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from tests.samples import dataset
from training.data import Dataset, Scale, baseline_of
from training.models import build
from training.options import Options
from training.preparation import MOST_ONE_HOT, embedding_size, prepared

#: Two sequences of three timesteps: a number, a category of two values, and a static number.
X = np.array([[[1, 0, 5], [3, 1, 5], [5, 2, 5]], [[3, 1, 9], [np.nan, np.nan, np.nan], [np.nan, 0, 9]]], np.float32)


def described(x: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = X, values: int = 2) -> Dataset:
    plain = dataset(x, variable_length=True, missing_values=True)
    return replace(
        plain,
        feature_labels=("number", "kind", "static"),
        categories={"kind": tuple(map(str, range(values)))},
        static_labels=("static",),
        scale=Scale(np.array([3.0, 99.0, 7.0]), np.array([2.0, 99.0, 2.0])),
    )


def test_columns_are_those_of_the_formula() -> None:
    """Numbers are scaled, a category is one-hot, and unknown and missing values are 0."""
    sequence = keras.Input(X.shape[1:])
    inputs = prepared(sequence, described())
    values, present, static = keras.Model(sequence, list(inputs))(X)
    np.testing.assert_array_equal(values, [[[-1, 1, 0], [0, 0, 1], [1, 0, 0]], [[0, 0, 1], [0, 0, 0], [0, 1, 0]]])
    np.testing.assert_array_equal(present[..., 0], [[True, True, True], [True, False, True]])
    np.testing.assert_array_equal(static, [[-1], [1]])


def test_too_small_numbers_are_not_scaled() -> None:
    """The factor would be infinite in float32."""
    x = X * np.float32(1e-40)
    small = replace(described(x), categories={}, scale=Scale(np.zeros(3), np.array([1e-40, 1e-30, 2e-30])))
    sequence = keras.Input(x.shape[1:])
    assert np.abs(keras.Model(sequence, prepared(sequence, small).values)(x)).max() < 1e-6


def test_all_features_may_be_static() -> None:
    """Then the architecture takes them, too."""
    sequence = keras.Input(X.shape[1:])
    inputs = prepared(sequence, replace(described(), static_labels=("number", "kind", "static")))
    assert inputs.values.shape == (None, 3, 4)
    assert inputs.static is not None
    assert inputs.static.shape == (None, 4)


@pytest.mark.parametrize("values", [MOST_ONE_HOT, MOST_ONE_HOT + 1])
def test_many_values_have_an_embedding(values: int) -> None:
    """It has few columns, all 0 for unknown and missing values; a category of fewer values has a column for each."""
    x = np.tile(X[:1], (values + 2, 1, 1))
    x[:, :, 1] = np.arange(values + 2)[:, np.newaxis]
    x[-1, :, 1] = np.nan
    sequence = keras.Input(x.shape[1:])
    columns = keras.Model(sequence, prepared(sequence, described(x, values)).values)(x)[..., 1:]
    assert columns.shape[-1] == (values if values <= MOST_ONE_HOT else embedding_size(values))
    assert np.any(columns[:-2], axis=(1, 2)).all()
    assert not np.any(columns[-2:])


def test_the_rule_of_the_embedding_has_a_limit() -> None:
    """Few values have few dimensions, and very many have sixteen."""
    assert [embedding_size(count) for count in (17, 100, 10**6)] == [8, 16, 16]  # 1.6 · 17^0.56 = 7.8


def test_static_features_reach_the_last_layer_only() -> None:
    """The last layer has one more weight for each of their columns."""
    both = replace(described(), static_labels=("static", "kind"))
    without = build(replace(described(), static_labels=()), Options(units=2)).layers[-1].kernel.shape[0]
    assert build(both, Options(units=2)).layers[-1].kernel.shape[0] == without + 3


def test_the_baseline_of_a_category_is_its_commonest_index() -> None:
    """Means of indices mean nothing; other features have their mean at each timestep."""
    x = X.copy()
    x[:, 0, 1] = 2  # 2 is the index of unknown values: 2, 1, 2, 2, 0
    np.testing.assert_allclose(baseline_of(described(x)), [[2, 2, 7], [3, 2, 5], [5, 2, 7]])
