"""CSV and Parquet files: columns with names, read a batch of rows at a time."""

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

from service.artifact.tensors import Array
from training import TrainingError
from training.data import MOST_COLUMNS

#: Most bytes of a CSV header, and of a Parquet footer: both grow with columns, and are read in one piece.
MOST_HEADER: Final = 2**20
MOST_FOOTER: Final = 2**26
#: Bytes of a CSV file that are looked at in one go, at least and for each column; its reader is up to 32 such ahead.
BLOCK: Final = 2**20
BLOCK_OF_COLUMN: Final = 2**10
#: Values of a Parquet file that are looked at in one go, and fewest rows.
VALUES: Final = 2**19
ROWS: Final = 128
#: What stands for nothing in a cell of text.
MISSING: Final = ("", "NA", "N/A", "NaN", "nan", "null", "NULL")
#: What can be taken for a number.
NUMERIC: Final = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_boolean,
    pa.types.is_null,
)

_CSV_ROW: Final = re.compile(r"Row #(\d+): (?:CSV conversion error to string: )?(.*)", re.DOTALL)
_CSV_COLUMN: Final = re.compile(r"In CSV column #(\d+)")


@dataclass(frozen=True)
class TableBatch:
    """Some rows of a table.

    Attributes:
        where: what errors call the table.
        first: number of the first row, from 1.
        rows: their values, by the name of the column.
    """

    where: str
    first: int
    rows: Any

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def part(self, start: int, stop: int) -> "TableBatch":
        """Some of the rows."""
        return TableBatch(self.where, self.first + start, self.rows.slice(start, stop - start))

    def joined(self, following: "TableBatch") -> "TableBatch":
        """These rows, then those that follow them."""
        return TableBatch(self.where, self.first, pa.concat_batches([self.rows, following.rows]))

    def locate(self, column: str, row: int) -> str:
        """What errors call a cell.

        Args:
            column: its column.
            row: its row in this batch, from 0.
        """
        return f"{self.where}, column {column!r}, row {self.first + row:,}"

    def __getitem__(self, column: str) -> Any:
        """A column, as a pyarrow array; text that is coded is decoded."""
        values = self.rows.column(column)
        return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values

    def numbers(self, columns: Sequence[str]) -> NDArray[np.float64]:
        """Columns of numbers; NaN where a cell is empty.

        Returns:
            `(rows, columns)`.

        Raises:
            TrainingError: a cell holds no number, or one that float32 cannot hold.
        """
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

    def float32(self, columns: Sequence[str]) -> Array:
        """As `numbers`."""
        return self.numbers(columns).astype(np.float32)

    def refuse_null(self, column: str) -> None:
        """Refuse rows without a value.

        Raises:
            TrainingError: there is one.
        """
        missing = self[column].is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
        if missing.any():
            raise TrainingError(f"{self.locate(column, int(missing.argmax()))}: expected a value, got none")

    def _doubles(self, column: str) -> Any:
        values = self[column]
        if is_text(values.type):
            return self._parsed(column, values)
        if not any(is_kind(values.type) for is_kind in NUMERIC):
            raise TrainingError(f"{self.where}, column {column!r}: expected numbers, got {values.type}")
        return values.cast(pa.float64(), safe=False)

    def _parsed(self, column: str, text: Any) -> Any:
        text = _cells(text)
        try:
            return text.cast(pa.float64())
        except pa.ArrowInvalid:
            row = first_refused(text, pa.float64())
            raise TrainingError(f"{self.locate(column, row)}: expected a number, got {shown(text[row])}") from None


@dataclass(frozen=True)
class Table:
    """A file of columns with names.

    Attributes:
        where: what errors call it.
        path: where it is.
        names: of its columns.
        typed: whether it says what its columns hold; in a CSV file all is text.
    """

    where: str
    path: Path
    names: tuple[str, ...]
    typed: bool

    def require(self, columns: Sequence[str]) -> None:
        """Refuse to go on without some columns.

        Raises:
            TrainingError: one is not there.
        """
        for column in columns:
            if column not in self.names:
                raise TrainingError(f"{self.where}: expected a column {column!r}, got {self.shown_names()}")

    def shown_names(self) -> str:
        """The first of its columns, for errors."""
        return ", ".join(self.names[:20]) + (", …" if len(self.names) > 20 else "")

    def batches(self, columns: Sequence[str]) -> Iterator[TableBatch]:
        """All rows, a batch at a time.

        Args:
            columns: those that are wanted.

        Raises:
            TrainingError: the file is damaged, or holds no rows.
        """
        first = 1
        try:
            for rows in (_parquet_batches if self.typed else _csv_batches)(self, columns):
                if rows.num_rows:
                    yield TableBatch(self.where, first, rows)
                first += rows.num_rows
        except (pa.ArrowException, OSError) as error:
            raise TrainingError(f"{self.where}{_told(error, columns)}") from error
        if first == 1:
            raise TrainingError(f"{self.where}: expected rows, got none")


def open_table(where: str, path: Path) -> Table:
    """Find out which columns a file has.

    Raises:
        TrainingError: it is no such file, or its columns are too many or share names.
    """
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
    """Whether a pyarrow type is text."""
    return bool(pa.types.is_string(of_type) or pa.types.is_large_string(of_type) or pa.types.is_string_view(of_type))


def first_refused(text: Any, of_type: Any) -> int:
    """Index of the first value that cannot be read as a type, where there is one."""
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
    """A value for an error."""
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
        # One thread: only then do errors say which row.
        read_options=pa.csv.ReadOptions(use_threads=False, block_size=block, column_names=table.names, skip_rows=1),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            include_columns=columns,
            column_types=dict.fromkeys(columns, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
        ),
    ) as reader:
        for rows in reader:
            yield pa.record_batch([_cells(column) for column in rows.columns], names=rows.schema.names)


def _cells(text: Any) -> Any:
    """What is written in cells, without the space around it; null where that stands for nothing."""
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
    # Read through small buffers: a row group may be as large as the file.
    buffer = max(2**12, 2**22 // len(columns))
    with pa.parquet.ParquetFile(
        table.path, buffer_size=buffer, pre_buffer=False, page_checksum_verification=True
    ) as file:
        yield from file.iter_batches(rows, columns=list(columns), use_threads=False)


def _told(error: Exception, columns: Sequence[str]) -> str:
    """What pyarrow says of a damaged file; of a CSV row, with the number of the row."""
    message = _line(error)
    if (row := _CSV_ROW.search(message)) is None:
        return f": not readable: {message}"
    column = _CSV_COLUMN.search(message)
    place = f", column {columns[int(column[1])]!r}" if column else ""
    # It counts the line of names.
    what = row[2][:1].lower() + row[2][1:] if row[2].startswith("Expected") else f"expected UTF-8, got {row[2]}"
    return f"{place}, row {int(row[1]) - 1:,}: {what}"


def _line(error: Exception) -> str:
    line = " ".join(str(error).split())
    return line if len(line) <= 200 else f"{line[:199]}…"
