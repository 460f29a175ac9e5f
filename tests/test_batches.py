"""An epoch contains every sequence once, for any number of batches in a call and any start."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from training import batches
from training.batches import batches_of
from training.data import LabelledSequences, Subset


def numbered_sequences(n: int) -> LabelledSequences:
    """Return sequences of 3 × 2 whose first value is their index, with classes 0 to 2."""
    x = np.zeros((n, 3, 2), np.float32)
    x[:, 0, 0] = np.arange(n)
    return LabelledSequences(x, np.arange(n) % 3)


def steps_of(epoch: tf.data.Dataset) -> list[tuple[list[int], list[int], list[float]]]:
    """Return the number, class and weight of each sequence of each batch."""
    return [
        (x[:, 0, 0].astype(int).tolist(), y[:, 0].tolist(), weights.tolist())
        for x, y, weights in epoch.as_numpy_iterator()
    ]


@settings(max_examples=20)
@given(n=st.integers(1, 60), batch_size=st.integers(1, 20), seed=st.integers(0, 9), epoch=st.integers(0, 9))
def test_an_epoch_is_every_sequence_once(n: int, batch_size: int, seed: int, epoch: int) -> None:
    """Each sequence has its class; the last batch is filled with weight 0, and its mean is over its own sequences."""
    steps = steps_of(batches_of(numbered_sequences(n), None, batch_size, (seed, epoch), 0))
    assert len(steps) == -(-n // batch_size)
    assert all(len(numbers) == min(batch_size, n) for numbers, _, _ in steps)
    flat = [row for step in steps for row in zip(*step, strict=True)]
    assert sorted(number for number, _, weight in flat if weight) == list(range(n))
    assert all(y == number % 3 for number, y, _ in flat)
    assert all(weight == 0 for _, _, weight in flat[n:])
    for _, _, weights in steps:
        assert np.mean(weights) == pytest.approx(1)
        assert len({weight for weight in weights if weight}) == 1


def test_the_order_depends_on_the_seed_alone() -> None:
    """The same seed gives the same order; another seed or epoch gives another order."""
    sequences = numbered_sequences(50)

    def order(*seed: int) -> Any:
        return steps_of(batches_of(sequences, None, 8, seed, 0))

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


@pytest.mark.parametrize("most_steps", [1, 2, 3, 100])
def test_a_start_leaves_out_exactly_the_batches_before(monkeypatch: pytest.MonkeyPatch, most_steps: int) -> None:
    """A resumed epoch continues after the finished batches."""
    monkeypatch.setattr(batches, "MOST_STEPS", most_steps)
    sequences = numbered_sequences(50)
    everything = steps_of(batches_of(sequences, None, 8, (0, 0), 0))
    for start in range(7):
        assert steps_of(batches_of(sequences, None, 8, (0, 0), start)) == everything[start:]


@pytest.mark.parametrize("most_bytes", [1, 2 * 8 * 24, 3 * 8 * 24 + 5, 2**25])
def test_a_bound_on_memory_changes_only_how_many_batches_are_read_at_once(
    monkeypatch: pytest.MonkeyPatch, most_bytes: int
) -> None:
    """The batches stay the same."""
    sequences = numbered_sequences(50)
    expected = steps_of(batches_of(sequences, None, 8, (0, 0), 0))
    monkeypatch.setattr(batches, "MOST_BYTES", most_bytes)
    assert steps_of(batches_of(sequences, None, 8, (0, 0), 0)) == expected


def test_classes_have_their_weights() -> None:
    """Sequences get the weight of their class; padding gets none."""
    steps = steps_of(batches_of(numbered_sequences(10), np.array([0.5, 2, 3], np.float32), 4, (0, 0), 0))
    rows = [row for step in steps for row in zip(*step, strict=True)]
    assert [weight for _, _, weight in rows[:8]] == [[0.5, 2, 3][y] for _, y, _ in rows[:8]]
    assert [weight for _, _, weight in rows[8:]] == [2 * [0.5, 2, 3][y] for _, y, _ in rows[8:10]] + [0, 0]


def test_sequences_on_disk_are_read_as_they_are_needed() -> None:
    """Any sequence store gives the same batches."""
    sequences = numbered_sequences(20)
    selected = LabelledSequences(Subset(sequences.x, np.arange(20)), sequences.y)
    assert steps_of(batches_of(selected, None, 8, (0, 0), 0)) == steps_of(batches_of(sequences, None, 8, (0, 0), 0))


def test_numbers_to_predict_stay_with_their_sequences() -> None:
    """Several numbers stay with their sequence."""
    x = np.arange(10, dtype=np.float32)[:, None, None]
    sequences = LabelledSequences(x, np.stack([x[:, 0, 0] * 2, x[:, 0, 0] * 3], axis=1))
    for some, y, _ in batches_of(sequences, None, 4, (0, 0), 0).as_numpy_iterator():
        assert y.shape == (4, 2)
        np.testing.assert_array_equal(y, some[:, :, 0] * [2, 3])
