"""The labels of the sequences of a table, collected while the table is read."""

import re
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from service.tables.rows import Table
from training import TrainingError

_INTEGER: Final = re.compile(r"[+-]?\d+")
_LEADING_ZERO: Final = re.compile(r"[+-]?0\d+")


class Labels:
    """The label of each sequence, as a pyarrow array in parts. Each distinct text is kept once."""

    def __init__(self, column: str) -> None:
        self.column = column
        self._parts: list[Any] = []

    def add(self, table: Table, values: Any) -> None:
        """Add the labels of some sequences, a pyarrow array without nulls. Refuse another kind than before."""
        if self._parts and _is_text(values.type) != _is_text(self._parts[0].type):
            expected, got = ("numbers", "text") if _is_text(values.type) else ("text", "numbers")
            raise TrainingError(
                f"{table.where}, column {self.column!r}: expected {expected}, as in the data to fit, got {got}"
            )
        self._parts.append(values.dictionary_encode() if _is_text(values.type) else values)

    def array(self, table: Table) -> NDArray[Any]:
        """Return all labels `(n,)`: booleans, integers, numbers, or text of dtype object.

        Text of a CSV file, or of a table beside one, that all parses as numbers becomes numbers, unless a number begins
        with 0, as 01 does.
        """
        first = self._parts[0]
        if not pa.types.is_dictionary(first.type):
            return self._typed(table)
        values = pa.chunked_array(self._parts).unify_dictionaries()
        texts = values.chunk(0).dictionary.to_pylist() if values.num_chunks else []
        codes = np.concatenate([chunk.indices.to_numpy() for chunk in values.chunks])
        found = _numbers(texts, table) if table.is_text else None
        labels: NDArray[Any] = np.take(np.array(texts, dtype=object) if found is None else found, codes)
        return labels

    def _typed(self, table: Table) -> NDArray[Any]:
        of_type = self._parts[0].type
        values = pa.chunked_array(self._parts)
        if pa.types.is_floating(of_type) or pa.types.is_decimal(of_type):
            values = values.cast(pa.float64(), safe=False)
        elif not (pa.types.is_boolean(of_type) or pa.types.is_integer(of_type)):
            raise TrainingError(
                f"{table.where}, column {self.column!r}: expected strings, booleans, integers or numbers, got {of_type}"
            )
        array: NDArray[Any] = values.to_numpy()
        return array


def _is_text(of_type: Any) -> bool:
    return bool(
        pa.types.is_string(of_type)
        or pa.types.is_large_string(of_type)
        or pa.types.is_string_view(of_type)
        or (pa.types.is_dictionary(of_type) and _is_text(of_type.value_type))
    )


def _numbers(texts: list[str], table: Table) -> NDArray[Any] | None:
    """Parse texts as integers, else as numbers. Return None if that fails or would change a text."""
    plain = [text.strip().replace(table.thousands or "\0", "").replace(table.decimal, ".") for text in texts]
    if any(map(_LEADING_ZERO.fullmatch, plain)):
        return None
    if all(map(_INTEGER.fullmatch, plain)):
        return np.array(plain, dtype=np.int64) if all(len(text) < 19 for text in plain) else None
    try:
        numbers = np.array([float(text) for text in plain])
    except ValueError:
        return None
    return None if any("_" in text for text in plain) or np.isnan(numbers).any() else numbers
