"""Tests of occlusions and of the importance computed from them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.artifact.card import Target
from service.artifact.missing import absent
from service.artifact.occlusion import DRAWS, Occlusions, marginal
from service.artifact.tensors import CELL_IMPORTANCE, FEATURE_IMPORTANCE, IMPORTANCE
from tests.samples import BINARY, MULTICLASS, REGRESSION, TWO_NUMBERS

NAN = np.nan
SEQUENCES = np.array([[[1, 2], [3, 4], [5, 6]], [[7, 8], [NAN, 9], [NAN, NAN]]], np.float32)
BASELINE = np.array([[-1, -2], [-3, -4], [-5, -6]], np.float32)
OCCLUDED = np.array(
    [
        [[-1, -2], [3, 4], [5, 6]],
        [[1, 2], [-3, -4], [5, 6]],
        [[1, 2], [3, 4], [-5, -6]],
        [[-1, -2], [NAN, 9], [NAN, NAN]],
        [[7, 8], [-3, -4], [NAN, NAN]],
    ],
    np.float32,
)


def test_each_timestep_that_is_present_is_replaced_once() -> None:
    """All its features are replaced. The other timesteps stay, and absent ones stay absent."""
    occlusions = Occlusions(SEQUENCES, BASELINE)
    assert len(occlusions) == 5
    np.testing.assert_array_equal(np.asarray(occlusions), OCCLUDED)
    assert SEQUENCES[0, 0, 0] == 1


def test_slices_are_those_of_the_array() -> None:
    """Slices can be sliced again."""
    some = Occlusions(SEQUENCES, BASELINE)[1:5]
    assert len(some) == 4
    np.testing.assert_array_equal(np.asarray(some[2:]), OCCLUDED[3:])
    np.testing.assert_array_equal(np.concatenate([np.asarray(some), OCCLUDED[:1]])[:4], OCCLUDED[1:])


@pytest.mark.parametrize(
    ("target", "prediction", "occluded", "moved"),
    [
        (BINARY, [[0.75]], [[0.25], [0.75], [1.0]], [0.5, 0, 0.25]),
        (MULTICLASS, [[0.5, 0.5, 0]], [[0.5, 0.25, 0.25], [0, 0, 1], [0.5, 0.5, 0]], [0.25, 1, 0]),
        (TWO_NUMBERS, [[10, -10]], [[10, -10], [13, -11], [7, -10]], [0, 2, 1.5]),
    ],
)
def test_importance_is_how_far_the_prediction_moves(
    target: Target, prediction: list[list[float]], occluded: list[list[float]], moved: list[float]
) -> None:
    """The distance is total variation for several classes, and else the mean difference."""
    before, after = np.array(prediction, np.float32), np.array(occluded, np.float32)
    importance = Occlusions(SEQUENCES[:1], BASELINE).importance(before, after, target)
    assert importance.tolist() == [moved]


def test_absent_timesteps_have_no_importance() -> None:
    """The importance of the others is at their own places."""
    prediction, occluded = np.zeros((2, 1), np.float32), np.array([[1], [2], [3], [4], [5]], np.float32)
    importance = Occlusions(SEQUENCES, BASELINE).importance(prediction, occluded, BINARY)
    assert importance.tolist() == [[1, 2, 3], [4, 5, 0]]


def test_a_feature_is_replaced_at_all_present_timesteps_at_once() -> None:
    """The other features stay, and absent timesteps stay absent."""
    found = np.asarray(Occlusions(SEQUENCES, BASELINE, FEATURE_IMPORTANCE))
    expected = [
        [[-1, 2], [-3, 4], [-5, 6]],
        [[1, -2], [3, -4], [5, -6]],
        [[-1, 8], [-3, 9], [NAN, NAN]],
        [[7, -2], [NAN, -4], [NAN, NAN]],
    ]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_each_cell_of_a_present_timestep_is_replaced_once() -> None:
    """Its row and its column stay."""
    found = np.asarray(Occlusions(SEQUENCES[1:], BASELINE, CELL_IMPORTANCE))
    expected = [
        [[-1, 8], [NAN, 9], [NAN, NAN]],
        [[7, -2], [NAN, 9], [NAN, NAN]],
        [[7, 8], [-3, 9], [NAN, NAN]],
        [[7, 8], [NAN, -4], [NAN, NAN]],
    ]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("name", "shape"), [(IMPORTANCE, (2, 3)), (FEATURE_IMPORTANCE, (2, 2)), (CELL_IMPORTANCE, (2, 3, 2))]
)
def test_importance_is_the_mean_over_all_replacements(name: str, shape: tuple[int, ...]) -> None:
    """For the mean over a sequence's values it is what its own loop finds; it is 0 at absent timesteps."""
    replacements = np.stack([BASELINE, BASELINE - 10, BASELINE + 3])

    def predict(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.asarray(np.nansum(x * np.arange(1, 7).reshape(3, 2), axis=(1, 2), keepdims=True)[:, :, 0])

    occlusions = Occlusions(SEQUENCES, replacements, name)
    parts = [np.asarray(occlusions[start : start + 4]) for start in range(0, len(occlusions), 4)]
    found = occlusions.importance(predict(SEQUENCES), predict(np.concatenate(parts)), REGRESSION)
    expected = np.zeros(shape)
    for index in np.ndindex(shape):
        i = index[0]
        where = (index[1], slice(None)) if name == IMPORTANCE else (slice(None), index[1])
        where = index[1:] if name == CELL_IMPORTANCE else where
        for one in replacements:
            changed = SEQUENCES[i : i + 1].copy()
            changed[0][where] = one[where]
            changed[0, np.isnan(SEQUENCES[i]).all(axis=1)] = NAN
            expected[index] += np.abs(predict(changed) - predict(SEQUENCES[i : i + 1]))[0, 0] / len(replacements)
    assert found.shape == shape
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    if name != FEATURE_IMPORTANCE:
        assert not found[1, 2].any()


def test_marginal_draws_evenly_from_the_sequences() -> None:
    """Of twenty sequences, which may be in the order of their classes, the first and the last are among them."""
    sequences = np.arange(20, dtype=np.float32).reshape(20, 1, 1).repeat(2, axis=1)
    drawn = marginal(sequences, np.zeros((2, 1), np.float32))
    assert drawn.shape == (DRAWS, 2, 1)
    assert drawn[:, 0, 0].tolist() == [0, 2, 5, 8, 10, 13, 16, 19]


def test_marginal_has_a_value_in_each_cell() -> None:
    """A missing value is that of the first sequence which has one, and the baseline's if none has."""
    sequences = np.array([[[NAN, 2], [3, NAN]], [[5, NAN], [NAN, NAN]], [[6, 7], [8, NAN]]], np.float32)
    drawn = marginal(sequences, np.array([[-1, -2], [-3, -4]], np.float32))
    assert drawn.tolist() == [[[5, 2], [3, -4]], [[5, 2], [3, -4]], [[6, 7], [8, -4]]]
    assert np.isnan(sequences).any()


@st.composite
def some_sequences(draw: st.DrawFn) -> Any:
    """Sequences `(n, timesteps, features)` of random numbers, some of them missing, with at least one value each."""
    n, timesteps, features = (draw(st.integers(1, most)) for most in (4, 6, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sequences = rng.standard_normal((n, timesteps, features)).astype(np.float32)
    sequences[rng.random(sequences.shape) < draw(st.sampled_from([0, 0.2, 0.6]))] = NAN
    sequences[:, 0, 0] = rng.standard_normal(n)
    return sequences


@settings(max_examples=60)
@given(some_sequences(), st.integers(1, 3), st.sampled_from([IMPORTANCE, FEATURE_IMPORTANCE, CELL_IMPORTANCE]))
def test_importance_depends_on_nothing_but_the_sequence(sequences: Any, draws: int, name: str) -> None:
    """It is the same alone and in pieces, 0 for an ignored feature, and 0 for absent timesteps."""
    rng = np.random.default_rng(0)
    replacements = rng.standard_normal((draws, *sequences.shape[1:])).astype(np.float32)
    weights = rng.standard_normal(sequences.shape[1:])
    weights[:, -1] = 0

    def predict(x: Any) -> Any:
        return np.tanh(np.nansum(x * weights, axis=(1, 2)))[:, np.newaxis]

    def measured(some: Any, size: int) -> Any:
        copies = Occlusions(some, replacements, name)
        parts = [np.asarray(copies[start : start + size]) for start in range(0, len(copies), size)]
        return copies.importance(predict(some), predict(np.concatenate(parts)), REGRESSION)

    together = measured(sequences, 3)
    alone = np.concatenate([measured(sequences[i : i + 1], 1000) for i in range(len(sequences))])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert (together >= 0).all()
    if name != FEATURE_IMPORTANCE:
        assert not together[np.isnan(sequences).all(axis=2)].any()
    if name != IMPORTANCE:
        assert not together[..., -1].any()


@given(some_sequences(), st.sampled_from([IMPORTANCE, FEATURE_IMPORTANCE, CELL_IMPORTANCE]))
def test_copies_have_the_timesteps_of_their_sequences(sequences: Any, name: str) -> None:
    """None becomes absent, and none that is absent gets a value."""
    copies = np.asarray(Occlusions(sequences, marginal(sequences, np.zeros(sequences.shape[1:], np.float32)), name))
    assert set(map(tuple, absent(copies).tolist())) == set(map(tuple, absent(sequences).tolist()))


@pytest.mark.parametrize(
    ("name", "copies"),
    [
        (IMPORTANCE, [[[-1, 2], [3, 2]], [[1, 2], [-3, 2]]]),
        (FEATURE_IMPORTANCE, [[[-1, 2], [-3, 2]], [[1, -2], [3, -4]]]),
        (CELL_IMPORTANCE, [[[-1, 2], [3, 2]], [[1, 2], [-3, 2]]]),
    ],
)
def test_a_static_feature_is_replaced_at_all_timesteps_or_at_none(name: str, copies: list[list[list[float]]]) -> None:
    """It has the same value at each timestep, of which a model may read one only."""
    occlusions = Occlusions(np.array([[[1, 2], [3, 2]]], np.float32), BASELINE[:2], name, varying=[0])
    np.testing.assert_array_equal(np.asarray(occlusions), copies)
    importance = occlusions.importance(np.zeros((1, 1), np.float32), np.ones((2, 1), np.float32), REGRESSION)
    if name == CELL_IMPORTANCE:
        np.testing.assert_array_equal(importance, [[[1, 0], [1, 0]]])
