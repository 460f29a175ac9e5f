"""Writes a table that workers cannot read by themselves into a Parquet file that they can, once, by DuckDB."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from service.artifact.card import ModelCard
from service.artifact.table_format import format_of
from service.bulk.layout import layout_of
from service.bulk.reading import KEY, ROW, TEXT, TIME, VALUES, WRONG, Problem
from service.bulk.source import Source
from service.tables import rows
from service.tables.columns import Columns
from service.tables.dialect import Dialect
from service.tables.rows import Table, literal, open_table, quoted, skipped_rows
from service.tables.timeline import UNITS, timeline_on_card
from service.tables.times import likely_times

#: More columns than these are read by one expression, because the plan of many takes long.
MANY: Final = 100
#: The words of a vocabulary, as a type of DuckDB.
VOCABULARY: Final = "vocabulary"


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
        TableError: the table cannot be read, or there is no room.
        ScoringError: a column is missing.
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
    layout = layout_of(file, table.names, card, lambda name: table.kinds([name])[name] == "lists")
    columns = _columns(layout.columns, layout.labels, card)
    if card.tokens is not None and card.tokens.vocabulary is not None:
        words = ", ".join(map(literal, card.tokens.vocabulary))
        table.connection.execute(f"CREATE TYPE {VOCABULARY} AS ENUM ({words})")
    source = Source(file, str(target), layout.form, layout.columns, layout.labels, prepared=True)
    if layout.form == "long":
        times = (
            None
            if layout.time is None
            else likely_times(table, layout.time, told.timing.formats if told.timing else ())
        )
        timeline = timeline_on_card(times, told.timing)
        key = _key(table, layout.key) if layout.key is not None else "0"
        if layout.key is not None:
            lost = table.ask(f"SELECT {quoted(rows.ROW)} FROM rows WHERE {key} IS NULL ORDER BY 1")
            reason = f"column {layout.key!r}: expected the identifier of a sequence, got no value"
            problems += [Problem(row, reason) for (row,) in lost]
        unit = timeline.times.unit if timeline.times is not None else "numbers"
        source = Source(
            file, str(target), "long", layout.columns, layout.labels, KEY if layout.key is not None else None,
            TIME if layout.time is not None else None, UNITS[unit][1], prepared=True,
        )  # fmt: skip
        cells = _cells(table, columns, card)
        if layout.time is not None:
            cells = cells.with_time(timeline.sql, quoted(layout.time), len(layout.columns))
        selected = f"{key} AS {KEY}, {timeline.sql if layout.time is not None else '0'} AS {TIME}, {cells.sql}"
        every = f"SELECT {quoted(rows.ROW)} AS {ROW}, {selected} FROM rows WHERE {key} IS NOT NULL"
        first = f"SELECT {KEY}, min({ROW}) AS first FROM every GROUP BY 1"
        question = (
            f"WITH every AS ({every}), firsts AS ({first}) SELECT every.* FROM every JOIN firsts USING ({KEY}) "
            f"ORDER BY first, {TIME}, {ROW}"
        )
    else:
        cells = _lists(table, columns, layout.labels, card) if layout.form == "series" else _cells(table, columns, card)
        question = f"SELECT {quoted(rows.ROW)} AS {ROW}, {cells.sql} FROM rows ORDER BY 1"
    copy = f"COPY ({question}) TO {literal(str(target))} (FORMAT parquet)"
    try:
        table.database.answer(lambda: table.connection.execute(copy))
    except duckdb.Error as error:
        table.refuse(error)
    return Prepared(source, problems)


def _columns(names: Sequence[str], labels: Sequence[str], card: ModelCard) -> Columns:
    categories = {
        name: card.categories[label] for name, label in zip(names, labels, strict=True) if label in card.categories
    }
    return Columns((), tuple(names), (), categories, None, None, None, ())


def _key(table: Table, column: str) -> str:
    """Return the SQL of a key; null for a cell without one."""
    name, of_type = quoted(column), table.types[column]
    if of_type in {"DOUBLE", "FLOAT"}:
        return f"CASE WHEN NOT isnan({name}) THEN {name} END"
    return f"{name}::BIGINT" if of_type.endswith(("INT", "INTEGER")) else f"nullif(trim({name}::VARCHAR), '')"


@dataclass(frozen=True)
class Cells:
    """The SQL of the values of a row.

    Attributes:
        values: the columns of values, each with its name.
        wrong: the place of the first wrong cell, from 1; null or 0 if there is none.
        text: the text of that cell.
    """

    values: str
    wrong: str
    text: str

    @property
    def sql(self) -> str:
        """All columns, each with its name."""
        return f"{self.values}, {self.wrong} AS {WRONG}, {self.text} AS {TEXT}"

    def with_time(self, sql: str, cell: str, columns: int) -> "Cells":
        """Return cells of which a time is one more."""
        wrong = f"(CASE WHEN {sql} IS NULL THEN {columns + 1} ELSE {self.wrong} END)"
        return Cells(self.values, wrong, f"(CASE WHEN {sql} IS NULL THEN {cell}::VARCHAR ELSE {self.text} END)")


def _cells(table: Table, columns: Columns, card: ModelCard) -> Cells:
    """Return the cells of columns with one value each."""
    names = columns.features
    texts = f"[{', '.join(f'{quoted(name)}::VARCHAR' for name in names)}]"
    types = {table.types[name] for name in names}
    if len(names) > MANY and types == {"VARCHAR"} and not columns.categories and not _has_words(card):
        cells = f"[{', '.join(map(quoted, names))}]"
        values = f"list_transform({cells}, lambda cell: {_number(table, names[0], 'cell')})"
        wrong = f"list_transform({cells}, lambda cell: {_is_wrong(table, names[0], 'cell')})"
    else:
        values = f"[{', '.join(_value(table, columns, name, card) for name in names)}]"
        wrong = f"[{', '.join(_wrong(table, columns, name, card) for name in names)}]"
    place = f"list_position({wrong}, true)"
    return Cells(f"{values} AS {VALUES}", place, f"(CASE WHEN {place} > 0 THEN {texts}[{place}] END)")


def _value(table: Table, columns: Columns, name: str, card: ModelCard) -> str:
    if name in columns.categories:
        return f"{columns.value(table, name)}::DOUBLE"
    return _token(table, name, card) if _has_words(card) else _number(table, name, quoted(name))


def _wrong(table: Table, columns: Columns, name: str, card: ModelCard) -> str:
    if name in columns.categories:
        return "false"
    if _has_words(card):
        return f"({_token(table, name, card)} IS NULL AND NOT {table.is_missing(name)})"
    return _is_wrong(table, name, quoted(name))


def _number(table: Table, name: str, cell: str) -> str:
    return f"(CASE WHEN NOT {table.is_missing(name, cell)} THEN {table.number(name, cell)} END)"


def _is_wrong(table: Table, name: str, cell: str) -> str:
    return f"(NOT {table.is_missing(name, cell)} AND {table.number(name, cell)} IS NULL)"


def _has_words(card: ModelCard) -> bool:
    return card.tokens is not None and card.tokens.vocabulary is not None


def _token(table: Table, name: str, card: ModelCard) -> str:
    """Return the SQL of a token: that of a word, else a number, else the token of unknown words."""
    assert card.tokens is not None
    assert card.tokens.vocabulary is not None
    if table.types[name] != "VARCHAR":
        return _number(table, name, quoted(name))
    tokens = ", ".join(map(str, card.tokens.vocabulary.values()))
    word = f"TRY_CAST(trim({quoted(name)}) AS {VOCABULARY})"
    of_word = f"([{tokens}]::DOUBLE[])[enum_code({word}) + 1]"
    unknown = "NULL" if card.tokens.unknown is None else str(card.tokens.unknown)
    is_there = f"NOT {table.is_missing(name)}"
    return f"coalesce({of_word}, {_number(table, name, quoted(name))}, CASE WHEN {is_there} THEN {unknown} END)"


def _lists(table: Table, columns: Columns, labels: Sequence[str], card: ModelCard) -> Cells:
    """Return the cells of columns with lists; of static ones, with one value."""
    values, wrong, texts = [], [], []
    for index, (name, label) in enumerate(zip(columns.features, labels, strict=True)):
        if label in card.static_labels:
            value, is_wrong = _value(table, columns, name, card), _wrong(table, columns, name, card)
        else:
            value = f"TRY_CAST({quoted(name)} AS DOUBLE[])"
            is_wrong = f"({quoted(name)} IS NOT NULL AND {value} IS NULL)"
        values.append(f"{value} AS {VALUES}{index}")
        wrong.append(is_wrong)
        texts.append(f"{quoted(name)}::VARCHAR")
    place = f"list_position([{', '.join(wrong)}], true)"
    return Cells(", ".join(values), place, f"(CASE WHEN {place} > 0 THEN [{', '.join(texts)}][{place}] END)")
