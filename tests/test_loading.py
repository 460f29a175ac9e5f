"""The source, the held-out data and the gaps of a dataset; unusable sources are refused."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from training import TrainingError
from training.options import Options
from training.sources.loading import load


def saved(path: Path, **content: Any) -> str:
    np.savez(path, **content)
    return str(path)


def test_training_data_is_shuffled(tmp_path: Path) -> None:
    """The validation data of a sorted file contains all classes."""
    path = saved(tmp_path / "sorted.npz", x=np.arange(100.0).reshape(100, 1, 1), y=np.arange(100) // 50)
    for options in (Options(data=path), Options(data=path, test_data=path)):
        loaded = load(options)
        assert 0 < loaded.train.y[-20:].mean() < 1
        np.testing.assert_array_equal(loaded.train.y, loaded.train.x[:][:, 0, 0] // 50)
        np.testing.assert_array_equal(load(options).train.x[:], loaded.train.x[:])


def test_a_file_is_split_once_and_for_all(three_classes: Path) -> None:
    """Held-out and fitted sequences are disjoint, complete, and the same in every run."""
    options = Options(data=str(three_classes), test_split=0.25)
    loaded = load(options)
    assert (len(loaded.train), len(loaded.test)) == (180, 60)
    assert loaded.target.task == "multiclass"
    assert loaded.target.classes == ("high", "low", "middle")
    everything = np.concatenate([loaded.train.x[:], loaded.test.x[:]])
    assert len(np.unique(everything, axis=0)) == 240
    np.testing.assert_array_equal(load(options).test.x[:], loaded.test.x[:])


def test_the_scale_ignores_held_out_data(tmp_path: Path) -> None:
    """The fit does not depend on held-out data."""
    fitted, held_out = np.arange(40.0).reshape(10, 2, 2), np.full((10, 2, 2), 1e6)
    train = saved(tmp_path / "train.npz", x=fitted, y=np.arange(10) % 2)
    test = saved(tmp_path / "test.npz", x=held_out, y=np.arange(10) % 2)
    loaded = load(Options(data=train, test_data=test))
    assert loaded.scale is not None
    np.testing.assert_allclose(loaded.scale.mean, fitted.mean(axis=(0, 1)))
    np.testing.assert_allclose(loaded.scale.deviation, fitted.std(axis=(0, 1)))


def test_a_second_file_is_held_out(tmp_path: Path) -> None:
    """The second file is held out completely and in its order; classes are those of both files."""
    rng = np.random.default_rng(0)
    fitted, held_out = rng.random((9, 2, 1)), rng.random((4, 3, 1))
    train = saved(tmp_path / "train.npz", x=fitted, y=["b", "a", "b"] * 3)
    test = saved(tmp_path / "test.npz", x=held_out, y=["a", "c", "b", "a"])
    loaded = load(Options(data=train, test_data=test))
    assert loaded.target.classes == ("a", "b", "c")
    np.testing.assert_array_equal(loaded.test.x[:], held_out.astype(np.float32))
    np.testing.assert_array_equal(loaded.test.y, [0, 2, 1, 0])
    assert loaded.train.x.shape == (9, 3, 1)
    x = loaded.train.x[:]
    np.testing.assert_array_equal(np.sort(x[:, :2], axis=0), np.sort(fitted.astype(np.float32), axis=0))
    assert np.isnan(x[:, 2]).all()
    assert loaded.variable_length


@pytest.mark.parametrize("kinds", [("csv", "parquet"), ("parquet", "csv"), ("parquet", "parquet")])
@pytest.mark.parametrize("labels", [["up", "down"], [1, 2], [0.5, 2.5], [True, False]])
def test_a_table_to_hold_out_may_be_of_another_kind(tmp_path: Path, kinds: tuple[str, str], labels: list[Any]) -> None:
    """Labels, times and missing values are understood in both kinds."""
    times = [datetime(2024, 1, 1 + day, tzinfo=UTC).replace(tzinfo=None) for day in range(3)]
    columns = {
        "id": [f"machine {index:02}" for index in range(12) for _ in times],
        "t": times * 12,
        "v": [None, *range(1, 36)],
        "y": [labels[index % 2] for index in range(12) for _ in times],
    }
    frame = pl.DataFrame(columns)
    frame.write_parquet(tmp_path / "a.parquet")
    frame.write_csv(tmp_path / "a.csv")
    data, test_data = (str(tmp_path / f"a.{kind}") for kind in kinds)
    loaded = load(Options(data=data, test_data=test_data, sequence_column="id", timestep_column="t"))
    expected = np.arange(36, dtype=np.float32).reshape(12, 3, 1)
    expected[0, 0] = np.nan
    np.testing.assert_array_equal(loaded.test.x[:], expected)
    np.testing.assert_array_equal(np.sort(loaded.train.x[:], axis=0), np.sort(expected, axis=0))
    assert loaded.timestep_labels == ("2024-01-01", "2024-01-02", "2024-01-03")
    same = loaded.train.y[np.argsort(loaded.train.x[:][:, 1, 0])]
    np.testing.assert_array_equal(loaded.test.y, same)
    classes = {name.lower() for name in loaded.target.classes or ()}
    assert classes == (set() if 0.5 in labels else {str(label).lower() for label in labels})


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
def test_kinds_of_gaps_differ(tmp_path: Path, gaps: list[Any], variable_length: bool, missing_values: bool) -> None:  # noqa: FBT001
    """A sequence without its last timesteps ends early; any other gap is a missing value."""
    x = np.ones((10, 4, 2))
    for gap in gaps:
        x[gap] = np.nan
    loaded = load(Options(data=saved(tmp_path / "data.npz", x=x, y=np.arange(10) % 2)))
    assert (loaded.variable_length, loaded.missing_values) == (variable_length, missing_values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"data": "aeon:"},
            "--data: expected recurrent, decoy, add-two-numbers, find-max, aeon:NAME or .*, got 'aeon:'",
        ),
        ({"data": "table.xlsx"}, "--data: expected recurrent, .*, got 'table.xlsx'"),
        ({"data": "missing.npz"}, r"--data missing\.npz: no such file"),
        (
            {"data": "aeon:GunPoint", "test_data": "a.ts"},
            "--test-data: aeon:GunPoint has held-out data of its own, got a.ts",
        ),
        ({"data": "find-max", "test_data": "a.npz"}, "--test-data: find-max has held-out data of its own, got a.npz"),
        ({"data": "a.csv", "test_data": "b.npz"}, r"--test-data b\.npz: expected a table, as --data is one"),
        ({"data": "a.npz", "test_data": "b.ts"}, r"--test-data b\.ts: expected a \.npz file, as --data is one"),
    ],
)
def test_an_unusable_source_is_refused(options: dict[str, Any], message: str) -> None:
    """The message lists the sources that exist."""
    with pytest.raises(TrainingError, match=message):
        load(Options(**options))


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """A directory named like a file is refused."""
    (tmp_path / "data.npz").mkdir()
    with pytest.raises(TrainingError, match=r"data\.npz: expected a file, got a directory"):
        load(Options(data=str(tmp_path / "data.npz")))
