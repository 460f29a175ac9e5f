"""The rows of one table in DuckDB: the columns, their kinds, and their values as SQL."""

import csv
import glob
import re
import shlex
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.parquet

from service.artifact.card import LARGEST_FLOAT32
from service.artifact.table_format import MISSING
from service.errors import TableError
from service.problems import listed, missing_column
from service.tables.dialect import Dialect
from service.tables.sequences import MOST_COLUMNS
from service.tables.text import CsvText, examine

#: Names of columns that hold the index of a frame, as pandas and R write them.
INDEX_NAMES: Final = re.compile(r"Unnamed: \d+|__index_level_\d+__|rownames")
#: Memory of DuckDB in bytes, and more for each column of text; it writes what does not fit into the temporary folder.
#: A query that needs more, because of long rows, gets more. Each thread sorts a part of its own: two threads need more
#: memory, and save little time.
MEMORY, MEMORY_OF_COLUMN, THREADS = 2**26, 300 * 2**10, 1
#: Rows in one batch, and values.
ROWS, VALUES = 2**14, 2**19
#: Largest size of a Parquet footer, in bytes. It grows with the columns and is read at once.
MOST_FOOTER: Final = 2**26
#: Columns of one type that a query names one by one, characters in a line of text, and bytes of text in one read.
COLUMNS, MOST_LINE, BUFFER = 50, 2**25, 2**25
#: The number of a row, from 1, in its table.
ROW: Final = "row of the table"

Kind = Literal["numbers", "booleans", "times", "text", "lists", "empty"]

_NUMERIC: Final = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL.*")
_TIMES: Final = re.compile(r"DATE|TIME|TIMESTAMP.*")
_NUMBER_LISTS: Final = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)?INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL.*)\[\d*\]")
#: A list of numbers and words for missing ones, as text.
_ITEM: Final = (
    r"\s*([+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(?i:inf(inity)?)|"
    rf"{'|'.join(map(re.escape, filter(None, MISSING)))})\s*"
)
_SERIES: Final = rf"\s*\[({_ITEM}(,{_ITEM})*)?\]\s*"
_LINE: Final = re.compile(r"CSV Error on Line: (\d+)")
_QUOTE: Final = "Value with unterminated quote found."
_CELLS: Final = re.compile(r"Expected Number of Columns: (\d+) Found: (\d+)")
_NO_MEMORY: Final = "Out of Memory Error"
_NO_ROOM: Final = re.compile(r"No space left|File too large|max_temp_directory_size|Could not write|failed to offload")

Answer = TypeVar("Answer")


class Database:
    """A database in memory, and a temporary folder for what does not fit, which is removed with this object."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="attention-tables-"))
        self.connection = duckdb.connect(
            ":memory:",  # a database in the folder would compress each column, which takes several times as long
            config={
                "threads": THREADS,
                "temp_directory": str(self.folder),
                "autoinstall_known_extensions": False,  # programs from the network
                "autoload_known_extensions": False,
            },
        )
        weakref.finalize(self, _remove, self.connection, self.folder)
        self.connection.execute("SET GLOBAL TimeZone = 'UTC'")
        of_machine = "SELECT parse_formatted_bytes(current_setting('memory_limit'))"
        ((self._most,),) = self.connection.execute(of_machine).fetchall()
        self.limit(MEMORY)

    def limit(self, memory: int) -> None:
        """Let DuckDB take some memory, in bytes, but not more than it takes by itself."""
        self._memory = min(memory, self._most)
        self.connection.execute(f"SET memory_limit = '{self._memory}B'")

    def answer(self, ask: Callable[[], Answer]) -> Answer:
        """Return what a function returns that asks DuckDB; it is called again with more memory if it needs more."""
        while True:
            try:
                with _interruptible():
                    return ask()
            except (duckdb.Error, pa.ArrowException) as error:
                if not self.has_more_memory(error):
                    raise

    def has_more_memory(self, error: Exception) -> bool:
        """Return whether memory was short, and there is more for another try."""
        if _NO_MEMORY not in str(error) or self._memory == self._most:
            return False
        self.limit(2 * self._memory)
        return True


@contextmanager
def _interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt after Ctrl-C. DuckDB raises a RuntimeError in its place."""
    try:
        yield
    except RuntimeError as error:
        if str(error) != "Query interrupted":
            raise
        raise KeyboardInterrupt from error


def _remove(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    connection.close()
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Table:
    """A table in DuckDB.

    Attributes:
        where: its name in error messages.
        database: a database with `rows`, whose column `ROW` numbers the rows.
        types: the type of each column by its name, DuckDB's; VARCHAR for all columns of a CSV file.
        text: the CSV file that the table comes from; None for other sources.
        is_text: whether all columns are text: those of a CSV file, and of another table beside one.
        decimal, thousands: the characters within numbers, for text.
        missing: words for a missing value, beside the empty cell, and `MISSING` for a missing number.
        indices: the columns that hold the index of a frame.
    """

    where: str
    database: Database
    types: Mapping[str, str]
    text: CsvText | None
    is_text: bool
    decimal: str
    thousands: str
    missing: tuple[str, ...]
    indices: frozenset[str]

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The connection to the database."""
        return self.database.connection

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(self.types)

    def given_name(self, column: str) -> str:
        """Return the name of a column in the file, "" for a column without one."""
        if self.text is None or column in self.text.names:
            return column
        return ""

    def require(self, columns: Sequence[str], *, has_option: bool = False) -> None:
        """Refuse columns that do not exist.

        Args:
            columns: the names of the columns.
            has_option: whether the program has an option for the encoding of a file, as training has.

        Raises:
            TableError: one does not exist.
        """
        for column in columns:
            if column not in self.types:
                other = ""
                if self.text is not None and self.text.encoding == "cp1252":
                    other = "; the file was read as Windows-1252, "
                    other += "--encoding names" if has_option else "iconv -f NAME -t UTF-8 converts it from"
                    other += " another encoding, such as cp949"
                raise TableError(f"{self.where}: {missing_column(column, self.names)}{other}")

    def shown_names(self) -> str:
        """Return the names of the first columns for error messages."""
        return listed(self.names)

    def arrow(self) -> Any:
        """Return all rows in their order as a pyarrow table. The columns of text are as they are in the file.

        Raises:
            TableError: the table cannot be read.
        """
        names = ", ".join(map(quoted, self.names))
        return pa.Table.from_batches(self.batches(f"SELECT {names} FROM rows ORDER BY {quoted(ROW)}", len(self.names)))

    def place(self, row: int, column: str | None = None) -> str:
        """Return the place of a row, or of a cell, for error messages. Rows of text have the number of their line."""
        return f"{self.where}, {'' if column is None else f'column {column!r}, '}row {self.line(row):,}"

    def line(self, row: int) -> int:
        """Return the number of a row as an editor shows it."""
        return row if self.text is None else self.text.line_of(row)

    def ask(self, question: str) -> list[tuple[Any, ...]]:
        """Return the rows of an SQL query.

        Raises:
            TableError: the table cannot be read.
        """
        try:
            # A cursor, as the rows of another question may still be read.
            return self.database.answer(lambda: self.connection.cursor().execute(question).fetchall())
        except duckdb.Error as error:
            self.refuse(error)

    def of_each(self, columns: Sequence[str], sql: Callable[[str, str], str]) -> dict[str, Any]:
        """Return the value of one SQL aggregate for each of some columns.

        Many columns of one type become one column, with a group for each, because the plan of many expressions takes
        long.

        Args:
            columns: the names of the columns.
            sql: returns the aggregate, given the name of a column and the SQL of its cells.
        """
        values: dict[str, Any] = {}
        for of_type in sorted({self.types[column] for column in columns}):
            some = [column for column in columns if self.types[column] == of_type]
            if len(some) <= COLUMNS:
                asked = ", ".join(sql(column, quoted(column)) for column in some)
                values |= zip(some, self.ask(f"SELECT {asked} FROM rows")[0], strict=True)
                continue
            row, cell = quoted(ROW), '"cell of the column"'
            lists = f"SELECT [{', '.join(map(quoted, some))}] AS cells, {row} FROM rows"
            cells = f"SELECT unnest(cells) AS {cell}, generate_subscripts(cells, 1) AS number, {row} FROM ({lists})"
            found = self.ask(f"SELECT number, {sql(some[0], cell)} FROM ({cells}) GROUP BY 1")
            values |= {some[number - 1]: value for number, value in found}
        return {column: values[column] for column in columns}

    def batches(self, question: str, columns: int) -> Iterator[Any]:
        """Yield the rows of an SQL query as pyarrow record batches.

        Args:
            question: the query, whose order has no ties.
            columns: the number of its columns.

        Raises:
            TableError: the table cannot be read.
        """
        size, done = max(128, min(ROWS, VALUES // columns)), 0
        while True:
            try:
                # A connection has one open result: questions in between need another one.
                with _interruptible():
                    for batch in self.connection.cursor().sql(f"{question} OFFSET {done}").to_arrow_reader(size):
                        done += len(batch)
                        yield batch
                return
            except (duckdb.Error, pa.ArrowException, OSError) as error:
                if not self.database.has_more_memory(error):
                    self.refuse(error)

    def refuse(self, error: Exception) -> NoReturn:
        """Raise the error of a table that DuckDB cannot read, with the line of the mistake if it is known."""
        if _NO_ROOM.search(str(error)):
            folder = self.database.folder.parent
            free = shutil.disk_usage(folder).free // 2**20
            raise TableError(
                f"{folder}: expected room for the rows of {self.where}, got {free:,} MB free; free more, or set TMPDIR "
                "to a folder on another disk"
            ) from error
        if _NO_MEMORY in str(error):
            raise TableError(f"{self.where}: expected rows that fit into memory, got too long ones") from error
        if self.text is None or not (line := _LINE.search(str(error))):
            raise TableError(f"{self.where}: not readable: {_first_line(error)}") from error
        number, text = next(islice(self.text.lines(), int(line[1]) - 1, None))
        cells = next(csv.reader([text], delimiter=self.text.delimiter), [])
        problem = _first_line(error)
        if len(cells) != len(self.text.names):
            problem = f"expected {len(self.text.names)} columns, got {len(cells)}: {text.strip()[:60]}"
        raise TableError(f"{self.where}, row {number:,}: {problem}") from error

    def refuse_cell(self, column: str, row: int, expected: str, *, may_be_missing: bool = False) -> NoReturn:
        """Raise the error of a wrong cell. If its word may mean a missing value, name the option that says so."""
        ((value,),) = self.ask(f"SELECT {quoted(column)} FROM rows WHERE {quoted(ROW)} = {row}")
        got = "none" if value is None or value == "" else shown(value)
        hint = ""
        if may_be_missing and isinstance(value, str) and not any(map(str.isdigit, value)):
            hint = f"; --missing {shlex.quote(value.strip())} takes it as a missing value"
        raise TableError(f"{self.place(row, column)}: expected {expected}, got {got}{hint}")

    def refuse_missing(self, columns: Sequence[str]) -> None:
        """Refuse columns with empty cells."""
        for column in columns:
            empty = f" OR trim({quoted(column)}) = ''" if self.types[column] == "VARCHAR" else ""
            ((row,),) = self.ask(f"SELECT min({quoted(ROW)}) FROM rows WHERE {quoted(column)} IS NULL{empty}")
            if row is not None:
                raise TableError(f"{self.place(row, column)}: expected a value, got none")

    def refuse_words(self, columns: Sequence[str], *, may_be_missing: bool = False) -> None:
        """Refuse text, and numbers too large for float32, in columns of numbers.

        Args:
            columns: the names of the columns.
            may_be_missing: whether an option can make a word a missing value, as in a training.

        Raises:
            TableError: there is such a cell; the message names the first one.
        """
        wrong = self.of_each(columns, self._first_wrong)
        rows = {column: row for column, row in wrong.items() if row is not None}
        if rows:
            column = min(rows, key=rows.__getitem__)
            ((number,),) = self.ask(f"SELECT {self.number(column)} FROM rows WHERE {quoted(ROW)} = {rows[column]}")
            self.refuse_cell(
                column,
                rows[column],
                "a number" if number is None else "a finite number",
                may_be_missing=may_be_missing and number is None,
            )

    def _first_wrong(self, column: str, cell: str) -> str:
        number = self.number(column, cell)
        return (  # most cells are numbers, which need no look at words for a missing one
            f"min(CASE WHEN {number} IS NULL OR NOT abs({number}) <= {LARGEST_FLOAT32} "
            f"THEN CASE WHEN NOT {self.is_missing(column, cell)} THEN {quoted(ROW)} END END)"
        )

    def is_missing(self, column: str, cell: str | None = None) -> str:
        """Return the SQL condition that a cell of a column holds no number. The cell is the column's if not given."""
        name = cell or quoted(column)
        if self.types[column] != "VARCHAR":
            return f"({name} IS NULL{f' OR isnan({name})' if self.types[column] in {'DOUBLE', 'FLOAT'} else ''})"
        return f"({name} IS NULL OR trim({name}) IN ({', '.join(map(literal, (*MISSING, *self.missing)))}))"

    def word(self, column: str) -> str:
        """Return the SQL of the word in a cell of a category; null if it is missing. `none` is a word."""
        name = f"trim({quoted(column)}::VARCHAR)"
        return f"(CASE WHEN {name} NOT IN ({', '.join(map(literal, ('', *self.missing)))}) THEN {name} END)"

    def number(self, column: str, cell: str | None = None) -> str:
        """Return the SQL of the number in a cell of a column; null for any other text. True is 1 and False 0."""
        name = cell or quoted(column)
        if self.types[column] == "BOOLEAN":
            return f"{name}::INT::DOUBLE"
        if self.types[column] != "VARCHAR":
            return f"{name}::DOUBLE"
        plain = self._plain(name)
        proper = f"NOT contains({plain}, '_')"
        if self.decimal != ".":
            proper += f" AND (NOT contains({name}, '.') OR {literal(self.thousands)} = '.')"
        if self.thousands:
            mark, decimal = re.escape(self.thousands), re.escape(self.decimal)
            groups = f"[^{mark}]*|[+-]?\\d{{1,3}}({mark}\\d{{2,3}})*{mark}\\d{{3}}({decimal}\\d*)?"
            proper += f" AND regexp_full_match(trim({name}), {literal(groups)})"
        number = (
            f"CASE lower(trim({name})) WHEN 'true' THEN 1 WHEN 'false' THEN 0 "
            f"ELSE CASE WHEN {proper} THEN TRY_CAST({plain} AS DOUBLE) END END"
        )
        if self.decimal != "." or self.thousands:
            return number
        # Most cells are plain numbers, and DuckDB takes long for the general way. It would go that way with `coalesce`.
        cast = f"TRY_CAST({name} AS DOUBLE)"
        return f"(CASE WHEN {cast} IS NULL OR contains({name}, '_') THEN {number} ELSE {cast} END)"

    def float32(self, column: str, cell: str | None = None) -> str:
        """Return the SQL of a column's numbers as float32, after `refuse_words`; null or NaN for a missing one.

        The cell is the column's if not given.
        """
        name = cell or quoted(column)
        if self.types[column] != "VARCHAR":
            return f"({self.number(column, name)})::FLOAT"
        number = f"TRY_CAST({self._plain(name)} AS FLOAT)"
        if words := [word for word in self.missing if word not in MISSING]:
            number = f"CASE WHEN trim({name}) NOT IN ({', '.join(map(literal, words))}) THEN {number} END"
        boolean = f"CASE lower(trim({name})) WHEN 'true' THEN 1 WHEN 'false' THEN 0 END"
        return f"(CASE WHEN {number} IS NULL THEN {boolean} ELSE {number} END)"

    def series(self, column: str, of_type: Literal["FLOAT", "DOUBLE"]) -> str:
        """Return the SQL of the list of numbers in a cell of a column; null for any other cell."""
        name = quoted(column)
        cast = f"TRY_CAST({name} AS {of_type}[])"
        if self.types[column] != "VARCHAR":
            return cast
        # The cast makes nulls of words.
        return f"(CASE WHEN regexp_full_match({name}, {literal(_SERIES)}) THEN {cast} END)"

    def _plain(self, cell: str) -> str:
        plain = f"trim({cell})"
        if self.thousands:
            plain = f"replace({plain}, {literal(self.thousands)}, '')"
        return plain if self.decimal == "." else f"replace({plain}, {literal(self.decimal)}, '.')"

    def kinds(self, columns: Sequence[str]) -> dict[str, Kind]:
        """Return the kind of some columns, by their values.

        A column of text holds numbers, or lists, if at least half of its values do: any other value is a mistake.
        """
        found: dict[str, Kind] = {}
        for column in columns:
            of_type = self.types[column]
            if of_type == "BOOLEAN":
                found[column] = "booleans"
            elif _NUMERIC.fullmatch(of_type):
                found[column] = "numbers"
            elif _TIMES.fullmatch(of_type):
                found[column] = "times"
            elif _NUMBER_LISTS.fullmatch(of_type):
                found[column] = "lists"
            elif of_type == "VARCHAR" or of_type.startswith("ENUM"):
                continue
            elif of_type == '"NULL"':
                found[column] = "empty"
            else:
                raise TableError(f"{self.where}, column {column!r}: expected numbers, text or times, got {of_type}")
        texts = [column for column in columns if column not in found]
        found |= {column: _kind(*counts) for column, counts in self.of_each(texts, self._counts).items()}
        return {column: found[column] for column in columns}

    def _counts(self, column: str, cell: str) -> str:
        """Return the SQL that counts values, numbers, booleans, lists, and lists with a number of a column of text."""
        there = f"NOT {self.is_missing(column, cell)}"

        def of_words(sql: str) -> str:
            """Look at no number, as the functions of text take long."""
            return f"count(CASE WHEN TRY_CAST({cell}::VARCHAR AS DOUBLE) IS NULL THEN {sql} END)"

        is_boolean = f"lower(trim({cell})) IN ('true', 'false')"
        is_list = f"regexp_matches({cell}, '^\\s*[\\[(].*[\\])]\\s*$')"
        # The cast makes nulls of words.
        largest = f"CASE WHEN contains({cell}, '[') THEN list_max(TRY_CAST({cell}::VARCHAR AS DOUBLE[])) END"
        return (
            f"[count(*) FILTER ({there}), count({self.number(column, cell)}) FILTER ({there}), "
            f"{of_words(f'CASE WHEN {is_boolean} THEN 1 END')}, {of_words(f'CASE WHEN {is_list} THEN 1 END')}, "
            f"{of_words(largest)}]"
        )


def is_csv(source: Path | Any) -> bool:
    """Return whether a source of a table is a CSV file."""
    return isinstance(source, Path) and source.suffix != ".parquet"


def open_table(  # noqa: PLR0913 - each by its name
    where: str,
    source: Path | Any,
    dialect: Dialect,
    *,
    is_text: bool = False,
    text: CsvText | None = None,
    skips_wrong_rows: bool = False,
) -> Table:
    """Open a file, or a frame of pandas, polars or pyarrow.

    Args:
        where: the table's name in error messages.
        source: the path of a file, or a frame.
        dialect: how text is read.
        is_text: whether all columns become text.
        text: the CSV file that the rows of a frame come from, for the lines in error messages.
        skips_wrong_rows: whether rows of CSV with a wrong number of cells are left out; `skipped_rows` returns them.
            Then no row may be left.

    Raises:
        TableError: it cannot be read, has no rows, or has too many columns or two of one name.
    """
    written_by_duckdb = is_text and not is_csv(source)
    table = Table(
        where=where,
        database=Database(),
        types={},
        text=text,
        is_text=is_text or is_csv(source),
        decimal="." if written_by_duckdb else dialect.decimal or ".",
        thousands="" if written_by_duckdb else dialect.thousands or "",
        missing=dialect.missing,
        indices=frozenset(),
    )
    try:
        if not isinstance(source, Path):
            indices = _register(table, source)
        elif not is_csv(source):
            indices = _view(table, source)
        else:
            text = examine(where, source, dialect, (*MISSING, *table.missing))
            table = replace(table, text=text, decimal=text.decimal, thousands=text.thousands)
            indices = _load(table, text, skips_wrong_rows=skips_wrong_rows)
        described = table.connection.execute("DESCRIBE rows").fetchall()
        types = {name: of_type for name, of_type, *_ in described if name != ROW}
    except (duckdb.Error, pa.ArrowException, UnicodeDecodeError, OSError) as error:
        table.refuse(error)
    table = replace(table, types=types, indices=indices | set(filter(INDEX_NAMES.fullmatch, types)))
    if not skips_wrong_rows and not table.ask("SELECT 1 FROM rows LIMIT 1"):
        raise TableError(f"{where}: expected rows, got none")
    return table


def skipped_rows(table: Table) -> list[tuple[int, str]]:
    """Return the rows of CSV that were left out, counted from 1, with what is wrong with each."""
    found = table.ask(f"SELECT {quoted(ROW)}, problem FROM skipped ORDER BY 1") if table.text is not None else []
    return [(row, _reason(problem)) for row, problem in found]


def _reason(problem: str) -> str:
    """Return what DuckDB says of a row whose first cell is its number."""
    if problem == _QUOTE:
        return "expected a quote at the end of a cell that begins with one, got none"
    cells = _CELLS.search(problem)
    return problem if cells is None else f"expected {int(cells[1]) - 1} cells, got {int(cells[2]) - 1}"


def _load(table: Table, text: CsvText, *, skips_wrong_rows: bool) -> frozenset[str]:
    """Load the rows of text into the database. Return the names of columns without a name."""
    names = [name or f"Unnamed: {index}" for index, name in enumerate(text.names)]
    _check_names(table.where, names)
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
    table.database.limit(MEMORY + MEMORY_OF_COLUMN * len(names))

    def load(path: Path, number: str, columns: str, heading: int) -> None:
        question = (
            f"CREATE OR REPLACE TABLE rows AS SELECT *{number} FROM read_csv({_file(path)}, "
            f"auto_detect=false, header=false, skip={heading}, delim={literal(text.delimiter)}, quote='\"', "
            f"escape='\"', max_line_size={MOST_LINE}, buffer_size={BUFFER}, columns={{{columns}}}, "
            f"hive_partitioning=false, store_rejects={skips_wrong_rows})"
        )
        table.database.answer(lambda: table.connection.execute(question))

    load(text.plain_file(table.database.folder), f", row_number() OVER () AS {quoted(ROW)}", columns, text.heading)
    if skips_wrong_rows:
        if table.connection.execute("SELECT 1 FROM reject_errors LIMIT 1").fetchall():
            table.connection.execute("DROP TABLE reject_errors; DROP TABLE reject_scans")
            load(text.numbered_file(table.database.folder), "", f"{literal(ROW)}: 'BIGINT', {columns}", 0)
        # There is an error for each cell that is missing or too many: the first one, or the last one, has their number.
        order = "WHEN 'UNQUOTED VALUE' THEN -1e9 WHEN 'TOO MANY COLUMNS' THEN -column_idx::BIGINT ELSE column_idx"
        problem = f"arg_min(error_message, CASE error_type {order} END) AS problem"
        question = f"SELECT line AS {quoted(ROW)}, {problem} FROM reject_errors GROUP BY 1"
        table.connection.execute(f"CREATE TABLE skipped AS {question}")
    unnamed = [name for name, given in zip(names, text.names, strict=True) if not given]
    for name in unnamed:  # a delimiter at the end of each row makes a column without any value
        if not table.ask(f"SELECT 1 FROM rows WHERE {quoted(name)} IS NOT NULL LIMIT 1"):
            table.connection.execute(f"ALTER TABLE rows DROP COLUMN {quoted(name)}")
    return frozenset(unnamed)


def _view(table: Table, path: Path) -> frozenset[str]:
    """Make a Parquet file the rows of the database. Return the names of the columns that pandas marks as an index."""
    names, indices = _parquet_names(table.where, path)
    _check_names(table.where, names)
    columns = "COLUMNS(* EXCLUDE (file_row_number))" + ("::VARCHAR" if table.is_text else "")
    table.connection.execute(
        f"CREATE VIEW rows AS SELECT {columns}, file_row_number + 1 AS {quoted(ROW)} "
        f"FROM read_parquet({_file(path)}, file_row_number=true, hive_partitioning=false)"
    )
    return indices


def _register(table: Table, frame: Any) -> frozenset[str]:
    """Load a frame into the database. Return the names of its index."""
    arrow = arrow_table(table.where, frame)
    _check_names(table.where, arrow.schema.names)
    table.connection.register("frame", arrow)
    question = f"CREATE TABLE rows AS SELECT *, row_number() OVER () AS {quoted(ROW)} FROM frame"
    table.database.answer(lambda: table.connection.execute(question))
    return _indices(arrow.schema)


def arrow_table(where: str, frame: Any) -> Any:
    """Return a frame of pandas, polars or pyarrow as a pyarrow table. The index of pandas is left out.

    Raises:
        TableError: it is no such frame, or a column has values of several types.
    """
    if isinstance(frame, pa.Table):
        return frame
    if hasattr(frame, "to_arrow"):
        return frame.to_arrow()
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (TypeError, AttributeError) as error:
        raise TableError(f"{where}: expected a frame of pandas, polars or pyarrow: {_first_line(error)}") from error
    except pa.ArrowException as error:
        problem = "; ".join(map(str, error.args))
        raise TableError(f"{where}: expected values of one type in each column: {problem}") from error


def _indices(schema: Any) -> frozenset[str]:
    described = (schema.pandas_metadata or {}).get("index_columns", [])
    return frozenset(name for name in described if isinstance(name, str))


def _check_names(where: str, names: Sequence[str]) -> None:
    if len(names) > MOST_COLUMNS:
        raise TableError(f"{where}: expected at most {MOST_COLUMNS:,} columns, got {len(names):,}")
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in seen:  # names in SQL have no case
            raise TableError(
                f"{where}: expected columns of different names, got {seen[name.lower()]!r} "
                + ("twice" if seen[name.lower()] == name else f"and {name!r}")
            )
        seen[name.lower()] = name


def _parquet_names(where: str, path: Path) -> tuple[list[str], frozenset[str]]:
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 8))
        end = file.read()
    if size < 12 or end[4:] != b"PAR1":
        raise TableError(f"{where}: not a readable .parquet file: expected it to end in PAR1, got {shown(end[4:])}")
    if (footer := int.from_bytes(end[:4], "little")) > MOST_FOOTER:
        raise TableError(
            f"{where}: expected at most {MOST_COLUMNS:,} columns, got descriptions of them in {footer:,} bytes"
        )
    try:
        with pyarrow.parquet.ParquetFile(path) as parquet:
            return list(parquet.schema_arrow.names), _indices(parquet.schema_arrow)
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"{where}: not a readable .parquet file: {_first_line(error)}") from error


def _kind(values: int, numbers: int, booleans: int, lists: int, series: int) -> Kind:
    if not values:
        return "empty"
    if booleans == values:
        return "booleans"
    if 2 * numbers >= values:
        return "numbers"
    # Words in brackets are lists only if there is nothing else: "(none)" may be a class.
    return "lists" if lists == values or 2 * series >= values else "text"


def _file(path: Path) -> str:
    """Return a path as SQL. DuckDB takes a path with `*`, `?` or `[` for a pattern, which may match another file."""
    return literal(glob.escape(str(path.absolute())))


def _first_line(error: Exception) -> str:
    line = str(error).partition("\n")[0]
    return line if len(line) <= 200 else f"{line[:199]}…"


def quoted(name: str) -> str:
    """Return a name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def shown(value: object) -> str:
    """Return a value, shortened, for error messages."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
