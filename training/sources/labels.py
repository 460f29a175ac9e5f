"""The labels of the sequences of a table, collected while the table is read."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from training import TrainingError
from training.data import Indices
from training.sources.tables import TableBatch, first_refused, is_text, shown
from training.sources.targets import MOST_CLASSES


class Labels:
    """Labels of sequences: one column of any type, or several columns of numbers.

    Each distinct text is kept once, with a code for each sequence. If the table is not `typed`, texts that all parse as
    numbers become numbers.
    """

    def __init__(self, columns: Sequence[str], *, typed: bool) -> None:
        self._columns = columns
        self._typed = typed
        self._codes: dict[str, int] = {}
        self._parts: list[NDArray[Any]] = []  # codes if self._codes has any, else values

    def add(self, batch: TableBatch, rows: Indices) -> None:
        """Add the labels of some rows, one row for each sequence. Refuse types that differ from those before."""
        column = self._columns[0]
        if len(self._columns) > 1:
            self._parts.append(batch.numbers(self._columns)[rows])
            return
        values = batch[column].take(pa.array(rows))
        if self._parts and self._typed and is_text(values.type) != bool(self._codes):
            expected, got = ("numbers", "text") if is_text(values.type) else ("text", "numbers")
            raise TrainingError(
                f"{batch.where}, column {column!r}: expected {expected}, as in the data to fit, got {got}"
            )
        if not is_text(values.type):
            self._parts.append(_array(batch, column, values))
        elif self._parts and not self._codes:
            self._parts.append(_parsed(values, batch, column, rows))
        else:
            self._parts.append(self._coded(values))
            if len(self._codes) > MOST_CLASSES:
                self._replace_codes(batch.locate(column, int(rows[-1])))

    def array(self) -> NDArray[Any]:
        """Return all labels: `(n,)`, or `(n, numbers)` for several columns. Text is of dtype object."""
        labels: NDArray[Any] = np.concatenate(self._parts)
        if not self._codes:
            return labels
        values = None if self._typed else _numbers(list(self._codes))
        # 01 and 1 are two labels.
        if values is None or (values.dtype.kind == "i" and len(set(values.tolist())) < len(values)):
            values = np.array(list(self._codes), dtype=object)
        return np.take(values, labels)

    def _coded(self, values: Any) -> Indices:
        encoded = values.dictionary_encode()
        codes = [self._codes.setdefault(text, len(self._codes)) for text in encoded.dictionary.to_pylist()]
        indices: Indices = encoded.indices.to_numpy()
        return np.array(codes, dtype=np.int64)[indices]

    def _replace_codes(self, place: str) -> None:
        """Parse the texts as numbers, because there are too many for classes."""
        values = None if self._typed else _numbers(list(self._codes))
        if values is None:
            raise TrainingError(f"{place}: expected at most {MOST_CLASSES:,} classes so far, got {len(self._codes):,}")
        self._parts = [values[codes] for codes in self._parts]
        self._codes = {}


def _array(batch: TableBatch, column: str, values: Any) -> NDArray[Any]:
    if pa.types.is_floating(values.type) or pa.types.is_decimal(values.type):
        values = values.cast(pa.float64(), safe=False)
    elif not (pa.types.is_boolean(values.type) or pa.types.is_integer(values.type)):
        raise TrainingError(
            f"{batch.where}, column {column!r}: expected strings, booleans, integers or numbers, got {values.type}"
        )
    array: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return array


def _numbers(texts: Any) -> NDArray[Any] | None:
    """Parse texts as integers, else as numbers. Return None if that fails."""
    for of_type in (pa.int64(), pa.float64()):
        try:
            array: NDArray[Any] = pa.array(texts, pa.string()).cast(of_type).to_numpy()
        except pa.ArrowInvalid:
            continue
        return array
    return None


def _parsed(values: Any, batch: TableBatch, column: str, rows: Indices) -> NDArray[Any]:
    numbers = _numbers(values)
    if numbers is None:
        index = first_refused(values, pa.float64())
        raise TrainingError(
            f"{batch.locate(column, int(rows[index]))}: expected a number, as in the rows before, "
            f"got {shown(values[index])}"
        )
    return numbers
