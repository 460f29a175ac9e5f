"""JSON whose bulk is arrays of numbers: parsed and written without a Python object for each list in it."""

import math
import threading
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import orjson
import simdjson
from numpy.typing import NDArray

from service.api.codecs.padding import Lengths
from service.artifact.tensors import Array
from service.errors import InvalidInput

#: What numbers are made of, and the space that may be around them.
NUMERIC = b"0123456789+-.eE \t\r\n"
#: Stands for the array while the rest is parsed; and its JSON.
PLACEHOLDER = "\0array"
PLACEHOLDER_JSON = orjson.dumps(PLACEHOLDER)
#: Deepest array: sequences, timesteps, features.
DEPTH = 3
#: How many forms of up to how many bytes are remembered: a client's requests differ in nothing but the numbers.
REMEMBERED_FORMS, REMEMBERED_BYTES = 256, 1024
#: Longest text that a kept parser reads: its memory, up to twelve bytes for each of the longest text, is never freed.
KEPT_BYTES = 256 * 2**10


class Form(NamedTuple):
    """What a body is but for the numbers in its array.

    Attributes:
        fields: all fields, that of the array among them; shared by requests, so not to be changed.
        name: the field whose value is the array.
        shape: shape of the array.
    """

    fields: Mapping[str, Any]
    name: str
    shape: tuple[int, ...]


def loads(body: bytes) -> Any:
    """Parse JSON; a top-level field that is a regular array of finite numbers comes as a float32 array.

    All else comes as `orjson.loads` gives it: other fields, arrays that are ragged, empty or hold something else than
    numbers, and numbers beyond float32, for whoever reads them to say what is wrong. What comes is not to be changed.

    Raises:
        orjson.JSONDecodeError: it is not JSON.
    """
    start, stop = body.find(b"["), body.rfind(b"]") + 1
    text = body[start:stop]
    parts = body[:start], text.translate(None, NUMERIC), body[stop:]
    form = (remembered_form if sum(map(len, parts)) <= REMEMBERED_BYTES else form_of)(*parts)
    array = read_array(text, form.shape) if form else None
    if form is None or array is None:
        return orjson.loads(body)
    return {**form.fields, form.name: array}


def form_of(before: bytes, structure: bytes, after: bytes) -> Form | None:
    """The form of a body whose first bracket opens a regular array and whose last one closes it; None of any other.

    Args:
        before: what stands before the array.
        structure: brackets and commas of the array.
        after: what stands behind it.
    """
    shape = regular_shape(structure)
    if shape is None or b"\\" in before or b"\\" in after:  # an escape might spell the placeholder
        return None
    try:
        fields = orjson.loads(before + PLACEHOLDER_JSON + after)
    except orjson.JSONDecodeError:
        return None
    names = [name for name, value in fields.items() if value == PLACEHOLDER] if isinstance(fields, dict) else []
    return Form(fields, names[0], shape) if len(names) == 1 else None


remembered_form = lru_cache(REMEMBERED_FORMS)(form_of)


class _Kept(threading.local):
    """A parser for each thread: one must not parse again while an array of its lives."""

    def __init__(self) -> None:
        self.parser = simdjson.Parser()


_kept = _Kept()


def read_array(text: bytes, shape: tuple[int, ...]) -> Array | None:
    """Parse an array whose brackets and commas are those of a shape; None if it is no JSON, or not of numbers."""
    try:
        array = _parser_for(text).parse(text)
        assert isinstance(array, simdjson.Array)  # it has a shape
        numbers = np.frombuffer(array.as_buffer(of_type="d"))
        if len(numbers) != math.prod(shape):
            return None
        return _float32(numbers).reshape(shape)
    except (ValueError, TypeError, RuntimeError, FloatingPointError):  # the last beyond float32
        return None


@np.errstate(over="raise")  # as a decorator it takes half as long
def _float32(numbers: NDArray[np.float64]) -> Array:
    return numbers.astype(np.float32)


def _parser_for(text: bytes) -> simdjson.Parser:
    """A parser: for all but long texts the thread's own, as memory fresh from the system takes half as long again."""
    return _kept.parser if len(text) <= KEPT_BYTES else simdjson.Parser()


def regular_shape(structure: bytes) -> tuple[int, ...] | None:
    """The shape of an array from its brackets and commas alone; None if it has none.

    From the innermost list outwards, each level must be the first list of the level below over and over.
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


def dumps(array: Array, lengths: Lengths = None) -> bytes:
    """The JSON of an array.

    Args:
        array: `(n, …)`, n ≥ 1.
        lengths: how many entries each row is cut to.

    Raises:
        InvalidInput: a row is not finite, which JSON could not say.
    """
    if isinstance(lengths, np.ndarray):
        return b"[%b]" % b",".join(dumps_rows(array, lengths))
    if lengths is not None:
        array = array[:, :lengths]
    text = orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)
    if b"null" in text:
        require_finite(array)
    return text


def require_finite(array: Array) -> None:
    """See to it that a model's output `(n, …)` is one.

    Raises:
        InvalidInput: a row is not finite.
    """
    finite = np.isfinite(array)
    if not finite.all():
        index = int(np.argwhere(~finite)[0, 0])
        raise InvalidInput(f"sequence {index}: expected values that the model can handle, got an answer not finite")


def dumps_rows(array: Array, lengths: Lengths = None) -> list[bytes]:
    """The JSON of each row of an array: the encoder writes all of one length at once, and they are cut apart.

    Args:
        array: `(n, …)`, n ≥ 1.
        lengths: as for `dumps`.

    Raises:
        InvalidInput: a row is not finite, which JSON could not say.
    """
    if isinstance(lengths, np.ndarray):
        return _dumps_rows_of_each_length(array, lengths)
    text = dumps(array, lengths)
    opening, closing = b"[" * (array.ndim - 1), b"]" * (array.ndim - 1)
    rows = text[array.ndim : -array.ndim].split(closing + b"," + opening)
    return [opening + row + closing for row in rows] if opening else rows


def _dumps_rows_of_each_length(array: Array, lengths: NDArray[np.intp]) -> list[bytes]:
    require_finite(array)  # while the indices are still those of the sequences
    rows = [b""] * len(array)
    for length in np.unique(lengths).tolist():
        indices = np.flatnonzero(lengths == length)
        for index, row in zip(indices.tolist(), dumps_rows(array[indices], length), strict=True):
            rows[index] = row
    return rows
