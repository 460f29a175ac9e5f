"""CSV files: how their text is encoded and divided into cells."""

import codecs
import csv
import gzip
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Final

from training import TrainingError
from training.data import MOST_COLUMNS

#: Characters that may separate cells, the most usual first.
DELIMITERS: Final = (",", ";", "\t", "|")
#: Lines that the delimiter is found in, and their largest size in characters.
SAMPLED, MOST_SAMPLED = 200, 2**22
#: Bytes in one read.
BLOCK: Final = 2**20
# A series in a cell, and a line that is read with another delimiter than its own, are longer than the module's default.
csv.field_size_limit(MOST_SAMPLED)
#: Numbers with a comma: 1,5, 1.234,5 and 1,234.5; and 1,234, which may be either. Numbers with a space or an apostrophe
#: between thousands: 1 234,5 and 1'234.5.
_COMMA: Final = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
_POINTS_AND_COMMA: Final = re.compile(r"[+-]?\d{1,3}(\.\d{3})+,\d+")
_COMMAS_AND_POINT: Final = re.compile(r"[+-]?\d{1,3}(,\d{3})+\.\d+")
_THOUSANDS: Final = re.compile(r"[+-]?\d{1,3}(,\d{3})+")
_GROUPS: Final = re.compile(r"[+-]?\d{1,3}(['\u2019 \u00a0\u202f])\d{3}(\1\d{3})*([.,]\d+)?")
_LONE_RETURN: Final = re.compile(rb"\r(?!\n)")
_BYTE_ORDER_MARKS: Final = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True)
class CsvText:
    """The text of a CSV file, and how it is divided.

    Attributes:
        where: the file's name in error messages.
        path: the file.
        encoding: its encoding, and `packed` whether it is compressed with gzip.
        delimiter: the character between cells.
        decimal, thousands: the characters within numbers; "" for no character between thousands.
        names: the names of the columns, one for each cell of a row; empty for cells after the last name.
        comments: whether lines that begin with # are no rows.
        heading: the number of lines before the first row, without comments.
        plain: whether DuckDB can read the file itself: UTF-8, with usual line ends and without comments.
        hints: sentences on what was found, for the person.
    """

    where: str
    path: Path
    encoding: str
    packed: bool
    delimiter: str
    decimal: str
    thousands: str
    names: tuple[str, ...]
    comments: bool
    heading: int
    plain: bool
    hints: tuple[str, ...]

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield the lines that are no comments, with their numbers as an editor counts them."""
        with _open_text(self.path, self.encoding, packed=self.packed) as file:
            for number, line in enumerate(file, 1):
                if not (self.comments and line.startswith("#")):
                    yield number, line

    def line_of(self, row: int) -> int:
        """Return the line in which a row begins. Rows count from 1, lines as an editor counts them."""
        last = 0

        def texts() -> Iterator[str]:
            nonlocal last
            for number, line in islice(self.lines(), self.heading, None):
                last = number
                yield line

        # A cell may span lines: the row begins after the end of the row before.
        rows = (cells for cells in csv.reader(texts(), delimiter=self.delimiter) if cells)
        for _ in islice(rows, row - 1):
            pass
        before = last
        next(rows, None)
        return before + 1 if before else last

    def plain_file(self, folder: Path) -> Path:
        """Return a file that DuckDB can read: this one, or a copy in a folder."""
        if self.plain:
            return self.path
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="\n", dir=folder, delete=False) as copy:
            copy.writelines(line for _, line in self.lines())
        return Path(copy.name)


def examine(
    where: str, path: Path, delimiter: str | None = None, encoding: str | None = None, *, header: bool = True
) -> CsvText:
    """Find out how a CSV file is divided, as far as the arguments do not say.

    Raises:
        TrainingError: the file has no text, too many columns, or is not of the encoding.
    """
    with path.open("rb") as file:
        start = file.read(4)
    packed = start.startswith(b"\x1f\x8b")
    if start == b"PK\x03\x04":
        raise TrainingError(f"{where}: expected text, got a zip archive; a table of Excel can be saved as CSV")
    named, plain = encoding, True
    encoding, plain = _encoding(where, path, encoding, packed=packed)
    try:
        with _open_text(path, encoding, packed=packed) as text:
            sample = list(_sample(text))
    except (UnicodeError, LookupError) as error:
        raise TrainingError(f"{where}: expected text in {encoding}: {error}") from None
    hints = []
    if encoding == "cp1252" and named is None:
        hints.append("the file is not UTF-8 and was read as Windows-1252; --encoding names another encoding")
    comments = any(line.startswith("#") for line in sample) and not _is_header_of_number_signs(sample)
    rows = [line for line in sample if not (comments and line.startswith("#"))]
    heading = 0
    if rows and (said := re.fullmatch(r"sep=(.)\s*", rows[0])):
        delimiter, heading = delimiter or said[1], 1
    while heading < len(rows) and not rows[heading].strip():
        heading += 1
    if heading == len(rows):
        got = "an empty file" if not sample else "empty lines"
        raise TrainingError(f"{where}: expected names of columns in the first line, got {got}")
    if len(rows[heading]) > MOST_SAMPLED:
        raise TrainingError(
            f"{where}: expected at most {MOST_COLUMNS:,} columns, got a first line of more than {MOST_SAMPLED:,} "
            "characters"
        )
    delimiter = delimiter or _delimiter(rows[heading:])
    cells = list(csv.reader(rows[heading:], delimiter=delimiter, skipinitialspace=True))
    names = _names(cells, header=header)
    if len(names) > MOST_COLUMNS:
        raise TrainingError(f"{where}: expected at most {MOST_COLUMNS:,} columns, got {len(names):,}")
    decimal, thousands = _within_numbers(cells[1:], delimiter)
    # A row of names may span lines.
    lines_of_header = rows[heading : heading + 1] if not header else _lines_of_first(rows[heading:], delimiter)
    return CsvText(
        where=where,
        path=path,
        encoding=encoding,
        packed=packed,
        delimiter=delimiter,
        decimal=decimal,
        thousands=thousands,
        names=names,
        comments=comments,
        heading=heading + (len(lines_of_header) if header else 0),
        plain=plain and not comments,
        hints=tuple(hints),
    )


def _open_text(path: Path, encoding: str, *, packed: bool) -> IO[str]:
    if packed:
        return gzip.open(path, "rt", encoding=encoding, newline=None)
    return path.open(encoding=encoding, newline=None)


def _encoding(where: str, path: Path, named: str | None, *, packed: bool) -> tuple[str, bool]:
    """Return the encoding, and whether DuckDB can read the file as it is."""
    plain, decoder = not packed, codecs.getincrementaldecoder("utf-8")()
    with gzip.open(path) if packed else path.open("rb") as file:
        try:
            start = file.read(4)
            marked = next((name for mark, name in _BYTE_ORDER_MARKS.items() if start.startswith(mark)), None)
            if named is not None or marked is not None:
                return named or marked or "", False
            file.seek(0)
            while block := file.read(BLOCK):
                if block.endswith(b"\r"):  # look at the line end as a whole
                    block += file.read(1)
                plain = plain and b"\0" not in block and not _LONE_RETURN.search(block)
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252", False
        except (EOFError, gzip.BadGzipFile) as error:
            raise TrainingError(f"{where}: not a readable gzip file: {error}") from error
    return "utf-8", plain


def _sample(text: IO[str]) -> Iterator[str]:
    size = 0
    for line in islice(iter(lambda: text.readline(MOST_SAMPLED + 1), ""), SAMPLED):
        yield line
        size += len(line)
        if size > MOST_SAMPLED:
            return


def _is_header_of_number_signs(lines: Sequence[str]) -> bool:
    """Return whether the only line with # in front holds the names of columns, as in `#id,value`."""
    marked = [line for line in lines if line.startswith("#")]
    return (
        len(marked) == 1
        and lines[0] is marked[0]
        and len(lines) > 1
        and any(lines[0].count(one) == lines[1].count(one) > 0 for one in DELIMITERS)
    )


def _delimiter(lines: Sequence[str]) -> str:
    """Return the character that divides all lines into the same number of cells, at least two if possible."""

    def divided(delimiter: str) -> tuple[bool, int]:
        widths = [len(row) for row in csv.reader(lines[:-1] or lines, delimiter=delimiter) if row]
        # Row names of R and a delimiter at the end of each row make rows one cell longer than the names.
        even = len(set(widths[1:])) <= 1 and max(widths[1:], default=widths[0]) - widths[0] in {0, 1}
        return even and widths[0] > 1, widths[0]

    return max(DELIMITERS, key=divided)


def _names(cells: Sequence[Sequence[str]], *, header: bool) -> tuple[str, ...]:
    """Return a name for each cell of a row, "" for a cell without one."""
    first, rows = cells[0], [row for row in cells[1:] if row]
    if not header:
        return tuple(map(str, range(len(first))))
    names = [name.strip().removeprefix("\ufeff") for name in first]
    if names[0].startswith("#"):
        names[0] = names[0][1:].strip()
    if rows and all(len(row) == len(names) + 1 for row in rows):
        # Either each row ends with a delimiter, or R wrote the names of the rows.
        names = [*names, ""] if not any(row[-1].strip() for row in rows) else ["", *names]
    return tuple(names)


def _within_numbers(cells: Iterable[Sequence[str]], delimiter: str) -> tuple[str, str]:
    """Return the decimal separator and the character between thousands that the numbers of some cells have.

    The decimal separator is "" if a comma may be either of them.
    """
    texts = [text.strip() for row in cells for text in row]
    with_comma = list(filter(_COMMA.fullmatch, texts))
    if groups := list(filter(None, map(_GROUPS.fullmatch, texts))):
        return "," if with_comma or any((one[3] or "").startswith(",") for one in groups) else ".", groups[0][1]
    if any(map(_POINTS_AND_COMMA.fullmatch, texts)):
        return ",", "."
    if any(map(_COMMAS_AND_POINT.fullmatch, texts)):
        return ".", ","
    if not with_comma:
        return ".", ""
    return ("" if delimiter == "," and all(map(_THOUSANDS.fullmatch, with_comma)) else ","), ""


def _lines_of_first(lines: Sequence[str], delimiter: str) -> Sequence[str]:
    """Return the lines of the first row."""
    reader = csv.reader(lines, delimiter=delimiter)
    next(reader)
    return lines[: reader.line_num]
