"""Tests of removals and of the two numbers computed from them."""

import numpy as np
import pytest

from service.artifact.card import Target
from service.artifact.removal import FRACTIONS, Removals
from service.artifact.tensors import Array
from tests.samples import MULTICLASS, REGRESSION

NAN = np.nan
BASELINE = np.full((10, 2), -1, np.float32)
SEQUENCE = np.arange(20, dtype=np.float32).reshape(1, 10, 2)
#: The number of timesteps for each fraction of ten.
COUNTS = (1, 1, 1, 2, 5)


def replaced(copies: Array) -> list[list[int]]:
    """Return the replaced timesteps of each copy. Both features of them are replaced."""
    assert ((copies == -1).all(axis=2) == (copies == -1).any(axis=2)).all()
    return [np.flatnonzero(one[:, 0] == -1).tolist() for one in copies]


def test_top_timesteps_are_taken_away_and_alone_kept() -> None:
    """Each fraction has a copy without its timesteps and one with these alone."""
    scores = np.array([[0, 9, 1, 8, 2, 7, 3, 6, 4, 5]], np.float32)
    removals = Removals(SEQUENCE, BASELINE, scores)
    assert len(removals) == 2 * len(FRACTIONS)
    found = replaced(np.asarray(removals))
    best_first = [1, 3, 5, 7, 9, 8, 6, 4, 2, 0]
    assert found[0::2] == [sorted(best_first[:count]) for count in COUNTS]
    assert found[1::2] == [sorted(best_first[count:]) for count in COUNTS]
    assert SEQUENCE.min() == 0


def test_of_equal_scores_the_earlier_timestep_comes_first() -> None:
    """The order of timesteps without any difference is that of time."""
    found = replaced(np.asarray(Removals(SEQUENCE, BASELINE, np.zeros((1, 10), np.float32))))
    assert found[0::2] == [list(range(count)) for count in COUNTS]


def test_absent_timesteps_stay_absent_and_are_not_counted() -> None:
    """Fractions are those of the four present timesteps, however high the score of an absent one is."""
    x = SEQUENCE.copy()
    x[0, 4:] = NAN
    x[0, 1, 0] = NAN  # a timestep with one missing value is present
    copies = np.asarray(Removals(x, BASELINE, np.array([[1, 4, 2, 3, 9, 9, 9, 9, 9, 9]], np.float32)))
    assert np.isnan(copies[:, 4:]).all()
    assert replaced(copies)[0::2] == [[1], [1], [1], [1], [1, 3]]
    assert replaced(copies)[1::2] == [[0, 2, 3]] * 4 + [[0, 2]]


def test_slices_are_those_of_the_array() -> None:
    """Slices can be sliced again."""
    x = np.concatenate([SEQUENCE, SEQUENCE + 100])
    removals = Removals(x, BASELINE, np.random.default_rng(0).random((2, 10)).astype(np.float32))
    everything = np.asarray(removals)
    np.testing.assert_array_equal(np.asarray(removals[3:15][2:]), everything[5:15])
    assert len(removals[3:15]) == 12
    assert (everything[10:][everything[10:] != -1] >= 100).all()


def test_a_sequence_of_one_timestep_has_nothing_else() -> None:
    """It is taken away in each first copy, and nothing is replaced in each second one."""
    found = replaced(np.asarray(Removals(SEQUENCE[:, :1], BASELINE[:1], np.ones((1, 1), np.float32))))
    assert found == [[0], []] * len(FRACTIONS)


@pytest.mark.parametrize(
    ("target", "prediction", "first", "second"),
    [(REGRESSION, [10.0], [7.0], [12.0]), (MULTICLASS, [0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.0, 1.0])],
)
def test_both_numbers_are_distances_from_the_prediction(
    target: Target, prediction: list[float], first: list[float], second: list[float]
) -> None:
    """The first copies give comprehensiveness, and the second ones sufficiency."""
    n = 2
    removals = Removals(np.repeat(SEQUENCE, n, axis=0), BASELINE, np.ones((n, 10), np.float32))
    predictions = np.array([prediction] * n, np.float32)
    others = np.tile(np.array([first, second], np.float32), (n * len(FRACTIONS), 1))
    comprehensiveness, sufficiency = removals.moved(predictions, others, target)
    expected = (3.0, 2.0) if target is REGRESSION else (0.5, 1.0)
    np.testing.assert_allclose(comprehensiveness, np.full((n, len(FRACTIONS)), expected[0]))
    np.testing.assert_allclose(sufficiency, np.full((n, len(FRACTIONS)), expected[1]))


def test_numbers_are_those_of_their_sequence_and_fraction() -> None:
    """A model that adds all values shows which of them were replaced."""
    x = np.concatenate([SEQUENCE, SEQUENCE * 2])
    scores = np.repeat(np.arange(10, dtype=np.float32)[np.newaxis], 2, axis=0)
    removals = Removals(x, np.zeros((10, 2), np.float32), scores)
    sums = np.asarray(removals).sum(axis=(1, 2))[:, np.newaxis]
    comprehensiveness, sufficiency = removals.moved(x.sum(axis=(1, 2))[:, np.newaxis], sums, REGRESSION)
    top = [SEQUENCE[0, 10 - count :].sum() for count in COUNTS]
    np.testing.assert_allclose(comprehensiveness, [top, np.multiply(top, 2)])
    np.testing.assert_allclose(sufficiency, [190 - np.array(top), 2 * (190 - np.array(top))])


def test_static_features_are_never_replaced() -> None:
    """They have no timestep that could be taken away."""
    sequences, baseline = np.ones((1, 4, 2), np.float32), np.zeros((4, 2), np.float32)
    copies = np.asarray(Removals(sequences, baseline, np.zeros((1, 4), np.float32), varying=[0]))
    assert np.all(copies[..., 1] == 1)
    assert np.any(copies[..., 0] == 0)
