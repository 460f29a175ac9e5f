"""Subsets and scales are the same for sequences in memory and on disk."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from service.artifact.tensors import Array
from tests.samples import TWO_NUMBERS, dataset
from training import data
from training.data import Indices, LabelledSequences, Scale, Subset, mean_sequence


class CountingStore:
    """Sequences that are not an array, with a count of the sequences read."""

    def __init__(self, x: Array) -> None:
        self._x = x
        self.shape: tuple[int, ...] = x.shape
        self.read = 0

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, rows: Indices | slice, /) -> Array:
        part = self._x[rows]
        self.read += len(part)
        return part


X = np.arange(240, dtype=np.float32).reshape(20, 4, 3)
ROWS = st.one_of(
    st.slices(20),
    st.lists(st.integers(-20, 19)).map(lambda rows: np.array(rows, dtype=np.int64)),
)


@given(ROWS, st.data())
def test_a_subset_of_a_subset_is_that_of_an_array(rows: Any, more: st.DataObject) -> None:
    """Labels and marks stay with their sequences."""
    y, marked = np.arange(20), X[..., 0] % 2 > 0
    part = LabelledSequences(CountingStore(X), y, marked).take(rows)
    again = more.draw(st.slices(len(part)))
    part = part.take(again)
    np.testing.assert_array_equal(part.x[:], X[rows][again])
    np.testing.assert_array_equal(LabelledSequences(X, y).take(rows).take(again).x[:], X[rows][again])
    np.testing.assert_array_equal(part.y, y[rows][again])
    assert part.marked is not None
    np.testing.assert_array_equal(part.marked, marked[rows][again])
    assert part.x.shape == (len(part), 4, 3)
    assert len(part) == len(part.x)


def test_taking_reads_nothing() -> None:
    """Only an access to values reads sequences, and only the ones accessed."""
    rows = CountingStore(X)
    part = LabelledSequences(rows, np.arange(20)).take(np.array([3, 1, 5])).take(slice(1, 3))
    assert rows.read == 0
    assert isinstance(part.x, Subset)
    np.testing.assert_array_equal(part.x[:1], X[1:2])
    assert rows.read == 1


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 30), st.integers(1, 4), st.integers(1, 3)),
        elements=st.one_of(st.just(np.float32(np.nan)), st.floats(-100, 100, width=32)),
    ),
    st.integers(1, 20),
)
def test_the_scale_is_numpys_however_it_is_read(x: Array, values_at_a_time: int) -> None:
    """The scale is over the values present; it is 0 for a feature without values."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "VALUES_AT_A_TIME", values_at_a_time)
        scale = Scale.of(CountingStore(x))
    for feature in range(x.shape[2]):
        values = x[..., feature].astype(np.float64)
        present = values[~np.isnan(values)] if not np.isnan(values).all() else np.zeros(1)
        assert scale.mean[feature] == pytest.approx(present.mean(), abs=1e-9)
        assert scale.deviation[feature] == pytest.approx(present.std(), abs=1e-6)


def test_the_scale_survives_large_offsets() -> None:
    """The deviation is exact for values whose spread is tiny compared with their mean."""
    x = (np.float32(2**23) + np.arange(1000, dtype=np.float32) % 2).reshape(100, 10, 1)
    scale = Scale.of(x)
    assert scale.mean[0] == 2**23 + 0.5
    assert scale.deviation[0] == 0.5


def test_a_constant_feature_has_a_deviation_of_exactly_0(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rounding error would become a divisor."""
    monkeypatch.setattr(data, "VALUES_AT_A_TIME", 7)
    assert Scale.of(np.full((100, 3, 1), 0.1, dtype=np.float32)).deviation[0] == 0


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 20), st.integers(1, 4), st.integers(1, 3)),
        elements=st.one_of(st.just(np.float32(np.nan)), st.floats(-100, 100, width=32)),
    ),
    st.integers(1, 20),
)
def test_the_mean_sequence_is_numpys_however_it_is_read(x: Array, values_at_a_time: int) -> None:
    """A timestep without values has the feature's mean; a feature without values has 0."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "VALUES_AT_A_TIME", values_at_a_time)
        mean = mean_sequence(CountingStore(x))
    for t, feature in np.ndindex(mean.shape):
        for values in (x[:, t, feature], x[..., feature], np.zeros(1)):
            present = values[~np.isnan(values)].astype(np.float64)
            if present.size:
                assert mean[t, feature] == pytest.approx(present.mean(), abs=1e-9)
                break


def test_outliers_do_not_move_a_robust_scale() -> None:
    """The scale is that of the other numbers; a number that is nearly constant has its standard deviation."""
    y = np.random.default_rng(0).normal(10, 3, (4000, 2)).astype(np.float32)
    y[::50, 0] = 1e8
    y[:, 1] = 7
    y[0, 1] = 8
    numbers = dataset(np.zeros((4000, 1, 1)), y, TWO_NUMBERS, scaled=True)
    scale = replace(numbers, robust=True).target_scale
    np.testing.assert_allclose([scale.mean[0], scale.deviation[0]], [10, 3], rtol=0.05)
    assert scale.deviation[1] == pytest.approx(y[:, 1].std(), rel=1e-4)
    assert numbers.target_scale.deviation[0] > 1e7
