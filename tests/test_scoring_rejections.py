"""Scoring in bulk: what the model does not take is set apart with its file, row and reason, and the others go on."""

import re
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from service.artifact.card import TableFormat
from service.artifact.tensors import PREDICTION
from service.bulk import prepare
from service.bulk.output import REJECTED
from service.errors import ScoringError, TableError
from tests.imported import imported_card, numbers, of_numbers, run, write_imported
from tests.scoring import NAMES, answers, rejections, scored

#: A good row of a wide table, and a good sequence of a long one.
GOOD = {f"{name}@{t}": 0.5 for t in range(4) for name in NAMES}
STEPS = [{"t": float(t), "u": 0.5, "v": 1.5} for t in range(4)]


@pytest.fixture(scope="module")
def models(models: Path) -> Path:
    """The folder of the small models, and of one whose feature `v` does not change."""
    table = TableFormat(sequence_column="id", timestep_column="t", static_columns=("v",))
    card = imported_card("static", feature_labels=NAMES, static_labels=("v",), table=table)
    write_imported(models, of_numbers(), card, numbers())
    return models


WIDE = [
    ({"u@1": "oops"}, "column 'u@1': expected a number, got 'oops'"),
    ({"u@0": "inf"}, "column 'u@0': expected a finite float32, got inf"),
    ({"v@3": "1e39"}, "column 'v@3': expected a finite float32, got 1e+39"),
    ({"v@3": ""}, "column 'v@3': expected a number, got no value"),
    (dict.fromkeys(GOOD, "NA"), "expected a sequence of at least one value, got none"),
]


@pytest.mark.parametrize("many", [0, 100])
def test_wrong_rows_of_a_wide_table_of_text(
    models: Path, tmp_path: Path, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows with too few and too many cells keep the numbers of the others right; many columns are read as few are."""
    monkeypatch.setattr(prepare, "MANY", many)
    lines = [",".join(GOOD)]
    for wrong, _ in WIDE:
        lines += [",".join(map(str, (GOOD | row).values())) for row in (wrong, {})]
    lines[4] += ",9"
    lines.append(",".join(["1"] * 7))
    path = tmp_path / "data.csv"
    path.write_text("\n".join(lines) + "\n")
    summary = scored(models, path, tmp_path / "out", "wide")
    cells = {4: "expected 8 cells, got 9", 11: "expected 8 cells, got 7"}
    assert rejections(tmp_path / "out") == {2 * at + 1: reason for at, (_, reason) in enumerate(WIDE)} | cells
    assert answers(tmp_path / "out")["row"].to_list() == [2, 6, 8, 10]
    assert (summary.sequences, summary.rejected) == (4, 7)
    files = pl.read_parquet(tmp_path / "out" / REJECTED / "*.parquet")["file"]
    assert files.unique().to_list() == [str(path)]


def test_wrong_rows_of_a_wide_table_of_numbers(models: Path, tmp_path: Path) -> None:
    """Numbers that Parquet holds are checked like text."""
    rows = [
        GOOD | {name: float(cell or "nan") for name, cell in wrong.items() if cell != "NA"} for wrong, _ in WIDE[1:4]
    ]
    pl.DataFrame([GOOD, *rows, dict.fromkeys(GOOD)]).write_parquet(tmp_path / "data.parquet")
    scored(models, tmp_path / "data.parquet", tmp_path / "out", "wide")
    assert list(rejections(tmp_path / "out").values()) == [reason for _, reason in WIDE[1:]]
    assert answers(tmp_path / "out")["row"].to_list() == [1]


def long_table(parquet: Path | None = None) -> pl.DataFrame:
    """Return a long table whose odd sequences have one problem each, and write it if a path is given."""
    wrong: list[list[dict[str, Any]]] = [
        STEPS[:3],
        [*STEPS, {"t": 4.0, "u": 1.0, "v": 1.0}],
        [*STEPS[:3], STEPS[2]],
        [*STEPS[:2], {"t": None, "u": 1.0, "v": 1.0}, STEPS[3]],
        [*STEPS[:3], {"t": 3.0, "u": None, "v": 1.0}],
        [{"t": step["t"], "u": None, "v": None} for step in STEPS],
        [STEPS[0], *STEPS[2:]],
    ]
    rows = [
        {"id": 2 * number + odd, **step}
        for number, sequence in enumerate(wrong)
        for odd, steps in enumerate((STEPS, sequence))
        for step in steps
    ]
    table = pl.DataFrame(rows, schema={"id": pl.Int64, "t": pl.Float64, "u": pl.Float64, "v": pl.Float64})
    if parquet is not None:
        table.write_parquet(parquet)
    return table


LONG = {
    5: "expected a sequence of 4 timesteps, got 3",
    12: "expected a sequence of 4 timesteps, got 5",
    24: "column 't': expected each timestep of a sequence once, got one twice",
    31: "column 't': expected a number or a time such as 2024-01-31 12:00, got no value",
    40: "column 'u': expected a number, got no value",
    45: "expected a sequence of at least one value, got none",
    53: "expected a row for each step of time, got none between this row and the next of the same sequence",
}


@pytest.mark.parametrize("name", ["data.parquet", "data.csv"])
def test_wrong_sequences_of_a_long_table(models: Path, tmp_path: Path, name: str) -> None:
    """Each has one line, with its key and the row of the mistake; the sequences beside them are scored."""
    table = long_table(tmp_path / name if name.endswith("parquet") else None)
    if name.endswith("csv"):
        table.write_csv(tmp_path / name)
    scored(models, tmp_path / name, tmp_path / "out", "long")
    assert rejections(tmp_path / "out") == LONG
    assert answers(tmp_path / "out")["id"].cast(pl.Int64).to_list() == [0, 2, 4, 6, 8, 10, 12]
    found = pl.read_parquet(tmp_path / "out" / REJECTED / "*.parquet")
    assert found["sequence"].to_list() == ["1", "3", "5", "7", "9", "11", "13"]


@pytest.mark.parametrize("name", ["data.parquet", "data.csv"])
def test_rows_without_a_key_and_text_in_times(models: Path, tmp_path: Path, name: str) -> None:
    """A row without a key is in no sequence."""
    table = pl.DataFrame([{"id": key, **step} for key in ("a", " ", "b") for step in STEPS])
    table = table.with_columns(t=pl.when(pl.int_range(12) == 9).then(pl.lit("noon")).otherwise(pl.col("t").cast(str)))
    if name.endswith("csv"):
        table.write_csv(tmp_path / name)
    else:
        table.write_parquet(tmp_path / name)
    scored(models, tmp_path / name, tmp_path / "out", "long")
    identifier = "column 'id': expected the identifier of a sequence, got no value"
    noon = "column 't': expected a number or a time such as 2024-01-31 12:00, got 'noon'"
    assert rejections(tmp_path / "out") == {5: identifier, 6: identifier, 7: identifier, 8: identifier, 10: noon}
    assert answers(tmp_path / "out")["id"].to_list() == ["a"]


def test_a_static_value_that_changes(models: Path, tmp_path: Path) -> None:
    """The row that differs from the first value is named; one value for the whole sequence is enough."""
    good = [{"id": 1, **step, "v": 2.0 if step["t"] == 2 else None} for step in STEPS]
    wrong = [{"id": 2, **step, "v": 2.0 + (step["t"] == 3)} for step in STEPS]
    pl.DataFrame([*good, *wrong]).write_parquet(tmp_path / "data.parquet")
    scored(models, tmp_path / "data.parquet", tmp_path / "out", "static")
    reason = "column 'v': expected 2, as in a row before of the same sequence, got 3"
    assert rejections(tmp_path / "out") == {8: reason}
    assert answers(tmp_path / "out")["id"].to_list() == [1]


def test_lists_of_a_wrong_length(models: Path, tmp_path: Path) -> None:
    """Lists of one row must be of one length, and of that of the model."""
    lists = [([1.0] * 4, [2.0] * 4), ([1.0] * 4, [2.0] * 3), ([1.0] * 5, [2.0] * 5), ([], []), (None, [1.0] * 4)]
    table = pl.DataFrame(lists, schema=dict.fromkeys(NAMES, pl.List(pl.Float64)), orient="row")
    table.write_parquet(tmp_path / "data.parquet")
    scored(models, tmp_path / "data.parquet", tmp_path / "out", "wide")
    assert rejections(tmp_path / "out") == {
        2: "expected series of one length, got [3, 4]",
        3: "expected a sequence of 4 timesteps, got 5",
        4: "expected a sequence of at least one value, got none",
        5: "expected series of one length, got [0, 4]",
    }
    assert answers(tmp_path / "out")["row"].to_list() == [1]


def test_cells_of_text_that_are_no_lists(models: Path, tmp_path: Path) -> None:
    """Each is of its row alone: the other rows are series."""
    wrong = {2: "oops", 5: "1.5", 7: "[1, 2", 8: "[5, oops, 7, 8]", 9: "[5, 6_0, 7, 8]"}
    lines = [f'"[1, 2, 3, 4]","{wrong.get(row, "[5, 6, 7, 8]")}"' for row in range(1, 11)]
    (tmp_path / "data.csv").write_text("\n".join(["u,v", *lines, '"oops","[1, 2, 3, 4]"']))
    scored(models, tmp_path / "data.csv", tmp_path / "out", "wide")
    expected = {row: f"column 'v': expected a list of numbers, got {cell!r}" for row, cell in wrong.items()}
    expected[11] = "column 'u': expected a list of numbers, got 'oops'"
    assert rejections(tmp_path / "out") == expected
    assert answers(tmp_path / "out")["row"].to_list() == [1, 3, 4, 6, 10]


@pytest.mark.parametrize(
    ("model", "columns", "expected"),
    [
        ("long", {"id": ["a"], "t": [1.0], "u": [[1.0]], "v": [1.0]}, "'u': expected numbers, got DOUBLE[]"),
        ("long", {"id": ["a"], "t": [1.0], "u": [1.0], "v": [date(2026, 1, 1)]}, "'v': expected numbers, got DATE"),
        ("wide", {"u": [[1.0] * 4], "v": [1.0]}, "'v': expected lists of numbers, got DOUBLE"),
    ],
)
def test_a_column_of_another_type_ends_the_run(
    models: Path, tmp_path: Path, model: str, columns: Mapping[str, Any], expected: str
) -> None:
    """The message names the column and its type: no row can be right."""
    pl.DataFrame(columns).write_parquet(tmp_path / "data.parquet")
    with pytest.raises(TableError, match=re.escape(f"data.parquet, column {expected}")):
        scored(models, tmp_path / "data.parquet", tmp_path / "out", model)


def test_tokens_out_of_range_and_unknown_values_of_an_array(models: Path, tmp_path: Path) -> None:
    """The message has the indices of the timestep and the feature."""
    x = np.array([[1, 2, 3, 0, 0, 0], [1, 2, 99, 0, 0, 0], [1, 2.5, 3, 0, 0, 0]])
    np.savez(tmp_path / "data.npz", x=x, lengths=np.array([3, 6, 6]))
    scored(models, tmp_path / "data.npz", tmp_path / "out", "words")
    expected = "expected an integer from 0 to 9 or a word of the vocabulary, got"
    assert rejections(tmp_path / "out") == {2: f"[2][0]: {expected} 99", 3: f"[1][0]: {expected} 2.5"}
    assert answers(tmp_path / "out")["attention"].list.len().to_list() == [3]


def test_lengths_of_an_array(models: Path, tmp_path: Path) -> None:
    """They are from 1 to the timesteps of the array; a wrong one is of its sequence alone."""
    np.savez(tmp_path / "data.npz", x=np.ones((4, 6, 1)), lengths=np.array([6, 7, 0, 1]))
    scored(models, tmp_path / "data.npz", tmp_path / "out", "words")
    expected = "expected a length from 1 to 6, got"
    assert rejections(tmp_path / "out") == {2: f"{expected} 7", 3: f"{expected} 0"}
    assert answers(tmp_path / "out")["attention"].list.len().to_list() == [6, 1]
    for lengths in (np.ones(3, int), np.ones(4)):
        np.savez(tmp_path / "data.npz", x=np.ones((4, 6, 1)), lengths=lengths)
        with pytest.raises(ScoringError, match=r"data\.npz: expected lengths \(4,\) of integers, got \("):
            scored(models, tmp_path / "data.npz", tmp_path / f"of {lengths.dtype}", "words")


@pytest.mark.parametrize("times", [[0.0, 1.0, 2.0, 1e300], [-(2**63), 0, 1, 2**63 - 1]])
def test_a_time_that_is_far_away(models: Path, tmp_path: Path, times: list[float]) -> None:
    """It is of its sequence alone, although the number of timesteps up to it is larger than any integer."""
    rows = [{"id": 1, **step, "t": time} for step, time in zip(STEPS, times, strict=True)]
    good = [{"id": 2, **step, "t": time} for step, time in zip(STEPS, range(4), strict=True)]
    pl.DataFrame([*rows, *good]).write_parquet(tmp_path / "data.parquet")
    scored(models, tmp_path / "data.parquet", tmp_path / "out", "long")
    reason = "expected a sequence of at most 4 timesteps, got too many between its times"
    assert rejections(tmp_path / "out") == {1: reason}
    assert answers(tmp_path / "out")["id"].to_list() == [2]


def test_an_infinite_time(models: Path, tmp_path: Path) -> None:
    """The reason has the name of the column, although the table was prepared, and the value."""
    rows = [{"id": key, **step} for key in (2, 1) for step in STEPS]
    frame = pl.DataFrame(rows).with_columns(t=pl.when(pl.int_range(8) == 3).then(np.inf).otherwise("t"))
    frame.write_csv(tmp_path / "data.csv")
    scored(models, tmp_path / "data.csv", tmp_path / "out", "long")
    assert rejections(tmp_path / "out") == {
        4: "column 't': expected a number or a time such as 2024-01-31 12:00, got inf"
    }


QUOTE = "expected a quote at the end of a cell that begins with one, got none"


@pytest.mark.parametrize("wrong", [(3,), (3, 8), (250,), (250, 255), (299,)])
def test_a_quote_without_its_end_takes_no_other_row(models: Path, tmp_path: Path, wrong: tuple[int, ...]) -> None:
    """Rows after it are scored. A note of several lines, and a quote within a note, are no mistakes."""
    good = ",".join(map(str, GOOD.values()))
    lines = [f"{good},fine" for _ in range(300)]
    lines[5], lines[252] = f'{good},"two\nlines"', f'{good},a screen of 5" size'
    for row in wrong:
        lines[row] = '0.5,"0.5,' + good[8:] + ",fine"
    path = tmp_path / "data.csv"
    path.write_text("\n".join([",".join([*GOOD, "note"]), *lines]))
    scored(models, path, tmp_path / "out", "wide")
    assert rejections(tmp_path / "out") == {row + 1: QUOTE for row in wrong}
    assert answers(tmp_path / "out")["row"].to_list() == [row + 1 for row in range(300) if row not in wrong]


@pytest.mark.parametrize("model", ["wide", "long"])
def test_a_file_of_wrong_lines_only(models: Path, tmp_path: Path, model: str) -> None:
    """It does not end the run of the other files."""
    names = list(GOOD) if model == "wide" else ["id", "t", "u", "v"]
    good = [",".join(["1"] * 8)] if model == "wide" else [f"1,{t},1,1" for t in range(4)]
    for name, lines in {"a.csv": ["1,2"], "b.csv": good}.items():
        (tmp_path / name).write_text("\n".join([",".join(names), *lines]))
    summary = scored(models, tmp_path, tmp_path / "out", model)
    assert (summary.sequences, summary.rejected) == (1, 1)
    assert rejections(tmp_path / "out") == {1: f"expected {len(names)} cells, got 2"}


def test_lines_without_a_row_do_not_move_the_numbers_of_rows(models: Path, tmp_path: Path) -> None:
    """Neither empty lines nor comments are rows, before a line with a wrong number of cells and after it."""
    good = ",".join(map(str, GOOD.values()))
    path = tmp_path / "data.csv"
    path.write_text(
        "\n".join([",".join(GOOD), good, "", "# a comment", good, "1,2", good, "", good.replace("5", "x", 1)])
    )
    scored(models, path, tmp_path / "out", "wide")
    assert rejections(tmp_path / "out") == {
        3: "expected 8 cells, got 2",
        5: "column 'u@0': expected a number, got '0.x'",
    }
    assert answers(tmp_path / "out")["row"].to_list() == [1, 2, 4]


#: Sequences of a file, and the distance of wrong ones: one percent is wrong.
MANY, DISTANCE = 2000, 100
X = np.random.default_rng(0).standard_normal((MANY, 4, 2)).astype(np.float32)


def _replaced(cell: str) -> Callable[[list[str]], str]:
    """Return what writes a row of text with another third cell."""
    return lambda cells: ",".join([*cells[:2], cell, *cells[3:]])


TEXT: Mapping[str, Callable[[list[str]], str]] = {
    "column 'u@1': expected a number, got 'oops'": _replaced("oops"),
    "column 'u@1': expected a finite float32, got inf": _replaced("inf"),
    "column 'u@1': expected a finite float32, got 1e+39": _replaced("1e39"),
    "column 'u@1': expected a number, got no value": _replaced(""),
    "column 'u@1': expected a number, got '1\\x002'": _replaced("1\0" + "2"),
    "column 'u@1': expected a number, got '1,5'": _replaced('"1,5"'),
    "column 'u@1': expected a number, got '1\\n2'": _replaced('"1\n2"'),
    "column 'u@1': expected a number, got 'ÿ'": _replaced("\udcff"),
    QUOTE: _replaced('"1'),
    "expected 8 cells, got 7": lambda cells: ",".join(cells[:7]),
    "expected 8 cells, got 9": lambda cells: ",".join([*cells, "1"]),
    "expected a sequence of at least one value, got none": lambda cells: "," * (len(cells) - 1),
}


def test_one_percent_of_wrong_lines_of_twelve_kinds(models: Path, tmp_path: Path) -> None:
    """Each is rejected with its row and its reason, and all others have the answer of the engine."""
    reasons = {row: list(TEXT)[number % len(TEXT)] for number, row in enumerate(range(9, MANY, DISTANCE))}
    lines = [",".join(GOOD)]
    for row, x in enumerate(X):
        cells = list(map(repr, x.ravel().tolist()))
        lines.append(TEXT[reasons[row]](cells) if row in reasons else ",".join(cells))
    path = tmp_path / "data.csv"
    path.write_bytes("\n".join(lines).encode(errors="surrogateescape"))
    scored(models, path, tmp_path / "out", "wide", chunk=300)
    assert rejections(tmp_path / "out") == {row + 1: reason for row, reason in reasons.items()}
    assert_answers(tmp_path / "out", "row", [row + 1 for row in range(MANY) if row not in reasons])


def assert_answers(output: Path, key: str, rows: list[int]) -> None:
    """Compare with what the engine answers to some of `X`, whose rows count from 1."""
    found = answers(output)
    assert found[key].cast(pl.Int64).to_list() == rows
    expected = run(of_numbers(), X[np.array(rows) - 1])[PREDICTION][:, 0]
    np.testing.assert_allclose(found["prediction"], expected, rtol=1e-5)


Step = dict[str, Any]
LONG_KINDS: Mapping[str, tuple[int, Callable[[list[Step]], list[Step]]]] = {
    "column 'u': expected a number, got 'oops'": (1, lambda s: [s[0], s[1] | {"u": "oops"}, *s[2:]]),
    "column 'v': expected a finite float32, got inf": (2, lambda s: [*s[:2], s[2] | {"v": "inf"}, s[3]]),
    "column 'v': expected a finite float32, got 1e+39": (0, lambda s: [s[0] | {"v": "1e39"}, *s[1:]]),
    "column 'u': expected a number, got no value": (3, lambda s: [*s[:3], s[3] | {"u": ""}]),
    "expected a sequence of 4 timesteps, got 3": (0, lambda s: s[:3]),
    "expected a sequence of 4 timesteps, got 5": (0, lambda s: [*s, s[3] | {"t": 4}]),
    "column 't': expected each timestep of a sequence once, got one twice": (3, lambda s: [*s[:3], s[3] | {"t": 2}]),
    "column 't': expected a number or a time such as 2024-01-31 12:00, got 'noon'": (
        1,
        lambda s: [s[0], s[1] | {"t": "noon"}, *s[2:]],
    ),
    "column 't': expected a number or a time such as 2024-01-31 12:00, got no value": (
        1,
        lambda s: [s[0], s[1] | {"t": ""}, *s[2:]],
    ),
    "expected a sequence of at most 4 timesteps, got too many between its times": (
        0,
        lambda s: [*s[:3], s[3] | {"t": 10**9}],
    ),
    "expected a sequence of at least one value, got none": (0, lambda s: [one | {"u": "", "v": ""} for one in s]),
}


def test_one_percent_of_wrong_sequences_of_a_long_table(models: Path, tmp_path: Path) -> None:
    """Of eleven kinds: each is rejected with its row, its key and its reason, and the others are scored."""
    rows: list[Step] = []
    expected, keys = {}, []
    for number, x in enumerate(X, 1):
        steps: list[Step] = [{"id": number, "t": t, "u": repr(u), "v": repr(v)} for t, (u, v) in enumerate(x.tolist())]
        if number % DISTANCE == 0:
            reason, (at, wrong) = list(LONG_KINDS.items())[number // DISTANCE % len(LONG_KINDS)]
            expected[len(rows) + at + 1] = reason
            keys.append(str(number))
            steps = wrong(steps)
        rows += steps
    path = tmp_path / "data.csv"
    path.write_text("\n".join(["id,t,u,v", *(",".join(map(str, row.values())) for row in rows)]))
    scored(models, path, tmp_path / "out", "long", chunk=300)
    assert rejections(tmp_path / "out") == expected
    assert pl.read_parquet(tmp_path / "out" / REJECTED / "*.parquet")["sequence"].to_list() == keys
    assert_answers(tmp_path / "out", "id", [number for number in range(1, MANY + 1) if number % DISTANCE])


Series = list[float | None]
NONE = "expected a sequence of at least one value, got none"
LISTS: list[tuple[str, Callable[[Series, Series], tuple[Any, Any]]]] = [
    ("expected series of one length, got [3, 4]", lambda u, v: (u[:3], v)),
    ("expected series of one length, got [0, 4]", lambda _, v: (None, v)),
    ("expected a sequence of 4 timesteps, got 3", lambda u, v: (u[:3], v[:3])),
    ("expected a sequence of 4 timesteps, got 8", lambda u, v: (u + u, v + v)),
    ("column 'u': expected a finite float32, got inf", lambda u, v: ([*u[:3], np.inf], v)),
    ("column 'v': expected a finite float32, got 1e+39", lambda u, v: (u, [1e39, *v[1:]])),
    ("column 'v': expected a number, got no value", lambda u, v: (u, [v[0], None, *v[2:]])),
    (NONE, lambda *_: ([], [])),
    (NONE, lambda *_: (None, None)),
    (NONE, lambda *_: ([None] * 4, [None] * 4)),
]


def test_one_percent_of_wrong_lists_of_ten_kinds(models: Path, tmp_path: Path) -> None:
    """Each is rejected with its row and its reason, and the others are scored."""
    expected, table = {}, []
    for row, x in enumerate(X, 1):
        u, v = x.T.tolist()
        if row % DISTANCE == 0:
            expected[row], wrong = LISTS[row // DISTANCE % len(LISTS)]
            u, v = wrong(u, v)
        table.append((u, v))
    frame = pl.DataFrame(table, schema=dict.fromkeys(NAMES, pl.List(pl.Float64)), orient="row")
    frame.write_parquet(tmp_path / "data.parquet")
    scored(models, tmp_path / "data.parquet", tmp_path / "out", "wide", chunk=300)
    assert rejections(tmp_path / "out") == expected
    assert_answers(tmp_path / "out", "row", [row for row in range(1, MANY + 1) if row % DISTANCE])


WORD = "column 'word': expected an integer from 0 to 9 or a word of the vocabulary, got"
WORDS: list[tuple[str, int, list[str]]] = [
    (f"{WORD} 99", 1, ["x,0,the", "x,1,99"]),
    (f"{WORD} -1", 0, ["x,0,-1"]),
    (f"{WORD} 2.5", 0, ["x,0,2.5"]),
    (f"{WORD} inf", 0, ["x,0,inf"]),
    (f"{WORD} no value", 1, ["x,0,the", "x,1,", "x,2,cat"]),
    (NONE, 0, ["x,0,", "x,1,"]),
    ("expected a sequence of 1 to 6 timesteps, got 7", 0, [f"x,{place},the" for place in range(7)]),
    ("column 'place': expected each timestep of a sequence once, got one twice", 1, ["x,0,the", "x,0,cat"]),
    ("column 'text': expected the identifier of a sequence, got no value", 0, [",0,the"]),
    ("expected 3 cells, got 2", 0, ["x,0"]),
    (QUOTE, 0, ['x,0,"the']),
]


def test_wrong_sequences_of_eleven_kinds_of_a_model_of_variable_length(models: Path, tmp_path: Path) -> None:
    """Sequences of one to six words beside them are scored."""
    lines, expected = ["text,place,word"], {}
    for number, (reason, at, wrong) in enumerate(WORDS):
        lines += [f"{number},{place},sat" for place in range(1 + number % 6)]
        expected[len(lines) + at] = reason
        lines += [line.replace("x", f"x{number}", 1) for line in wrong]
    path = tmp_path / "data.csv"
    path.write_text("\n".join(lines))
    scored(models, path, tmp_path / "out", "words", chunk=4)
    assert rejections(tmp_path / "out") == expected
    found = answers(tmp_path / "out")
    assert found["text"].to_list() == list(map(str, range(len(WORDS))))
    assert found["attention"].list.len().to_list() == [1 + number % 6 for number in range(len(WORDS))]


def test_the_first_wrong_sequence_ends_a_strict_run(models: Path, tmp_path: Path) -> None:
    """The message has the file, the row and the reason."""
    long_table(tmp_path / "data.parquet")
    with pytest.raises(ScoringError, match=r"data\.parquet, row 5: expected a sequence of 4 timesteps, got 3"):
        scored(models, tmp_path / "data.parquet", tmp_path / "out", "long", strict=True)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("data.csv", "u@0,v@0\n1,2\n", r"data\.csv: expected a column 'u@1', got u@0, v@0; 'u@0' is the closest"),
        ("data.csv", "", r"data\.csv: expected names of columns in the first line, got an empty file"),
        ("data.parquet", "PAR1", r"data\.parquet: not a readable \.parquet file"),
        ("data.npz", "x", r"data\.npz: not a readable \.npz file"),
        ("data.xlsx", "x", r"data\.xlsx: expected a file with a name that ends in \.parquet"),
    ],
)
def test_files_that_cannot_be_scored(models: Path, tmp_path: Path, name: str, text: str, message: str) -> None:
    """One line says what was expected."""
    (tmp_path / name).write_text(text)
    with pytest.raises((ScoringError, TableError), match=message):
        scored(models, tmp_path / name, tmp_path / "out", "wide")


def test_arrays_of_another_shape(models: Path, tmp_path: Path) -> None:
    """The message has both shapes."""
    np.savez(tmp_path / "data.npz", x=np.zeros((3, 5, 2)))
    message = r"expected x of numbers of shape \(n, 4, 2\), got float64 of shape \(3, 5, 2\)"
    with pytest.raises(ScoringError, match=message):
        scored(models, tmp_path / "data.npz", tmp_path / "out", "wide")


@pytest.mark.parametrize("name", ["b.parquet", "b.csv"])
def test_a_sequence_in_two_files(models: Path, tmp_path: Path, name: str) -> None:
    """The error names the key and the files: each would have a part of the sequence."""
    folder = tmp_path / "in"
    folder.mkdir()
    table = pl.DataFrame([{"id": key, **step} for key in (1, 2, 3) for step in STEPS])
    table[:6].write_parquet(folder / "a.parquet")
    table[6:].write_csv(folder / name) if name.endswith("csv") else table[6:].write_parquet(folder / name)
    message = rf"{name}: expected sequences that stand in one file, got '2', which is also in .*a\.parquet: score each"
    with pytest.raises(ScoringError, match=message):
        scored(models, folder, tmp_path / "out", "long")
    table[:4].write_parquet(folder / "a.parquet")
    table[4:].write_csv(folder / name) if name.endswith("csv") else table[4:].write_parquet(folder / name)
    assert scored(models, folder, tmp_path / "out", "long", resume=True).sequences == 3


@pytest.mark.parametrize("keys", [["a", None, "b"], [None, "a", "b"], ["a", "b", None], [None], [5, None, 3]])
def test_a_null_key_of_a_long_parquet_table(models: Path, tmp_path: Path, keys: list[Any]) -> None:
    """Its rows are rejected, wherever they stand, and the other sequences are scored."""
    rows = [{"id": key, **step} for key in keys for step in STEPS]
    of_type = pl.Int64 if 5 in keys else pl.String
    pl.DataFrame(rows, schema_overrides={"id": of_type}).write_parquet(tmp_path / "data.parquet")
    summary = scored(models, tmp_path / "data.parquet", tmp_path / "out", "long")
    assert (summary.sequences, summary.rejected) == (len(keys) - 1, 4)
    first = 4 * keys.index(None)
    reason = "column 'id': expected the identifier of a sequence, got no value"
    assert rejections(tmp_path / "out") == dict.fromkeys(range(first + 1, first + 5), reason)
    if summary.sequences:
        assert answers(tmp_path / "out")["id"].to_list() == [key for key in keys if key is not None]


@pytest.mark.parametrize("name", ["data.parquet", "data.csv"])
def test_a_long_table_without_its_column_of_keys(models: Path, tmp_path: Path, name: str) -> None:
    """It is an error, unless the table has no more rows than one sequence: then it is one."""
    path = tmp_path / name
    for steps in (STEPS, STEPS * 2):
        table = pl.DataFrame(steps)
        table.write_csv(path) if name.endswith("csv") else table.write_parquet(path)
        if steps is STEPS:
            assert scored(models, path, tmp_path / "one", "long").sequences == 1
    message = rf"{name}: expected a column 'id', which tells sequences apart, got 8 rows without it, more than the 4 "
    with pytest.raises(ScoringError, match=message):
        scored(models, path, tmp_path / "out", "long")


def test_a_compressed_array_that_is_damaged(models: Path, tmp_path: Path) -> None:
    """One line names the file."""
    path = tmp_path / "data.npz"
    np.savez_compressed(path, x=np.random.default_rng(0).standard_normal((100, 4, 2)))
    content = path.read_bytes()
    path.write_bytes(content[:200] + b"\xff" * 200 + content[400:])
    with pytest.raises(ScoringError, match=r"data\.npz: not a readable \.npz file: "):
        scored(models, path, tmp_path / "out", "wide")


@pytest.mark.parametrize("of_type", [pl.Int64, pl.String])
def test_a_damaged_page_of_keys(models: Path, tmp_path: Path, of_type: Any) -> None:
    """One line names the file."""
    path = tmp_path / "data.parquet"
    rows = [{"id": key, **step} for key in range(500) for step in STEPS]
    pl.DataFrame(rows).with_columns(pl.col("id").cast(of_type)).write_parquet(path)
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff" * 100 + content[104:])  # the beginning of the first column
    with pytest.raises(ScoringError, match=r"^[^\n]*data\.parquet: column 'id' cannot be read: [^\n]+$"):
        scored(models, path, tmp_path / "out", "long")
