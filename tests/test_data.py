"""Where sequences come from, and what is told when they cannot be trained on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training import data
from training.errors import TrainingError
from training.options import Options


def test_recurrent_data_follows_the_recipe() -> None:
    """Standard normal, with the label in every feature of one timestep; the same seed gives the same data."""
    options = Options(sequences=2000, timesteps=7, features=3, attention_column=4)
    loaded = data.load(options)
    x, y = loaded.train.x, loaded.train.y
    assert x.shape == (2000, 7, 3)
    assert x.dtype == np.float32
    assert (x[:, 4, :] == y[:, np.newaxis]).all()
    rest = np.delete(x, 4, axis=1)
    assert abs(rest.mean()) < 0.05
    assert abs(rest.std() - 1) < 0.05
    assert 0.4 < y.mean() < 0.6
    np.testing.assert_array_equal(data.load(options).train.x, x)
    assert (data.load(options.model_copy(update={"seed": 1})).train.x != x).any()


def test_recurrent_data_holds_out_fresh_sequences() -> None:
    """A tenth as many again, none of which is fitted."""
    loaded = data.load(Options(sequences=2000))
    assert loaded.test.x.shape == (200, 20, 2)
    assert not (loaded.test.x[:, None, 0] == loaded.train.x[None, :, 0]).all(axis=-1).any()


def test_the_label_must_be_within_the_sequence() -> None:
    """Options that contradict each other are named."""
    with pytest.raises(TrainingError, match=r"--attention-column: expected less than --timesteps \(5\), got 10"):
        data.load(Options(timesteps=5))


def test_aeon_data_keeps_its_published_split() -> None:
    """ItalyPowerDemand: 67 training and 1,029 test sequences of 24 hours, the test ones in their published order."""
    from aeon.datasets import load_classification

    loaded = data.load(Options(data="aeon:ItalyPowerDemand"))
    assert loaded.train.x.shape == (67, 24, 1)
    assert loaded.target.classes == ("1", "2")
    x, y = load_classification("ItalyPowerDemand", split="test")
    np.testing.assert_array_equal(loaded.test.x, x.transpose(0, 2, 1).astype(np.float32))
    np.testing.assert_array_equal(loaded.test.y, y.astype(int) - 1)


def test_training_data_is_shuffled() -> None:
    """Files are often sorted by class; the validation part must not be of one class."""
    loaded = data.load(Options(data="aeon:GunPoint"))
    assert 0 < loaded.train.y[-10:].mean() < 1
    again = data.load(Options(data="aeon:GunPoint"))
    np.testing.assert_array_equal(loaded.train.x, again.train.x)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("aeon:JapaneseVowels", "expected sequences of one length, got several"),
        ("aeon:NoSuchData", "expected a classification data set that the aeon package ships"),
        ("aeon:", "expected recurrent, aeon:NAME or a .npz file, got 'aeon:'"),
        ("table.xlsx", "expected recurrent, aeon:NAME or a .npz file, got 'table.xlsx'"),
        ("missing.npz", r"--data missing\.npz: no such file"),
    ],
)
def test_a_source_that_is_not_there_is_named(source: str, message: str) -> None:
    """With what could be asked for instead."""
    with pytest.raises(TrainingError, match=message):
        data.load(Options(data=source))


def test_a_file_is_split_once_and_for_all(three_classes: Path) -> None:
    """Held-out and fitted sequences are disjoint, together everything, and the same in every run."""
    options = Options(data=str(three_classes), test_split=0.25)
    loaded = data.load(options)
    assert (len(loaded.train), len(loaded.test)) == (180, 60)
    assert loaded.target.task == "multiclass"
    assert loaded.target.classes == ("high", "low", "middle")
    everything = np.concatenate([loaded.train.x, loaded.test.x])
    assert len(np.unique(everything, axis=0)) == 240
    np.testing.assert_array_equal(data.load(options).test.x, loaded.test.x)


X = np.zeros((10, 4, 2))
Y = np.arange(10) % 2
HOLED = X.copy()
HOLED[3, 1, 0] = np.nan


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "expected arrays x and y, got no y"),
        ({"data": X}, "expected arrays x and y, got no x and no y"),
        ({"x": X[0], "y": Y}, r"expected x \(n, timesteps, features\) and y \(n,\), got \(4, 2\) and \(10,\)"),
        ({"x": X, "y": Y[:9]}, r"got \(10, 4, 2\) and \(9,\)"),
        ({"x": X, "y": Y * 0}, "expected at least 2 classes, got 0"),
        ({"x": X, "y": Y * 0.5}, "expected labels that are integers or strings.*, got float64"),
        ({"x": HOLED, "y": Y}, r"expected finite numbers, got nan at x\[3\]\[1\]\[0\]"),
        ({"x": X + 1e39, "y": Y}, r"expected finite numbers, got 1e\+39 at x\[0\]\[0\]\[0\]"),
        ({"x": X.astype(str), "y": Y}, r"expected x to hold numbers, got shape \(10, 4, 2\) of <U"),
        ({"x": X[:, :0], "y": Y}, r"expected x to hold numbers, got shape \(10, 0, 2\)"),
        ({"x": X[:0], "y": Y[:0]}, "expected at least 2 classes, got no sequences"),
        ({"x": X[:2], "y": Y[:2]}, "expected enough sequences to hold out 20%, got 2"),
    ],
)
def test_an_unusable_file_is_told_what_was_expected(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    """Which file, what was expected, what came, and where."""
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    with pytest.raises(TrainingError, match=message) as caught:
        data.load(Options(data=str(path)))
    assert str(path) in str(caught.value)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    """A text file, an array without names, and pickled objects."""
    path = tmp_path / "data.npz"
    path.write_text("text")
    with pytest.raises(TrainingError, match=r"not a readable \.npz file"):
        data.load(Options(data=str(path)))
    with path.open("wb") as file:
        np.save(file, X)
    with pytest.raises(TrainingError, match=r"not a readable \.npz file"):
        data.load(Options(data=str(path)))
    np.savez(path, x=np.array([print], dtype=object), y=Y)
    with pytest.raises(TrainingError, match=r"not a readable \.npz file"):
        data.load(Options(data=str(path)))
