"""Which columns of a table are features, and which of their cells hold no value."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from training import TrainingError
from training.data import SourceData
from training.options import Options
from training.sources.loading import load
from training.tables import reading


def read(source: Path | pd.DataFrame, **options: Any) -> SourceData:
    return reading.read(
        {"--data": source}, Options.from_keywords({"data": "x.csv", "target_column": ("y",), **options})
    )


def written(folder: Path, content: str) -> Path:
    file = folder / "data.csv"
    file.write_text(content)
    return file


CATEGORIES = pd.DataFrame({"u": [1.5, 2, 3, 4, 5], "kind": ["none", "-", "NA", "wood", ""], "y": [*"abaab"]})


@pytest.mark.parametrize("kind", ["text", "category", "csv"])
def test_a_category_may_be_none(tmp_path: Path, kind: str) -> None:
    """In text only the empty cell and the words of --missing are missing; in numbers such a word is missing."""
    frame: Any = CATEGORIES.astype({"kind": "category"}) if kind == "category" else CATEGORIES
    if kind == "csv":
        CATEGORIES.to_csv(tmp_path / "data.csv", index=False)
        frame = tmp_path / "data.csv"
    loaded = read(frame, static_columns=("kind",))
    assert loaded.categories == {"kind": ("-", "NA", "none", "wood")}
    np.testing.assert_array_equal(loaded.x[:][:, 0, 1], [2, 0, 1, 3, np.nan])
    loaded = read(frame, static_columns=("kind",), missing=("NA",))
    assert loaded.categories == {"kind": ("-", "none", "wood")}
    np.testing.assert_array_equal(loaded.x[:][:, 0, 1], [1, 0, np.nan, 2, np.nan])


def test_a_timestep_of_a_category_may_be_none_throughout(tmp_path: Path) -> None:
    """The other timesteps show that it is a category."""
    loaded = read(written(tmp_path, "c@0,c@1,y\nnone,red,a\nnone,blue,b\nnone,red,a\n"))
    assert loaded.categories == {"c": ("blue", "none", "red")}
    assert loaded.x[:][..., 0].tolist() == [[1, 2], [1, 0], [1, 2]]


def machines(**columns: Any) -> pd.DataFrame:
    """Return 8 machines on 5 days, with a column of values and further ones."""
    row = np.arange(40)
    dates = [f"2026-01-{1 + day:02}" for day in row % 5]
    return pd.DataFrame({**{name: make(row) for name, make in columns.items()}, "date": dates, "u": row % 7 / 2})


def test_a_table_with_two_identifiers_needs_the_sequence_column() -> None:
    """Each row would be a sequence otherwise, without a word."""
    frame = machines(machine=lambda row: row // 5, serial=lambda row: 1000 + row // 5, y=lambda row: row // 5 % 2)
    with pytest.raises(
        TrainingError,
        match="expected --sequence-column, as rows may be the timesteps of 'machine' ordered by 'date' or 'serial' "
        "ordered by 'date'; if each row is a sequence, --drop-columns date",
    ):
        read(frame)
    assert read(frame, sequence_column="machine", drop_columns=("serial",)).x.shape == (8, 5, 1)
    assert read(frame, drop_columns=("date",)).x.shape == (40, 3, 1)


def test_a_label_that_changes_within_a_sequence_needs_a_decision() -> None:
    """Machines with the same dates are long series, and each row has a label of its own."""
    frame = machines(machine=lambda row: 7 * (row // 5), y=lambda row: row % 3 % 2)
    with pytest.raises(TrainingError, match="may be the timesteps of 'machine' ordered by 'date'"):
        read(frame)


def test_dates_of_single_rows_are_left_out() -> None:
    """Numbers that repeat on other dates are no identifiers: a patient has an age and a day of admission."""
    row = np.arange(60)
    dates = [f"2026-{1 + one // 25:02}-{1 + one % 25:02}" for one in row * 7 % 50]
    frame = pd.DataFrame({"age": 20 + row % 20, "pulse": row * 13 % 29, "admitted": dates, "y": row % 3 % 2})
    loaded = read(frame)
    assert loaded.timestep_labels == ("age", "pulse")
    assert "column 'admitted' holds times and is left out" in loaded.hints


def test_two_values_are_no_identifiers_of_single_rows() -> None:
    """Each row has a date of its own."""
    row = np.arange(60)
    dates = pd.Timestamp("2026-01-01") + pd.to_timedelta(row, "D")
    frame = pd.DataFrame({"smokes": row // 3 % 2, "pulse": row * 13 % 29, "admitted": dates, "y": row % 3 % 2})
    assert read(frame).timestep_labels == ("smokes", "pulse")


def test_the_second_table_may_have_series_in_cells(tmp_path: Path) -> None:
    """As lists of Parquet, or as text."""
    frame = pd.DataFrame({"u": [[1.5, 2.0], [3.0], [4.0, 5.0]], "y": [*"aba"]})
    frame.to_parquet(tmp_path / "data.parquet")
    text = written(tmp_path, 'u,y\n"[1.5, 2]",a\n[3],b\n')
    for fit, test in ((tmp_path / "data.parquet", tmp_path / "data.parquet"), (text, text), (frame, text)):
        files = {"--data": fit, "--test-data": test}
        loaded = reading.read(files, Options(data="x.csv", target_column=("y",)))
        assert loaded.fitted is not None
        np.testing.assert_array_equal(loaded.x[:][loaded.fitted :][:2, :, 0], [[1.5, 2], [3, np.nan]])
    for wrong in ("x", "[1, x]"):
        expected = f"column 'u', row 3: expected a list of numbers, got {wrong!r}"
        with pytest.raises(TrainingError, match=re.escape(expected)):
            reading.read(
                {"--data": text, "--test-data": frame.assign(u=["[1]", "[2]", wrong])},
                Options(data="x.csv", target_column=("y",)),
            )


def series(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"t": range(60), "load": np.arange(60) % 7 / 2, **columns})


WINDOWS: dict[str, Any] = {"timestep_column": "t", "window": 4, "horizon": 2}


def test_a_forecast_knows_the_feature_of_its_past() -> None:
    """Names do not decide: the past of `load net` is not that of `load`."""
    frame = series(**{"load net": np.arange(60.0)[::-1]})
    both = read(frame, **WINDOWS, target_column=("load net", "load"))
    assert [both.feature_labels[one] for one in both.past if one is not None] == 2 * ["load net"] + 2 * ["load"]
    dropped = read(frame, **WINDOWS, target_column=("load net",), drop_columns=("load net",))
    assert (dropped.feature_labels, dropped.past) == (("load",), (None, None))


@pytest.mark.parametrize(
    ("frame", "options", "hint"),
    [
        (series(), {**WINDOWS, "time_feature": True}, "--time-feature has no effect on windows"),
        (series(g=1), {**WINDOWS, "group_column": "g"}, "--group-column has no effect on windows"),
        (series(), {"drop_columns": ("t",), "horizon": 3}, "--horizon has no effect on a table without --window"),
        (series(), {"drop_columns": ("t",), "stride": 3}, "--stride has no effect on a table without --window"),
        (series(), {"drop_columns": ("t",), "time_feature": True}, "--time-feature has no effect on a table of one"),
    ],
)
def test_an_option_without_effect_is_told(frame: pd.DataFrame, options: dict[str, Any], hint: str) -> None:
    """The sequences are those without the option."""
    target: dict[str, Any] = {"target_column": ("load",)} if "window" in options else {}
    frame = frame if target else frame.assign(y=np.arange(60) % 2)
    assert any(one.startswith(hint) for one in read(frame, **{**options, **target}).hints)


@pytest.mark.parametrize(
    ("architecture", "hint"),
    [
        ("minirocket", "--layers, --dropout have no effect on minirocket"),
        ("inception", "--layers has no effect on inception"),
        ("additive", None),
    ],
)
def test_an_option_that_the_architecture_does_not_read_is_told(architecture: str, hint: str | None) -> None:
    """An LSTM has layers, and the others have not."""
    options = {"data": "frame", "drop_columns": ("t",), "layers": 2, "dropout": 0.1, "architecture": architecture}
    loaded = load(Options.from_keywords(options), series(y=np.arange(60) % 2))
    assert [one for one in loaded.hints if "no effect" in one] == ([] if hint is None else [hint])
