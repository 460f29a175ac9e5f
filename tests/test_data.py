"""What every source gives: splits, scale, gaps; and what is told when a source cannot be trained on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from service.inference.artifact import Array
from training import data
from training.data import Indices, Scale, Selection, Split
from training.errors import TrainingError
from training.options import Options


class Elsewhere:
    """Sequences that are not in memory, and count how many were read."""

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


@settings(deadline=None)
@given(ROWS, st.data())
def test_a_part_of_a_part_is_what_it_is_of_an_array(rows: Any, more: st.DataObject) -> None:
    """Whether sequences are in memory or elsewhere; labels and marks go with them."""
    y, marked = np.arange(20), X[..., 0] % 2 > 0
    part = Split(Elsewhere(X), y, marked).take(rows)
    again = more.draw(st.slices(len(part)))
    part = part.take(again)
    np.testing.assert_array_equal(part.x[:], X[rows][again])
    np.testing.assert_array_equal(Split(X, y).take(rows).take(again).x[:], X[rows][again])
    np.testing.assert_array_equal(part.y, y[rows][again])
    assert part.marked is not None
    np.testing.assert_array_equal(part.marked, marked[rows][again])
    assert part.x.shape == (len(part), 4, 3)
    assert len(part) == len(part.x)


def test_taking_reads_nothing() -> None:
    """Only asking for values does, and only for those."""
    rows = Elsewhere(X)
    part = Split(rows, np.arange(20)).take(np.array([3, 1, 5])).take(slice(1, 3))
    assert rows.read == 0
    assert isinstance(part.x, Selection)
    np.testing.assert_array_equal(part.x[:1], X[1:2])
    assert rows.read == 1


@settings(deadline=None)
@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 30), st.integers(1, 4), st.integers(1, 3)),
        elements=st.one_of(st.just(np.float32(np.nan)), st.floats(-100, 100, width=32)),
    ),
    st.integers(1, 20),
)
def test_the_scale_is_numpys_however_it_is_read(x: Array, values_at_a_time: int) -> None:
    """Over what is present; 0 for what never is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "VALUES_AT_A_TIME", values_at_a_time)
        scale = Scale.of(Elsewhere(x))
    for feature in range(x.shape[2]):
        values = x[..., feature].astype(np.float64)
        present = values[~np.isnan(values)] if not np.isnan(values).all() else np.zeros(1)
        assert scale.mean[feature] == pytest.approx(present.mean(), abs=1e-9)
        assert scale.deviation[feature] == pytest.approx(present.std(), abs=1e-6)


def test_the_scale_survives_large_offsets() -> None:
    """Years in seconds: the spread is a billionth of the values."""
    x = (np.float32(2**23) + np.arange(1000, dtype=np.float32) % 2).reshape(100, 10, 1)
    scale = Scale.of(x)
    assert scale.mean[0] == 2**23 + 0.5
    assert scale.deviation[0] == 0.5


def test_what_never_changes_deviates_by_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by what rounding leaves: it would be divided by."""
    monkeypatch.setattr(data, "VALUES_AT_A_TIME", 7)
    assert Scale.of(np.full((100, 3, 1), 0.1, dtype=np.float32)).deviation[0] == 0


def saved(path: Path, **content: Any) -> str:
    np.savez(path, **content)
    return str(path)


def test_training_data_is_shuffled(tmp_path: Path) -> None:
    """Files are often sorted by class; the validation part must not be of one class."""
    path = saved(tmp_path / "sorted.npz", x=np.arange(100.0).reshape(100, 1, 1), y=np.arange(100) // 50)
    for options in (Options(data=path), Options(data=path, test_data=path)):
        loaded = data.load(options)
        assert 0 < loaded.train.y[-20:].mean() < 1
        np.testing.assert_array_equal(loaded.train.y, loaded.train.x[:][:, 0, 0] // 50)
        np.testing.assert_array_equal(data.load(options).train.x[:], loaded.train.x[:])


def test_a_file_is_split_once_and_for_all(three_classes: Path) -> None:
    """Held-out and fitted sequences are disjoint, together everything, and the same in every run."""
    options = Options(data=str(three_classes), test_split=0.25)
    loaded = data.load(options)
    assert (len(loaded.train), len(loaded.test)) == (180, 60)
    assert loaded.target.task == "multiclass"
    assert loaded.target.classes == ("high", "low", "middle")
    everything = np.concatenate([loaded.train.x[:], loaded.test.x[:]])
    assert len(np.unique(everything, axis=0)) == 240
    np.testing.assert_array_equal(data.load(options).test.x[:], loaded.test.x[:])


def test_the_scale_is_of_what_is_fitted(tmp_path: Path) -> None:
    """Nothing about the fit depends on what is held out."""
    fitted, held_out = np.arange(40.0).reshape(10, 2, 2), np.full((10, 2, 2), 1e6)
    train = saved(tmp_path / "train.npz", x=fitted, y=np.arange(10) % 2)
    test = saved(tmp_path / "test.npz", x=held_out, y=np.arange(10) % 2)
    loaded = data.load(Options(data=train, test_data=test))
    assert loaded.scale is not None
    np.testing.assert_allclose(loaded.scale.mean, fitted.mean(axis=(0, 1)))
    np.testing.assert_allclose(loaded.scale.deviation, fitted.std(axis=(0, 1)))


def test_a_second_file_is_held_out(tmp_path: Path) -> None:
    """All of it, in its order, and nothing of the first; classes are those of both."""
    rng = np.random.default_rng(0)
    fitted, held_out = rng.random((9, 2, 1)), rng.random((4, 3, 1))
    train = saved(tmp_path / "train.npz", x=fitted, y=["b", "a", "b"] * 3)
    test = saved(tmp_path / "test.npz", x=held_out, y=["a", "c", "b", "a"])
    loaded = data.load(Options(data=train, test_data=test))
    assert loaded.target.classes == ("a", "b", "c")
    np.testing.assert_array_equal(loaded.test.x[:], held_out.astype(np.float32))
    np.testing.assert_array_equal(loaded.test.y, [0, 2, 1, 0])
    assert loaded.train.x.shape == (9, 3, 1)
    x = loaded.train.x[:]
    np.testing.assert_array_equal(np.sort(x[:, :2], axis=0), np.sort(fitted.astype(np.float32), axis=0))
    assert np.isnan(x[:, 2]).all()
    assert loaded.variable_length


@pytest.mark.parametrize(
    ("gaps", "variable_length", "missing_values"),
    [
        ([], False, False),
        ([(3, slice(2, 4), slice(None))], True, False),
        ([(3, 3, 1)], False, True),
        ([(3, 1, slice(None))], False, True),
        ([(3, 3, slice(None)), (4, 0, 0)], True, True),
    ],
)
def test_gaps_are_told_apart(tmp_path: Path, gaps: list[Any], variable_length: bool, missing_values: bool) -> None:  # noqa: FBT001
    """A sequence without its last timesteps ends early; whatever else is not there is missing."""
    x = np.ones((10, 4, 2))
    for gap in gaps:
        x[gap] = np.nan
    loaded = data.load(Options(data=saved(tmp_path / "data.npz", x=x, y=np.arange(10) % 2)))
    assert (loaded.variable_length, loaded.missing_values) == (variable_length, missing_values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "aeon:"}, "--data: expected recurrent, add-two-numbers, find-max, aeon:NAME or .*, got 'aeon:'"),
        ({"data": "table.xlsx"}, "--data: expected recurrent, .*, got 'table.xlsx'"),
        ({"data": "missing.npz"}, r"--data missing\.npz: no such file"),
        ({"data": "aeon:GunPoint", "test_data": "a.ts"}, "--test-data: aeon:GunPoint says what is held out, got a.ts"),
        ({"data": "find-max", "test_data": "a.npz"}, "--test-data: find-max says what is held out, got a.npz"),
        ({"data": "a.npz", "test_data": "b.ts"}, r"--test-data b\.ts: expected a \.npz file, as --data is one"),
    ],
)
def test_a_source_that_is_not_there_is_named(options: dict[str, Any], message: str) -> None:
    """With what could be asked for instead."""
    with pytest.raises(TrainingError, match=message):
        data.load(Options(**options))


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """Whatever its name ends in."""
    (tmp_path / "data.npz").mkdir()
    with pytest.raises(TrainingError, match=r"data\.npz: expected a file, got a directory"):
        data.load(Options(data=str(tmp_path / "data.npz")))
