"""Reading JSON whose bulk is one array of numbers, without a Python object for each number.

A body is split at its first `[` and its last `]`. Brackets and commas alone give the shape of the array between them,
simdjson reads its numbers, and orjson parses the small rest.
"""

import math
import threading
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
import simdjson
from numpy.typing import NDArray

from service.artifact.tensors import Array

#: The characters of numbers, and the white space around them.
NUMERIC: Final = b"0123456789+-.eE \t\r\n"
#: Stands for the array while the rest is parsed.
PLACEHOLDER: Final = "\0array"
PLACEHOLDER_JSON: Final = orjson.dumps(PLACEHOLDER)
#: Most axes of an array: sequences, timesteps, features.
DEPTH: Final = 3
#: How many forms are cached, of up to how many bytes. Most requests of a client differ in their numbers only.
CACHED_FORMS, CACHED_BYTES = 256, 1024
#: Longest text that a thread's own parser reads: a parser keeps up to twelve bytes for each byte of its longest text.
KEPT_BYTES: Final = 256 * 2**10

_thread = threading.local()


class Form(NamedTuple):
    """A body without the numbers of its array.

    Attributes:
        fields: all fields, the array's included. Requests share them, so they must not be changed.
        name: the field whose value is the array.
        shape: the shape of the array.
    """

    fields: Mapping[str, Any]
    name: str
    shape: tuple[int, ...]


def loads(body: bytes) -> Any:
    """Parse JSON. A top-level field that is a regular array of finite float32 numbers becomes an array.

    Everything else is as `orjson.loads` returns it, arrays that are ragged, empty, not numeric or beyond float32
    included. The result must not be changed.

    Raises:
        orjson.JSONDecodeError: the body is not JSON.
    """
    start, stop = body.find(b"["), body.rfind(b"]") + 1
    text = body[start:stop]
    parts = body[:start], text.translate(None, NUMERIC), body[stop:]
    form = (_cached_form if sum(map(len, parts)) <= CACHED_BYTES else form_of)(*parts)
    array = read_array(text, form.shape) if form else None
    if form is None or array is None:
        return orjson.loads(body)
    return {**form.fields, form.name: array}


def form_of(before: bytes, structure: bytes, after: bytes) -> Form | None:
    """Return the form of a body; None unless its first and last bracket enclose one regular array.

    Args:
        before: the body before the array.
        structure: the brackets and commas of the array.
        after: the body after the array.
    """
    shape = regular_shape(structure)
    if shape is None or b"\\" in before or b"\\" in after:  # an escape could spell the placeholder
        return None
    try:
        fields = orjson.loads(before + PLACEHOLDER_JSON + after)
    except orjson.JSONDecodeError:
        return None
    names = [name for name, value in fields.items() if value == PLACEHOLDER] if isinstance(fields, dict) else []
    return Form(fields, names[0], shape) if len(names) == 1 else None


_cached_form = lru_cache(CACHED_FORMS)(form_of)


def regular_shape(structure: bytes) -> tuple[int, ...] | None:
    """Return the shape of an array, given its brackets and commas; None if it is ragged.

    It is checked from the innermost lists outwards: all elements of a list must have the same structure.
    """
    depth = len(structure) - len(structure.lstrip(b"["))
    if depth > DEPTH:
        return None
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


def read_array(text: bytes, shape: tuple[int, ...]) -> Array | None:
    """Parse an array of a known shape; None if the text is not JSON, or not numbers that float32 can hold."""
    try:
        array = _parser(text).parse(text)
        assert isinstance(array, simdjson.Array)  # it has a shape
        numbers = np.frombuffer(array.as_buffer(of_type="d"))
        return _float32(numbers).reshape(shape) if len(numbers) == math.prod(shape) else None
    except (ValueError, TypeError, RuntimeError, FloatingPointError):
        return None


@np.errstate(over="raise")  # a decorator takes half the time of a with statement
def _float32(numbers: NDArray[np.float64]) -> Array:
    return numbers.astype(np.float32)


def _parser(text: bytes) -> simdjson.Parser:
    """Return a parser for a text.

    Each thread has its own, as a parser cannot parse again while an array of it lives. Its memory is reused, which
    saves a third of the time.
    """
    if len(text) > KEPT_BYTES:
        return simdjson.Parser()
    if not hasattr(_thread, "parser"):
        _thread.parser = simdjson.Parser()
    parser: simdjson.Parser = _thread.parser
    return parser
