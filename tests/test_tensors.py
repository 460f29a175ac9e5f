"""Tensors of the Open Inference Protocol: conversion, refusal, and no memory left behind."""

import json
import os
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.api.codecs.tensors import RequestInput, decode_tensor
from service.api.routes.oip import cut
from service.app import create_app
from service.artifact.card import ModelCard
from service.artifact.version import Artifact
from service.errors import InvalidInput, TooLarge
from service.settings import Settings
from tests.conftest import connect
from tests.infer import LENGTH, as_json, binary
from tests.masked import masked_card

URL = "/v2/models/after-lstm/infer"


@pytest.fixture(scope="module")
def card(artifacts: Path) -> ModelCard:
    return Artifact(artifacts / "after-lstm" / "1").read().card()


def decode(card: ModelCard, body: dict[str, Any], data: bytes = b"", limit: int = 100) -> Any:
    return decode_tensor(RequestInput.model_validate(body["inputs"][0]), data, card, limit)


def decode_binary(card: ModelCard, array: Any, datatype: str) -> Any:
    request = binary(array, datatype, str(array.dtype))
    length = int(request["headers"][LENGTH])
    return decode(card, json.loads(request["content"][:length]), request["content"][length:])


#: The protocol's numeric datatypes, little-endian.
NUMERIC = {
    "UINT8": "<u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8",
    "INT8": "<i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
    "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip


@pytest.mark.parametrize("datatype", NUMERIC)
def test_every_numeric_datatype_is_converted(card: ModelCard, datatype: str) -> None:
    """The numbers are the same as flat JSON, as nested JSON and as bytes."""
    dtype = np.dtype(NUMERIC[datatype])
    low, high = (-7.5, 7.5) if dtype.kind == "f" else (0 if dtype.kind == "u" else -100, 100)
    array = np.random.default_rng(0).uniform(low, high, (3, 20, 2)).astype(dtype)
    wanted = array.astype(np.float32)
    for data in (array.ravel().tolist(), array.tolist()):
        got = decode(card, as_json(array, tensor={"datatype": datatype, "data": data}))
        np.testing.assert_array_equal(got, wanted)
    got = decode_binary(card, array, datatype)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, wanted)


@given(arrays.arrays("<f4", (2, 20, 2), elements=st.floats(allow_nan=False, allow_infinity=False, width=32)))
@settings(max_examples=100)
def test_any_float32_arrives_as_it_was_sent(card: ModelCard, array: Any) -> None:
    """No bit changes, in JSON and in binary."""
    np.testing.assert_array_equal(decode(card, as_json(array)), array)
    np.testing.assert_array_equal(decode_binary(card, array, "FP32"), array)


@given(content=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300)), length=st.integers(0, 300))
@settings(max_examples=300)
def test_a_body_is_cut_where_its_header_says(content: bytes, cuts: list[int], length: int) -> None:
    """The result is the same, for any division of the body into pieces."""
    places = sorted({0, *cuts, len(content)})
    chunks = [content[a:b] for a, b in pairwise(places)]
    assert cut(chunks, length) == (content[:length], content[length:])


def test_binary_data_are_not_copied(card: ModelCard) -> None:
    """The array is an aligned view of the bytes."""
    data = np.zeros((3, 20, 2), "<f4").tobytes()
    (_, joined) = cut([b"x" + data[:100], data[100:]], 1)
    array = decode(
        card, as_json(np.zeros((3, 20, 2)), tensor={"data": None, "parameters": {"binary_data_size": 480}}), joined
    )
    assert np.shares_memory(array, np.frombuffer(joined, np.uint8))
    assert array.flags.aligned


GOOD = np.zeros((2, 20, 2), "<f4")


def with_json(**tensor: Any) -> tuple[dict[str, Any], bytes]:
    return as_json(GOOD, tensor=tensor), b""


def with_bytes(size: object, data: bytes, **tensor: Any) -> tuple[dict[str, Any], bytes]:
    return as_json(GOOD, tensor={"data": None, "parameters": {"binary_data_size": size}, **tensor}), data


def one_wrong(value: Any, at: int) -> list[Any]:
    data: list[Any] = [0.5] * 80
    data[at] = value
    return data


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (with_json(name="x"), "inputs[0].name: expected 'sequence', got 'x'"),
        (with_json(datatype="BYTES"), "sequence.datatype: expected FP32, or one that can be converted"),
        (with_json(datatype="BOOL"), "got 'BOOL'"),
        (with_json(datatype=">FP32"), "got '>FP32'"),
        (with_json(shape=[2, 20]), "sequence.shape: expected [n, 20, 2] with n of at least 1, got [2, 20]"),
        (with_json(shape=[2, 2, 20]), "got [2, 2, 20]"),
        (with_json(shape=[0, 20, 2], data=[]), "with n of at least 1, got [0, 20, 2]"),
        (with_json(shape=[-1, 20, 2]), "with n of at least 1, got [-1, 20, 2]"),
        (with_json(shape=[]), "got []"),
        (with_json(shape=[2, 20, 2, 1]), "got [2, 20, 2, 1]"),
        (with_json(shape=[3, 20, 2]), "sequence.data: expected 120 numbers for shape [3, 20, 2], got 80"),
        (
            with_json(shape=[1, 20, 2], data=GOOD.tolist()),
            "sequence.data: expected 1 sequences, as in its shape, got 2",
        ),
        (with_json(data=None), "sequence.data: expected a list of numbers, got null"),
        (with_json(data={"a": 1}), "sequence.data: expected a list of numbers, got an object"),
        (with_json(data=one_wrong(None, 47)), "sequence[1][3][1]: expected a finite number, got null"),
        (with_json(data=one_wrong("1", 0)), "sequence[0][0][0]: expected a finite number, got a string"),
        (with_json(data=one_wrong(True, 79)), "sequence[1][19][1]: expected a finite number, got a boolean"),
        (with_json(data=one_wrong([1.0], 2)), "sequence[0][1][0]: expected a finite number, got a list"),
        (with_json(data=one_wrong(1e39, 2)), "sequence[0][1][0]: expected a finite FP32, got 1e+39"),
        (
            with_json(data=one_wrong(1e39, 2), datatype="FP64"),
            "sequence[0][1][0]: expected a finite FP32, got 1e+39",
        ),
        (with_json(data=one_wrong(7e4, 2), datatype="FP16"), "sequence[0][1][0]: expected a finite FP16, got 70000.0"),
        (with_json(data=one_wrong(0, 2), datatype="INT8"), "sequence[0][0][0]: expected INT8, got 0.5"),
        (with_json(data=[*[0] * 79, 128], datatype="INT8"), "sequence[1][19][1]: expected INT8, got 128.0"),
        (with_json(data=[-1, *[0] * 79], datatype="UINT64"), "sequence[0][0][0]: expected UINT64, got -1.0"),
        (
            with_json(parameters={"binary_data_size": 320}),
            "sequence: expected either data or the parameter binary_data_size, got both",
        ),
        (with_json(parameters={"endianness": "big"}), "sequence.parameters.endianness: expected 'little', got \"big\""),
        (with_json(parameters={"byte_order": ">"}), "sequence.parameters.byte_order: expected 'little', got \">\""),
        ((as_json(GOOD), b"1234"), "sequence: expected no bytes after the JSON, got 4"),
        (
            with_bytes(319, bytes(319)),
            "sequence.parameters.binary_data_size: expected 320 bytes for FP32 of shape [2, 20, 2], got 319",
        ),
        (with_bytes(320, bytes(319)), "sequence: expected 320 bytes after the JSON, got 319"),
        (with_bytes(320, bytes(321)), "sequence: expected 320 bytes after the JSON, got 321"),
        (with_bytes("320", bytes(320)), "binary_data_size: expected 320 bytes"),
        (with_bytes(320.0, bytes(320)), "binary_data_size: expected 320 bytes"),
        (with_bytes(True, bytes(320)), "got true"),
        (with_bytes(-320, bytes(320)), "got -320"),
        (with_bytes(320, bytes(320), datatype="FP64"), "expected 640 bytes for FP64 of shape [2, 20, 2], got 320"),
        (
            with_bytes(320, b"\x00" * 188 + b"\x00\x00\xc0\x7f" + b"\x00" * 128),
            "sequence[1][3][1]: expected a finite FP32, got nan",
        ),
        (
            with_bytes(320, b"\x00\x00\x80\xff" + b"\x00" * 316),
            "sequence[0][0][0]: expected a finite FP32, got -inf",
        ),
    ],
)
def test_errors_distinguish_datatype_shape_size_and_elements(
    card: ModelCard, sent: tuple[dict[str, Any], bytes], message: str
) -> None:
    """Each error names the expected value, the actual value and its place."""
    with pytest.raises(InvalidInput) as caught:
        decode(card, *sent)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        ("INT32", 2147483648),
        ("UINT8", 255.00000001),
        ("UINT8", 0.9999999999),
        ("INT64", 2**63 - 1),
        ("UINT64", 2**64 - 1),
        ("FP16", 65520),
    ],
)
def test_flat_and_nested_data_have_the_same_limits(card: ModelCard, datatype: str, value: float) -> None:
    """A number outside the datatype is refused before it is rounded."""
    flat: list[Any] = [0] * 80
    flat[0] = value
    for data in (flat, np.array(flat, dtype=object).reshape(2, 20, 2).tolist()):
        with pytest.raises(InvalidInput, match=rf"sequence\[0\]\[0\]\[0\]: expected (a finite )?{datatype}, got"):
            decode(card, *with_json(data=data, datatype=datatype))


NAN, INF = np.nan, np.inf
#: Cards of models that take 6 timesteps of 2 features, by the variations that they allow.
CARDS = {
    name: masked_card(name, variable_length=variable_length, missing_values=missing_values)
    for name, variable_length, missing_values in (
        ("neither", False, False),
        ("shorter", True, False),
        ("gaps", False, True),
        ("both", True, True),
    )
}


def with_end(*steps: list[float]) -> Any:
    """Return two sequences of 6 × 2, the second of which ends with some timesteps."""
    array = np.ones((2, 6, 2))
    array[1, 6 - len(steps) :] = np.reshape(steps, (-1, 2))
    return array


def nested_and_flat(array: Any) -> tuple[list[Any], list[Any]]:
    """Return JSON forms of an array, with null for a missing value."""
    flat = [None if np.isnan(value) else value for value in array.ravel().tolist()]
    return np.array(flat, dtype=object).reshape(array.shape).tolist(), flat


@pytest.mark.parametrize("allowed", ["shorter", "both"])
@pytest.mark.parametrize("datatype", NUMERIC)
def test_shorter_sequences_end_with_absent_timesteps(allowed: str, datatype: str) -> None:
    """The same holds for flat, nested and binary tensors of every datatype."""
    array = np.arange(12).reshape(2, 3, 2).astype(NUMERIC[datatype])
    expected = np.concatenate([array.astype(np.float32), np.full((2, 3, 2), NAN, np.float32)], axis=1)
    for data in (array.ravel().tolist(), array.tolist()):
        got = decode(CARDS[allowed], as_json(array, tensor={"datatype": datatype, "data": data}))
        np.testing.assert_array_equal(got, expected)
    got = decode_binary(CARDS[allowed], array, datatype)
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == np.float32


@pytest.mark.parametrize("datatype", NUMERIC)
def test_nested_sequences_may_be_shorter_than_their_tensor(datatype: str) -> None:
    """Each sequence ends with absent timesteps. None has more timesteps than the shape says."""
    tensor = {"shape": [2, 3, 2], "datatype": datatype, "data": [[[1, 2]], [[3, 4], [5, 6], [7, 8]]]}
    got = decode(CARDS["shorter"], as_json(GOOD, tensor=tensor))
    np.testing.assert_array_equal(got[0], [[1, 2], *[[NAN, NAN]] * 5])
    np.testing.assert_array_equal(got[1, :3], [[3, 4], [5, 6], [7, 8]])
    tensor["shape"] = [2, 2, 2]
    with pytest.raises(InvalidInput, match=r"sequence\[1\]: expected 1 to 2 timesteps, got 3"):
        decode(CARDS["shorter"], as_json(GOOD, tensor=tensor))


@pytest.mark.parametrize("allowed", ["gaps", "both"])
@pytest.mark.parametrize("datatype", NUMERIC)
def test_null_is_a_missing_value(allowed: str, datatype: str) -> None:
    """Tensors are flat or nested, of every datatype. In binary, NaN is a missing value, if the datatype has NaN."""
    array = with_end([NAN, 1], [NAN, NAN], [2, NAN])
    for data in nested_and_flat(array):
        got = decode(CARDS[allowed], as_json(array, tensor={"datatype": datatype, "data": data}))
        np.testing.assert_array_equal(got, array)
    if datatype.startswith("FP"):
        np.testing.assert_array_equal(decode_binary(CARDS[allowed], array.astype(NUMERIC[datatype]), datatype), array)


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_absent_timesteps_at_the_end_are_shorter_sequences_in_binary(datatype: str) -> None:
    """A client can send sequences of different lengths in one tensor."""
    array = with_end([NAN, NAN], [NAN, NAN]).astype(NUMERIC[datatype])
    np.testing.assert_array_equal(decode_binary(CARDS["shorter"], array, datatype), array)


@pytest.mark.parametrize(
    ("allowed", "array", "message"),
    [
        ("neither", with_end([NAN, NAN]), "sequence[1][5][0]: expected a finite FP32, got nan"),
        (
            "shorter",
            with_end([NAN, 1]),
            "sequence[1][5][0]: expected a finite FP32, or NaN in all of the last timesteps, got nan",
        ),
        (
            "shorter",
            with_end([NAN, NAN], [1, 1]),
            "sequence[1][4][0]: expected a finite FP32, or NaN in all of the last timesteps, got nan",
        ),
        ("shorter", with_end(*[[NAN, NAN]] * 6), "sequence[1]: expected at least one value that is not NaN, got none"),
        ("gaps", with_end(*[[NAN, NAN]] * 6), "sequence[1]: expected at least one value that is not NaN, got none"),
        ("gaps", with_end([1, -INF]), "sequence[1][5][1]: expected a finite FP32 or NaN, got -inf"),
        ("both", with_end([NAN, INF]), "sequence[1][5][1]: expected a finite FP32 or NaN, got inf"),
        ("gaps", with_end()[:, :5], "sequence.shape: expected [n, 6, 2] with n of at least 1, got [2, 5, 2]"),
        ("both", with_end()[:, :0], "sequence.shape: expected [n, 1 to 6, 2] with n of at least 1, got [2, 0, 2]"),
        ("both", np.ones((1, 7, 2)), "sequence.shape: expected [n, 1 to 6, 2] with n of at least 1, got [1, 7, 2]"),
        ("both", np.ones((1, 6, 3)), "sequence.shape: expected [n, 1 to 6, 2] with n of at least 1, got [1, 6, 3]"),
    ],
)
def test_values_that_the_card_forbids_are_refused_in_binary(allowed: str, array: Any, message: str) -> None:
    """The message names the allowed values and the place. Infinity is never allowed."""
    for datatype in ("FP16", "FP32", "FP64"):
        with pytest.raises(InvalidInput) as caught:
            decode_binary(CARDS[allowed], array.astype(NUMERIC[datatype]), datatype)
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("allowed", "array", "message"),
    [
        ("neither", with_end([NAN, 1]), "sequence[1][5][0]: expected a finite number, got null"),
        ("shorter", with_end([NAN, NAN]), "sequence[1][5][0]: expected a finite number, got null"),
        ("both", with_end(*[[NAN, NAN]] * 6), "sequence[1]: expected at least one value that is not null, got none"),
    ],
)
@pytest.mark.parametrize("datatype", ["FP32", "FP64", "INT8"])
def test_values_that_the_card_forbids_are_refused_in_json(
    allowed: str, array: Any, message: str, datatype: str
) -> None:
    """The message names the allowed values and the place."""
    for data in nested_and_flat(array):
        with pytest.raises(InvalidInput) as caught:
            decode(CARDS[allowed], as_json(array, tensor={"datatype": datatype, "data": data}))
        assert str(caught.value) == message


@pytest.mark.parametrize("n", [101, 10**9, 2**62])
def test_a_shape_beyond_the_limit_is_too_large(card: ModelCard, n: int) -> None:
    """It is refused for any declared size, before memory is allocated."""
    for sent in (with_json(shape=[n, 20, 2]), with_bytes(n * 160, bytes(320), shape=[n, 20, 2])):
        with pytest.raises(TooLarge, match=f"expected at most 100 sequences, got {n}"):
            decode(card, *sent)


@pytest.mark.anyio
@pytest.mark.parametrize("length", ["", "abc", "-1", "+5", "1e3", "0x10", "99999", "9" * 30, "٣", "1, 2", "12 "])
async def test_a_malformed_header_is_refused(client: httpx.AsyncClient, length: str) -> None:
    """The message names the expected value."""
    request = binary(GOOD)
    response = await client.post(URL, content=request["content"], headers=[(LENGTH.encode(), length.encode())])
    assert response.status_code == 400
    assert "Inference-Header-Content-Length: expected" in response.json()["error"] or length == "12 "


@pytest.mark.anyio
async def test_two_headers_are_refused(client: httpx.AsyncClient) -> None:
    """The service does not guess which one is right."""
    request = binary(GOOD)
    response = await client.post(URL, content=request["content"], headers=[(LENGTH, "10"), (LENGTH, "20")])
    assert (response.status_code, response.json()["error"].rpartition(" got ")[2]) == (400, "'10, 20'")


def mutations(random: random.Random) -> list[Callable[[bytearray], None]]:
    """Return functions that damage a body in different ways."""
    place = random.randrange(10**6)

    def flip(body: bytearray) -> None:
        body[place % len(body)] ^= 1 << random.randrange(8)

    def truncate(body: bytearray) -> None:
        del body[place % len(body) :]

    def remove(body: bytearray) -> None:
        at = place % len(body)
        del body[at : at + random.randrange(1, 20)]

    def insert(body: bytearray) -> None:
        at = place % len(body)
        body[at:at] = random.randbytes(random.randrange(1, 20))

    def digits(body: bytearray) -> None:
        numbers = [i for i, byte in enumerate(body[:200]) if chr(byte).isdigit()]
        if numbers:
            body[random.choice(numbers)] = ord(random.choice("0123456789-e."))

    return [flip, truncate, remove, insert, digits]


@pytest.mark.anyio
async def test_fuzzed_requests_are_answered_or_refused_and_leave_no_memory(artifacts: Path) -> None:
    """3,000 damaged binary requests cause no 5xx and no growth of memory."""
    app: FastAPI = create_app(Settings(artifacts=artifacts, model="after-lstm", engine="onnx", max_sequences=5))
    rng = random.Random(0)  # noqa: S311 - to be the same each time, not to be guessed
    rounds, statuses, memory = 3, set(), []
    async with connect(app) as client:
        for _ in range(rounds):
            for _ in range(1000):
                datatype, dtype = rng.choice([("FP32", "<f4"), ("FP64", "<f8"), ("INT16", "<i2"), ("UINT8", "|u1")])
                request = binary(GOOD, datatype, dtype, parameters={"binary_data_output": rng.random() < 0.5})
                body, length = bytearray(request["content"]), request["headers"][LENGTH]
                for mutate in rng.sample(mutations(rng), rng.randrange(1, 3)):
                    if body:
                        mutate(body)
                if rng.random() < 0.2:
                    length = str(rng.choice([0, 1, rng.randrange(1000), 10**9, int(length) + rng.randrange(-5, 5)]))
                response = await client.post(URL, content=bytes(body), headers={LENGTH: length})
                statuses.add(response.status_code)
                assert response.status_code in (200, 400, 413), response.text
                assert response.status_code == 200 or response.json()["error"]
            memory.append(resident())
    assert statuses == {200, 400, 413}
    assert memory[-1] < memory[0] + 8 * 2**20


def resident() -> int:
    """Return the resident memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
