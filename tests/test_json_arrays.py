"""Arrays in JSON are read as `json` reads them."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.api.codecs.array_reader import KEPT_BYTES, loads, regular_shape
from service.api.codecs.array_writer import dumps, dumps_rows
from service.errors import InvalidInput


def parse_array(text: bytes) -> np.ndarray | None:
    try:
        value = loads(b'{"a": ' + text + b"}")["a"]
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, np.ndarray) else None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"[1]", [1]),
        (b"[1, -2.5e3]", [1, -2500]),
        (b"[[1,2],[3,4],[5,6]]", [[1, 2], [3, 4], [5, 6]]),
        (b" [ [ [ 1 ] , [ 2 ] ] ] ".strip(), [[[1], [2]]]),
    ],
)
def test_a_regular_array_becomes_an_array(text: bytes, expected: Any) -> None:
    """The same holds for any depth, with and without spaces."""
    array = parse_array(text)
    assert array is not None
    assert array.dtype == np.float32
    assert array.tolist() == expected


@pytest.mark.parametrize(
    "text",
    [
        b"[]", b"[[]]", b"[[1],[]]", b"[[1],[2,3]]", b"[[1,2],[3]]", b"[1,[2]]", b"[[1],2]", b"[[[1]],[2]]",
        b"[null]", b"[true]", b'["1"]', b"[NaN]", b"[1e39]", b"[1e400]", b"[{}]",
        b"[1,]", b"[,1]", b"[1 2]", b"[01]", b"[+1]", b"[1.]", b"[.5]", b"[-]", b"[1e]",
        b"[1[,]2]", b"[1[],[]2]", b"[-1[] ]", b"[[1[,]2]]", b"[[[[7]]]]", b"[" * 65 + b"1" + b"]" * 65,
        b"[[1]2,[3]]", b"[[1],[2]3]", b"[1]]", b"[[1]", b"][", b"]", b"[1][2]", b"[1],[2]",
    ],
)  # fmt: skip
def test_other_text_does_not_become_an_array(text: bytes) -> None:
    """The text is ragged, empty, not numeric, beyond float32, or not JSON."""
    assert parse_array(text) is None


def test_a_shape_needs_no_numbers() -> None:
    """Brackets and commas give the shape."""
    assert regular_shape(b"[[[,],[,],[,]],[[,],[,],[,]]]") == (2, 3, 2)
    assert regular_shape(b"") is None


def test_threads_parse_at_once() -> None:
    """The parser of one thread does not overwrite the array of another."""

    def parse(length: int) -> None:
        numbers = list(range(length))
        for _ in range(300):
            array = parse_array(str(numbers).encode())
            assert array is not None
            assert array.tolist() == numbers

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(parse, (1, 20, 300, 1000)))
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("length", [KEPT_BYTES // 4, KEPT_BYTES])
def test_long_text_becomes_an_array(length: int) -> None:
    """The same holds with and without a kept parser. Earlier arrays do not change."""
    before = parse_array(b"[7, 8, 9]")
    array = parse_array(b"[%b]" % b",".join([b"1"] * length))
    assert array is not None
    assert array.shape == (length,)
    assert (array == 1).all()
    assert before is not None
    assert before.tolist() == [7, 8, 9]


def test_other_fields_do_not_change() -> None:
    """Fields before and after the array do not change."""
    fields = loads(b'{"a": "x", "sequences": [[1, 2]], "b": null}')
    assert fields["sequences"].tolist() == [[1, 2]]
    assert (fields["a"], fields["b"]) == ("x", None)


@pytest.mark.parametrize(
    "body",
    [
        b"{}", b"[[1]]", b'{"a": [[1]], "b": [[2]]}', b'{"a": {"b": [[1]]}}', b'{"a": [[1]], "a": 5}', b"3",
        b'{"x": {"y": [1]}, "a": "\\u0000array"}', b'{"a": "\\u0000array", "b": [[1], null]}',
        b'{"a": "[", "b": "]"}', b'{"a": "[1]"}', b'{"x": "\\u0000array", "a": [[1]]}', b'{"a": [[1], null]}',
    ],
)  # fmt: skip
def test_other_bodies_are_parsed_as_json_parses_them(body: bytes) -> None:
    """Examples are two arrays, nested arrays, brackets in strings, and repeated fields."""
    assert loads(body) == json.loads(body)


@pytest.mark.parametrize("body", [b"", b"{", b'{"a": [[1]]', b'{"a": [[1]]}}', b'{"a" [[1]]}', b'{"a": [[1]]]}', b"]["])
def test_text_that_is_not_json_is_an_error(body: bytes) -> None:
    """The same holds even if the array in the body is valid."""
    with pytest.raises(orjson.JSONDecodeError):
        loads(body)


NUMBERS = st.integers(-(2**31), 2**31) | st.floats(width=32, allow_nan=False, allow_infinity=False)
VALUES = st.recursive(NUMBERS | st.none() | st.booleans() | st.text("[]0,e", max_size=3), st.lists, max_leaves=12)


def listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


@given(st.dictionaries(st.text("ab[]", max_size=2), VALUES, max_size=3))
@settings(max_examples=500)
def test_it_reads_the_values_that_json_reads(fields: dict[str, Any]) -> None:
    """The values are the same, as arrays or as lists."""
    body = json.dumps(fields).encode()
    parsed = {name: listed(value) for name, value in loads(body).items()}
    expected = json.loads(body)
    assert parsed.keys() == expected.keys()
    for name, value in expected.items():
        if parsed[name] != value:  # then it became an array, of float32
            np.testing.assert_array_equal(np.array(parsed[name]), np.array(value, dtype=np.float32))


@given(st.text("[]0123456789,.-+eE \n", max_size=30))
@example("[[1]2,[3]]")
@settings(max_examples=2000)
def test_it_refuses_the_text_that_json_refuses(text: str) -> None:
    """The texts are strings of the characters of arrays."""
    body = b'{"a": ' + text.encode() + b"}"
    try:
        expected = orjson.loads(body)
    except orjson.JSONDecodeError:
        with pytest.raises(orjson.JSONDecodeError):
            loads(body)
    else:
        parsed = loads(body)["a"]
        if isinstance(parsed, np.ndarray):
            np.testing.assert_array_equal(parsed, np.array(expected["a"], dtype=np.float32))
        else:
            assert parsed == expected["a"]


@pytest.mark.parametrize("shape", [(1,), (3,), (1, 1), (3, 2), (1, 3, 2), (2, 1, 1)])
def test_rows_are_written_one_by_one(shape: tuple[int, ...]) -> None:
    """Each text is the JSON of its row, for any strides."""
    array = np.random.default_rng(0).standard_normal(shape[::-1]).astype(np.float32).T
    written = dumps_rows(array)
    assert len(written) == len(array)
    for text, row in zip(written, array, strict=True):
        np.testing.assert_array_equal(np.array(json.loads(text), dtype=np.float32), row)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 2)])
@pytest.mark.parametrize("lengths", [3, np.array([4, 1, 4]), np.array([1, 2, 3])])
def test_rows_are_cut_to_their_lengths(shape: tuple[int, ...], lengths: Any) -> None:
    """Rows have one length or a length each, and are written one by one or together."""
    array = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    expected = [row[:length] for row, length in zip(array, np.broadcast_to(lengths, 3), strict=True)]
    for rows in (list(map(json.loads, dumps_rows(array, lengths))), json.loads(dumps(array, lengths))):
        for got, row in zip(rows, expected, strict=True):
            np.testing.assert_array_equal(np.array(got, dtype=np.float32), row)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_error_names_the_row_that_is_not_finite(value: float) -> None:
    """JSON cannot express the value."""
    array = np.zeros((3, 2), dtype=np.float32)
    array[1, 1] = value
    with pytest.raises(InvalidInput, match="sequence 1: "):
        dumps_rows(array)
