"""The validation data have the classes of the training data, whole groups, and the last part in time."""

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.samples import MULTICLASS, REGRESSION, dataset
from training.data import Dataset, LabelledSequences
from training.folds import split


def numbered(y: Any, target: Any = MULTICLASS, groups: Any = None, *, ordered: bool = False) -> Dataset:
    """Return a dataset of sequences of 5 timesteps, whose first value is their index."""
    x = np.zeros((len(y), 5, 1), np.float32)
    x[:, 0, 0] = np.arange(len(y))
    data = dataset(x, y, target, scaled=True)
    return replace(data, train=LabelledSequences(data.train.x, y, groups=groups), ordered=ordered)


def rows(sequences: LabelledSequences) -> list[int]:
    """Return the indices of sequences of a numbered dataset."""
    indices: list[int] = sequences.x[:][:, 0, 0].astype(int).tolist()
    return indices


@settings(max_examples=50)
@given(
    counts=st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(1, 40)),
    fraction=st.sampled_from([0, 0.001, 0.1, 0.25, 0.7]),
    seed=st.integers(0, 5),
)
def test_each_class_has_its_share(counts: tuple[int, ...], fraction: float, seed: int) -> None:
    """The number of validated sequences of a class differs by less than 1 from its share; each is on one side."""
    y = np.repeat(np.arange(3), counts)
    fitted, validated = split(numbered(y), fraction, seed)
    assert sorted([*rows(fitted), *rows(validated)]) == list(range(len(y)))
    assert len(validated) == int(len(y) * fraction)
    for number, count in enumerate(counts):
        assert abs((validated.y == number).sum() - count * fraction) < 1 + 1e-9


def test_the_seed_decides_which_sequences_are_validated_on() -> None:
    """The same seed gives the same ones; another seed gives others."""
    data = numbered(np.arange(60) % 3)
    assert rows(split(data, 0.2, 0)[1]) == rows(split(data, 0.2, 0)[1])
    assert rows(split(data, 0.2, 0)[1]) != rows(split(data, 0.2, 1)[1])


def test_numbers_have_the_same_distribution_in_both_parts() -> None:
    """One in ten is taken from each tenth of the values."""
    y = np.random.default_rng(0).permutation(100).astype(np.float32)[:, np.newaxis]
    _, validated = split(numbered(y, REGRESSION), 0.1, 0)
    assert sorted(validated.y[:, 0] // 10) == list(range(10))


def test_a_group_stays_together() -> None:
    """No group is in both parts."""
    groups = np.arange(60) % 12
    fitted, validated = split(numbered((np.arange(60) % 12) // 4, groups=groups), 0.25, 0)
    assert len(validated) == 15
    assert not set(groups[rows(fitted)]) & set(groups[rows(validated)])


def test_windows_are_validated_on_their_last_part() -> None:
    """Windows of 5 timesteps that overlap the last part are left out."""
    fitted, validated = split(numbered(np.arange(60) % 3, ordered=True), 0.2, 0)
    assert rows(validated) == list(range(48, 60))
    assert rows(fitted) == list(range(44))
    assert len(split(numbered(np.arange(60) % 3, ordered=True), 0, 0)[0]) == 60
