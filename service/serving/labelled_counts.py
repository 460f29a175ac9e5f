"""Counts by labels, such as the requests of each route, added up over the worker processes."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from service.serving.shared_table import SharedTable

Labels = tuple[str | int, ...]

#: Most bytes of the labels of one row, as JSON. The longest name of a model has 255.
LONGEST: Final = 400
#: The value of every label in the row for all labels that have no row of their own.
OTHER: Final = "other"


class LabelledCounts(dict[Labels, "memoryview[float]"]):
    """The rows of this process by their labels. A row is made when it is used for the first time.

    Each process has a table of a fixed number of rows. When it is full, further labels share the row of `OTHER`. The
    table is never retired: a process that takes it over goes on counting. Only one thread may use the rows.

    Args:
        labels: number of labels.
        width: numbers of a row.
        rows: most rows.
        folder: the folder that the worker processes of one service share; None with one process.
        key: start of the file names of this table.
    """

    def __init__(self, labels: int, width: int, rows: int, folder: Path | None, key: str) -> None:
        super().__init__()
        layout = [("retired", "i8"), ("used", "i8"), ("labels", f"S{LONGEST}", rows), ("numbers", "f8", (rows, width))]
        self._shared = SharedTable(np.dtype(layout), folder, key)
        self._table: Any = self._shared.own[0]
        self._numbers = memoryview(self._table["numbers"]).cast("B").cast("d")
        self._width = width
        for index in range(int(self._table["used"])):
            self[_decoded(self._table["labels"][index])] = self._row(index)
        self._other = self[(OTHER,) * labels]

    def __missing__(self, labels: Labels) -> "memoryview[float]":
        """Return a new row; the one of `OTHER` if there is no room."""
        used, encoded = int(self._table["used"]), orjson.dumps(labels)
        if used == len(self._table["labels"]) or len(encoded) > LONGEST:
            return self._other
        self._table["labels"][used] = encoded
        self._table["used"] = used + 1  # last, so that others read complete labels
        row = self[labels] = self._row(used)
        return row

    def totals(self) -> dict[Labels, list[float]]:
        """Return the sums over all processes. Any thread may call this."""
        totals: dict[Labels, Any] = {}
        for table in self._shared.all():
            used = int(table["used"][0])
            for encoded, numbers in zip(table["labels"][0, :used], np.array(table["numbers"][0, :used]), strict=True):
                labels = _decoded(encoded)
                totals[labels] = totals[labels] + numbers if labels in totals else numbers
        return {labels: numbers.tolist() for labels, numbers in totals.items()}

    def _row(self, index: int) -> "memoryview[float]":
        return self._numbers[index * self._width : (index + 1) * self._width]


def _decoded(encoded: bytes) -> Labels:
    return tuple(orjson.loads(bytes(encoded)))
