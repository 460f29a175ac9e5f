"""Tables to sequences, by the names of their columns: MLflow's data frames, and CSV.

A wide table has one row a sequence, and a column for each feature at each timestep, as training names them:
`feature@timestep`, or `timestep` where there is one feature. A long table has one row a timestep and a column for each
feature; the training's identifier tells the sequences apart, and its timestep column orders their rows.
"""

import codecs
import csv
import io
import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from itertools import chain, islice, pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.api.codecs.padding import PaddedSequences, padded_each
from service.api.codecs.records import Record, first_repeated, name_problem
from service.api.codecs.sequences import NUMBERS_OR_NULL
from service.artifact.card import ModelCard, TableFormat, Timing, Tokens
from service.artifact.categories import categories_of, have_numbers, index_of
from service.artifact.missing import NO_ROW, absent, absent_row, problem_of, refused
from service.artifact.steps import Steps, complete_static, last_windows, too_sparse, up_to_last_value
from service.artifact.table_format import DELIMITERS, MISSING, format_of
from service.artifact.table_layout import TableLayout, layout_of
from service.artifact.timing import timesteps_of
from service.artifact.tokens import token_of
from service.errors import InvalidInput, TableError, TooLarge
from service.problems import kind_of, shown

#: Starts of lines that may stand before the names of the columns: comments, and the delimiter of a spreadsheet.
REMARKS: Final = ("#", "sep=")
#: Words for 1 and 0, in any case.
TRUTH: Final = {"true": "1", "false": "0"}
#: The column of a table without names that tells its sequences apart: a blank line begins the next one.
BLOCK: Final = "\n"
#: Most characters that a name in the first line has, on average, where the delimiter is found.
LONGEST_NAME: Final = 1000
#: Most columns that a table may have beside those of the model.
MORE_COLUMNS: Final = 1000

# A series in a cell is longer than the module's default; the limit of the body holds for it, too.
csv.field_size_limit(2**24)


class Table(NamedTuple):
    """A table whose rows are read one by one.

    Attributes:
        columns: the names of its columns.
        rows: the number of each row and its cells, as many as there are columns.
        head: where the names are, for messages.
        place: where the row of a number is, for messages.
        numbers: the values of cells, NaN where one is missing; a ValueError where one is not a number.
    """

    columns: Sequence[str]
    rows: Iterable[tuple[int, Sequence[Any]]]
    head: str
    place: Callable[[int], str]
    numbers: Callable[[Sequence[Any]], list[float]]


def require_size(text: bytes, card: ModelCard, limit: int) -> None:
    """Refuse a table of more rows or values than `limit` sequences could have, before it is parsed.

    Raises:
        TooLarge: it has more.
    """
    rows = limit * card.timesteps
    others = MORE_COLUMNS if card.training_options.get("feature_columns") else len(_left_out(card))
    delimiters = map(text.count, map(str.encode, {*DELIMITERS, format_of(card).delimiter}))
    sizes = {
        "lines": (2 * rows, max(text.count(b"\n"), text.count(b"\r"))),  # some are blank
        "values": (rows * (card.features + others), max(delimiters)),
    }
    for noun, (most, count) in sizes.items():
        if count > most + MORE_COLUMNS:
            raise TooLarge(f"expected at most {most + MORE_COLUMNS} {noun} in the table, got {count}")


def table_of_split(split: object) -> Table:
    """Return the table of MLflow's `dataframe_split`.

    Raises:
        InvalidInput: it has another form.
    """
    where = "dataframe_split"
    if not isinstance(split, dict) or not {"columns", "data"} <= split.keys() <= {"columns", "data", "index"}:
        got = f"the keys {', '.join(map(repr, split))[:80]}" if isinstance(split, dict) else kind_of(split)
        raise InvalidInput(f"{where}: expected an object with 'columns' and 'data', got {got}")
    names, data = split["columns"], split["data"]
    for name, value in (("columns", names), ("data", data)):
        if not isinstance(value, list):
            raise InvalidInput(f"{where}.{name}: expected a list, got {kind_of(value)}")
    for index, name in enumerate(names):
        if type(name) not in (str, int, float):  # pandas numbers columns that have no names
            raise InvalidInput(f"{where}.columns[{index}]: expected a name, got {kind_of(name)}")

    def rows() -> Iterator[tuple[int, list[Any]]]:
        for number, row in enumerate(data):
            if not isinstance(row, list) or len(row) != len(names):
                got = len(row) if isinstance(row, list) else kind_of(row)
                raise InvalidInput(f"{where}.data[{number}]: expected a list of {len(names)} values, got {got}")
            yield number, row

    return Table(list(map(str, names)), rows(), f"{where}.columns", f"{where}.data[{{}}]".format, _json_numbers)


def table_of_records(records: object) -> Table:
    """Return the table of MLflow's `dataframe_records`: one object a row, all with the same names.

    Raises:
        InvalidInput: it has another form.
    """
    where = "dataframe_records"
    if records == []:
        raise InvalidInput("expected at least one row, got none")
    if not isinstance(records, list):
        raise InvalidInput(f"{where}: expected a list of objects, got {kind_of(records)}")
    if not isinstance(records[0], dict):
        raise InvalidInput(f"{where}[0]: expected an object, got {kind_of(records[0])}")
    columns = list(records[0])

    def rows() -> Iterator[tuple[int, list[Any]]]:
        for number, row in enumerate(records):
            place = f"{where}[{number}]"
            if not isinstance(row, dict):
                raise InvalidInput(f"{place}: expected an object, got {kind_of(row)}")
            if isinstance(row, Record) and row.repeated is not None:
                raise InvalidInput(f"{place}: repeated column {row.repeated[:80]!r}")
            if row.keys() != records[0].keys():
                raise InvalidInput(f"{place}: {name_problem('column', row, columns)}")
            yield number, [row[column] for column in columns]

    return Table(columns, rows(), f"{where}[0]", f"{where}[{{}}]".format, _json_numbers)


def table_of_csv(text: bytes, card: ModelCard) -> Table:
    """Return the table of a CSV file in UTF-8, whose first line has the names of its columns.

    Where training read a table without names, the columns are 0, 1 and so on, and the first line is a row. If the first
    line has a value of each feature instead of names, each row is a timestep, and a blank line begins a sequence.

    Raises:
        InvalidInput: it is not such a file.
    """
    most = card.timesteps * card.features + MORE_COLUMNS
    table_format = format_of(card)
    delimiter = _delimiter(text, card, table_format, most)
    rows = _csv_rows(text, delimiter, most)
    expected = _expected_names(card)

    def is_remark(cells: list[str]) -> bool:
        is_other = expected.isdisjoint({*map(str.strip, cells)} - {""}) if table_format.header else len(cells) == 1
        return bool(cells) and cells[0].startswith(REMARKS) and is_other

    head, names = next(rows, (0, []))
    while is_remark(names):
        head, names = next(rows, (0, []))
    if not names:
        raise InvalidInput("expected CSV with the names of columns in its first line, got no text")
    # Another delimiter is another dialect, in which commas and points may mean something else.
    same = delimiter == table_format.delimiter
    unclear = () if same else (",", ".") if delimiter == "," else (",",)
    numbers = partial(
        _text_numbers,
        missing=frozenset((*MISSING, *table_format.missing)),
        decimal=table_format.decimal if same or delimiter != "," else ".",
        thousands="" if table_format.thousands in unclear else table_format.thousands,
    )
    if table_format.header and table_format.time_feature is None:
        unnamed = Table(
            [*card.feature_labels, BLOCK], _blocks(head, names, rows), f"line {head}", "line {}".format, numbers
        )
        if _has_values(unnamed, names, card):
            return unnamed
    if not table_format.header:
        rows, names = chain([(head, names)], rows), list(map(str, range(len(names))))
    columns = [name.strip() for name in names]
    if columns[0] not in expected:  # training reads #id as id
        columns[0] = columns[0].removeprefix("#").strip()
    first = list(islice(rows, 1))
    if first and len(first[0][1]) == len(columns) + 1 and "" not in columns:
        # Either each row ends with a delimiter, or R wrote the names of the rows.
        columns = [*columns, ""] if not first[0][1][-1].strip() else ["", *columns]

    def checked() -> Iterator[tuple[int, list[str]]]:
        for line, cells in chain(first, rows):
            if len(cells) != len(columns):
                if cells[0].startswith("#"):  # a comment
                    continue
                raise InvalidInput(f"line {line}: expected {len(columns)} cells, got {len(cells)}")
            yield line, cells

    return Table(columns, checked(), f"line {head}", "line {}".format, numbers)


def _has_values(table: Table, first: list[str], card: ModelCard) -> bool:
    """Return whether the cells of the first line are the values of the features, rather than names of columns.

    Raises:
        InvalidInput: they are values, but not as many as there are features.
    """
    names = {*map(str.strip, first)}
    if names.issuperset(card.feature_labels):  # names may be numbers
        return False
    if len(first) == card.features:
        return bool(names.difference(MISSING)) and all(_knows(table, card, f, cell) for f, cell in enumerate(first))
    if not names <= _expected_names(card) and _is(table.numbers, first):
        expected = f"the names of columns, or a value of each feature ({card.features})"
        raise InvalidInput(f"{table.head}: expected {expected}, got {len(first)} numbers")
    return False


def _knows(table: Table, card: ModelCard, feature: int, cell: str) -> bool:
    """Return whether a cell has no value, a number, or a word that the card lists: others may be names of columns."""
    words = card.tokens.vocabulary if card.tokens is not None else card.categories.get(card.feature_labels[feature])
    return (words is not None and cell.strip() in words) or _is(table.numbers, [cell])


def _blocks(head: int, first: list[str], rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[Any]]]:
    """Yield the cells of each row, and the number of its block: the lines between two blank ones."""
    block, last = 0, head - 1
    for line, cells in chain([(head, first)], rows):
        if len(cells) == 1 and not cells[0].strip():  # a blank line
            continue
        if len(cells) != len(first):
            raise InvalidInput(f"line {line}: expected {len(first)} cells, got {len(cells)}")
        block += line > last + 1
        last = line
        yield line, [*cells, block]


def _delimiter(text: bytes, card: ModelCard, table_format: TableFormat, most: int) -> str:
    """Return the character between the cells: the one by which the first line has the most names that are expected."""
    lines = text[: most * LONGEST_NAME].removeprefix(b"\xef\xbb\xbf").splitlines()
    first = next((line for line in lines if line.strip() and not line.decode("latin-1").startswith(REMARKS)), b"")
    found = [mark for mark in dict.fromkeys((table_format.delimiter, *DELIMITERS)) if mark.encode() in first]
    if len(found) < 2 or not table_format.header:
        return found[0] if found else table_format.delimiter
    expected = _expected_names(card)

    def fit(mark: str) -> int:
        _, names = next(_csv_rows(first, mark, most), (0, []))
        return len(expected.intersection(name.strip() for name in names))

    return max(found, key=fit)


def _expected_names(card: ModelCard) -> set[str]:
    """Return the names of columns that a table may have."""
    pairs = (f"{feature}@{step}" for step in card.timestep_labels for feature in card.feature_labels)
    return {*card.feature_labels, *card.timestep_labels, *_left_out(card), *pairs}


def decode_csv_table(text: bytes, card: ModelCard, limit: int) -> PaddedSequences:
    """Return the sequences of a CSV file, as `decode_table` does."""
    return decode_csv(text, card, limit)[0]


def decode_csv(text: bytes, card: ModelCard, limit: int) -> tuple[PaddedSequences, Sequence[Any] | None]:
    """Return the sequences of a CSV file and their identifiers, as `decode_with_keys` does."""
    require_size(text, card, limit)
    return decode_with_keys(table_of_csv(text, card), card, limit)


def _csv_rows(text: bytes, delimiter: str, most: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each row that has any, with the number of its first line."""

    def lines() -> Iterator[str]:
        # Not `reader.line_num`: the reader holds this generator, and the cycle would keep the text.
        for number, line in enumerate(io.TextIOWrapper(io.BytesIO(text), "utf-8-sig", newline=""), 1):
            if line.count(delimiter) > most:  # before it becomes a list
                raise InvalidInput(
                    f"line {number}: expected at most {most} cells in a row, got more: are the line ends "
                    "missing? curl keeps them with --data-binary"
                )
            yield line

    reader = csv.reader(lines(), delimiter=delimiter, skipinitialspace=True, strict=True)
    line = 1
    try:
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except UnicodeDecodeError:
        raise _not_utf8(text) from None
    except csv.Error as error:
        raise InvalidInput(f"line {line}: expected CSV, got an error: {error}") from error


def _not_utf8(text: bytes) -> InvalidInput:
    """Return the error of text that is not UTF-8: where it is not, and the command that converts it."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        start, end = error.start, error.end
    utf16 = text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    found, encoding = (text[:2], "UTF-16") if utf16 else (text[start:end], "WINDOWS-1252")
    line = 1 if utf16 else len(text[:end].splitlines())
    return InvalidInput(
        f"line {line}: expected CSV in UTF-8, got the bytes {found!r}: convert the file from its encoding; if that is "
        f"{encoding}, with iconv -f {encoding} -t UTF-8"
    )


def _json_numbers(cells: Sequence[Any]) -> list[float]:
    if not set(map(type, cells)) <= NUMBERS_OR_NULL:
        raise ValueError
    return [math.nan if cell is None else float(cell) for cell in cells]


def _text_numbers(cells: Sequence[str], missing: frozenset[str], decimal: str, thousands: str) -> list[float]:
    if thousands:
        cells = [cell if cell.strip() in missing else _without_thousands(cell, decimal, thousands) for cell in cells]
    if decimal == ",":
        if any("." in cell and cell.strip() not in missing for cell in cells):
            raise ValueError
        cells = [cell.replace(",", ".") for cell in cells]
    if any("_" in cell or not cell.isascii() for cell in cells):  # Python reads more than CSV has
        raise ValueError
    try:
        return list(map(float, cells))
    except ValueError:
        return [_number_of_word(cell.strip(), missing) for cell in cells]


def _without_thousands(cell: str, decimal: str, thousands: str) -> str:
    """Return the text of a number without the characters between thousands.

    Raises:
        ValueError: they are not between thousands. 1.5 is not 15, where a point is such a character.
    """
    whole, mark, fraction = cell.strip().partition(decimal)
    first, *groups = whole.split(thousands)
    # India has groups of two digits.
    if groups and not (
        1 <= len(first.lstrip("+-")) <= 3 and {*map(len, groups[:-1])} <= {2, 3} and len(groups[-1]) == 3
    ):
        raise ValueError(cell)
    return "".join([first, *groups, mark, fraction])


def _number_of_word(word: str, missing: frozenset[str]) -> float:
    return math.nan if word in missing else float(TRUTH.get(word.lower(), word))


def _index(cell: Any, values: tuple[str, ...], table: Table, missing: Sequence[str]) -> float:
    """Return the index of a category's value; NaN for a missing one: an empty cell, or one of the words `missing`.

    Text is the name of a value, or its index where no name is a number. `NA` is a name, as in training.

    Raises:
        ValueError: the cell is neither text nor a number nor missing.
    """
    if not isinstance(cell, str):
        return _json_numbers([cell])[0]
    if (index := index_of(cell, values)) < len(values) or (index := index_of(cell.strip(), values)) < len(values):
        return index
    if cell.strip() in {"", *missing}:
        return math.nan
    with suppress(ValueError):
        number = table.numbers([cell])[0]
        if not math.isnan(number) and not have_numbers(values):
            return number
    return len(values)


def _layout(table: Table, card: ModelCard) -> TableLayout:
    """Return the layout of a table.

    Raises:
        InvalidInput: a column is missing, unknown or repeated.
    """
    table_format = format_of(card)
    try:
        found = layout_of(table.columns, card, key=BLOCK if BLOCK in table.columns else None)
    except TableError as error:
        raise InvalidInput(str(error)) from None
    if (twice := first_repeated(table.columns)) is not None:
        raise InvalidInput(f"{table.head}: repeated column {twice[:80]!r}")
    left_out = {*_left_out(card), BLOCK}
    if card.training_options.get("feature_columns"):  # training ignored all others
        left_out.update(table.columns)
    if problem := name_problem("column", table.columns, found.needed, left_out):
        if table_format.sequence_column is not None and found.form == "long" and found.key is None:
            problem += f"; no column {table_format.sequence_column!r}, which tells the sequences apart"
        raise InvalidInput(f"{table.head}: {problem}")
    return found


def _left_out(card: ModelCard) -> set[str]:
    """Return the columns of the training table that have no values of sequences."""
    table_format = format_of(card)
    columns = {*table_format.target_columns, *table_format.other_columns}
    columns |= {table_format.sequence_column or "", table_format.timestep_column or ""}
    return columns if card.table is not None else columns - {""}  # training leaves out columns without a name


class Rows(NamedTuple):
    """The rows of a table.

    Attributes:
        numbers: the number of each row, for messages.
        values: `(rows, columns)`, the values; NaN where one is missing.
        sequences: the sequence of each row of a long table, counted from 0 in the order of their first rows.
        times: the cell of each row that orders it; empty where there is no such column.
        keys: the identifier of each sequence; None where no column has it.
    """

    numbers: Sequence[int]
    values: NDArray[np.float64]
    sequences: Sequence[int]
    times: Sequence[Any]
    keys: Sequence[Any] | None


def decode_table(table: Table, card: ModelCard, limit: int) -> PaddedSequences:
    """Return the sequences of a table, as `decode_with_keys` does."""
    return decode_with_keys(table, card, limit)[0]


def decode_with_keys(table: Table, card: ModelCard, limit: int) -> tuple[PaddedSequences, Sequence[Any] | None]:
    """Return the sequences of a table, those of a long one in the order of their first rows; and their identifiers.

    There are no identifiers where no column has them.

    Raises:
        TooLarge: more than `limit` sequences.
        InvalidInput: a column or a cell is wrong, or a sequence has a wrong number of timesteps.
    """
    layout = _layout(table, card)
    is_wide = layout.form == "wide"
    rows = _read(table, layout, card, limit)
    if is_wide:
        row_of = np.arange(len(rows.numbers)).repeat(card.timesteps)  # of each timestep
        steps = rows.values.reshape(-1, card.features)
        lengths = np.full(len(rows.numbers), card.timesteps)
    else:
        steps, row_of, lengths = _timesteps(table, layout, rows, card)
    found = Steps(steps, row_of, lengths)
    complete_static(found, card)
    first_rows = row_of[found.starts]
    windows = format_of(card).windows and not is_wide
    if card.variable_length or windows:
        found = up_to_last_value(found)
    if windows:  # what follows the last one is predicted
        found = last_windows(found, card.timesteps)
    steps, row_of, lengths = found
    wrong = (lengths < (card.timesteps if windows else card.fewest_timesteps)) | (lengths > card.timesteps)
    if wrong.any():
        first, got = rows.numbers[first_rows[wrong.argmax()]], lengths[wrong.argmax()]
        expected = f"1 to {card.timesteps}" if card.variable_length else card.timesteps
        expected = f"at least {card.timesteps}" if windows else expected
        raise InvalidInput(f"{table.place(first)}: expected a sequence of {expected} timesteps, got {got}")
    with np.errstate(over="ignore"):  # too large values become infinite, and are refused
        padded = padded_each(steps.astype(np.float32), lengths, card.timesteps)
    if (places := refused(padded.array, card)).any():
        i, t, f = np.argwhere(places)[0].tolist()
        step = int(found.starts[i]) + t
        if not is_wide and absent_row(row_of, step, int(found.starts[i])):
            raise InvalidInput(f"{table.place(rows.numbers[row_of[step]])}: {NO_ROW}")
        column = (*layout.values, layout.time or "")[t * card.features + f if is_wide else f]
        raise _wrong_cell(table, rows.numbers[row_of[step]], column, card, steps[step, f], card.feature_labels[f])
    if (empty := absent(padded.array).all(axis=1)).any():
        first = rows.numbers[first_rows[empty.argmax()]]
        raise InvalidInput(f"{table.place(first)}: expected a sequence of at least one value, got none")
    return padded, rows.keys


def _wrong_cell(  # noqa: PLR0913, PLR0917 - private
    table: Table, number: int, column: str, card: ModelCard, got: float | str, label: str
) -> InvalidInput:
    return InvalidInput(f"{table.place(number)}, column {column[:80]!r}: {problem_of(got, card, label)}")


def _read(table: Table, layout: TableLayout, card: ModelCard, limit: int) -> Rows:
    """Read all rows.

    Raises:
        TooLarge: there are more sequences than `limit`, or more rows than those could have.
        InvalidInput: there are no rows, or a cell is no number or no identifier.
    """
    position = {name: index for index, name in enumerate(table.columns)}
    indices = [position[name] for name in layout.values]
    read = _reader(table, card)
    numbers, values, codes, times = array("q"), array("d"), array("q"), list[Any]()
    sequences: dict[object, int] = {}
    is_wide = layout.form == "wide"
    most_rows = limit if is_wide else limit * card.timesteps
    for number, cells in table.rows:
        named = [cells[index] for index in indices]
        series = _series(table, layout, number, named, card)
        count = 1 if series is None else len(series)
        if len(numbers) + count > most_rows:
            raise TooLarge(f"expected at most {most_rows} rows, got more")
        numbers.extend([number] * count)
        if series is not None:
            values.extend(chain.from_iterable(series))
            codes.extend([len(sequences)] * count)
            sequences[number] = len(sequences)
            continue
        try:
            values.extend(read(named))
        except ValueError:
            raise _not_a_number(table, layout, number, named, card) from None
        if is_wide:
            continue
        if layout.time is not None:
            times.append(cells[position[layout.time]])
        name = cells[position[layout.key]] if layout.key is not None else 0
        codes.append(sequences.setdefault(_identifier(table, layout, number, name), len(sequences)))
        if len(sequences) > limit:
            raise TooLarge(f"expected at most {limit} sequences, got more")
    if not numbers:
        raise InvalidInput("expected at least one row, got none")
    keys = None if layout.key in (None, BLOCK) else tuple(sequences)
    return Rows(numbers, np.array(values).reshape(len(numbers), -1), codes, times, keys)


def _series(
    table: Table, layout: TableLayout, number: int, cells: Sequence[Any], card: ModelCard
) -> list[Sequence[float]] | None:
    """Return the values of each timestep of a row whose cells hold whole series; None for any other row.

    Raises:
        InvalidInput: a series has no numbers, or they differ in length.
    """
    if not layout.may_have_lists or not any(map(_is_series, cells)):
        return None
    columns: dict[str, list[float]] = {}
    for f, (column, cell) in enumerate(zip(layout.values, cells, strict=True)):
        is_static = column in card.static_labels
        try:
            columns[column] = list(_reader(table, card, f)([cell]) if is_static else _numbers_of_series(cell))
        except ValueError:
            if is_static:
                raise _wrong_cell(table, number, column, card, shown(cell), column) from None
            place = f"{table.place(number)}, column {column[:80]!r}"
            raise InvalidInput(f"{place}: expected a list of numbers, got {shown(cell)}") from None
    lengths = {len(values) for column, values in columns.items() if column not in card.static_labels}
    if len(lengths) > 1:
        raise InvalidInput(f"{table.place(number)}: expected series of one length, got {sorted(lengths)}")
    (length,) = lengths
    repeated = (values if column not in card.static_labels else values * length for column, values in columns.items())
    return list(zip(*repeated, strict=True))


def _is_series(cell: object) -> bool:
    return isinstance(cell, list) or (isinstance(cell, str) and cell.lstrip().startswith("["))


def _numbers_of_series(cell: Any) -> Sequence[float]:
    if isinstance(cell, str) and (text := cell.strip()).startswith("[") and text.endswith("]"):
        # Training reads such text with a point as the decimal mark.
        return _text_numbers(text[1:-1].split(","), frozenset(MISSING) - {""}, ".", "")
    if not isinstance(cell, list) or not cell:
        raise ValueError(cell)
    return _json_numbers(cell)


def _reader(table: Table, card: ModelCard, feature: int | None = None) -> Callable[[list[Any]], Sequence[float]]:
    """Return the function that turns cells into numbers: those of all features in turn, or those of one."""
    if card.tokens is not None and card.tokens.vocabulary is not None:
        return partial(_tokens, table, tokens=card.tokens)
    categories, missing = categories_of(card), format_of(card).missing
    if feature is not None:
        one = {0: categories[feature]} if feature in categories else {}
        return partial(_numbers, table, categories=one, features=1, missing=missing)
    return partial(_numbers, table, categories=categories, features=card.features, missing=missing)


def _tokens(table: Table, cells: list[Any], tokens: Tokens) -> list[float]:
    """Return the tokens of cells; NaN where one is missing. Text that the vocabulary has is a word, a number too.

    Raises:
        ValueError: a cell is no word and no number.
    """
    return [_token(cell, tokens, table.numbers) for cell in cells]


def _token(cell: Any, tokens: Tokens, numbers: Callable[[Sequence[Any]], list[float]]) -> float:
    if not isinstance(cell, str):
        return _json_numbers([cell])[0]
    words = tokens.vocabulary or {}
    for word in (cell, cell.strip()):
        if word in words:
            return words[word]
    with suppress(ValueError):
        return numbers([cell])[0]
    if (token := token_of(cell.strip(), tokens)) is None:
        raise ValueError(cell)
    return token


def _numbers(
    table: Table, cells: list[Any], categories: Mapping[int, tuple[str, ...]], features: int, missing: Sequence[str]
) -> Sequence[float]:
    """Return the numbers of cells, whose features repeat in the order of the card.

    Raises:
        ValueError: a cell is no number and no value of a category.
    """
    if not categories:
        return table.numbers(cells)
    others = [at for at in range(len(cells)) if at % features not in categories]
    numbers = dict(zip(others, table.numbers([cells[at] for at in others]), strict=True))
    for at, cell in enumerate(cells):
        if at not in numbers:
            numbers[at] = _index(cell, categories[at % features], table, missing)
    return [numbers[at] for at in range(len(cells))]


def _not_a_number(
    table: Table, layout: TableLayout, number: int, cells: Sequence[Any], card: ModelCard
) -> InvalidInput:
    for at, (column, cell) in enumerate(zip(layout.values, cells, strict=True)):
        feature = at % card.features
        if not _is(_reader(table, card, feature), [cell]):
            return _wrong_cell(table, number, column, card, shown(cell), card.feature_labels[feature])
    raise AssertionError("all cells are numbers")


def _identifier(table: Table, layout: TableLayout, number: int, cell: object) -> object:
    name = cell.strip() if isinstance(cell, str) else cell
    if type(name) not in (str, int, float) or name == "" or name != name:  # noqa: PLR0124 - NaN differs from itself
        place = f"{table.place(number)}, column {layout.key!r}"
        raise InvalidInput(f"{place}: expected the identifier of a sequence, got {shown(cell)}")
    return name


def _timesteps(
    table: Table, layout: TableLayout, rows: Rows, card: ModelCard
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]]:
    """Return the timesteps of all sequences, the row of each (of an absent one, the row before), and the lengths."""
    lengths: NDArray[np.intp] = np.bincount(rows.sequences)
    timing, time_feature = format_of(card).timing, format_of(card).time_feature
    if layout.time is None:
        order = np.argsort(rows.sequences, kind="stable")
        return rows.values[order], order, lengths
    times = _times(table, layout.time, rows, timing)
    order = _order(table, layout, rows, times)
    starts = np.cumsum(lengths) - lengths
    if time_feature is not None:
        varying = ~np.isin(layout.values, card.static_labels)
        return _with_time_since_last(rows.values[order], times[order], starts, varying), order, lengths
    if timing is None or not timing.has_steps:
        return rows.values[order], order, lengths
    positions = timesteps_of(np.array(times[order].tolist()), starts, np.array(timing.times), timing.step)
    spans = positions[starts + lengths - 1] + 1
    if (too_long := too_sparse(spans, lengths)).any():
        first = order[starts[too_long.argmax()]]
        raise InvalidInput(
            f"{table.place(rows.numbers[first])}, column {layout.time!r}: expected times in steps of "
            f"{timing.step:g} ({timing.unit}), got a sequence of {spans.max()} steps"
        )
    place = (np.cumsum(spans) - spans).repeat(lengths) + positions
    steps = np.full((int(spans.sum()), rows.values.shape[1]), np.nan)
    steps[place] = rows.values[order]
    row_of = np.zeros(len(steps), np.intp)
    row_of[place] = np.arange(len(order))
    return steps, order[np.maximum.accumulate(row_of)], spans


def _with_time_since_last(
    values: NDArray[np.float64], times: NDArray[Any], starts: NDArray[np.intp], varying: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return values with one more column: the time since the row before, 0 in the first row of a sequence.

    Rows without a value that varies have none, as in training.
    """
    since = np.diff(times, prepend=times[:1]).astype(np.float64)
    since[starts] = 0
    since[np.isnan(values[:, varying]).all(axis=1)] = np.nan
    return np.column_stack([values, since])


def _order(table: Table, layout: TableLayout, rows: Rows, times: NDArray[Any]) -> NDArray[np.intp]:
    """Return the order in which the rows of a sequence stand together, by time."""
    order = sorted(range(len(times)), key=lambda row: (rows.sequences[row], times[row]))
    for before, row in pairwise(order):
        if rows.sequences[before] == rows.sequences[row] and times[before] == times[row]:
            place = f"{table.place(max(rows.numbers[before], rows.numbers[row]))}, column {layout.time!r}"
            raise InvalidInput(
                f"{place}: expected each timestep of a sequence once, got {shown(rows.times[row])} twice"
            )
    return np.array(order)


def _times(table: Table, column: str, rows: Rows, timing: Timing | None) -> NDArray[Any]:
    """Return times that can be compared, of dtype object: integers, else numbers, else points in time.

    Points in time are seconds since 1970 UTC, or months since the year 0.
    """
    point = _point_in_time if timing is None or not timing.formats else partial(_formatted, formats=timing.formats)
    if timing is not None and timing.unit == "months":
        point = partial(_month, point=point)
    finite = partial(_finite, numbers=table.numbers)
    for read in (_integer, finite, point):
        with suppress(ValueError, TypeError):
            return np.array(list(map(read, rows.times)), dtype=object)
    read = finite if _is(finite, rows.times[0]) else point  # as the first, so must be all
    row = next(row for row, cell in enumerate(rows.times) if not _is(read, cell))
    expected = "a number or a time such as 2024-01-31 12:00"
    if timing is not None and timing.formats:
        form = next((one for one in timing.formats if "%Y" in one), timing.formats[0])
        expected = f"a time of the format {form}, such as {datetime(2024, 1, 31, 12, tzinfo=UTC).strftime(form)}"
    before = ", as in the rows before" if row else ""
    raise InvalidInput(
        f"{table.place(rows.numbers[row])}, column {column!r}: expected {expected}{before}, "
        f"got {shown(rows.times[row])}"
    )


def _is(read: Callable[[Any], Any], cell: object) -> bool:
    with suppress(ValueError, TypeError):
        read(cell)
        return True
    return False


def _integer(cell: Any) -> int:
    if isinstance(cell, bool | float):
        raise TypeError
    return int(cell)


def _finite(cell: Any, numbers: Callable[[Sequence[Any]], list[float]]) -> float:
    number = float(numbers([cell])[0] if isinstance(cell, str) and numbers is not _json_numbers else cell)
    if isinstance(cell, bool) or not math.isfinite(number):
        raise ValueError(cell)
    return number


def _point_in_time(cell: Any) -> float:
    return _seconds(datetime.fromisoformat(str.strip(cell)))


def _formatted(cell: Any, formats: Sequence[str]) -> float:
    for one in formats:
        with suppress(ValueError):
            return _seconds(datetime.strptime(str.strip(cell), one))
    raise ValueError(cell)


def _seconds(point: datetime) -> float:
    return (point if point.tzinfo else point.replace(tzinfo=UTC)).timestamp()


def _month(cell: Any, point: Callable[[Any], float]) -> int:
    time = datetime.fromtimestamp(point(cell), UTC)
    return time.year * 12 + time.month
