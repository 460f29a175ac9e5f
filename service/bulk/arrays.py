"""Arrays of numpy as arrays of pyarrow and back, without a Python object for each number.

`pyarrow.array` and `to_numpy` import pandas where it is installed, which takes each process a second.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

#: The names of pyarrow's types that numpy gives other names.
NAMES: Final = {"float": "float32", "double": "float64", "halffloat": "float16"}


def numbers_of(array: Any) -> NDArray[Any]:
    """Return the numbers `(n,)` of a pyarrow array. With nulls they are float64, NaN for a null.

    True is 1, and a point in time is counted in the unit of its type.
    """
    if pa.types.is_null(array.type):
        return np.full(len(array), np.nan)
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.int64())
    known, data = array.buffers()
    of_type = np.dtype(NAMES.get(str(array.type), str(array.type)))
    values = np.frombuffer(data, of_type, array.offset + len(array))[array.offset :] if data else np.zeros(0, of_type)
    if not array.null_count:
        return values
    bits = np.unpackbits(np.frombuffer(known, np.uint8), count=array.offset + len(array), bitorder="little")
    return np.where(bits[array.offset :].astype(np.bool_), values.astype(np.float64), np.nan)


def array_of(values: NDArray[Any]) -> Any:
    """Return numbers `(n,)` as a pyarrow array."""
    plain = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(plain.dtype), len(plain), [None, pa.py_buffer(plain)])


def texts_of(texts: Sequence[str | None]) -> Any:
    """Return texts as a pyarrow array; None becomes null."""
    parts = [(text or "").encode() for text in texts]
    ends = np.cumsum([0, *map(len, parts)], dtype=np.int32)
    known = np.packbits(np.array([text is not None for text in texts], np.bool_), bitorder="little")
    buffers = [pa.py_buffer(known), pa.py_buffer(ends), pa.py_buffer(b"".join(parts))]
    return pa.Array.from_buffers(pa.string(), len(parts), buffers)


def lists_of(values: Any, lengths: NDArray[np.int64]) -> Any:
    """Return a pyarrow array of lists: each takes the next `lengths (n,)` values of an array."""
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(array_of(ends), values)


def nested(values: NDArray[Any], lengths: NDArray[np.int64] | None = None) -> Any:
    """Return an array `(n, …)` as pyarrow numbers for one axis, lists for two, lists of lists for three.

    Args:
        values: the array.
        lengths: `(n,)`, how many entries of the second axis to take; None for all.
    """
    if values.ndim == 1:
        return array_of(values)
    n, most = values.shape[:2]
    if lengths is None:
        return lists_of(nested(values.reshape(n * most, *values.shape[2:])), np.full(n, most))
    return lists_of(nested(values[np.arange(most) < lengths[:, np.newaxis]]), lengths)
