"""Tables to sequences: columns are matched by name."""

import json
import math
from typing import Any

import numpy as np
import pytest

from service.api.codecs.records import loads_records
from service.api.codecs.tables import decode_csv_table, decode_table, table_of_records, table_of_split
from service.artifact.card import ModelCard, TableFormat, Tokens
from service.artifact.table_format import MISSING
from service.errors import InvalidInput, TooLarge
from tests.samples import card, record


def long_card(**fields: Any) -> ModelCard:
    """Return the card of a model that was trained on a long table with the columns of `LONG`."""
    options = {"sequence_column": "id", "timestep_column": "day", "target_column": ["y"], "drop_columns": ["note"]}
    defaults = {"timesteps": 3, "feature_labels": ("pulse", "warmth"), "training": record(**options)}
    return card(**{**defaults, **fields})


ANY = {"variable_length": True, "missing_values": True}
LONG = "id,day,pulse,warmth,note,y\n"
#: Three timesteps of one feature, as a wide table names them.
ONE = card(timesteps=3, features=1, timestep_labels=("9:00", "10:00", "11:00"), training=record(target_column=["y"]))
#: Two timesteps of two features.
TWO = card(timesteps=2, timestep_labels=("t0", "t1"), feature_labels=("a", "b"), training=record())
#: A long table whose dates were given a format.
KOREAN = long_card(
    **ANY,
    table=TableFormat(
        sequence_column="id",
        timestep_column="day",
        target_columns=("y",),
        other_columns=("note",),
        timing={"unit": "seconds", "step": 86400, "formats": ["%Y. %m. %d."]},
    ),
)


def of_csv(text: str, described: ModelCard, limit: int = 9) -> Any:
    """Return the sequences of CSV as lists, shorter ones without their padding."""
    array, lengths = decode_csv_table(text.encode(), described, limit)
    assert array.dtype == np.float32
    each = np.broadcast_to(array.shape[1] if lengths is None else lengths, len(array))
    return [sequence[:length].tolist() for sequence, length in zip(array, each, strict=True)]


def test_a_wide_table_of_one_feature_has_its_timesteps_as_columns() -> None:
    """The order of the columns does not matter, and the target is left out."""
    assert of_csv("y,11:00,9:00,10:00\nup,3,1,2\ndown,6,4,5\n", ONE) == [[[1], [2], [3]], [[4], [5], [6]]]
    assert of_csv("0@9:00,0@11:00,0@10:00\n1,3,2\n", ONE) == [[[1], [2], [3]]]


def test_a_wide_table_of_several_features_names_feature_and_timestep() -> None:
    """The names are those of training."""
    assert of_csv("b@t1,a@t0,b@t0,a@t1\n4,1,2,3\n", TWO) == [[[1, 2], [3, 4]]]


def test_a_long_table_has_a_row_for_each_timestep() -> None:
    """The identifier tells the sequences apart, wherever their rows are; the timesteps order the rows."""
    text = LONG + "p,10,5,6,,up\nq,1,7,8,,up\np,9,3,4,,up\nq,3,11,12,,up\nq,2,9,10,,up\np,8,1,2,,up\n"
    assert of_csv(text, long_card()) == [[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 10], [11, 12]]]
    assert of_csv("warmth,pulse\n2,1\n4,3\n6,5\n", long_card()) == [[[1, 2], [3, 4], [5, 6]]]


@pytest.mark.parametrize("times", [("2024-01-31", "2024-02-01 12:00", "2024-02-01T13:00Z"), ("-1.5", "1e1", "9e1")])
def test_rows_are_in_the_order_of_numbers_or_times(times: tuple[str, str, str]) -> None:
    """They are not in the order of text."""
    rows = [f"{time},{value},0\n" for value, time in enumerate(times)]
    text = "day,pulse,warmth\n" + "".join(reversed(rows))
    assert of_csv(text, long_card()) == [[[0, 0], [1, 0], [2, 0]]]


def test_a_missing_row_is_told() -> None:
    """It is not taken for a missing value of the row before."""
    card = long_card(table=TableFormat(timestep_column="day", timing={"unit": "seconds", "step": 86400}))
    text = "day,pulse,warmth\n2024-01-01,1,2\n2024-01-03,5,6\n"
    with pytest.raises(InvalidInput, match=r"^line 2: expected a row for each step of time, got none between this row"):
        of_csv(text, card)


def test_integers_of_any_size_are_told_apart() -> None:
    """Nanoseconds and identifiers of 19 digits are not rounded."""
    rows = [[10**18 + 1, 10**18 + step, step, 0] for step in (2, 1, 0)] + [[10**18, 1, 5, 0]]
    split = {"columns": ["id", "day", "pulse", "warmth"], "data": rows}
    array, lengths = decode_table(table_of_split(loads_records(json.dumps(split).encode())), long_card(**ANY), 9)
    assert array[0, :, 0].tolist() == [0, 1, 2]
    assert lengths.tolist() == [3, 1]  # type: ignore[union-attr] # they differ


def test_empty_cells_are_missing_values() -> None:
    """So are the other words for none. A sequence ends with its last value."""
    text = LONG + "p,1,,5,,\np,2,NA,nan,,\np,3, 7 ,8,,\nq,1,1,2,,\nq,2,,,,\n"
    first, second = of_csv(text, long_card(**ANY))
    assert [[value for value in step if not math.isnan(value)] for step in first] == [[5], [], [7, 8]]
    assert second == [[1, 2]]
    assert of_csv("9:00,10:00,11:00\n1,2,\n", ONE.model_copy(update={"variable_length": True})) == [[[1], [2]]]


@pytest.mark.parametrize("word", MISSING)
def test_the_words_for_none_are_those_of_training(word: str) -> None:
    """A cell that is missing in training is missing in the service."""
    described = ONE.model_copy(update={"missing_values": True})
    np.testing.assert_array_equal(of_csv(f"9:00,10:00,11:00\n1,{word},3\n", described), [[[1], [np.nan], [3]]])


def test_csv_may_have_quotes_byte_order_mark_and_any_line_end() -> None:
    """Cells in quotes may have commas and line breaks; blank lines do not count."""
    text = '\ufeffid, "day",pulse,warmth,note,y\r\n"p,1",1,"1",2,"two\r\nlines, ""quoted""",\r\n\r\n"p,1",2,3,4,,\r\n'
    assert of_csv(text, long_card(**ANY)) == [[[1, 2], [3, 4]]]
    assert of_csv("9:00,10:00,11:00\r1,2,3\r", ONE) == [[[1], [2], [3]]]


@pytest.mark.parametrize("delimiter", [";", "\t", "|", "~"])
def test_the_delimiter_is_found(delimiter: str) -> None:
    """Names of columns may have a comma; the card may know another delimiter than the usual ones."""
    described = long_card(table=TableFormat(sequence_column="id, of a person", timestep_column="day", delimiter="~"))
    text = "id, of a person,day,pulse,warmth\n".replace(",", delimiter).replace(f"id{delimiter}", "id,")
    assert of_csv(text + "p,1,1,2\np,2,3,4\np,3,5,6\n".replace(",", delimiter), described) == [[[1, 2], [3, 4], [5, 6]]]


def test_the_decimal_mark_and_the_words_for_none_are_the_training_s() -> None:
    """Beside a delimiter of its own, a comma is a decimal mark, if training read it so."""
    described = ONE.model_copy(update={"table": TableFormat(delimiter=";", decimal=",", missing=("-9",))})
    described = described.model_copy(update={"missing_values": True})
    np.testing.assert_array_equal(of_csv("9:00;10:00;11:00\n1,5;-9;?\n", described), [[[1.5], [np.nan], [np.nan]]])
    assert of_csv("9:00,10:00,11:00\n1.5,2,3\n", described) == [[[1.5], [2], [3]]]
    for text in ("9:00;10:00;11:00\n1.5;2;3\n", '9:00,10:00,11:00\n"1,5",2,3\n'):
        with pytest.raises(InvalidInput, match=r"line 2, column '9:00': expected a number or no value, got "):
            of_csv(text, described)


@pytest.mark.parametrize("before", ["# of the ward\n", "sep=;\n", "\n# x\n#b;c\n"])
def test_remarks_may_stand_before_the_names(before: str) -> None:
    """The lines of messages count them; a column may begin with a number sign, too."""
    described = card(timesteps=2, feature_labels=("#a", "b"), training=record())
    assert of_csv(before + "#a;b\n1;2\n3;4\n", described) == [[[1, 2], [3, 4]]]
    with pytest.raises(InvalidInput, match=rf"line {before.count(chr(10)) + 1}: missing column 'b'"):
        of_csv(before + "#a;c\n1;2\n", described)


def test_true_and_false_are_one_and_zero() -> None:
    """They are as in training."""
    assert of_csv("a,b\nTrue,false\nFALSE,2\n", card(timesteps=2, feature_labels=("a", "b"), training=record())) == [
        [[1, 0], [0, 2]]
    ]


def test_the_character_between_thousands_is_the_training_s() -> None:
    """In another dialect it may be the decimal mark."""
    table = TableFormat(delimiter=";", decimal=",", thousands=".")
    described = card(timesteps=1, feature_labels=("a", "b"), table=table, missing_values=True)
    ((row,),) = of_csv("a;b\n1.234.567,5;.\n", described)
    assert row[0] == 1234567.5
    assert math.isnan(row[1])
    assert of_csv("a,b\n1.25,2\n", described) == [[[1.25, 2]]]
    assert of_csv("a\tb\n1.234,5\t2\n", described) == [[[1234.5, 2]]]
    spaced = described.model_copy(update={"table": TableFormat(delimiter=";", decimal=",", thousands=" ")})
    assert of_csv("a\tb\n1 395,2\t2\n", spaced) == [[[np.float32(1395.2), 2]]]
    comma = described.model_copy(update={"table": TableFormat(delimiter=",", thousands=",")})
    with pytest.raises(InvalidInput, match="line 2, column 'a': expected a number or no value, got"):
        of_csv("a;b\n1,395;2\n", comma)
    for cell in ("1.5", "1.2.345", ".5", "1234.567,5"):
        with pytest.raises(InvalidInput, match="line 2, column 'a': expected a number or no value, got"):
            of_csv(f"a;b\n{cell};1\n", described)


def test_a_wide_table_has_one_column_for_a_static_feature() -> None:
    """Its value is that of each timestep that has another value."""
    described = card(
        timesteps=3,
        features=2,
        timestep_labels=("x", "y", "z"),
        feature_labels=("a", "age"),
        static_labels=("age",),
        **ANY,
    )
    array, _ = decode_csv_table(b"age,x,y,z\n7,1,,2\n8,3,4,\n", described, 9)
    nothing = [math.nan, math.nan]
    np.testing.assert_array_equal(array, [[[1, 7], nothing, [2, 7]], [[3, 8], [4, 8], nothing]])
    np.testing.assert_array_equal(decode_csv_table(b"age,a@x,a@y,a@z\n7,1,,2\n", described, 9).array, array[:1])


def test_a_long_table_may_have_a_static_value_on_one_row_of_a_sequence() -> None:
    """It counts at each timestep that has another value; a sequence without it has none."""
    table = TableFormat(sequence_column="id", timestep_column="day")
    described = card(timesteps=3, feature_labels=("a", "age"), static_labels=("age",), table=table, **ANY)
    array, _ = decode_csv_table(b"id,day,a,age\np,1,1,\np,2,,30\np,3,4,\nq,1,,50\nq,2,2,\nr,1,1,\n", described, 9)
    none = [math.nan, math.nan]
    np.testing.assert_array_equal(array, [[[1, 30], none, [4, 30]], [none, [2, 50], none], [[1, math.nan], none, none]])


def test_records_and_split_are_the_same_table() -> None:
    """MLflow's client writes both, with NaN for a missing value."""
    rows: list[dict[str, Any]] = [
        {"id": 1, "day": 1, "pulse": math.nan, "warmth": 2},
        {"id": 1, "day": 2, "pulse": 3, "warmth": None},
    ]
    split = {"index": [0, 1], "columns": list(rows[0]), "data": [list(row.values()) for row in rows]}
    for table in (table_of_records, table_of_split):
        value = loads_records(json.dumps(rows if table is table_of_records else split).encode())
        array, _ = decode_table(table(value), long_card(**ANY), 9)
        np.testing.assert_array_equal(array[0, :2], [[np.nan, 2], [3, np.nan]])


def test_all_columns_may_be_there_where_training_chose_some() -> None:
    """Training with `--feature-columns` ignored all others."""
    chosen = long_card(training=record(target_column=["y"], feature_columns=["pulse", "warmth"]), **ANY)
    assert of_csv("pulse,other,warmth\n1,text,2\n", chosen) == [[[1, 2]]]


@pytest.mark.parametrize(
    ("text", "described", "message"),
    [
        ("9:00,10:00\n1,2\n", ONE, "line 1: missing column '11:00'"),
        ("9:00,10:00,noon\n1,2,3\n", ONE, "line 1: missing column '11:00'; unknown column 'noon'"),
        ("9:00,10:00,11:00,12:00,13:00\n1,2,3,4,5\n", ONE, "line 1: unknown columns '12:00', '13:00'"),
        ("9:00,10:00,9:00\n1,2,3\n", ONE, "line 1: repeated column '9:00'"),
        ("a@t0,b@t0,a@t1\n1,2,3\n", TWO, "line 1: missing column 'b@t1'"),
        ("a@t0,b@t0,a@t1,b@t1,a\n1,2,3,4,5\n", TWO, "line 1: unknown column 'a'"),
        ("id,day,pulse\n1,2,3\n", long_card(), "line 1: missing column 'warmth'"),
        (",pulse,warmth\n0,1,2\n", long_card(), "line 1: unknown column ''"),
        (
            "person,day,pulse,warmth\np,0,1,2\n",
            long_card(),
            "line 1: unknown column 'person'; no column 'id', which tells the sequences apart",
        ),
        (
            LONG + "p,2026-04-16,1,2,,\n",
            KOREAN,
            "line 2, column 'day': expected a time of the format %Y. %m. %d., such as 2024. 01. 31., "
            'got "2026-04-16"',
        ),
        (
            LONG + "p,2026. 4. 16.,1,2,,\np,삼월,1,2,,\n",
            KOREAN,
            "line 3, column 'day': expected a time of the format %Y. %m. %d., such as 2024. 01. 31., "
            'as in the rows before, got "삼월"',
        ),
        ("9:00,10:00,11:00\n1,삼십칠.1,3\n", ONE, "line 2, column '10:00': expected a number, got \"삼십칠.1\""),
        (
            '9:00,10:00,11:00\n1,"\u202e\n\u00a0",3\n',
            ONE,
            "line 2, column '10:00': expected a number, got \"\\u202e\\n\\u00a0\"",
        ),
        ("9:00,10:00,11:00\n1,2,3\n1,2\n", ONE, "line 3: expected 3 cells, got 2"),
        ("9:00,10:00,11:00\n1,2,3\n\n1,two,3\n", ONE, "line 4, column '10:00': expected a number, got \"two\""),
        ("9:00,10:00,11:00\n1,1_0,3\n", ONE, "line 2, column '10:00': expected a number, got \"1_0\""),
        ("9:00,10:00,11:00\n1,,3\n", ONE, "line 2, column '10:00': expected a number, got no value"),
        ("9:00,10:00,11:00\n1,1e39,3\n", ONE, "line 2, column '10:00': expected a finite float32, got 1e+39"),
        ("9:00,10:00,11:00\n1,2,inf\n", ONE, "line 2, column '11:00': expected a finite float32, got inf"),
        (LONG + "p,1,1,2,,\np,2,3,4,,\n", long_card(), "line 2: expected a sequence of 3 timesteps, got 2"),
        (LONG + "p,1,1,2,,\n" * 4, long_card(**ANY), "line 3, column 'day': expected each timestep of a sequence once"),
        (LONG + "p,1,,,,\np,2,,,,\n", long_card(**ANY), "line 2: expected a sequence of 1 to 3 timesteps, got 0"),
        (LONG + ",1,1,2,,\n", long_card(**ANY), "line 2, column 'id': expected the identifier of a sequence, got"),
        (LONG + "p,1,1,2,,\np,x,1,2,,\n", long_card(**ANY), "line 3, column 'day': expected a number or a time"),
        ('9:00,10:00,11:00\n"1"2,2,3\n', ONE, "line 2: expected CSV, got an error: "),
        ("9:00,10:00,11:00\n", ONE, "expected at least one row, got none"),
        ("\n", ONE, "expected CSV with the names of columns in its first line, got no text"),
        ("9:00;10:00;11:00\n1,5;2;3\n", ONE, "line 2, column '9:00': expected a number, got \"1,5\""),
        ("," * 1020, ONE, "line 1: expected at most 1003 cells in a row, got more: are the line ends"),
    ],
)
def test_an_error_names_the_column_and_the_row(text: str, described: ModelCard, message: str) -> None:
    """The message says what is wrong, and where."""
    with pytest.raises(InvalidInput) as caught:
        of_csv(text, described)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ('[{"pulse": 1}]', "dataframe_records[0]: missing column 'warmth'"),
        ('[{"pulse": 1, "warmth": 2}, {"pulse": 1, "x": 2}]', "dataframe_records[1]: missing column 'warmth'; unknown"),
        ('[{"pulse": 1, "warmth": 2, "pulse": 3}]', "dataframe_records[0]: repeated column 'pulse'"),
        ('[{"pulse": "1", "warmth": 2}]', "dataframe_records[0], column 'pulse': expected a number or no value, got"),
        ('[{"pulse": true, "warmth": 2}]', "dataframe_records[0], column 'pulse': expected a number or no value, got"),
        ("[[1, 2]]", "dataframe_records[0]: expected an object, got a list"),
    ],
)
def test_an_error_names_the_record(records: str, message: str) -> None:
    """Each object has the same names, once."""
    with pytest.raises(InvalidInput) as caught:
        decode_table(table_of_records(loads_records(records.encode())), long_card(**ANY), 9)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"data": [[1]]}, "dataframe_split: expected an object with 'columns' and 'data', got the keys 'data'"),
        ({"columns": ["a"], "data": [], "x": 1}, "dataframe_split: expected an object with 'columns' and 'data'"),
        ({"columns": "a", "data": []}, "dataframe_split.columns: expected a list, got a string"),
        ({"columns": [None], "data": []}, "dataframe_split.columns[0]: expected a name, got null"),
        (
            {"columns": ["pulse", "warmth"], "data": [[1, 2], [1]]},
            "dataframe_split.data[1]: expected a list of 2",
        ),
    ],
)
def test_an_error_names_the_part_of_the_split(split: Any, message: str) -> None:
    """The form is that of pandas."""
    with pytest.raises(InvalidInput) as caught:
        decode_table(table_of_split(split), long_card(**ANY), 9)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("rows", ["1,2,3\n" * 3, "\n" * 2000, "," * 2000])
def test_more_than_the_limit_is_refused(rows: str) -> None:
    """Neither the rows nor the cells are read to their end."""
    with pytest.raises(TooLarge, match="expected at most"):
        of_csv("9:00,10:00,11:00\n" + rows, ONE, limit=2)


def test_pandas_numbers_columns_without_names() -> None:
    """They are the labels of a card whose labels are numbers."""
    split = {"columns": [1, 0], "data": [[step, -step] for step in range(20)]}
    array, _ = decode_table(table_of_split(split), card(), 9)
    assert array[0, 3].tolist() == [-3, 3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,2\n3,4\n5,6\n\n7,8\n9,10\n11,12\n", [[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 10], [11, 12]]]),
        ("\n\n1;2\n3;4\n", [[[1, 2], [3, 4]]]),
        (",2\n1,NA\n", [[[None, 2], [1, None]]]),
        ("warmth,pulse\n2,1\n\n4,3\n", [[[1, 2], [3, 4]]]),
    ],
)
def test_a_first_line_of_values_has_no_names(text: str, expected: Any) -> None:
    """The features are in the order of the card, and a blank line begins a sequence; not so below names."""
    found = [
        [[None if math.isnan(value) else value for value in step] for step in one]
        for one in of_csv(text, long_card(**ANY))
    ]
    assert found == expected


def test_names_may_be_numbers() -> None:
    """A first line that has all names of the features is one of names."""
    described = card(timesteps=2, **ANY)
    assert of_csv("1,0\n2,1\n", described) == [[[1, 2]]]
    assert of_csv("1,3\n2,1\n", described) == [[[1, 3], [2, 1]]]


def test_a_first_line_of_known_words_has_no_names() -> None:
    """A word that the model does not know may be the wrong name of a column."""
    tokens = Tokens(least=0, most=9, vocabulary={"[UNK]": 0, "the": 1, "cat": 2})
    described = card(timesteps=3, features=1, feature_labels=("word",), tokens=tokens, **ANY)
    assert of_csv("the\ncat\nhums\n", described) == [[[1], [2], [0]]]
    with pytest.raises(InvalidInput, match=r"line 1: missing columns .*; unknown column 'hums'"):
        of_csv("hums\nthe\n", described)
    coloured = card(timesteps=2, feature_labels=("speed", "colour"), categories={"colour": ("red", "blue")}, **ANY)
    assert of_csv("1,blue\n2,red\n", coloured) == [[[1, 1], [2, 0]]]
    with pytest.raises(InvalidInput, match="line 1: missing column"):
        of_csv("1,green\n2,red\n", coloured)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.5,2,3\n", r"line 1: expected the names of columns, or a value of each feature \(2\), got 3 numbers"),
        ("1.5,2\n3\n", "line 2: expected 2 cells, got 1"),
        ("1.5,2\n3,x\n", "line 2, column 'warmth': expected a number or no value, got \"x\""),
        ("NA,-\n1,2\n", "line 1: missing column"),
    ],
)
def test_wrong_rows_without_names_are_refused(text: str, message: str) -> None:
    """The message says that names are missing, where they may be."""
    with pytest.raises(InvalidInput, match=message):
        of_csv(text, long_card(**ANY))
