"""CSV and Parquet files, read in batches of rows."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from training import TrainingError
from training.data import MOST_COLUMNS

#: Largest size of a CSV header and of a Parquet footer, in bytes. Both grow with the columns and are read at once.
MOST_HEADER: Final = 2**20
MOST_FOOTER: Final = 2**26
#: Smallest block of a CSV file, and bytes of a block for each column. The reader reads up to 32 blocks ahead.
BLOCK: Final = 2**20
BLOCK_OF_COLUMN: Final = 2**10
#: Values in a batch of a Parquet file, and smallest number of rows.
VALUES: Final = 2**19
ROWS: Final = 128
#: Text that means a missing value.
MISSING: Final = ("", "NA", "N/A", "NaN", "nan", "null", "NULL")
#: Checks of the types that are read as numbers.
NUMERIC: Final = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean, pa.types.is_null)

_CSV_ROW: Final = re.compile(r"Row #(\d+): (?:CSV conversion error to string: )?(.*)", re.DOTALL)
_CSV_COLUMN: Final = re.compile(r"In CSV column #(\d+)")


@dataclass(frozen=True)
class TableBatch:
    """Some rows of a table.

    Attributes:
        where: the table's name in error messages.
        first: number of the first row, from 1.
        records: the rows, a pyarrow record batch.
    """

    where: str
    first: int
    records: Any

    def __len__(self) -> int:
        return int(self.records.num_rows)

    def part(self, start: int, stop: int) -> "TableBatch":
        """Return the rows from `start` to `stop`."""
        return TableBatch(self.where, self.first + start, self.records.slice(start, stop - start))

    def joined(self, following: "TableBatch") -> "TableBatch":
        """Return these rows followed by the next ones."""
        return TableBatch(self.where, self.first, pa.concat_batches([self.records, following.records]))

    def locate(self, column: str, row: int) -> str:
        """Return the place of a cell for error messages. `row` counts from 0 in this batch."""
        return f"{self.where}, column {column!r}, row {self.first + row:,}"

    def __getitem__(self, column: str) -> Any:
        """Return a column as a pyarrow array, without dictionary encoding."""
        values = self.records.column(column)
        return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values

    def numbers(self, columns: Sequence[str]) -> NDArray[np.float64]:
        """Return columns of numbers `(rows, columns)`, none too large for float32. NaN stands for an empty cell."""
        values = np.empty((len(columns), len(self)))
        for index, column in enumerate(columns):
            values[index] = self._doubles(column).to_numpy(zero_copy_only=False)
        with np.errstate(invalid="ignore"):
            wrong = np.abs(values) > np.finfo(np.float32).max
        if wrong.any():
            row = int(wrong.any(axis=0).argmax())
            first = int(wrong[:, row].argmax())
            raise TrainingError(
                f"{self.locate(columns[first], row)}: expected a finite number, got {values[first, row]}"
            )
        return values.T

    def refuse_null(self, column: str) -> None:
        """Refuse a column with empty cells."""
        missing = self[column].is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
        if missing.any():
            raise TrainingError(f"{self.locate(column, int(missing.argmax()))}: expected a value, got none")

    def _doubles(self, column: str) -> Any:
        values = self[column]
        if not is_text(values.type):
            if not any(is_kind(values.type) for is_kind in NUMERIC):
                raise TrainingError(f"{self.where}, column {column!r}: expected numbers, got {values.type}")
            return values.cast(pa.float64(), safe=False)
        text = _cells(values)
        try:
            return text.cast(pa.float64())
        except pa.ArrowInvalid:
            row = first_refused(text, pa.float64())
            raise TrainingError(f"{self.locate(column, row)}: expected a number, got {shown(text[row])}") from None


@dataclass(frozen=True)
class Table:
    """A file of named columns. They have types in a Parquet file; a CSV file holds text."""

    where: str
    path: Path
    names: tuple[str, ...]
    typed: bool

    def require(self, columns: Sequence[str]) -> None:
        """Refuse columns that do not exist."""
        for column in columns:
            if column not in self.names:
                raise TrainingError(f"{self.where}: expected a column {column!r}, got {self.shown_names()}")

    def shown_names(self) -> str:
        """Return the names of the first columns for error messages."""
        return ", ".join(self.names[:20]) + (", …" if len(self.names) > 20 else "")

    def batches(self, columns: Sequence[str]) -> Iterator[TableBatch]:
        """Yield all rows of some columns, in batches. There is at least one row."""
        self.require(columns)
        first = 1
        try:
            for records in (_parquet_batches if self.typed else _csv_batches)(self, columns):
                if records.num_rows:
                    yield TableBatch(self.where, first, records)
                first += records.num_rows
        except (pa.ArrowException, OSError) as error:
            raise TrainingError(f"{self.where}{_explained(error, columns)}") from error
        if first == 1:
            raise TrainingError(f"{self.where}: expected rows, got none")


def open_table(where: str, path: Path) -> Table:
    """Read the names of the columns of a file. Refuse more than `MOST_COLUMNS`, and two of one name."""
    typed = path.suffix == ".parquet"
    names = _parquet_names(where, path) if typed else _csv_names(where, path)
    if len(names) > MOST_COLUMNS:
        raise TrainingError(f"{where}: expected at most {MOST_COLUMNS:,} columns, got {len(names):,}")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise TrainingError(f"{where}: expected columns of different names, got {name!r} twice")
        seen.add(name)
    return Table(where, path, tuple(names), typed)


def is_text(of_type: Any) -> bool:
    """Return whether a pyarrow type is text."""
    return bool(pa.types.is_string(of_type) or pa.types.is_large_string(of_type) or pa.types.is_string_view(of_type))


def first_refused(text: Any, of_type: Any) -> int:
    """Return the index of the first value that cannot be cast to a type. One such value must exist."""
    low, high = 0, len(text)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            text[low:middle].cast(of_type)
        except pa.ArrowInvalid:
            high = middle
        else:
            low = middle
    return low


def shown(value: Any) -> str:
    """Return a value, shortened, for error messages."""
    text = repr(value.as_py() if isinstance(value, pa.Scalar) else value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _csv_names(where: str, path: Path) -> list[str]:
    with path.open("rb") as file:
        header = file.readline(MOST_HEADER)
    if not header.strip():
        got = "an empty one" if header else "an empty file"
        raise TrainingError(f"{where}: expected names of columns in the first line, got {got}")
    if len(header) == MOST_HEADER:
        raise TrainingError(
            f"{where}: expected at most {MOST_COLUMNS:,} columns, got a first line of more than {MOST_HEADER:,} bytes"
        )
    if not header.endswith(b"\n"):
        raise TrainingError(f"{where}: expected rows, got none")
    try:
        names = next(csv.reader(io.StringIO(header.decode("utf-8-sig")), skipinitialspace=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(f"{where}: expected names of columns in UTF-8 in the first line: {error}") from error
    return [name.strip() for name in names]


def _csv_batches(table: Table, columns: Sequence[str]) -> Iterator[Any]:
    block = max(BLOCK, BLOCK_OF_COLUMN * len(table.names))
    with pa.csv.open_csv(
        table.path,
        # One thread, so that errors contain the row.
        read_options=pa.csv.ReadOptions(use_threads=False, block_size=block, column_names=table.names, skip_rows=1),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            include_columns=columns,
            column_types=dict.fromkeys(columns, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
        ),
    ) as reader:
        for records in reader:
            yield pa.record_batch([_cells(column) for column in records.columns], names=records.schema.names)


def _cells(text: Any) -> Any:
    """Remove the space around text, and replace `MISSING` by null."""
    text = pc.utf8_trim_whitespace(text)
    return pc.if_else(pc.is_in(text, pa.array(MISSING, text.type)), None, text)


def _parquet_names(where: str, path: Path) -> list[str]:
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 8))
        end = file.read()
    if size < 12 or end[4:] != b"PAR1":
        raise TrainingError(f"{where}: not a readable .parquet file: expected it to end in PAR1, got {shown(end[4:])}")
    if (footer := int.from_bytes(end[:4], "little")) > MOST_FOOTER:
        raise TrainingError(
            f"{where}: expected at most {MOST_COLUMNS:,} columns, got descriptions of them in {footer:,} bytes"
        )
    try:
        with pa.parquet.ParquetFile(path) as parquet:
            return list(parquet.schema_arrow.names)
    except (pa.ArrowException, OSError) as error:
        raise TrainingError(f"{where}: not a readable .parquet file: {_line(error)}") from error


def _parquet_batches(table: Table, columns: Sequence[str]) -> Iterator[Any]:
    rows = max(ROWS, VALUES // len(columns))
    # Small buffers, because a row group may be as large as the file.
    buffer = max(2**12, 2**22 // len(columns))
    with pa.parquet.ParquetFile(
        table.path, buffer_size=buffer, pre_buffer=False, page_checksum_verification=True
    ) as file:
        yield from file.iter_batches(rows, columns=list(columns), use_threads=False)


def _explained(error: Exception, columns: Sequence[str]) -> str:
    """Return pyarrow's message for a damaged file; for a CSV row with column and row."""
    message = _line(error)
    if (row := _CSV_ROW.search(message)) is None:
        return f": not readable: {message}"
    column = _CSV_COLUMN.search(message)
    place = f", column {columns[int(column[1])]!r}" if column else ""
    # pyarrow counts the line of names, too.
    problem = row[2][:1].lower() + row[2][1:] if row[2].startswith("Expected") else f"expected UTF-8, got {row[2]}"
    return f"{place}, row {int(row[1]) - 1:,}: {problem}"


def _line(error: Exception) -> str:
    line = " ".join(str(error).split())
    return line if len(line) <= 200 else f"{line[:199]}…"
