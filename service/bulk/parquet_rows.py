"""Ranges of the rows of Parquet files, read forwards."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from service.bulk.address import is_address

#: Rows that are read at a time, and bytes of each column; of a file at an address, where each reading takes longer.
ROWS, BUFFER, FAR_BUFFER = 2**13, 2**16, 2**20
_NOTHING: Final = iter(())


def open_parquet(path: str) -> Any:
    """Return the Parquet file at a path or an address, of which small parts are read."""
    size = FAR_BUFFER if is_address(path) else BUFFER
    return pyarrow.parquet.ParquetFile(path, buffer_size=size, pre_buffer=False)


class ParquetRows:
    """Reads ranges of rows. A range behind the last one goes on from there, as a row group cannot be entered midway."""

    def __init__(self) -> None:
        self._file: Any = None
        self._opened: tuple[str, Sequence[str]] = ("", ())
        self._batches: Iterator[Any] = _NOTHING
        self._batch: Any = None
        self._at = self._end = 0
        self._ends: Any = None

    def read(self, path: str, columns: Sequence[str], start: int, stop: int) -> Any:
        """Return rows with some columns, a pyarrow record batch.

        Args:
            path: the file.
            columns: the names of the columns.
            start: the first row.
            stop: the row after the last one; there is at least one.
        """
        if self._opened != (path, columns) or not self._at <= start < self._end:
            self._open(path, columns, start)
        parts = []
        while True:
            behind = self._at + len(self._batch)
            if start < behind:
                parts.append(self._batch.slice(max(0, start - self._at), min(stop, behind) - max(start, self._at)))
            if stop <= behind:
                break
            if behind == self._end:
                self._open(path, columns, behind)
            else:
                self._at, self._batch = behind, next(self._batches)
        return pa.concat_batches(parts)

    def _open(self, path: str, columns: Sequence[str], row: int) -> None:
        """Begin at the row group that has a row."""
        if self._opened[0] != path:
            self._file = open_parquet(path)
            groups = range(self._file.num_row_groups)
            self._ends = np.cumsum([self._file.metadata.row_group(group).num_rows for group in groups])
        self._opened = path, columns
        group = int(np.searchsorted(self._ends, row, side="right"))
        self._at, self._end = int(self._ends[group - 1]) if group else 0, int(self._ends[group])
        # A worker has one CPU, on which threads of pyarrow take longer than they save.
        self._batches = self._file.iter_batches(ROWS, row_groups=[group], columns=list(columns), use_threads=False)
        self._batch = next(self._batches)
