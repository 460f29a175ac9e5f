"""An epoch contains every sequence once, for any number of batches in a call and any start."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training import batches
from training.batches import Batches, batches_of, prefetch
from training.data import LabelledSequences, Subset


def numbered_sequences(n: int) -> LabelledSequences:
    """Return sequences of 3 × 2 whose first value is their index, with classes 0 to 2."""
    x = np.zeros((n, 3, 2), np.float32)
    x[:, 0, 0] = np.arange(n)
    return LabelledSequences(x, np.arange(n) % 3)


def steps_of(calls: Iterator[Batches]) -> list[tuple[list[int], list[int], list[float]]]:
    """Return the number, class and weight of each sequence of each batch."""
    return [
        (one.x[step, :, 0, 0].astype(int).tolist(), one.y[step].tolist(), one.weights[step].tolist())
        for one in calls
        for step in range(one.steps)
    ]


@given(n=st.integers(1, 60), batch_size=st.integers(1, 20), seed=st.integers(0, 9), epoch=st.integers(0, 9))
def test_an_epoch_is_every_sequence_once(n: int, batch_size: int, seed: int, epoch: int) -> None:
    """Each sequence has its class and a weight of 1; padding in the last batch has a weight of 0."""
    steps = steps_of(batches_of(numbered_sequences(n), None, batch_size, (seed, epoch), 0))
    assert len(steps) == -(-n // batch_size)
    assert all(len(numbers) == min(batch_size, n) for numbers, _, _ in steps)
    flat = [row for step in steps for row in zip(*step, strict=True)]
    assert sorted(number for number, _, weight in flat if weight) == list(range(n))
    assert all(y == number % 3 and weight == 1 for number, y, weight in flat[:n])
    assert all(row == (0, 0, 0) for row in flat[n:])


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
    for start in range(8):
        assert steps_of(batches_of(sequences, None, 8, (0, 0), start)) == everything[start:]


@pytest.mark.parametrize("most_bytes", [1, 2 * 8 * 24, 3 * 8 * 24 + 5, 2**25])
def test_a_bound_on_memory_changes_only_how_many_batches_a_call_takes(
    monkeypatch: pytest.MonkeyPatch, most_bytes: int
) -> None:
    """Calls have one shape and at least one batch, and the batches stay the same."""
    sequences = numbered_sequences(50)
    expected = steps_of(batches_of(sequences, None, 8, (0, 0), 0))
    monkeypatch.setattr(batches, "MOST_BYTES", most_bytes)
    calls = list(batches_of(sequences, None, 8, (0, 0), 0))
    assert {one.x.shape for one in calls} == {(min(7, max(1, most_bytes // (8 * 24))), 8, 3, 2)}
    assert steps_of(iter(calls)) == expected


def test_classes_have_their_weights() -> None:
    """Sequences get the weight of their class; padding gets none."""
    steps = steps_of(batches_of(numbered_sequences(10), np.array([0.5, 2, 3], np.float32), 4, (0, 0), 0))
    rows = [row for step in steps for row in zip(*step, strict=True)]
    assert [weight for _, _, weight in rows] == [[0.5, 2, 3][y] for _, y, _ in rows[:10]] + [0, 0]


def test_sequences_on_disk_are_read_as_they_are_needed() -> None:
    """Any sequence store gives the same batches."""
    sequences = numbered_sequences(20)
    selected = LabelledSequences(Subset(sequences.x, np.arange(20)), sequences.y)
    assert steps_of(batches_of(selected, None, 8, (0, 0), 0)) == steps_of(batches_of(sequences, None, 8, (0, 0), 0))


def test_numbers_to_predict_stay_with_their_sequences() -> None:
    """Several numbers stay with their sequence."""
    x = np.arange(10, dtype=np.float32)[:, None, None]
    (call,) = batches_of(LabelledSequences(x, np.stack([x[:, 0, 0] * 2, x[:, 0, 0] * 3], axis=1)), None, 4, (0, 0), 0)
    assert call.y.shape == (3, 4, 2)
    np.testing.assert_array_equal(call.y, call.x[:, :, 0] * [2, 3])


def test_prefetched_items_keep_their_order() -> None:
    """All items arrive in order."""
    assert list(prefetch(range(1, 100))) == list(range(1, 100))
    assert list(prefetch([])) == []


def test_an_error_while_prefetching_is_raised_in_order() -> None:
    """The error is raised after the items before it."""

    def failing() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    items = prefetch(failing())
    assert next(items) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(items)


def test_only_one_item_is_prefetched() -> None:
    """Prefetching uses bounded memory."""
    made = []

    def making() -> Iterator[int]:
        for number in range(1, 10):
            made.append(number)
            yield number

    items = prefetch(making())
    assert next(items) == 1
    items.close()  # type: ignore[attr-defined]  # it is a generator
    assert made == [1, 2]
