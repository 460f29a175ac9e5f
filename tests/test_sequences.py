"""Sequences are padded to the length that the model takes, and their own lengths are kept."""

import numpy as np

from service.api.codecs.padding import padded, padded_each

NAN = np.nan


def test_whole_sequences_are_not_copied() -> None:
    """They need no padding."""
    array = np.ones((2, 3, 1), np.float32)
    same, lengths = padded(array, 3)
    assert same is array
    assert lengths is None


def test_shorter_sequences_end_with_absent_timesteps() -> None:
    """Here all sequences have the same length."""
    array, length = padded(np.ones((2, 1, 2), np.float32), 3)
    np.testing.assert_array_equal(array, [[[1, 1], [NAN, NAN], [NAN, NAN]]] * 2)
    assert array.dtype == np.float32
    assert length == 1


def test_each_sequence_keeps_its_length() -> None:
    """Here the sequences have different lengths."""
    array, lengths = padded_each(np.arange(4.0)[:, np.newaxis], np.array([1, 3]), 3)
    np.testing.assert_array_equal(array, [[[0], [NAN], [NAN]], [[1], [2], [3]]])
    assert isinstance(lengths, np.ndarray)
    assert lengths.tolist() == [1, 3]


def test_sequences_of_the_same_length_have_one_length() -> None:
    """One length allows cutting all answers at once."""
    array, length = padded_each(np.arange(4.0)[:, np.newaxis], np.array([2, 2]), 3)
    np.testing.assert_array_equal(array, [[[0], [1], [NAN]], [[2], [3], [NAN]]])
    assert length == 2
