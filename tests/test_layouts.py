"""Wide and long tables in CSV and Parquet give the same sequences, or a message with the place of the mistake."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.artifact.tensors import Array
from service.tables import rows
from training import TrainingError
from training.data import SourceData
from training.options import Options
from training.sources import archives, arrays
from training.sources.loading import load
from training.tables import reading

FEATURES = ("u", "v")
WIDE: dict[str, Any] = {"target_column": ("y",)}
LONG: dict[str, Any] = {"target_column": ("y",), "sequence_column": "id", "timestep_column": "t"}


def read(path: Path, content: Any, **options: Any) -> SourceData:
    """Write a table and read it."""
    if isinstance(content, str):
        path.write_text(content)
    elif path.suffix == ".csv":
        pa.csv.write_csv(content, path)
    else:
        pa.parquet.write_table(content, path)
    return reading.read({"--data": path}, Options(data=str(path), **options))


def csv(path: Path, content: str, **options: Any) -> SourceData:
    return read(path / "data.csv", content, **options)


def parquet(path: Path, columns: Any, **options: Any) -> SourceData:
    return read(path / "data.parquet", pa.table(columns), **options)


def wide(x: Array, labels: list[str]) -> pa.Table:
    columns: dict[str, Any] = {"y": labels}
    for timestep in range(x.shape[1]):
        for feature, name in enumerate(FEATURES):
            columns[f"{name}@{timestep}"] = pa.array(x[:, timestep, feature], pa.float32(), from_pandas=True)
    return pa.table(columns)


def long(x: Array, labels: list[str], lengths: list[int]) -> pa.Table:
    rows = [(index, step) for index, length in enumerate(lengths) for step in range(length)]
    columns: dict[str, Any] = {"id": [f"s{index:02}" for index, _ in rows], "t": [step for _, step in rows]}
    for feature, name in enumerate(FEATURES):
        values = np.array([x[index, step, feature] for index, step in rows])
        columns[name] = pa.array(values, pa.float32(), from_pandas=True)
    return pa.table({**columns, "y": [labels[index] for index, _ in rows]})


def ts(x: Array, labels: list[str], lengths: list[int]) -> str:
    lines = ["@univariate false", "@equalLength false", "@classLabel true a b", "@data"]
    for row, label, length in zip(x, labels, lengths, strict=True):
        channels = [
            ",".join("?" if np.isnan(value) else repr(float(value)) for value in row[:length, f]) for f in (0, 1)
        ]
        lines.append(":".join([*channels, label]))
    return "\n".join(lines) + "\n"


@st.composite
def sequences(draw: st.DrawFn) -> tuple[Array, list[str], list[int]]:
    """Draw sequences of different lengths with missing values, but not at the end."""
    lengths = draw(st.lists(st.integers(1, 5), min_size=2, max_size=12))
    values = st.one_of(st.just(np.nan), st.floats(-1e6, 1e6, width=32))
    x = np.full((len(lengths), max(lengths), 2), np.nan, dtype=np.float32)
    for row, length in zip(x, lengths, strict=True):
        row[:length] = draw(st.lists(st.tuples(values, values), min_size=length, max_size=length))
        row[length - 1, draw(st.integers(0, 1))] = draw(st.floats(-1e6, 1e6, width=32))
    return x, draw(st.lists(st.sampled_from("ab"), min_size=len(lengths), max_size=len(lengths))), lengths


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10)
@given(sequences(), st.integers(1, 8))
def test_all_formats_give_the_same(tmp_path: Path, drawn: tuple[Array, list[str], list[int]], size: int) -> None:
    """The result does not depend on the size of batches, which may split sequences."""
    x, labels, lengths = drawn
    (tmp_path / "data.ts").write_text(ts(x, labels, lengths))
    padded = np.where(np.isnan(x), -1, x)
    np.savez(tmp_path / "holed.npz", x=x, y=labels)
    filled = np.where(np.arange(x.shape[1])[:, np.newaxis] < np.array(lengths)[:, np.newaxis, np.newaxis], x, padded)
    np.savez(tmp_path / "cut.npz", x=filled, y=labels, lengths=lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "VALUES", 1)
        patch.setattr(rows, "ROWS", size)
        every = [
            archives.read({"--data": tmp_path / "data.ts"}),
            arrays.read({"--data": tmp_path / "holed.npz"}),
            arrays.read({"--data": tmp_path / "cut.npz"}),
            *(read(tmp_path / f"w.{suffix}", wide(x, labels), **WIDE) for suffix in ("csv", "parquet")),
            *(read(tmp_path / f"l.{suffix}", long(x, labels, lengths), **LONG) for suffix in ("csv", "parquet")),
        ]
    for one in every:
        np.testing.assert_array_equal(one.x[:], x)
        assert one.labels.tolist() == labels
        assert one.timestep_labels[: x.shape[1]] == tuple(map(str, range(x.shape[1])))
    assert {one.feature_labels for one in every} == {("0", "1"), FEATURES}


def test_one_feature_needs_no_name(tmp_path: Path) -> None:
    """The columns are timesteps and their labels; ignored columns are left out."""
    content = "id,mon,tue,wed,y\n7,1,2,3,b\n8,4,,6,a\n9,7,8,,b\n"
    for options in ({"drop_columns": ("id",)}, {"feature_columns": ("mon", "tue", "wed")}):
        loaded = csv(tmp_path, content, **WIDE, **options)
        assert (loaded.timestep_labels, loaded.feature_labels) == (("mon", "tue", "wed"), ("0",))
        nan = np.nan
        np.testing.assert_array_equal(loaded.x[:][..., 0], [[1, 2, 3], [4, nan, 6], [7, 8, nan]])
        assert loaded.labels.tolist() == ["b", "a", "b"]


def test_several_targets_are_numbers(tmp_path: Path) -> None:
    """They keep their order and the names of their columns."""
    for path in ("data.csv", "data.parquet"):
        content = pa.table({"a": [1, 2, 3], "p": [0.5, 1, 1.5], "b": [4, 5, 6], "q": [7, 8, 9]})
        loaded = read(tmp_path / path, content, target_column=("q", "p"))
        assert loaded.label_names == ("q", "p")
        np.testing.assert_array_equal(loaded.labels, [[7, 0.5], [8, 1], [9, 1.5]])
        assert loaded.timestep_labels == ("a", "b")


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["1", "10", "2"], [1, 10, 2]),
        (["1", "10", "2.5"], [1, 10, 2.5]),
        (["1", "10", "x"], ["1", "10", "x"]),
        (["no", "true", "no"], ["no", "true", "no"]),
        (["01", "1", "10"], ["01", "1", "10"]),
    ],
)
def test_text_may_be_numbers(tmp_path: Path, cells: list[str], labels: list[Any]) -> None:
    """CSV labels that all parse as numbers are numbers; text in Parquet stays text."""
    loaded = csv(tmp_path, "a,y\n" + "".join(f"1,{cell}\n" for cell in cells), **WIDE)
    assert loaded.labels.tolist() == labels
    assert loaded.labels.dtype.kind == np.array(labels).dtype.kind.replace("U", "O")
    assert parquet(tmp_path, {"a": [1, 1, 1], "y": cells}, **WIDE).labels.tolist() == cells


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([True, False]), "b"),
        (pa.array([3, 4], pa.uint8()), "u"),
        (pa.array([0.5, 1], pa.float32()), "f"),
        (pa.array(["x", "y"]).dictionary_encode(), "O"),
        (pa.array(["x", "y"], pa.large_string()), "O"),
    ],
)
def test_labels_keep_their_parquet_type(tmp_path: Path, values: Any, kind: str) -> None:
    """Booleans, integers, numbers and text, dictionary-encoded text included, keep their type."""
    loaded = parquet(tmp_path, {"a": [1.0, 2.0], "y": values}, **WIDE)
    assert loaded.labels.tolist() == values.to_pylist()
    assert loaded.labels.dtype.kind == kind


@pytest.mark.parametrize(
    ("times", "labels"),
    [
        ([[3, 5, 7], [3, 5, 7]], ("3", "5", "7")),
        ([[3, 5], [3, 5, 7], [3]], ("3", "5", "7")),
        ([[0.5, 1], [0.5]], ("0.5", "1.0")),
        ([["2024-01-31", "2024-02-29"]] * 2, ("2024-01-31", "2024-02-29")),
        ([["2024-01-31 12:00", "2024-01-31 13:30"]] * 2, ("2024-01-31T12:00", "2024-01-31T13:30")),
        ([["2024-01-31 1:30 PM", "2024-02-01 1:30 AM"]] * 2, ("2024-01-31T13:30", "2024-02-01T01:30")),
        ([["1/31/2024 9:05 AM", "1/31/2024 9:05 PM"]] * 2, ("2024-01-31T09:05", "2024-01-31T21:05")),
        ([["31.01.24", "01.02.24"]] * 2, ("2024-01-31", "2024-02-01")),
        ([["1/31/24", "2/29/24"]] * 2, ("2024-01-31", "2024-02-29")),
        ([["11:30 AM", "12:30 PM"]] * 2, ("11:30", "12:30")),
        ([["Jan 2024", "Mar 2024"]] * 2, ("2024-01-01", "2024-03-01")),
        ([[3, 5, 7], [3, 6, 7]], ("0", "1", "2")),
        ([[3, 5], [4]], ("0", "1")),
        ([[3], [4, 5]], ("0", "1")),
    ],
)
def test_timesteps_that_all_share_are_labels(tmp_path: Path, times: list[list[Any]], labels: tuple[str, ...]) -> None:
    """Shared timesteps become labels; otherwise timesteps are numbered."""
    rows = [f"s{index},{time},1,{index % 2}" for index, of_one in enumerate(times) for time in of_one]
    assert csv(tmp_path, "\n".join(["id,t,a,y", *rows, ""]), **LONG).timestep_labels == labels


def test_a_long_parquet_file_may_have_points_in_time(tmp_path: Path) -> None:
    """Integers may identify sequences, and times or floats may order their rows."""
    times = pa.array(np.array(["2024-01-01", "2024-01-02"] * 2, dtype="M8[D]"))
    columns = {"id": [-2, -2, -1, -1], "t": times, "a": [1, 2, 3, 4], "y": ["p", "p", "q", "q"]}
    for zone in (times, times.cast(pa.timestamp("ns")), times.cast(pa.timestamp("s", "Europe/Berlin"))):
        loaded = parquet(tmp_path, {**columns, "t": zone}, **LONG)
        assert loaded.timestep_labels == ("2024-01-01", "2024-01-02")
        np.testing.assert_array_equal(loaded.x[:][..., 0], [[1, 2], [3, 4]])
    assert parquet(tmp_path, {**columns, "t": [0.5, 1, 0.5, 1]}, **LONG).timestep_labels == ("0.5", "1.0")


def test_empty_rows_at_the_end_are_removed(tmp_path: Path) -> None:
    """Rows without values in between are missing timesteps."""
    content = "id,t,a,y\n1,0,5,p\n1,1,,p\n1,2,6,p\n1,3,,p\n2,0,7,q\n2,1,,q\n"
    loaded = csv(tmp_path, content, **LONG)
    np.testing.assert_array_equal(loaded.x[:][..., 0], [[5, np.nan, 6], [7, np.nan, np.nan]])
    np.testing.assert_array_equal(csv(tmp_path, "a,b,c,y\n5,,6,p\n7,,,q\n", **WIDE).x[:], loaded.x[:])


def test_words_for_missing_values_and_spaces_are_understood(tmp_path: Path) -> None:
    """Other programs write them into columns of numbers."""
    loaded = csv(tmp_path, "a,b,c,y\n 1 ,NA,3,p\nnan,2,null,q\n", **WIDE)
    np.testing.assert_array_equal(loaded.x[:][..., 0], [[1, np.nan, 3], [np.nan, 2, np.nan]])


def test_a_second_table_is_held_out(tmp_path: Path) -> None:
    """Its columns may have another order; the longest sequence of both gives the timesteps."""
    (tmp_path / "test.csv").write_text("y,u,id,t\nq,1,1,0\nq,2,1,1\nq,3,1,2\np,4,2,0\n")
    (tmp_path / "train.csv").write_text("id,t,u,y\n1,0,5,p\n1,1,6,p\n2,0,7,q\n")
    options = Options(data=str(tmp_path / "train.csv"), test_data=str(tmp_path / "test.csv"), **LONG)
    loaded = load(options)
    assert (loaded.train.x.shape, loaded.test.x.shape) == ((2, 3, 1), (2, 3, 1))
    np.testing.assert_array_equal(loaded.test.x[:][..., 0], [[1, 2, 3], [4, np.nan, np.nan]])
    assert loaded.test.y.tolist() == [1, 0]
    assert loaded.variable_length
    assert loaded.scale is not None
    assert loaded.scale.mean == pytest.approx([6])
    (tmp_path / "test.csv").write_text("u,id,t\n1,1,0\n")
    with pytest.raises(TrainingError, match=r"^--test-data .*test\.csv: expected a column 'y', got u, id, t"):
        load(options)


def many(columns: int) -> str:
    return ",".join(map(str, range(columns)))


WIDE_MISTAKES = {
    "": "expected names of columns in the first line, got an empty file",
    "\n\n": "expected names of columns in the first line, got empty lines",
    "a,y\n": "expected rows, got none",
    "a,y": "expected rows, got none",
    "a,b\n1,2\n": "expected a column 'y', got a, b",
    f"{many(30)}\n{many(30)}\n": f"expected a column 'y', got {many(20).replace(',', ', ')}, …",
    "y\n1\n": "expected columns besides y, got y",
    "a,y,a\n1,2,3\n": "expected columns of different names, got 'a' twice",
    f"{many(20_001)}\n1\n": "expected at most 20,000 columns, got 20,001",
    f"{many(900_000)}\n1\n": "expected at most 20,000 columns, got a first line of more than 4,194,304 characters",
    "a,b,y\n1,2,p\n3,x,q\n": ", column 'b', row 3: expected a number, got 'x'",
    "a,b,y\n1,2,p\n3,inf,q\n": ", column 'b', row 3: expected a finite number, got 'inf'",
    "a,b,y\n1,2,p\n-1e39,3,q\n": ", column 'a', row 3: expected a finite number, got '-1e39'",
    "a,b,y\n1,2,p\n3,4,5,q\n": ", row 3: expected 3 columns, got 4: 3,4,5,q",
    "a,b,y\n1,2,p\n3,q\n": ", row 3: expected 3 columns, got 2: 3,q",
    "a,b,y\n1,2,p\n3,4,\n": ", column 'y', row 3: expected a value, got none",
    "a,b,y\n1,2,p\n,,q\n": ", row 3: expected values in the sequence, got none",
    "a@1,b@1,a@2,y\n1,2,3,p\n": "uneven features: expected each at every timestep, 4 columns, got 3, without 'b@2'",
    "a@1,b,y\n1,2,p\n": "expected all columns or none to be named feature@timestep, got 'a@1' and 'b'",
}
LONG_MISTAKES = {
    "1,0,1,p\n2,5,1,p\n2,5,1,p\n": "column 't', row 4: expected each timestep of a sequence once, got '5' here and in "
    "row 3",
    "1,0,1,p\n1,,1,p\n": "column 't', row 3: expected a value, got none",
    "1,0,1,p\n1,x,1,p\n": "column 't', row 3: expected a number or a time such as 2024-01-31 12:00 "
    "(--date-format names another form), got 'x'",
    "1,2024-01-01,1,p\n1,x,1,p\n": "column 't', row 3: expected a number or a time such as 2024-01-31 12:00 "
    "(--date-format names another form), got 'x'",
    "1,24-01-31,1,p\n": "column 't', row 2: expected a number or a time such as 2024-01-31 12:00 "
    "(--date-format names another form), got '24-01-31'",
    "1,2024-01-31 10:00 March,1,p\n": "column 't', row 2: expected a number or a time such as 2024-01-31 12:00 "
    "(--date-format names another form), got '2024-01-31 10:00 March'",
    "1,0,1,p\n,1,1,p\n": "column 'id', row 3: expected a value, got none",
    "1,0,1,p\n1,1,1,q\n": "column 'y', row 3: expected 'p', as in row 2 of the same sequence, got 'q'",
    "1,0,1,\n1,1,1,\n2,0,1,p\n": "column 'y', row 2: expected a value in a row of the sequence, got none",
    "1,0,1,p\n2,1,,p\n2,2,,p\n": "row 3: expected values in the sequence, got none",
    "1,0,1,p\n1,1,z,p\n": "column 'a', row 3: expected a number, got 'z'",
    "".join(f"1,{t},1,p\n" for t in range(20_001)): "column 'id', row 2: expected at most 20,000 values in a sequence, "
    "got 20,001 or more",
}


@pytest.mark.parametrize(("content", "message"), WIDE_MISTAKES.items(), ids=WIDE_MISTAKES.values())
def test_mistakes_in_a_wide_table_are_located(tmp_path: Path, content: str, message: str) -> None:
    """The message gives file, column, row, the expected value and the actual one."""
    with pytest.raises(TrainingError) as caught:
        csv(tmp_path, content, **WIDE)
    assert str(caught.value).startswith(f"--data{message}" if message.startswith(",") else f"--data: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("content", "message"), LONG_MISTAKES.items(), ids=LONG_MISTAKES.values())
def test_mistakes_in_a_long_table_are_located(tmp_path: Path, content: str, message: str) -> None:
    """The message gives file, column, row, the expected value and the actual one."""
    with pytest.raises(TrainingError) as caught:
        csv(tmp_path, f"id,t,a,y\n{content}", **LONG)
    assert str(caught.value).startswith(f"--data, {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({**WIDE, "drop_columns": ("b",)}, "--data: expected a column 'b', got a, c, y"),
        ({**WIDE, "feature_columns": ("b",)}, "--data: expected a column 'b', got a, c, y"),
        ({**WIDE, "timestep_column": "a"}, "--timestep-column: expected --sequence-column, too"),
        ({**WIDE, "sequence_column": "a", "timestep_column": "b"}, "--data: expected a column 'b', got a, c, y"),
    ],
)
def test_options_that_do_not_fit_the_table_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    """The message lists the columns of the table."""
    with pytest.raises(TrainingError) as caught:
        csv(tmp_path, "a,c,y\n1,2,2\n", **options)
    assert str(caught.value).startswith(message)


def test_rows_are_counted_across_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CSV and Parquet messages contain the number of the row in the file."""
    monkeypatch.setattr(rows, "VALUES", 1)
    monkeypatch.setattr(rows, "ROWS", 3)
    n = 20
    good: dict[str, list[Any]] = {
        "id": [row // 5 for row in range(n)], "t": [row % 5 for row in range(n)], "a": [1.0] * n, "y": ["p"] * n
    }  # fmt: skip
    for name, value, message in [
        ("a", float("inf"), "column 'a', row ROW: expected a finite number, got '?inf"),
        ("t", 2, "column 't', row ROW: expected each timestep of a sequence once, got '2' here and in row "),
        ("y", "q", "column 'y', row ROW: expected 'p', as in row .* of the same sequence, got 'q'"),
    ]:
        table = pa.table({**good, name: [value if row == 13 else cell for row, cell in enumerate(good[name])]})
        for path, row in (("data.csv", 15), ("data.parquet", 14)):
            with pytest.raises(TrainingError, match=message.replace("ROW", str(row))):
                read(tmp_path / path, table, **LONG)


def test_a_label_is_named_by_the_row_of_its_sequence(tmp_path: Path) -> None:
    """The row is known for errors that appear after reading, in either of two files."""
    good, wrong = tmp_path / "good.csv", tmp_path / "wrong.csv"
    good.write_text("id,t,a,y\n1,0,1,0.5\n1,1,1,0.5\n2,0,1,2\n2,1,1,2\n")
    wrong.write_text("id,t,a,y\n1,0,1,0.5\n1,1,1,0.5\n2,0,1,inf\n2,1,1,inf\n")
    with pytest.raises(TrainingError, match=r"^--data .*wrong\.csv, row 4: expected a finite y, got inf"):
        load(Options(data=str(wrong), **LONG))
    with pytest.raises(TrainingError, match=r"^--test-data .*wrong\.csv, row 4: expected a finite y, got inf"):
        load(Options(data=str(good), test_data=str(wrong), **LONG))


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    """Spreadsheets write one."""
    assert csv(tmp_path, "\ufeffy,a\np,1\n", **WIDE).labels.tolist() == ["p"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda _: b"a,y\n1,2\n3,4\n5,6\n",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:-60] + b"\xff" * 50 + whole[-10:],
    ],
)
def test_a_damaged_parquet_file_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    """The file is empty, of another format, truncated, or has wrong bytes in its footer."""
    path = tmp_path / "data.parquet"
    pa.parquet.write_table(
        pa.table({"a": np.random.default_rng(0).random(100), "y": ["p", "q"] * 50}), path, write_page_checksum=True
    )
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(TrainingError, match=r"^--data: not (a )?readable") as caught:
        reading.read({"--data": path}, Options(data=str(path), **WIDE))
    assert "\n" not in str(caught.value)


def test_parquet_columns_must_be_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns must also be few and have different names, and labels must be of a usable type."""
    day = pa.array(np.array(["2024-01-01"], dtype="M8[D]"))
    with pytest.raises(TrainingError, match=r"expected columns with numbers or words; column 'a' holds times"):
        parquet(tmp_path, {"a": day, "y": ["p"]}, **WIDE)
    with pytest.raises(TrainingError, match=r"column 'y': expected strings, booleans, integers or numbers, got date32"):
        parquet(tmp_path, {"a": [1], "y": day}, **WIDE)
    with pytest.raises(TrainingError, match=r"column 't': expected numbers or times, got BOOLEAN"):
        parquet(tmp_path, {"id": [1], "t": [True], "a": [1], "y": ["p"]}, **LONG)
    with pytest.raises(TrainingError, match="expected columns of different names, got 'a' twice"):
        read(tmp_path / "data.parquet", pa.Table.from_arrays([pa.array([1])] * 2, ["a", "a"]), **WIDE)
    monkeypatch.setattr(rows, "MOST_COLUMNS", 1000)
    with pytest.raises(TrainingError, match="expected at most 1,000 columns, got 1,001"):
        parquet(tmp_path, {str(index): [1] for index in range(1001)}, **WIDE)


def test_a_footer_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The footer of a million columns would take gigabytes."""
    monkeypatch.setattr(rows, "MOST_FOOTER", 100)
    with pytest.raises(TrainingError, match=r"expected at most 20,000 columns, got descriptions of them in .* bytes"):
        parquet(tmp_path, {"a": [1], "y": ["p"]}, **WIDE)


@pytest.mark.parametrize("word", ["NA", "nan", "null"])
def test_a_missing_label_is_no_class(tmp_path: Path, word: str) -> None:
    """A word among numbers is a mistake, also one that means a missing value elsewhere."""
    path = tmp_path / "data.csv"
    path.write_text(f"a,y\n1,0.5\n1,1.5\n1,{word}\n1,2.5\n")
    with pytest.raises(TrainingError, match=r"row 4: expected a number, as most labels are, got '"):
        load(Options(data=str(path), **WIDE))


def test_nan_is_no_label(tmp_path: Path) -> None:
    """In Parquet, too, the first row of the sequence is named."""
    nan = float("nan")
    content = pa.table({"id": [1, 1, 2, 2], "t": [0, 1, 0, 1], "a": [1.0] * 4, "y": [0.5, 0.5, nan, nan]})
    with pytest.raises(TrainingError, match="column 'y', row 3: expected a value in a row of the sequence, got none"):
        read(tmp_path / "data.parquet", content, **LONG)


def test_space_around_cells_does_not_count(tmp_path: Path) -> None:
    """Names, labels, timesteps and numbers may have space around them."""
    plain = "id,t,a,y\n1,0,1.5,p\n1,1,,p\n2,0,2.5,q\n2,1,3.5,q\n"
    loaded, spaced = (csv(tmp_path, text, **LONG) for text in (plain, plain.replace(",", " , ")))
    np.testing.assert_array_equal(spaced.x[:], loaded.x[:])
    assert spaced.labels.tolist() == loaded.labels.tolist() == ["p", "q"]
    assert spaced.timestep_labels == loaded.timestep_labels == ("0", "1")
    assert spaced.feature_labels == loaded.feature_labels == ("a",)


def test_a_word_among_fractions_is_refused(tmp_path: Path) -> None:
    """With `--task classification` all of them are classes."""
    path = tmp_path / "data.csv"
    path.write_text("a,y\n" + "".join(f"1,{label}\n" for label in ("0.5", "1.5", "0.5", "oops", "2.5", "1.5")))
    with pytest.raises(TrainingError, match=r"row 5: expected a number, as most labels are, got 'oops'"):
        load(Options(data=str(path), **WIDE))
    with pytest.raises(TrainingError, match=r"row 5: expected numbers to predict, got 'oops'"):
        load(Options(data=str(path), task="regression", **WIDE))
    classes = load(Options(data=str(path), task="classification", test_split=0.5, **WIDE)).target.classes
    assert classes == ("0.5", "1.5", "2.5", "oops")


@pytest.mark.parametrize(
    ("first", "second", "message"), [(["p", "q"], [0, 1], "text"), ([0, 1], ["p", "q"], "numbers")]
)
def test_both_files_have_labels_of_one_kind(tmp_path: Path, first: list[Any], second: list[Any], message: str) -> None:
    """Numbers are not used as codes for the words of the other file."""
    paths = [tmp_path / "fit.parquet", tmp_path / "held-out.parquet"]
    for path, values in zip(paths, (first, second), strict=True):
        pyarrow.parquet.write_table(pa.table({"a": [1.0, 2.0], "y": values}), path)
    with pytest.raises(
        TrainingError, match=rf"held-out\.parquet, column 'y': expected {message}, as in the data to fit, got"
    ):
        load(Options(data=str(paths[0]), test_data=str(paths[1]), **WIDE))


def test_cells_may_span_lines(tmp_path: Path) -> None:
    """A block of the reader may end within a cell."""
    rows = "".join(f'{2 * row},"a note\nof two lines",{"pq"[row % 2]}\n' for row in range(40))
    loaded = csv(tmp_path, "a,note,y\n" + rows, **WIDE, drop_columns=("note",))
    np.testing.assert_array_equal(loaded.x[:][:, 0, 0], range(0, 80, 2))


def test_times_may_have_a_zone(tmp_path: Path) -> None:
    """Timestamps with a zone are read."""
    rows = "".join(f"{row // 2},2024-01-01T0{row % 2 + 1}:00:00Z,1,{'pq'[row // 2 % 2]}\n" for row in range(8))
    loaded = csv(tmp_path, "id,t,a,y\n" + rows, **LONG)
    assert [label[:13] for label in loaded.timestep_labels] == ["2024-01-01T01", "2024-01-01T02"]


def test_columns_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    """Lists cannot be compared."""
    path = tmp_path / "data.parquet"
    pyarrow.parquet.write_table(pa.table({"id": [[1], [1], [2]], "t": [0, 1, 0], "a": [1.0] * 3, "y": [0, 0, 1]}), path)
    with pytest.raises(TrainingError, match=r"data\.parquet, column 'id': expected text, numbers or times, got BIGINT"):
        load(Options(data=str(path), **LONG))
