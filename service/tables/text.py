"""CSV files: how their text is encoded and divided into cells."""

import codecs
import csv
import gzip
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, takewhile, zip_longest
from pathlib import Path
from typing import IO, Final

from service.artifact.table_format import DELIMITERS
from service.errors import TableError
from service.tables.dialect import Dialect
from service.tables.sequences import MOST_COLUMNS

#: Lines that the delimiter is found in, and their largest size in characters.
SAMPLED, MOST_SAMPLED = 200, 2**22
#: Bytes in one read.
BLOCK: Final = 2**20
# A series in a cell, and a line that is read with another delimiter than its own, are longer than the module's default.
csv.field_size_limit(MOST_SAMPLED)
#: Numbers by their decimal separator, perhaps with the other character between thousands: 1.234,5 and 1,234.5. A number
#: such as 1,234 is one of both. A number with an exponent has no thousands.
_NUMBERS: Final = {
    ",": re.compile(r"[+-]?([1-9]\d{0,2}(\.\d{3})+(,\d+)?|\d*(,\d+)?([eE][+-]?\d+)?)"),
    ".": re.compile(r"[+-]?([1-9]\d{0,2}(,\d{3})+(\.\d*)?|\d*(\.\d*)?([eE][+-]?\d+)?)"),
}
_OTHER: Final = {",": ".", ".": ","}
#: Numbers with a space or an apostrophe between thousands: 1 234,5 and 1'234.5.
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
        preamble: the number of comments before the first row or the names of columns.
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
    preamble: int
    heading: int
    plain: bool
    hints: tuple[str, ...]

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield the lines that are no comments, with their numbers as an editor counts them."""
        with _open_text(self.path, self.encoding, packed=self.packed) as file:
            for number, line, is_comment in _lines(file, self.preamble, self.delimiter, len(self.names)):
                if not is_comment:
                    yield number, line

    def comments(self) -> int:
        """Return the number of comments."""
        if self.plain:
            return 0
        with _open_text(self.path, self.encoding, packed=self.packed) as file:
            return sum(one for _, _, one in _lines(file, self.preamble, self.delimiter, len(self.names)))

    def line_of(self, row: int) -> int:
        """Return the line in which a row begins. Rows count from 1, lines as an editor counts them."""
        read: list[int] = []  # the lines of one row, as a cell may span lines

        def texts() -> Iterator[str]:
            for number, line in islice(self.lines(), self.heading, None):
                read.append(number)
                yield line

        first = 0
        for cells in csv.reader(texts(), delimiter=self.delimiter):
            first = read[0]
            read.clear()
            row -= bool(cells)
            if row == 0:
                break
        return first

    def plain_file(self, folder: Path) -> Path:
        """Return a file that DuckDB can read: this one, or a copy in a folder."""
        if self.plain:
            return self.path
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="\n", dir=folder, delete=False) as copy:
            copy.writelines(line for _, line in self.lines())
        return Path(copy.name)


def examine(where: str, path: Path, dialect: Dialect, missing: Sequence[str] = ("",)) -> CsvText:
    """Find out how a CSV file is divided, as far as the dialect does not say.

    A line that begins with # is a comment, unless it has as many cells as there are columns.

    Args:
        where: the file's name in error messages.
        path: the file.
        dialect: how the text is read, as far as it is known.
        missing: words for a missing number.

    Raises:
        TableError: the file has no text, too many columns, is not of the encoding, or has numbers that may be read
            in two ways.
    """
    with path.open("rb") as file:
        start = file.read(4)
    packed = start.startswith(b"\x1f\x8b")
    if start == b"PK\x03\x04":
        raise TableError(f"{where}: expected text, got a zip archive; a table of Excel can be saved as CSV")
    encoding, plain = _encoding(where, path, dialect.encoding, packed=packed)
    try:
        with _open_text(path, encoding, packed=packed) as text:
            sample = list(_sample(text))
    except (UnicodeError, LookupError) as error:
        raise TableError(f"{where}: expected text in {encoding}: {error}") from None
    hints = []
    if encoding == "cp1252" and dialect.encoding is None:
        hints.append("the file is not UTF-8 and was read as Windows-1252; --encoding names another encoding")
    delimiter, preamble = dialect.delimiter, _comments_before_rows(sample, dialect.delimiter)
    lines = [line for _, line, is_comment in _lines(sample, preamble) if not is_comment]
    heading = 0
    if lines and (said := re.fullmatch(r"sep=(.)\s*", lines[0])):
        delimiter, heading = delimiter or said[1], 1
    while heading < len(lines) and not lines[heading].strip():
        heading += 1
    if heading == len(lines):
        got = "an empty file" if not sample else "empty lines"
        raise TableError(f"{where}: expected names of columns in the first line, got {got}")
    if len(lines[heading]) > MOST_SAMPLED:
        raise TableError(
            f"{where}: expected at most {MOST_COLUMNS:,} columns, got a first line of more than {MOST_SAMPLED:,} "
            "characters"
        )
    delimiter = delimiter or _delimiter(lines[heading:])
    names = _names(_rows(lines[heading:], delimiter), header=dialect.header)
    if len(names) > MOST_COLUMNS:
        raise TableError(f"{where}: expected at most {MOST_COLUMNS:,} columns, got {len(names):,}")
    lines = [line for _, line, is_comment in _lines(sample, preamble, delimiter, len(names)) if not is_comment]
    lines = lines[heading:]
    rows = _rows(lines, delimiter)[1 if dialect.header else 0 :]
    numbers = _texts_of_numbers(names, rows, dialect, missing)
    decimal, thousands = _marks_in_numbers(where, numbers, delimiter, dialect)
    if decimal == "," and dialect.decimal is dialect.thousands is None and _may_be_either(numbers):
        shown = next(text for texts in numbers for text in texts if "," in text)
        hints.append(f"numbers such as {shown!r} were read with a decimal comma; --thousands , reads them as thousands")
    # A row of names may span lines.
    found = CsvText(
        where=where,
        path=path,
        encoding=encoding,
        packed=packed,
        delimiter=delimiter,
        decimal=decimal,
        thousands=thousands,
        names=names,
        preamble=preamble,
        heading=heading + (len(_lines_of_first(lines, delimiter)) if dialect.header else 0),
        plain=plain,
        hints=(),
    )
    if comments := found.comments():
        lines_are = "line that begins with # is" if comments == 1 else "lines that begin with # are"
        hints.append(f"{comments:,} {lines_are} left out, as comments")
    return replace(found, hints=tuple(hints))


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
            end = b"\n"
            while block := file.read(BLOCK):
                if block.endswith(b"\r"):  # look at the line end as a whole
                    block += file.read(1)
                plain = plain and not (b"\0" in block or b"\n#" in end + block[:1] or b"\n#" in block)
                plain = plain and not _LONE_RETURN.search(block)
                decoder.decode(block)
                end = block[-1:]
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252", False
        except (EOFError, gzip.BadGzipFile) as error:
            raise TableError(f"{where}: not a readable gzip file: {error}") from error
    return "utf-8", plain


def _sample(text: IO[str]) -> Iterator[str]:
    size = 0
    for line in islice(iter(lambda: text.readline(MOST_SAMPLED + 1), ""), SAMPLED):
        yield line
        size += len(line)
        if size > MOST_SAMPLED:
            return


def _comments_before_rows(lines: Sequence[str], delimiter: str | None) -> int:
    """Return the number of comments before the first row.

    Lines with # in front are no comments if they are divided as the line after them is, as the names `#id,value` are.
    """
    marked = len(list(takewhile(lambda line: line.startswith("#"), lines)))
    compared = lines[: marked + 1]
    are_rows = any(
        lines[0].count(one) > 0 and len({line.count(one) for line in compared}) == 1
        for one in (delimiter or "", *DELIMITERS)
        if one and marked
    )
    return 0 if are_rows else marked


def _lines(
    lines: Iterable[str], preamble: int, delimiter: str = ",", columns: int | None = None
) -> Iterator[tuple[int, str, bool]]:
    """Yield the number of each line, the line, and whether it is a comment.

    Args:
        lines: all lines.
        preamble: the number of comments in front; the line after them is no comment.
        delimiter: the character between cells.
        columns: the number of cells of a row; None if any line with # in front is a comment.
    """
    in_cell = False  # a cell in quotes may span lines
    for number, line in enumerate(lines, 1):
        marked = line.startswith("#") and not in_cell and number > preamble + 1
        is_comment = marked and (columns is None or len(_rows([line], delimiter)[0]) != columns)
        is_comment |= number <= preamble
        in_cell ^= not is_comment and line.count('"') % 2 == 1
        yield number, line, is_comment


def _rows(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    return list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))


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


def _marks_in_numbers(
    where: str, columns: Sequence[Sequence[str]], delimiter: str, dialect: Dialect
) -> tuple[str, str]:
    """Return the decimal separator of the numbers of some columns, and the character between thousands, "" for none.

    Programs write semicolons between cells where the comma is the decimal separator. If each number of a column has a
    comma there, before three digits, the column has three decimals: a number below a thousand has no other comma.
    """
    texts = [text for column in columns for text in column]
    decimal, thousands = dialect.decimal or _OTHER.get(dialect.thousands or ""), dialect.thousands
    with_comma = [text for text in texts if "," in text]
    if groups := list(filter(None, map(_GROUPS.fullmatch, texts))):
        return decimal or ("," if with_comma else "."), groups[0][1] if thousands is None else thousands
    if decimal is None and not with_comma:
        decimal = "."
    if decimal is None:
        fitting = [mark for mark, numbers in _NUMBERS.items() if all(map(numbers.fullmatch, texts))]
        are_even = all(len({"," in text for text in column}) <= 1 for column in columns)
        if len(fitting) > 1 and not (delimiter == ";" and are_even):
            raise TableError(f"{where}: expected --decimal or --thousands, as the comma in numbers may mean either")
        if not fitting:
            one, another = (next(one for one in texts if not form.fullmatch(one)) for form in _NUMBERS.values())
            raise TableError(
                f"{where}: expected one decimal separator, got {another!r} and {one!r}; --decimal chooses one, "
                "--drop-columns leaves columns out"
            )
        decimal = fitting[0]
    if thousands is None:
        with_other = [text for text in texts if _OTHER[decimal] in text]
        thousands = _OTHER[decimal] if with_other and all(map(_NUMBERS[decimal].fullmatch, with_other)) else ""
    return decimal, thousands


def _may_be_either(columns: Sequence[Sequence[str]]) -> bool:
    """Return whether the commas in the numbers of some columns may be decimal ones or stand between thousands."""
    texts = [text for column in columns for text in column]
    return all(numbers.fullmatch(text) for numbers in _NUMBERS.values() for text in texts)


def _texts_of_numbers(
    names: Sequence[str], rows: Sequence[Sequence[str]], dialect: Dialect, missing: Sequence[str]
) -> list[list[str]]:
    """Return the numbers of each column of numbers, as text. Identifiers and columns left out do not count."""
    found, no_numbers = [], frozenset(missing)
    for name, cells in zip(names, zip_longest(*rows, fillvalue=""), strict=False):
        if name in dialect.left_out or (dialect.used is not None and name not in dialect.used):
            continue
        texts = [text for cell in cells if (text := cell.strip()) not in no_numbers]
        numbers = [text for text in texts if _is_number(text)]
        if 2 * len(numbers) >= len(texts):  # as `Table.kinds` decides
            found.append(numbers)
    return found


def _is_number(text: str) -> bool:
    return any(numbers.fullmatch(text) for numbers in (*_NUMBERS.values(), _GROUPS))


def _lines_of_first(lines: Sequence[str], delimiter: str) -> Sequence[str]:
    """Return the lines of the first row."""
    reader = csv.reader(lines, delimiter=delimiter)
    next(reader)
    return lines[: reader.line_num]
