"""Writing arrays of numbers as JSON, without a Python object for each number."""

import numpy as np
import orjson
from numpy.typing import NDArray

from service.api.codecs.padding import Lengths
from service.artifact.tensors import Array
from service.errors import InvalidInput


def dumps(array: Array, lengths: Lengths = None) -> bytes:
    """Return the JSON of an array `(n, …)`, n ≥ 1, with `lengths` entries of each row.

    Raises:
        InvalidInput: a row is not finite, which JSON cannot express.
    """
    if isinstance(lengths, np.ndarray):
        return b"[%b]" % b",".join(dumps_rows(array, lengths))
    if lengths is not None:
        array = array[:, :lengths]
    text = orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)
    if b"null" in text:
        require_finite(array)
    return text


def dumps_rows(array: Array, lengths: Lengths = None) -> list[bytes]:
    """Return the JSON of each row of an array, as `dumps` does. Rows of one length are written in one go."""
    if isinstance(lengths, np.ndarray):
        return _dumps_rows_of_each_length(array, lengths)
    text = dumps(array, lengths)
    opening, closing = b"[" * (array.ndim - 1), b"]" * (array.ndim - 1)
    rows = text[array.ndim : -array.ndim].split(closing + b"," + opening)
    return [opening + row + closing for row in rows] if opening else rows


def require_finite(array: Array) -> None:
    """Check that an output `(n, …)` of a model is finite.

    Raises:
        InvalidInput: a row is not finite.
    """
    finite = np.isfinite(array)
    if not finite.all():
        index = int(np.argwhere(~finite)[0, 0])
        raise InvalidInput(f"sequence {index}: expected values that the model can handle, got an answer not finite")


def _dumps_rows_of_each_length(array: Array, lengths: NDArray[np.intp]) -> list[bytes]:
    require_finite(array)  # here, as the groups below number their rows anew
    rows = [b""] * len(array)
    for length in np.unique(lengths).tolist():
        indices = np.flatnonzero(lengths == length)
        for index, row in zip(indices.tolist(), dumps_rows(array[indices], length), strict=True):
            rows[index] = row
    return rows
