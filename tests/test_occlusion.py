"""Tests of occlusions and of the importance computed from them."""

import numpy as np
import pytest

from service.artifact.card import Target
from service.artifact.occlusion import Occlusions
from tests.samples import BINARY, MULTICLASS, TWO_NUMBERS

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
