"""The table that trained a model has the sequences of the training when it is posted, and as a frame."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from service.api.codecs.sequences import decode_sequences
from service.api.codecs.tables import decode_csv_table
from service.artifact.card import ModelCard, TableFormat
from service.errors import InvalidInput
from tests.samples import card, record
from tests.test_table_kinds import DIALECTS, LONG_ROWS, TIMES, long
from training import TrainingError
from training.data import SourceData, lengths_of
from training.in_memory import sequences_of_frame
from training.options import Options
from training.tables import reading

ANY = {"variable_length": True, "missing_values": True}
LONG: dict[str, Any] = {"target_column": ("y",), "sequence_column": "id", "timestep_column": "t"}
#: A long table of two features, with uneven times in days or seconds, and two sites.
UNEVEN = "id,t,v,site,y\np,{},1,north,a\np,{},2,,a\np,{},4,north,a\nq,{},3,south,b\nq,{},,south,b\nq,{},5,south,b\n"
DAYS = ("01.02.2026", "03.02.2026", "11.02.2026", "02.02.2026", "05.02.2026", "28.02.2026")

#: For each kind of table: its text, the options of the training, and those of `pandas.read_csv`.
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "time as a feature": (UNEVEN.format(0.5, 2, 7, 1, 2.25, 9), {**LONG, "time_feature": True}, {}),
    "time as a feature, and a static one": (
        UNEVEN.format(*DAYS),
        {**LONG, "time_feature": True, "static_columns": ("site",)},
        {},
    ),
    "uneven dates": (UNEVEN.format(*DAYS), LONG, {}),
    "wide pairs and a static column": (
        "u@0,v@0,age,u@1,v@1,y\n1,2,30,3,4,a\n5,6,40,,,b\n",
        {"static_columns": ("age",)},
        {},
    ),
    "wide and a static column": (
        "t0,t1,t2,kind,y\n1.5,2,3,big,a\n4,,6,small,b\n7,8,9,big,a\n",
        {"static_columns": ("kind",)},
        {},
    ),
    "series in cells": ('u,v,y\n"[0.5, 1]","[2, NULL]",a\n[3],[nan],b\n"[4, 5, 6]","[1, 1, 1]",b\n', {}, {}),
    "series in cells and static columns": (
        's,kind,age,y\n"[0.5, 1]",big,3,a\n[3],small,,b\n"[4, 5, 6]",big,5,b\n',
        {"static_columns": ("kind", "age")},
        {},
    ),
    "no names": (
        "p,1,5,a\np,2,6,a\nq,1,7,b\nq,2,8,b\n",
        {"target_column": ("3",), "sequence_column": "0", "timestep_column": "1", "header": False},
        {"header": None},
    ),
    "decimal comma in the times": (
        "id;t;v;y\np;0,5;1,5;a\np;1;2;a\np;2;3;a\nq;0,5;4;b\nq;2;5,25;b\n",
        LONG,
        {"sep": ";"},
    ),
    "decimal comma in quotes": ('u,v,y\n"1,5",2,a\n3,"4,25",b\n', {}, {}),
    "true and false in any case": ("u,v,y\ntRue,1,a\nFaLse,0.5,b\n", {}, {"dtype": str}),
    "an identifier NA": ("id,t,v,y\nNA,0,1,a\nNA,1,2,a\nq,0,3,b\nq,1,4,b\n", LONG, {"keep_default_na": False}),
    "comments": ("# from the lab\nu,v,y\n1.5,2,a\n# paused\n3,4.25,b\n", {}, {"comment": "#"}),
}


def read(folder: Path, text: str, **options: Any) -> tuple[SourceData, ModelCard]:
    """Return the sequences of a CSV file, and the card of a model that was trained on them."""
    path = folder / "table.csv"
    path.write_text(text)
    given = Options(**{"target_column": ("y",), "data": str(path), **options})
    source = reading.read({"--data": path}, given)
    _, timesteps, features = source.x.shape
    return source, card(
        timesteps=timesteps,
        features=features,
        timestep_labels=source.timestep_labels,
        feature_labels=source.feature_labels,
        categories=dict(source.categories),
        static_labels=source.static_labels,
        table=source.table,
        variable_length=bool((lengths_of(source.x[:]) < timesteps).any()),
        missing_values=True,
        training=record(**given.model_dump(mode="json")),
    )


def posted(text: str, described: ModelCard) -> np.ndarray[Any, Any]:
    """Return the sequences of posted CSV, padded to the timesteps of the card."""
    array = decode_csv_table(text.encode(), described, 99).array
    padding = ((0, 0), (0, described.timesteps - array.shape[1]), (0, 0))
    return np.pad(array, padding, constant_values=np.nan)


@pytest.mark.parametrize(("text", "options", "how"), KINDS.values(), ids=KINDS)
def test_a_posted_table_has_the_sequences_of_the_training(
    tmp_path: Path, text: str, options: dict[str, Any], how: dict[str, Any]
) -> None:
    """Its bytes are posted unchanged; the path of the file and a frame of the same rows have them, too."""
    source, described = read(tmp_path, text, **options)
    np.testing.assert_array_equal(posted(text, described), source.x[:])
    np.testing.assert_array_equal(sequences_of_frame(tmp_path / "table.csv", described).x, source.x[:])
    frame = pd.read_csv(io.StringIO(text), **how)
    np.testing.assert_array_equal(sequences_of_frame(frame, described).x, source.x[:])


@pytest.mark.parametrize("name", [name for name, (text, _) in DIALECTS.items() if isinstance(text, str)])
def test_every_dialect_of_training_can_be_posted(tmp_path: Path, name: str) -> None:
    """The service and the library find what training found, with what the card says about the table."""
    text, options = DIALECTS[name]
    assert isinstance(text, str)
    source, described = read(tmp_path, text, **options)
    np.testing.assert_array_equal(posted(text, described), source.x[:])
    np.testing.assert_array_equal(sequences_of_frame(tmp_path / "table.csv", described).x, source.x[:])


@pytest.mark.parametrize("name", [name for name in TIMES if name != "nanoseconds"])  # the service knows microseconds
def test_times_of_every_form_can_be_posted(tmp_path: Path, name: str) -> None:
    """The format that training found is on the card."""
    text = long([(one, TIMES[name][t], value, y) for one, t, value, y in LONG_ROWS])
    source, described = read(tmp_path, text, **LONG)
    np.testing.assert_array_equal(posted(text, described), source.x[:])


def test_series_in_cells_may_be_lists(tmp_path: Path) -> None:
    """A frame holds them as objects; those that do not fit are refused with their place."""
    _, described = read(tmp_path, 'u,v,y\n"[1, 2]","[3, 4]",a\n[5],[6],b\n')
    x = sequences_of_frame(pd.DataFrame({"u": [[1.5, 2.5]], "v": [[3.0, 4.0]]}), described).x
    np.testing.assert_array_equal(x, [[[1.5, 3], [2.5, 4]]])
    for cells, message in (
        ('"[1, 2]",[3]', r"line 2: expected series of one length, got \[1, 2\]"),
        ('"[1, two]",[3]', "line 2, column 'u': expected a list of numbers, got"),
        ("[],[]", "line 2, column 'u': expected a list of numbers, got"),
        ("[1],2", "line 2, column 'v': expected a list of numbers, got"),
    ):
        with pytest.raises(InvalidInput, match=message):
            posted(f"u,v\n{cells}\n", described)


def test_a_time_feature_needs_the_times(tmp_path: Path) -> None:
    """Without them the message names their column, and it is the place of a time that does not fit float32."""
    _, described = read(tmp_path, UNEVEN.format(0, 1, 9, 1, 2, 9), **LONG, time_feature=True)
    with pytest.raises(InvalidInput, match="line 1: missing column 't'"):
        posted("id,v,site\np,1,north\n", described)
    with pytest.raises(InvalidInput, match="line 3, column 't': expected a finite float32"):
        posted("id,t,v,site\np,0,1,north\np,1e300,1,north\np,2e300,1,north\n", described)
    with pytest.raises(TrainingError, match="frame: expected a column 't'"):
        sequences_of_frame(pd.DataFrame({"id": ["p"], "v": [1], "site": ["north"]}), described)


def hours(first: int, count: int) -> str:
    """Return a series whose price is the number of its hour, and which lacks one hour in ten."""
    rows = [hour for hour in range(first, first + count) if hour % 10 != 7]
    return "time,volume,price\n" + "".join(
        f"2026-01-{1 + hour // 24:02} {hour % 24:02}:00,2,{hour}.5\n" for hour in rows
    )


def test_the_last_window_of_a_posted_series_is_used(tmp_path: Path) -> None:
    """What follows it is predicted, on other days than those of the training, too; an hour without a row is absent."""
    _, described = read(tmp_path, hours(0, 100), target_column=("price",), window=6, horizon=2)
    later = hours(200, 50)  # to hour 249
    nothing = [np.nan, np.nan]
    expected = [[[2, 244.5], [2, 245.5], [2, 246.5], nothing, [2, 248.5], [2, 249.5]]]
    np.testing.assert_array_equal(posted(later, described), expected)
    np.testing.assert_array_equal(sequences_of_frame(pd.read_csv(io.StringIO(later)), described).x, expected)
    with pytest.raises(InvalidInput, match="line 2: expected a sequence of at least 6 timesteps, got 4"):
        posted(hours(200, 4), described)
    with pytest.raises(TrainingError, match="frame: expected series of at least 6 timesteps, got 4"):
        sequences_of_frame(pd.read_csv(io.StringIO(hours(200, 4))), described)


def test_each_of_several_series_has_a_window(tmp_path: Path) -> None:
    """They are in the order of their first rows. A class is no feature, and need not be known."""
    text = "id,t,v,y\n" + "".join(f"{one},{t},{100 * one + t},{'ab'[t % 2]}\n" for t in range(30) for one in (2, 1))
    _, described = read(tmp_path, text, **LONG, window=3)
    np.testing.assert_array_equal(posted(text, described)[..., 0], [[227, 228, 229], [127, 128, 129]])
    found = sequences_of_frame(pd.read_csv(io.StringIO(text)).drop(columns="y"), described)
    np.testing.assert_array_equal(found.x[..., 0], [[227, 228, 229], [127, 128, 129]])
    assert found.names.to_pylist() == [2, 1]


def test_words_are_values_of_categories_in_every_form() -> None:
    """`none` and `NA` are names; empty cells and the words of the training are missing."""
    categories = {"drug": ("NA", "light", "none")}
    table = TableFormat(missing=("unknown",))
    described = card(timesteps=6, features=1, feature_labels=("drug",), categories=categories, table=table, **ANY)
    names = ["none", "NA", "", "unknown", "-", "light"]
    expected = [2, 0, np.nan, np.nan, 3, 1]
    assert list(posted("drug\n" + "".join(f'"{name}"\n' for name in names), described)[0, :, 0]) == pytest.approx(
        expected, nan_ok=True
    )
    by_name = decode_sequences([[[name] for name in names]], described, 9, "sequences[{}]")
    np.testing.assert_array_equal(by_name.array[0, :, 0], expected)


def test_few_rows_of_a_frame_are_read_as_in_training(tmp_path: Path) -> None:
    """Three rows with three words, or with words that look like numbers, are still categories."""
    text = "id,t,v,y\n" + "".join(
        f"{one},{t},{('1', 'w', 'x')[(one + t) % 3]},{'ab'[one % 2]}\n" for one in range(9) for t in range(3)
    )
    _, described = read(tmp_path, text, **LONG)
    some = pd.DataFrame({"id": [1, 1, 1], "t": [0, 1, 2], "v": ["x", "1", "x"]})
    np.testing.assert_array_equal(sequences_of_frame(some, described).x[..., 0], [[2, 0, 2]])
    np.testing.assert_array_equal(sequences_of_frame(some.assign(v=["1", "1", "1"]), described).x[..., 0], [[0, 0, 0]])


def test_identifiers_may_be_a_category_of_pandas(tmp_path: Path) -> None:
    """The sequences come in the order of their first rows, whatever the categories and their order are."""
    text = "id,t,v,y\n" + "".join(f"{one},{t},{10 * t + 1.5},{one}\n" for one in "abc" for t in range(2))
    _, described = read(tmp_path, text, **LONG)
    frame = pd.read_csv(io.StringIO(text)).iloc[::-1]
    frame["id"] = frame["id"].astype(pd.CategoricalDtype(["b", "a", "unused", "c"]))
    for some, names in ((frame, ["c", "b", "a"]), (frame[frame["id"] != "c"], ["b", "a"])):
        found = sequences_of_frame(some, described)
        assert found.names.to_pylist() == names
        assert len(found.x) == len(names)


def test_a_column_of_several_types_is_refused_in_one_line(tmp_path: Path) -> None:
    """The message names the column."""
    _, described = read(tmp_path, "t0,t1,y\n1,2,a\n3,4,b\n")
    with pytest.raises(
        TrainingError, match=r"frame: expected values of one type in each column: .*bad.* column t1 with"
    ):
        sequences_of_frame(pd.DataFrame({"t0": [1, 2], "t1": [0.5, "bad"]}), described)
