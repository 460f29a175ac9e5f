"""Writes a table that workers cannot read by themselves into a Parquet file that they can, once, by DuckDB."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import duckdb

from service.artifact.card import ModelCard
from service.artifact.categories import have_numbers
from service.artifact.table_format import BLANKS, format_of
from service.artifact.table_layout import TableLayout, layout_of
from service.bulk.reading import KEY, ROW, TEXT, TIME, VALUES, WRONG, Problem
from service.bulk.source import Source
from service.errors import ScoringError, TableError
from service.tables import rows
from service.tables.columns import Columns
from service.tables.dialect import Dialect
from service.tables.rows import Table, literal, open_table, quoted, skipped_rows
from service.tables.timeline import UNITS, Timeline, timeline_on_card
from service.tables.times import likely_times

#: More columns than these are read by one expression, because the plan of many takes long.
MANY: Final = 100
#: The words of a vocabulary, as a type of DuckDB.
VOCABULARY: Final = "vocabulary"
#: Rows of a group in the file, and memory of DuckDB in bytes.
ROWS, MEMORY = 2**14, 2**27


@dataclass(frozen=True)
class Prepared:
    """A table in a form that workers read.

    Attributes:
        source: the file that was written.
        problems: the rows that belong to no sequence.
    """

    source: Source
    problems: list[Problem]


def prepare(file: str, path: Path, card: ModelCard, target: Path) -> Prepared:
    """Write the sequences of a table into a Parquet file, in the order of their first rows.

    Args:
        file: the table as it was given.
        path: the table.
        card: the card of the model.
        target: the file to write.

    Raises:
        TableError: the table cannot be read, a column is missing, or there is no room.
        ScoringError: the file cannot be written.
    """
    told = format_of(card)
    dialect = Dialect(
        header=told.header,
        delimiter=None if told.header else told.delimiter,
        decimal=told.decimal,
        thousands=told.thousands,
        missing=told.missing,
    )
    table = open_table(file, path, dialect, skips_wrong_rows=True)
    problems = [Problem(row, problem) for row, problem in skipped_rows(table)]
    layout = layout_of(table.names, card, has_lists=lambda name: table.kinds([name])[name] == "lists")
    table.require(layout.needed)
    _require_kinds(table, layout, card)
    source = Source(file, str(target.absolute()), layout.form, layout.columns, layout.labels, prepared=True)
    if layout.form == "long":
        timeline = _timeline(table, layout, card)
        question = _long(table, layout, timeline, card)
        problems += _without_key(table, layout)
        source = replace(
            source,
            key=None if layout.key is None else KEY,
            time=None if layout.time is None else TIME,
            scale=1.0 if timeline.times is None else UNITS[timeline.times.unit][1],
        )
    elif len(layout.columns) > MANY and _are_all_numbers(table, layout, card):
        question = _many(table, layout)
    else:
        given = f"SELECT *, {quoted(rows.ROW)} AS {_ROW} FROM rows"
        question = _checked(given, [_ROW], _cells(table, layout, card), layout.form)
    table.database.limit(MEMORY)
    copy = f"COPY ({question}) TO {literal(str(target))} (FORMAT parquet, ROW_GROUP_SIZE {ROWS})"
    try:
        table.database.answer(lambda: table.connection.execute(copy))
    except duckdb.IOException as error:
        if str(target) not in str(error):
            table.refuse(error)
        number = re.search(r'"errno":"(\d+)"', str(error))
        problem = os.strerror(int(number[1])) if number is not None else str(error).partition("\n")[0]
        raise ScoringError(f"{target}: cannot be written: {problem}; --resume begins again") from error
    except duckdb.Error as error:
        table.refuse(error)
    return Prepared(source, problems)


def _require_kinds(table: Table, layout: TableLayout, card: ModelCard) -> None:
    """Check the types of the columns with values. Those of text are checked cell by cell.

    Raises:
        TableError: one has lists, times or the like in place of numbers, or numbers in place of lists.
    """
    for name, label in zip(layout.columns, layout.labels, strict=True):
        if table.types[name] == "VARCHAR":
            continue
        is_series = layout.form == "series" and label not in card.static_labels
        kinds = {"empty", "lists"} if is_series else {"empty", "numbers", "booleans"}
        if table.kinds([name])[name] not in kinds:
            expected = "lists of numbers" if is_series else "numbers"
            raise TableError(f"{table.where}, column {name!r}: expected {expected}, got {table.types[name]}")


#: Names within a query, which no column of a table has.
_ROW, _KEY, _TIME = (f'"{name} of the prepared table"' for name in (ROW, KEY, TIME))


@dataclass(frozen=True)
class Cell:
    """The SQL of a cell.

    Attributes:
        value: its value; null if it is missing or wrong.
        is_there: whether it is not missing.
        text: its text.
    """

    value: str
    is_there: str
    text: str


def _timeline(table: Table, layout: TableLayout, card: ModelCard) -> Timeline:
    timing = format_of(card).timing
    formats = timing.formats if timing is not None else ()
    times = None if layout.time is None else likely_times(table, layout.time, formats)
    return timeline_on_card(times, timing)


def _key(table: Table, column: str | None) -> str:
    """Return the SQL of a key, without blanks at its ends; null for a cell without one."""
    if column is None:
        return "0"
    name, of_type = quoted(column), table.types[column]
    if of_type in {"DOUBLE", "FLOAT"}:
        return f"CASE WHEN NOT isnan({name}) THEN {name} END"
    if of_type.endswith(("INT", "INTEGER")):
        return name
    text, blanks = f"{name}::VARCHAR", literal(BLANKS)
    # To look at the ends takes a twentieth of the time of `trim`.
    has_blanks = f"contains({blanks}, ({text})[1]) OR contains({blanks}, ({text})[-1])"
    return f"CASE WHEN {has_blanks} THEN nullif(trim({text}, {blanks}), '') ELSE {text} END"


def _without_key(table: Table, layout: TableLayout) -> list[Problem]:
    found = table.ask(f"SELECT {quoted(rows.ROW)} FROM rows WHERE {_key(table, layout.key)} IS NULL ORDER BY 1")
    reason = f"column {layout.key!r}: expected the identifier of a sequence, got no value"
    return [Problem(row, reason) for (row,) in found]


def _long(table: Table, layout: TableLayout, timeline: Timeline, card: ModelCard) -> str:
    """Return the query of all rows with a key: sequences in the order of their first rows, each in order of time."""
    key, row = _key(table, layout.key), quoted(rows.ROW)
    cells = _cells(table, layout, card)
    if layout.time is not None:
        cells.append(Cell(timeline.sql, "true", f"{quoted(layout.time)}::VARCHAR"))
    keyed = f"SELECT *, {key} AS {_KEY}, {row} AS {_ROW} FROM rows WHERE {key} IS NOT NULL"
    firsts = f"SELECT {key} AS key, min({row}) AS first FROM rows WHERE {key} IS NOT NULL GROUP BY 1"
    checked = _checked(keyed, [_ROW, _KEY], cells, layout.form, has_time=layout.time is not None)
    time = TIME if layout.time is not None else ROW
    return f"SELECT c.* FROM ({checked}) AS c JOIN ({firsts}) AS f ON c.{KEY} = f.key ORDER BY first, c.{time}, c.{ROW}"


def _checked(given: str, names: Sequence[str], cells: list[Cell], form: str, *, has_time: bool = False) -> str:
    """Return the query of the values of the rows of another query, with the first wrong cell of each.

    Args:
        given: the other query.
        names: its columns to keep, `_ROW` and perhaps `_KEY`.
        cells: the cells of values; the last is the time if there is one.
        form: that of the layout.
        has_time: whether there is one.
    """
    value = [f'"value {index} of the prepared table"' for index in range(len(cells))]
    wrong = '"the first wrong cell"'
    read = ", ".join(f"{cell.value} AS {name}" for cell, name in zip(cells, value, strict=True))
    lacks_one = " OR ".join(f"{name} IS NULL" for name in value)  # as few rows do; to find the cell takes long
    found = " ".join(
        f"WHEN {name} IS NULL AND {cell.is_there} THEN {index}"
        for index, (cell, name) in enumerate(zip(cells, value, strict=True), 1)
    )
    texts = " ".join(f"WHEN {index} THEN {cell.text}" for index, cell in enumerate(cells, 1))
    kept = [f"{name} AS {as_name}" for name, as_name in zip(names, (ROW, KEY), strict=False)]
    if has_time:
        kept.append(f"{value.pop()} AS {TIME}")
    if form == "series":
        kept += [f"{name} AS {VALUES}{index}" for index, name in enumerate(value)]
    else:
        kept.append(f"[{', '.join(value)}] AS {VALUES}")
    return (
        f"SELECT {', '.join(kept)}, {wrong} AS {WRONG}, CASE {wrong} {texts} END AS {TEXT} FROM "
        f"(SELECT *, CASE WHEN {lacks_one} THEN CASE {found} END END AS {wrong} FROM (SELECT *, {read} FROM ({given})))"
    )


def _are_all_numbers(table: Table, layout: TableLayout, card: ModelCard) -> bool:
    """Return whether the columns of a wide table are text with numbers, not words."""
    has_words = bool(card.categories) or (card.tokens is not None and card.tokens.vocabulary is not None)
    return layout.form == "wide" and not has_words and {table.types[name] for name in layout.columns} == {"VARCHAR"}


def _many(table: Table, layout: TableLayout) -> str:
    """Return the query that `_checked` returns, for many columns of text with numbers."""
    names = ", ".join(map(quoted, layout.columns))
    first = layout.columns[0]
    values = f"list_transform(texts, lambda cell: {_number(table, first, 'cell')})"
    # A pair is a value and its text.
    is_wrong = f"pair[1] IS NULL AND NOT {table.is_missing(first, 'pair[2]')}"
    wrong = f"list_position(list_transform(list_zip(found, texts), lambda pair: {is_wrong}), true)"
    read = f"SELECT {quoted(rows.ROW)} AS row, [{names}] AS texts FROM rows"
    checked = f"SELECT *, {wrong} AS wrong FROM (SELECT *, {values} AS found FROM ({read}))"
    return f"SELECT row AS {ROW}, found AS {VALUES}, wrong AS {WRONG}, texts[wrong] AS {TEXT} FROM ({checked})"


def _cells(table: Table, layout: TableLayout, card: ModelCard) -> list[Cell]:
    """Return the cells of the columns with values."""
    pairs = list(zip(layout.columns, layout.labels, strict=True))
    categories = {name: card.categories[label] for name, label in pairs if label in card.categories}
    columns = Columns((), layout.columns, (), categories, None, None, None, ())
    words = card.tokens.vocabulary if card.tokens is not None else None
    if words is not None:
        table.connection.execute(f"CREATE TYPE {VOCABULARY} AS ENUM ({', '.join(map(literal, words))})")
    cells = []
    for name, label in pairs:
        cell, text = quoted(name), f"{quoted(name)}::VARCHAR"
        if layout.form == "series" and label not in card.static_labels:
            cells.append(Cell(table.series(name, "DOUBLE"), f"{cell} IS NOT NULL", text))
        elif name in categories:
            cells.append(Cell(_index(table, name, columns), "false", text))
        elif words is not None and table.types[name] == "VARCHAR":
            cells.append(Cell(_token(table, name, card), f"NOT {table.is_missing(name)}", text))
        else:
            cells.append(Cell(_number(table, name), f"NOT {table.is_missing(name)}", text))
    return cells


def _number(table: Table, name: str, cell: str | None = None) -> str:
    """Return the SQL of a number; null or NaN if it is missing, null for any other text. The cell is the column's."""
    if table.types[name] == "VARCHAR" and not table.missing:
        return table.number(name, cell)
    return f"(CASE WHEN NOT {table.is_missing(name, cell)} THEN {table.number(name, cell)} END)"


def _index(table: Table, name: str, columns: Columns) -> str:
    """Return the SQL of a category's index, as `service.api.codecs.tables` reads it; null if it is missing.

    A number is an index: in a column of text only if it is no name, and no name is a number.
    """
    number = _number(table, name)
    if table.types[name] != "VARCHAR":
        return number
    value, values = f"{columns.value(table, name)}::DOUBLE", columns.categories[name]
    if have_numbers(values):
        return value
    return f"(CASE WHEN {value} = {len(values)} AND NOT isnan({number}) THEN {number} ELSE {value} END)"


def _token(table: Table, name: str, card: ModelCard) -> str:
    """Return the SQL of a token: that of a word, else a number, else the token of unknown words."""
    assert card.tokens is not None
    assert card.tokens.vocabulary is not None
    tokens = ", ".join(map(str, card.tokens.vocabulary.values()))
    word = f"TRY_CAST(trim({quoted(name)}) AS {VOCABULARY})"
    of_word = f"([{tokens}]::DOUBLE[])[enum_code({word}) + 1]"
    unknown = "NULL" if card.tokens.unknown is None else str(card.tokens.unknown)
    is_there = f"NOT {table.is_missing(name)}"
    return f"coalesce({of_word}, {_number(table, name)}, CASE WHEN {is_there} THEN {unknown} END)"
