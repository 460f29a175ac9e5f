"""Tables as people export them are read without options, or with the option that the table needs."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest

from training import TrainingError
from training.data import SourceData
from training.options import Options
from training.sources.loading import load
from training.tables import reading

WIDE: dict[str, Any] = {"target_column": ("y",)}
LONG: dict[str, Any] = {"target_column": ("y",), "sequence_column": "id", "timestep_column": "t"}
NAN = float("nan")


def read(path: Path, content: str | bytes, name: str = "data.csv", **options: Any) -> SourceData:
    """Write a file and read it."""
    file = path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return reading.read({"--data": file}, Options(data=str(file), **options))


#: Tables whose only sequence features are 1.5 and 2, labelled a; and 3 and 4.25, labelled b.
DIALECTS: dict[str, tuple[str | bytes, dict[str, Any]]] = {
    "comma": ("u,v,y\n1.5,2,a\n3,4.25,b\n", {}),
    "semicolon and decimal comma": ("u;v;y\n1,5;2;a\n3;4,25;b\n", {}),
    "tab": ("u\tv\ty\n1.5\t2\ta\n3\t4.25\tb\n", {}),
    "pipe": ("u|v|y\n1.5|2|a\n3|4.25|b\n", {}),
    "another delimiter": ("u:v:y\n1.5:2:a\n3:4.25:b\n", {"delimiter": ":"}),
    "a line with the delimiter": ("sep=;\nu;v;y\n1.5;2;a\n3;4.25;b\n", {}),
    "comments": ("# from the lab\nu,v,y\n1.5,2,a\n# paused\n3,4.25,b\n", {}),
    "names that begin with #": ("#u,v,y\n1.5,2,a\n3,4.25,b\n", {}),
    "decimal comma in quotes": ('u,v,y\n"1,5",2,a\n3,"4,25",b\n', {}),
    "decimal comma by option": ('u,v,y\n"1,500",2,a\n3,"4,250",b\n', {"decimal": ","}),
    "latin-1": ("u,v,y,größe\n1.5,2,a,x\n3,4.25,b,x\n".encode("latin-1"), {"drop_columns": ("größe",)}),
    "UTF-16": ("u,v,y\n1.5,2,a\n3,4.25,b\n".encode("utf-16"), {}),
    "byte order mark": ("\ufeffu,v,y\n1.5,2,a\n3,4.25,b\n", {}),
    "encoding by option": (
        "u,v,y,ж\n1.5,2,a,x\n3,4.25,b,x\n".encode("cp1251"),
        {"encoding": "cp1251", "drop_columns": ("ж",)},
    ),
    "gzip under any name": (gzip.compress(b"u,v,y\n1.5,2,a\n3,4.25,b\n"), {}),
    "carriage returns": ("u,v,y\r1.5,2,a\r3,4.25,b\r", {}),
    "both line ends and blank lines": ("u,v,y\r\n\r\n1.5,2,a\r\n\r\n3,4.25,b\r\n", {}),
    "delimiter at the end": ("u,v,y,\n1.5,2,a,\n3,4.25,b,\n", {}),
    "delimiter at the end of rows alone": ("u,v,y\n1.5,2,a,\n3,4.25,b,\n", {}),
    "names of rows, by R": ('"u","v","y"\n"1",1.5,2,"a"\n"2",3,4.25,"b"\n', {}),
    "index, by pandas": (",u,v,y\n7,1.5,2,a\n9,3,4.25,b\n", {}),
    "index saved twice": ("Unnamed: 0,u,v,y\n7,1.5,2,a\n9,3,4.25,b\n", {}),
    "no names": ("1.5,2,a\n3,4.25,b\n", {"header": False, "target_column": ("2",)}),
    "no line end": ("u,v,y\n1.5,2,a\n3,4.25,b", {}),
    "space": ("u, v, y\n 1.5 , 2,a \n3, 4.25, b\n", {}),
}


@pytest.mark.parametrize(("content", "options"), DIALECTS.values(), ids=DIALECTS)
def test_every_dialect_gives_the_same(tmp_path: Path, content: str | bytes, options: dict[str, Any]) -> None:
    """The dialect is found in the file, or an option gives it."""
    loaded = read(tmp_path, content, **{**WIDE, **options})
    np.testing.assert_array_equal(loaded.x[:][..., 0], [[1.5, 2], [3, 4.25]])
    assert loaded.labels.tolist() == ["a", "b"]


@pytest.mark.parametrize("name", ["data.tsv", "data.csv.gz", "data.txt"])
def test_other_names_of_files_are_text(tmp_path: Path, name: str) -> None:
    """The content decides."""
    content = b"u\tv\ty\n1.5\t2\ta\n3\t4.25\tb\n"
    loaded = read(tmp_path, gzip.compress(content) if name.endswith("gz") else content, name, **WIDE)
    np.testing.assert_array_equal(loaded.x[:][..., 0], [[1.5, 2], [3, 4.25]])


@pytest.mark.parametrize("number", ["1'234.5", "1\u2019234.5", "1 234,5", "1\u00a0234,5", "1\u202f234,5"])
def test_spaces_and_apostrophes_between_thousands_are_found(tmp_path: Path, number: str) -> None:
    """Programs write them in Switzerland, in France and elsewhere. Numbers below a thousand have none."""
    decimal = number[-2]
    table = f"a;b;y\n{number};1;p\n7{decimal}5;2;q\n"
    assert read(tmp_path, table, **WIDE).x[:][:, 0, 0].tolist() == [1234.5, 7.5]


def test_a_workbook_is_refused(tmp_path: Path) -> None:
    """People rename a workbook of Excel to .csv. The error says what to do."""
    with pytest.raises(TrainingError, match="got a zip archive; a table of Excel can be saved as CSV"):
        read(tmp_path, b"PK\x03\x04" + bytes(100), **WIDE)


def test_thousands_are_understood(tmp_path: Path) -> None:
    """Both separators are found where a number has both; a comma that may be either needs an option."""
    for content in ("u;v;y\n1.234,5;2;a\n3;4;b\n", 'u,v,y\n"1,234.5",2,a\n3,4,b\n'):
        assert read(tmp_path, content, **WIDE).x[:][0, 0, 0] == 1234.5
    ambiguous = 'u,v,y\n"1,234",2,a\n3,4,b\n'
    with pytest.raises(TrainingError, match="expected --decimal or --thousands"):
        read(tmp_path, ambiguous, **WIDE)
    assert read(tmp_path, ambiguous, **WIDE, thousands=",").x[:][0, 0, 0] == 1234
    assert read(tmp_path, ambiguous, **WIDE, decimal=",").x[:][0, 0, 0] == pytest.approx(1.234)


def test_words_for_nothing_are_missing_numbers(tmp_path: Path) -> None:
    """The usual ones are known, and others are an option."""
    words = ["", "NA", "N/A", "#N/A", "NaN", "null", "None", "?", "-", ".", "-999"]
    rows = "".join(f"{index}.5,{word},a\n" for index, word in enumerate(words))
    loaded = read(tmp_path, f"u,v,y\n{rows}1,2,b\n1,3,b\n" + "1,4,b\n" * 10, **WIDE, missing=("-999",))
    assert np.isnan(loaded.x[:][:11, 1, 0]).all()


def test_true_and_false_are_one_and_zero(tmp_path: Path) -> None:
    """Also as text."""
    loaded = read(tmp_path, "u,v,y\nTrue,1.5,a\nFalse,2,b\n", **WIDE)
    np.testing.assert_array_equal(loaded.x[:][..., 0], [[1, 1.5], [0, 2]])


def test_labels_are_any_text(tmp_path: Path) -> None:
    """01 is not 1, NA is a class among words, and case counts."""
    for labels in (["01", "02", "01"], ["NA", "EU", "NA"], ["Walk", "walk", "Walk"], ["null", "x", "nan"]):
        rows = "".join(f"{index}.5,{label}\n" for index, label in enumerate(labels))
        assert read(tmp_path, f"u,y\n{rows}", **WIDE).labels.tolist() == labels


def test_numbers_with_a_decimal_comma_are_labels(tmp_path: Path) -> None:
    """They are numbers to predict, not classes."""
    assert read(tmp_path, 'u,y\n1,"1,5"\n2,"2,25"\n', **WIDE).labels.tolist() == [1.5, 2.25]


def test_a_column_that_counts_the_rows_is_left_out(tmp_path: Path) -> None:
    """A hint says so."""
    rows = "".join(f"{index},{index % 3}.5,{index % 4},a\n" for index in range(20))
    loaded = read(tmp_path, f"nr,u,v,y\n{rows}", **WIDE)
    assert loaded.timestep_labels == ("u", "v")
    assert any("'nr' counts the rows" in hint for hint in loaded.hints)


@pytest.mark.parametrize("name", [None, "machine"])
def test_the_index_that_pandas_saves_is_left_out(tmp_path: Path, name: str | None) -> None:
    """Parquet marks it, whether it has a name or not. A hint says so."""
    index = pd.Index([7, 8, 5], name=name)
    pd.DataFrame({"u": [1.5, 3, 2], "v": [2, 4, 1], "y": ["a", "b", "a"]}, index).to_parquet(tmp_path / "data.parquet")
    loaded = reading.read({"--data": tmp_path / "data.parquet"}, Options(data="data.parquet", **WIDE))
    np.testing.assert_array_equal(loaded.x[:][..., 0], [[1.5, 2], [3, 4], [2, 1]])
    assert any(f"{name or '__index_level_0__'!r} holds the index of a frame" in hint for hint in loaded.hints)


def test_classes_written_as_fractions_have_a_hint(tmp_path: Path) -> None:
    """They are numbers to predict, unless the task says that they are classes."""
    path = tmp_path / "data.csv"
    path.write_text("u,v,y\n" + "".join(f"{row % 7},{row % 5},{1 + row % 2}.0\n" for row in range(40)))
    (hint,) = [one for one in load(Options(data=str(path), **WIDE)).hints if one.startswith("y:")]
    assert (
        hint == "y: only 2 different whole numbers, predicted as numbers; --task classification makes classes of them"
    )
    assert load(Options(data=str(path), task="classification", **WIDE)).target.classes == ("1", "2")


def test_columns_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """A pivoted table sorts 10 before 2. A hint says that the order was changed."""
    loaded = read(tmp_path, "t0,t1,t10,t2,y\n0,1,10,2,a\n0,1,10,2,b\n", **WIDE)
    assert loaded.timestep_labels == ("t0", "t1", "t2", "t10")
    np.testing.assert_array_equal(loaded.x[:][0, :, 0], [0, 1, 2, 10])
    assert any("order of their numbers" in hint for hint in loaded.hints)


def test_a_large_offset_is_told(tmp_path: Path) -> None:
    """float32 cannot hold the small variation of such a column."""
    loaded = read(
        tmp_path, "".join(["u,v,y\n", *(f"{1e9 + index % 7},{index % 3},a\n" for index in range(30))]), **WIDE
    )
    assert any("'u' has values near 1e+09" in hint for hint in loaded.hints)


LONG_ROWS = [("p", 0, 1, "a"), ("p", 1, 2, "a"), ("p", 2, 3, "a"), ("q", 0, 4, "b"), ("q", 2, 6, "b")]
LONG_X = [[1, 2, 3], [4, NAN, 6]]


def long(rows: list[tuple[Any, ...]]) -> str:
    return "id,t,u,y\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [3, 0, 4, 2, 1]])
def test_rows_come_in_any_order(tmp_path: Path, order: list[int]) -> None:
    """Sorted, unsorted and interleaved tables are the same; a missing step is an absent timestep."""
    loaded = read(tmp_path, long([LONG_ROWS[index] for index in order]), **LONG)
    np.testing.assert_array_equal(loaded.x[:][..., 0], LONG_X)
    assert (loaded.labels.tolist(), loaded.timestep_labels) == (["a", "b"], ("0", "1", "2"))


TIMES = {
    "months": ["2024-01", "2024-02", "2024-03"],
    "ends of months": ["2024-01-31", "2024-02-29", "2024-03-31"],
    "clock": ["09:00", "09:30", "10:00"],
    "day first": ["01.02.2026", "02.02.2026", "03.02.2026"],
    "day first with a slash": ["13/02/2026", "14/02/2026", "15/02/2026"],
    "year first with points": ["2026.02.01", "2026.02.02", "2026.02.03"],
    "Korean": ["2026. 2. 1.", "2026. 2. 2.", "2026. 2. 3."],
    "Korean without the last point": ["2026. 2. 1", "2026. 2. 2", "2026. 2. 3"],
    "Korean words": ["2026년 02월 01일", "2026년 2월 2일", "2026년 02월 03일"],
    "nanoseconds": [f"2024-01-01 00:00:00.00000000{digit}" for digit in (1, 2, 3)],
    "zone": [f"2024-01-01T0{hour}:00:00+02:00" for hour in (1, 2, 3)],
    "summer time": ["2024-03-31T00:00:00+01:00", "2024-03-31T01:00:00+01:00", "2024-03-31T03:00:00+02:00"],
    "fractions": ["0.1", "0.2", "0.3"],
}


@pytest.mark.parametrize("times", TIMES.values(), ids=TIMES)
def test_times_of_any_form_are_steps(tmp_path: Path, times: list[str]) -> None:
    """A missing step is absent, wherever it lies."""
    loaded = read(tmp_path, long([(one, times[t], u, y) for one, t, u, y in LONG_ROWS]), **LONG)
    np.testing.assert_array_equal(loaded.x[:][..., 0], LONG_X)


def test_dates_that_may_be_read_in_two_ways_need_an_option(tmp_path: Path) -> None:
    """The option decides."""
    rows = [(one, f"0{t + 1}/02/2026", u, y) for one, t, u, y in LONG_ROWS]
    with pytest.raises(TrainingError, match="expected --date-format"):
        read(tmp_path, long(rows), **LONG)
    loaded = read(tmp_path, long(rows), **LONG, date_format="%d/%m/%Y")
    assert loaded.timestep_labels[0] == "2026-02-01"


def test_a_format_says_which_column_holds_the_times(tmp_path: Path) -> None:
    """A column that has the format of the option holds the times, without a name."""
    rows = [(f"p{one}", f"{t + 1} janv. 2026", u, f"c{one}") for one, t, u, _ in LONG_ROWS]
    loaded = read(tmp_path, long(rows), target_column=("y",), date_format="%d janv. %Y")
    assert loaded.table is not None
    assert (loaded.table.sequence_column, loaded.table.timestep_column) == ("id", "t")


def test_dates_of_unknown_form_are_named(tmp_path: Path) -> None:
    """The error of a table whose rows may be timesteps names them; a hint does where they become a category."""
    rows = [(f"p{one}", f"{t + 1} janv. 2026", u, f"c{one}") for one, t, u, _ in LONG_ROWS]
    named = r"column 't' looks like dates \('1 janv. 2026'\), whose form --date-format gives"
    with pytest.raises(TrainingError, match=rf"--sequence-column and --timestep-column .*; {named}"):
        read(tmp_path, long(rows), target_column=("y",))
    loaded = read(tmp_path, long(rows), target_column=("y",), sequence_column="id")
    assert any("column 't' was taken as a category of 3 values such as '1 janv. 2026'" in one for one in loaded.hints)


def test_words_do_not_look_like_dates(tmp_path: Path) -> None:
    """A category of words and numbers has no hint on times."""
    rows = [(f"p{one}", t, f"room {t} of 2026 seats" if t else "hall", f"c{one}") for one, t, _, _ in LONG_ROWS]
    loaded = read(tmp_path, long(rows), **LONG)
    assert not any("category" in one for one in loaded.hints)


def test_an_infinite_time_is_refused(tmp_path: Path) -> None:
    """The message names the cell."""
    with pytest.raises(TrainingError, match=r"column 't', row 3: expected a finite number or a time, got 'inf'"):
        read(tmp_path, "id,t,u,y\n1,0,1,a\n1,inf,2,a\n", **LONG)


def test_sequences_may_begin_at_different_times(tmp_path: Path) -> None:
    """Each begins at its own first timestep if no sequence has most of the times."""
    rows = [(one, 10 * one + t, t, "ab"[one % 2]) for one in range(5) for t in (0, 1, 3)]
    loaded = read(tmp_path, long(rows), **LONG)
    np.testing.assert_array_equal(loaded.x[:][..., 0], [[0, 1, NAN, 3]] * 5)


def test_uneven_times_are_told_and_may_be_a_feature(tmp_path: Path) -> None:
    """Rows are timesteps then."""
    rows = [("p", t, 1, "a") for t in (0, 1, 5, 12)] + [("q", t, 2, "b") for t in (2, 3, 9)]
    loaded = read(tmp_path, long(rows), **LONG)
    assert loaded.x.shape == (2, 4, 1)
    assert any("uneven" in hint for hint in loaded.hints)
    with_time = read(tmp_path, long(rows), **LONG, time_feature=True)
    assert with_time.feature_labels == ("u", "time since the last row")
    np.testing.assert_array_equal(with_time.x[:][0, :, 1], [0, 1, 4, 7])


def test_a_label_on_one_row_is_that_of_the_sequence(tmp_path: Path) -> None:
    """Two different labels are refused with both rows."""
    rows = [(one, t, u, y if t == 2 else "") for one, t, u, y in LONG_ROWS]
    assert read(tmp_path, long(rows), **LONG).labels.tolist() == ["a", "b"]
    with pytest.raises(
        TrainingError, match=r"column 'y', row 4: expected 'a', as in row 2 of the same sequence, got 'x'"
    ):
        read(tmp_path, long([*LONG_ROWS[:2], ("p", 2, 3, "x")]), **LONG)


def test_a_long_table_is_recognised(tmp_path: Path) -> None:
    """Identifier and dates need no option if only one pair of columns can be meant."""
    rows = [(f"m{one}", f"2026-01-0{t + 1}", one + t, "ab"[one % 2]) for one in range(4) for t in range(3)]
    loaded = read(tmp_path, long(rows).replace("id,t,", "machine,date,"), **WIDE)
    assert loaded.x.shape == (4, 3, 1)
    assert any("one row a timestep" in hint for hint in loaded.hints)


def test_text_is_a_category(tmp_path: Path) -> None:
    """The index of a value stands in the sequences, and a missing one is NaN."""
    rows = [("p", 0, "low", "a"), ("p", 1, "high", "a"), ("q", 0, "", "b"), ("q", 1, "low", "b")]
    loaded = read(tmp_path, long(rows), **LONG)
    assert loaded.categories == {"u": ("high", "low")}
    np.testing.assert_array_equal(loaded.x[:][..., 0], [[1, 0], [NAN, 1]])


def test_a_wide_table_has_one_category_for_all_timesteps_of_a_feature(tmp_path: Path) -> None:
    """Its name is the feature's, as the card knows no columns of the table."""
    loaded = read(tmp_path, "c@0,c@1,y\nred,blue,a\nblue,green,b\n", **WIDE)
    assert loaded.categories == {"c": ("blue", "green", "red")}
    assert loaded.x[:][..., 0].tolist() == [[2, 0], [0, 1]]


def test_an_unknown_category_of_the_second_table_has_its_own_index(tmp_path: Path) -> None:
    """It is the number of the values."""
    (tmp_path / "test.csv").write_text(long([("p", 0, "new", "a"), ("p", 1, "low", "a")]))
    (tmp_path / "fit.csv").write_text(long([("p", 0, "low", "a"), ("p", 1, "high", "a"), ("q", 0, "low", "b")]))
    files = {"--data": tmp_path / "fit.csv", "--test-data": tmp_path / "test.csv"}
    assert reading.read(files, Options(data="fit.csv", **LONG)).x[:][-1, :, 0].tolist() == [2, 1]


def test_free_text_is_left_out(tmp_path: Path) -> None:
    """A text of its own in each row is no category."""
    loaded = read(tmp_path, "u,note,y\n" + "".join(f"{index}.5,note {index},a\n" for index in range(5)), **WIDE)
    assert loaded.timestep_labels == ("u",)
    assert any("'note' holds 5 different texts" in hint for hint in loaded.hints)


def test_static_columns_have_one_value_for_each_sequence(tmp_path: Path) -> None:
    """It is repeated at each present timestep, and two values are refused."""
    content = "id,t,u,kind,y\np,0,1,big,a\np,1,2,,a\nq,0,4,small,b\nq,2,6,small,b\n"
    loaded = read(tmp_path, content, **LONG, static_columns=("kind",))
    assert (loaded.static_labels, loaded.feature_labels) == (("kind",), ("u", "kind"))
    np.testing.assert_array_equal(loaded.x[:][..., 1], [[0, 0, NAN], [1, NAN, 1]])
    with pytest.raises(TrainingError, match="column 'kind', row 3"):
        read(tmp_path, content.replace("2,,a", "2,small,a"), **LONG, static_columns=("kind",))
    wide = read(tmp_path, "u@0,u@1,age,y\n1,2,30,a\n3,,40,b\n", **WIDE, static_columns=("age",))
    np.testing.assert_array_equal(wide.x[:], [[[1, 30], [2, 30]], [[3, 40], [NAN, NAN]]])


def test_groups_are_those_of_their_column(tmp_path: Path) -> None:
    """Sequences of one group have one code."""
    content = "u,v,patient,y\n1.5,1,x,a\n2,2,z,b\n3.5,3,x,a\n"
    groups = read(tmp_path, content, **WIDE, group_column="patient").groups
    assert groups is not None
    assert groups.tolist() == [0, 1, 0]


def test_series_in_cells(tmp_path: Path) -> None:
    """Lists of Parquet and text in brackets are series; several columns are several features."""
    columns = {"u": [[1.0, 2.0], [3.0]], "v": [[5, 6], [7]], "y": ["a", "b"]}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "data.parquet")
    loaded = reading.read({"--data": tmp_path / "data.parquet"}, Options(data="data.parquet", **WIDE))
    np.testing.assert_array_equal(loaded.x[:], [[[1, 5], [2, 6]], [[3, 7], [NAN, NAN]]])
    text = read(tmp_path, 'u,v,y\n"[1, 2]","[5, 6]",a\n[3],[7],b\n', **WIDE)
    np.testing.assert_array_equal(text.x[:], loaded.x[:])
    with pytest.raises(TrainingError, match="row 3: expected series of one length, got 1, 2"):
        read(tmp_path, 'u,v,y\n"[1, 2]","[5, 6]",a\n[3],"[7, 8]",b\n', **WIDE)


def test_a_cell_and_a_line_may_be_long(tmp_path: Path) -> None:
    """Python's module of CSV files refuses cells of more than 131,072 characters by default."""
    numbers = [0.123456789] * 15_000
    loaded = read(tmp_path, f'u,y\n"{numbers}",a\n"{numbers}",b\n', **WIDE)
    assert loaded.x.shape == (2, 15_000, 1)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame, pa.table])
def test_frames_are_tables(frame: Any) -> None:
    """Frames of pandas, polars and pyarrow are read as files are."""
    table = frame({"id": ["q", "p", "p"], "t": [0, 1, 0], "u": [3.0, 2.0, 1.0], "y": ["b", "a", "a"]})
    loaded = reading.read({"frame": table}, Options(data="frame", **LONG))
    np.testing.assert_array_equal(loaded.x[:][..., 0], [[1, 2], [3, NAN]])


def series(n: int = 40) -> str:
    """Return a long series whose value is its row."""
    return "t,price,volume\n" + "".join(f"2026-01-{1 + t // 24:02} {t % 24:02}:00,{t},{t % 5}\n" for t in range(n))


def test_a_long_series_becomes_windows(tmp_path: Path) -> None:
    """The numbers after each window are predicted, and its own past is a feature."""
    options: dict[str, Any] = {"target_column": ("price",), "timestep_column": "t", "window": 4, "horizon": 2}
    loaded = read(tmp_path, series(), **options)
    assert (loaded.label_names, loaded.feature_labels) == (("price+1", "price+2"), ("volume", "price"))
    assert loaded.timestep_labels == ("-3", "-2", "-1", "0")
    x = loaded.x[:][..., 1]
    np.testing.assert_array_equal(loaded.labels, x[:, -1:] + [1, 2])
    assert loaded.ordered
    assert loaded.fitted is not None
    held_out = x[loaded.fitted :]
    assert loaded.labels[: loaded.fitted].max() < held_out.min()  # no row is on both sides
    assert len(held_out) == round(35 * 0.2)


def test_windows_start_at_every_stride(tmp_path: Path) -> None:
    """They are counted from the newest row."""
    options: dict[str, Any] = {"target_column": ("price",), "timestep_column": "t", "window": 4, "stride": 5}
    first = read(tmp_path, series(), **options).x[:][:, 0, 1]
    assert set(np.diff(np.sort(first)).tolist()) == {5}
    assert first.max() == 35


def test_windows_of_several_series_stay_within_them(tmp_path: Path) -> None:
    """A class is that of the last row of the horizon."""
    rows = [(one, t, one * 100 + t, "up" if t % 2 else "down") for one in (0, 1) for t in range(20)]
    loaded = read(tmp_path, long(rows), **LONG, window=3, horizon=2)
    x = loaded.x[:][..., 0]
    assert (np.ptp(x, axis=1) == 2).all()
    assert loaded.labels.tolist() == ["up" if value % 2 else "down" for value in x[:, -1] + 2]


def test_too_short_a_series_is_refused(tmp_path: Path) -> None:
    """The message gives the lengths."""
    with pytest.raises(TrainingError, match="expected enough rows for windows of 50 and 1 after them"):
        read(tmp_path, series(), target_column=("price",), timestep_column="t", window=50)
