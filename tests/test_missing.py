"""A model refuses values that its card does not allow to be missing."""

import numpy as np
import pytest

from service.artifact.missing import absent, refused
from tests.placeholder import complete_card

NAN, INF = np.nan, np.inf


def test_a_timestep_without_any_value_is_absent() -> None:
    """A timestep with one value is present."""
    sequences = np.array([[[1, NAN], [NAN, NAN], [NAN, 2]]], dtype=np.float32)
    assert absent(sequences).tolist() == [[False, True, False]]


def test_a_wrong_index_of_a_category_is_refused() -> None:
    """The index of unknown values is the largest; fractions and negative numbers are no index."""
    card = complete_card(tokens=None, categories={"b": ("x", "y")}, feature_labels=("a", "b"), missing_values=True)
    got = refused(np.array([[[9, 0], [0.5, 2], [1, 3], [1, 0.5], [1, -1], [INF, NAN]]], dtype=np.float32), card)
    assert got.astype(int).tolist() == [[[0, 0], [0, 0], [0, 1], [0, 1], [0, 1], [1, 0]]]


@pytest.mark.parametrize(
    ("variable_length", "missing_values", "expected"),
    [
        (False, False, [[0, 0], [0, 1], [1, 1], [0, 1], [1, 1], [1, 1]]),
        (True, False, [[0, 0], [0, 1], [1, 1], [0, 1], [0, 0], [0, 0]]),
        (False, True, [[0, 0], [0, 0], [0, 0], [0, 1], [0, 0], [0, 0]]),
        (True, True, [[0, 0], [0, 0], [0, 0], [0, 1], [0, 0], [0, 0]]),
    ],
)
def test_values_that_the_card_does_not_allow_are_refused(
    expected: list[list[int]], *, variable_length: bool, missing_values: bool
) -> None:
    """NaN is allowed anywhere, at the end or nowhere; infinity is never allowed."""
    sequence = [[1, 2], [3, NAN], [NAN, NAN], [4, -INF], [NAN, NAN], [NAN, NAN]]
    card = complete_card(variable_length=variable_length, missing_values=missing_values)
    got = refused(np.array([sequence, [[0, 0]] * 6], dtype=np.float32), card)
    assert got.astype(int).tolist() == [expected, [[0, 0]] * 6]
