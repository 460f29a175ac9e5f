"""Distances and rank correlations equal SciPy's."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import spearmanr

from service.artifact.distances import jensen_shannon, rank_correlation, total_variation

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
