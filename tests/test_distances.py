"""Distances and rank correlations equal SciPy's."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import spearmanr

from service.artifact.distances import by_chance, jensen_shannon, moved, rank_correlation, total_variation, units_of
from tests.samples import MULTICLASS, REGRESSION, TWO_NUMBERS

DISJOINT = ([1.0, 0.0, 0.0], [0.0, 0.25, 0.75])
OVERLAPPING = ([0.5, 0.5, 0.0], [0.5, 0.25, 0.25])


@pytest.mark.parametrize(
    ("p", "q", "distance"), [(*DISJOINT, 1.0), (*OVERLAPPING, 0.25), (OVERLAPPING[0], OVERLAPPING[0], 0.0)]
)
def test_total_variation_is_the_share_at_other_timesteps(p: list[float], q: list[float], distance: float) -> None:
    """The share may be all, some or nothing."""
    assert total_variation(np.array(p), np.array(q)) == distance


@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_jensen_shannon_is_scipys(seed: int, timesteps: int) -> None:
    """It handles zeros, and several distributions at a time."""
    p, q = np.random.default_rng(seed).dirichlet(np.ones(timesteps), (2, 4))
    p[:, : timesteps // 2] = 0
    p /= p.sum(axis=1, keepdims=True)
    expected = [jensenshannon(*pair, base=2) for pair in zip(p, q, strict=True)]
    np.testing.assert_allclose(jensen_shannon(p, q), expected, rtol=0, atol=1e-7)


def test_jensen_shannon_is_1_between_disjoint_distributions() -> None:
    """It is 0 between equal ones."""
    p, q = map(np.array, DISJOINT)
    assert jensen_shannon(p, q) == 1
    assert jensen_shannon(q, q) == 0


FEW = st.integers(-2, 2).map(float)  # few values, so that many are equal
ROW = st.lists(st.tuples(FEW, FEW, st.booleans()), min_size=5, max_size=5)


@given(st.lists(ROW, min_size=1, max_size=4))
@example([[(1.0, 1.0, True)] * 5])
@example([[(1.0, 2.0, True), (2.0, 1.0, True), (0.0, 0.0, False), (0.0, 0.0, False), (0.0, 0.0, False)]])
def test_rank_correlation_is_scipys_over_the_present_timesteps(rows: list[list[tuple[float, float, bool]]]) -> None:
    """Equal values share their rank. The correlation is NaN if either has one value only."""
    a, b, present = (np.array(part) for part in zip(*(zip(*row, strict=True) for row in rows), strict=True))
    present[:, 0] = True
    for i, correlation in enumerate(rank_correlation(a, b, present)):
        x, y = a[i][present[i]], b[i][present[i]]
        if len(set(x)) == 1 or len(set(y)) == 1:
            assert math.isnan(correlation)
        else:
            assert correlation == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.integers(1, 3), st.integers(1, 3))
def test_by_chance_is_a_possible_distance(seed: int, timesteps: int, n: int, m: int) -> None:
    """It is below 1, however few the sequences are, and however different from each other."""
    attention = np.random.default_rng(seed).dirichlet(np.full(timesteps, 0.01), 50)
    assert 0 <= by_chance(attention.mean(axis=0), attention.std(axis=0), 1 / n + 1 / m) < 1


def test_by_chance_is_the_mean_distance_of_one_sequence_from_another() -> None:
    """All attention of a sequence is on one of 40 timesteps, so that two sequences differ entirely or not at all."""
    mean = np.full(40, 1 / 40)
    assert by_chance(mean, np.sqrt(mean * (1 - mean)), 2) == pytest.approx(39 / 40)


def test_by_chance_is_that_of_the_normal_distribution_for_many_sequences() -> None:
    """It is half the sum of the mean absolute differences."""
    mean, spread = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.1, 0.2])
    assert by_chance(mean, spread, 1 / 100 + 1 / 300) == pytest.approx(0.2 * np.sqrt(2 / np.pi * (1 / 100 + 1 / 300)))


def test_predictions_move_by_the_total_variation_of_classes_and_by_the_difference_of_numbers() -> None:
    """A sequence of outputs moves by the mean over its steps."""
    before = np.array([[[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]], np.float32)
    after = np.array([[[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]]], np.float32)
    assert moved(before[:, 0], after[:, 0], MULTICLASS).tolist() == [0.25]
    assert moved(before, after, MULTICLASS.model_copy(update={"steps": 2})).tolist() == [0.625]
    assert moved(np.array([[10, -10]], np.float32), np.array([[13, -11]], np.float32), TWO_NUMBERS).tolist() == [2]


def test_several_numbers_count_in_units_of_their_deviation() -> None:
    """The deviation is that of training, else that of the predictions. A constant does not count."""
    before, after = np.array([[0, 0]], np.float32), np.array([[1000, 1]], np.float32)
    units = units_of(TWO_NUMBERS, before, (500.0, 0.5))
    assert moved(before, after, TWO_NUMBERS, units).tolist() == [2]
    predictions = np.array([[-500, 7], [500, 7]], np.float32)
    assert moved(before, after, TWO_NUMBERS, units_of(TWO_NUMBERS, predictions)).tolist() == [1]
    steps = TWO_NUMBERS.model_copy(update={"steps": 2})
    assert moved(before[None], after[None], steps, units_of(steps, predictions[:, None])).tolist() == [1]


def test_classes_and_a_single_number_keep_their_unit() -> None:
    """A difference of 10 degrees is 10, whatever the deviation is."""
    assert units_of(MULTICLASS, np.ones((2, 3), np.float32)) is None
    assert units_of(REGRESSION, np.array([[0], [10]], np.float32), (5.0,)) is None
