"""JSON whose bulk is arrays of numbers: parsed and written without a Python object for each list in it."""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import orjson

from service.errors import InvalidInput
from service.inference.artifact import Array

#: Everything that numbers and the space around them are made of; without it, only an array's structure is left.
NUMERIC = b"0123456789+-.eE \t\r\n"
#: Brackets to spaces, so that what stood on either side of one does not become one number.
FLATTEN = bytes.maketrans(b"[]", b"  ")
#: Stands for the array while the rest is parsed; and its JSON.
PLACEHOLDER = "\0array"
PLACEHOLDER_JSON = orjson.dumps(PLACEHOLDER)
#: Structures up to this many bytes are remembered: clients send the same again and again.
REMEMBERED_BYTES = 1024


def loads(body: bytes) -> Any:
    """Parse JSON; a top-level field that is a regular array of finite numbers comes as a float32 array.

    All else comes as `orjson.loads` gives it: other fields, arrays that are ragged, empty or hold something else than
    numbers, and numbers beyond float32, for whoever reads them to say what is wrong.

    Raises:
        orjson.JSONDecodeError: it is not JSON.
    """
    start, stop = body.find(b"["), body.rfind(b"]") + 1
    if start < 0 or stop <= start:
        return orjson.loads(body)
    array = parse_array(body[start:stop])
    if array is None:
        return orjson.loads(body)
    try:
        fields = orjson.loads(body[:start] + PLACEHOLDER_JSON + body[stop:])
    except orjson.JSONDecodeError:
        return orjson.loads(body)  # fails too, and says where
    names = [name for name, value in fields.items() if value == PLACEHOLDER] if isinstance(fields, dict) else []
    if len(names) != 1:
        return orjson.loads(body)
    fields[names[0]] = array
    return fields


def parse_array(text: bytes) -> Array | None:
    """Parse a regular array of finite numbers of any depth; None if it is anything else."""
    structure = text.translate(None, NUMERIC)
    shape = (remembered_shape if len(structure) <= REMEMBERED_BYTES else regular_shape)(structure)
    if shape is None:
        return None
    try:
        numbers = orjson.loads(b"[" + text.translate(FLATTEN) + b"]")
    except orjson.JSONDecodeError:
        return None
    if len(numbers) != math.prod(shape):
        return None
    try:
        with np.errstate(over="raise"):
            return np.array(numbers, dtype=np.float32).reshape(shape)
    except FloatingPointError:  # beyond float32; beyond double, it was no JSON to the parser
        return None


def regular_shape(structure: bytes) -> tuple[int, ...] | None:
    """The shape of an array from its brackets and commas alone; None if it has none.

    From the innermost list outwards, each level must be the first list of the level below over and over.
    """
    depth = len(structure) - len(structure.lstrip(b"["))
    unit = structure[depth - 1 : structure.find(b"]") + 1]
    if unit != b"[" + b"," * (len(unit) - 2) + b"]":
        return None
    shape: tuple[int, ...] = (len(unit) - 1,)
    for level in range(1, depth):
        end = structure.find(b"]" * (level + 1)) + level + 1
        group = structure[depth - 1 - level : end]
        count = (len(group) - 1) // (len(unit) + 1)
        if count < 1 or group != b"[" + b",".join([unit] * count) + b"]":
            return None
        shape, unit = (count, *shape), group
    return shape if unit == structure else None


remembered_shape = lru_cache(maxsize=256)(regular_shape)


def dumps_rows(array: Array) -> list[bytes]:
    """The JSON of each row of an array `(n, …)`: the encoder writes them all at once, and they are cut apart.

    Raises:
        InvalidInput: a row is not finite, which JSON could not say.
    """
    text = orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)
    if b"null" in text:
        index = int(np.argwhere(~np.isfinite(array))[0, 0])
        raise InvalidInput(f"sequence {index}: expected values that the model can handle, got an answer not finite")
    opening, closing = b"[" * (array.ndim - 1), b"]" * (array.ndim - 1)
    rows = text[array.ndim : -array.ndim].split(closing + b"," + opening)
    return [opening + row + closing for row in rows] if opening else rows
