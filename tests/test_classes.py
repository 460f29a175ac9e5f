"""The classes that predictions choose."""

import numpy as np

from service.artifact.classes import chosen


def test_one_half_is_the_second_of_two_classes() -> None:
    """Predictions may have steps; the nearest number below one half is the first class."""
    below = np.nextafter(np.float32(0.5), np.float32(0))
    assert chosen(np.array([[[0.5], [below]]], np.float32), "binary").tolist() == [[1, 0]]


def test_the_likeliest_of_more_classes_is_chosen() -> None:
    """Of equal ones, it is the first."""
    assert chosen(np.array([[0.2, 0.3, 0.5], [0.4, 0.4, 0.2]]), "multiclass").tolist() == [2, 0]


def test_each_of_several_labels_is_chosen_by_itself() -> None:
    """There may be none."""
    assert chosen(np.array([[0.5, 0.9], [0.1, 0.4]]), "multilabel").tolist() == [[1, 1], [0, 0]]
