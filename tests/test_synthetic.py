"""Synthetic data follows its recipes, and the marked timesteps decide the label."""

from typing import Any

import numpy as np
import pytest

from training import TrainingError
from training.data import Dataset
from training.options import Options
from training.sources import synthetic
from training.sources.loading import load


def loaded(**options: Any) -> tuple[Dataset, Any]:
    """Return a dataset and its sequences to fit, which are an array."""
    made = load(Options(**options))
    assert isinstance(made.train.x, np.ndarray)
    assert made.scale is None
    assert not made.variable_length
    assert not made.missing_values
    assert made.train.x.dtype == np.float32
    assert (len(made.timestep_labels), len(made.feature_labels)) == made.train.x.shape[1:]
    return made, made.train.x


def test_recurrent_data_follows_the_recipe() -> None:
    """Values are standard normal, one timestep has the label, and the seed decides the data."""
    options = {"sequences": 2000, "timesteps": 7, "features": 3, "attention_column": 4}
    made, x = loaded(**options)
    y, marked = made.train.y, made.train.marked
    assert x.shape == (2000, 7, 3)
    assert (x[:, 4, :] == y[:, np.newaxis]).all()
    assert marked is not None
    assert (marked == (np.arange(7) == 4)).all()
    rest = np.delete(x, 4, axis=1)
    assert abs(rest.mean()) < 0.05
    assert abs(rest.std() - 1) < 0.05
    assert 0.4 < y.mean() < 0.6
    np.testing.assert_array_equal(loaded(**options)[1], x)
    assert (loaded(**options, seed=1)[1] != x).any()


def test_the_decoy_looks_like_the_label_and_says_nothing_about_it() -> None:
    """Both features have 0 or 1 at the same timestep; one of them is the label, and the other agrees by chance."""
    made, x = loaded(data="decoy", sequences=4000, timesteps=6, attention_column=2)
    assert made.feature_labels == ("signal", "decoy")
    assert (x[:, 2, 0] == made.train.y).all()
    assert set(np.unique(x[:, 2, 1])) == {0, 1}
    assert abs((x[:, 2, 1] == made.train.y).mean() - 0.5) < 0.04
    assert abs(np.delete(x, 2, axis=1).std() - 1) < 0.05


def test_two_marked_numbers_are_added() -> None:
    """Numbers are from 0 to 1, markers are 1 at two timesteps, and all pairs are equally likely."""
    made, x = loaded(data="add-two-numbers", timesteps=4)
    y, marked = made.train.y, made.train.marked
    assert x.shape == (20_000, 4, 2)
    assert (made.target.task, made.target.names) == ("regression", ("sum",))
    assert made.feature_labels == ("number", "marker")
    assert marked is not None
    assert (x[..., 1] == marked).all()
    assert (marked.sum(axis=1) == 2).all()
    np.testing.assert_allclose(y, (x[..., 0] * marked).sum(axis=1, keepdims=True), rtol=1e-6)
    assert y.shape == (20_000, 1)
    assert y.dtype == np.float32
    _, pairs = np.unique(marked, axis=0, return_counts=True)
    assert len(pairs) == 6
    assert pairs.min() > 3000
    assert x[..., 0].min() >= 0
    assert 0.49 < x[..., 0].mean() < 0.51
    assert 0.99 < x[..., 0].max() <= 1


def test_the_maximum_is_marked() -> None:
    """The label is the largest of numbers from 0 to 1."""
    made, x = loaded(data="find-max")
    assert x.shape == (100_000, 10, 1)
    assert (made.target.task, made.target.names) == ("regression", ("maximum",))
    assert made.train.marked is not None
    np.testing.assert_array_equal(made.train.y, x.max(axis=1))
    assert made.train.y.dtype == np.float32
    np.testing.assert_array_equal(x[..., 0][made.train.marked], made.train.y[:, 0])
    assert 0.49 < x.mean() < 0.51


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("recurrent", (300_000, 20, 2)),
        ("decoy", (100_000, 20, 2)),
        ("add-two-numbers", (20_000, 20, 2)),
        ("find-max", (100_000, 10, 1)),
    ],
)
def test_every_task_has_its_own_sizes(name: str, shape: tuple[int, ...]) -> None:
    """Options replace the sizes; a tenth as many sequences are held out, and none of them is fitted."""
    made = load(Options(data=name))
    assert made.train.x.shape == shape
    assert made.test.x.shape == (shape[0] // 10, *shape[1:])
    small = load(Options(data=name, sequences=1000, timesteps=12))
    assert small.train.x.shape == (1000, 12, shape[2])
    first = small.train.x[:][:, 0, 0]
    assert not np.isin(small.test.x[:][:, 0, 0], first[first != 1]).any()
    assert set(synthetic.RECIPES) == {"recurrent", "decoy", "add-two-numbers", "find-max"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timesteps": 5}, r"--attention-column: expected less than --timesteps \(5\), got 10"),
        ({"data": "find-max", "features": 2}, "--features: find-max has 1, got 2"),
        ({"data": "add-two-numbers", "timesteps": 1}, "--timesteps: expected at least 2 to add two numbers, got 1"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], message: str) -> None:
    """They are not ignored."""
    with pytest.raises(TrainingError, match=message):
        load(Options(**options))
