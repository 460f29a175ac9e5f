"""The roles of a table's columns: features, target, identifier, time, and columns that are left out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from service.tables.columns import Columns
from service.tables.rows import ROW, Kind, Table, quoted, shown
from service.tables.times import are_times, look_like_dates
from training import TrainingError
from training.options import Options

#: Largest number of values of a category.
MOST_CATEGORIES: Final = 1000
#: Names of a target, and of times that are numbers.
TARGETS: Final = ("target", "label", "class", "y")
TIMES: Final = re.compile(
    r"t|time|times?tep|time_?stamp|date|day|hour|minute|week|month|year|step|cycle", re.IGNORECASE
)
#: Identifiers have the same times if this fraction of all pairs of both is there. It is at most half where each time
#: occurs once.
FULL_PANEL: Final = 0.75
MOST_NAMED: Final = 3
#: Fewer rows may have consecutive numbers by chance.
FEWEST_ROWS: Final = 10
#: A mean of more than this number of standard deviations costs float32 too many of its seven digits.
MOST_OFFSET: Final = 1e5


def columns_of(table: Table, options: Options) -> Columns:
    """Return the roles of the columns, by the options and, where they say nothing, by the names and values.

    Raises:
        TrainingError: a column does not exist, or nothing tells which one is the target.
    """
    hints = list(table.text.hints if table.text else ())
    targets = options.target_column or _guessed_target(table, hints)
    named = [options.sequence_column, options.timestep_column, options.group_column]
    static, dropped = options.static_columns or (), options.drop_columns or ()
    keys = [column for column in named if column is not None]
    table.require([*targets, *keys, *static, *dropped, *(options.feature_columns or ())], has_option=True)
    for name, kind in table.kinds([*keys, *targets]).items():
        if kind == "lists":
            raise TrainingError(
                f"{table.where}, column {name!r}: expected text, numbers or times, got {table.types[name]}"
            )
    taken = {*targets, *keys, *dropped}
    if indices := sorted(table.indices - taken - {*static, *(options.feature_columns or ())}):
        listed = ", ".join(map(repr, indices))
        hints.append(f"column {listed} holds the index of a frame and is left out")
    candidates = [
        name
        for name in (*(options.feature_columns or table.names), *static)
        if name not in taken and name not in indices
    ]
    candidates = list(dict.fromkeys(candidates))
    if not candidates and options.window is None:
        raise TrainingError(f"{table.where}: expected columns besides {', '.join(taken)}, got {table.shown_names()}")
    sequence, timestep = options.sequence_column, options.timestep_column
    kinds = table.kinds(candidates)
    times = [
        name
        for name in candidates
        if kinds[name] == "times" or (kinds[name] == "text" and are_times(table, name, options.date_format))
    ]
    if sequence is None and timestep is None and options.window is None:
        sequence, timestep = _guessed_keys(table, candidates, kinds, times, targets)
        if sequence is not None:
            hints.append(
                f"taken as one row a timestep: column {sequence!r} identifies the sequence, "
                f"{timestep!r} orders its rows"
            )
    elif timestep is None and len(times) == 1:
        (timestep,) = times
        hints.append(f"column {timestep!r} is taken as the time of the rows")
    candidates = [name for name in candidates if name not in {sequence, timestep}]
    columns = Columns(
        tuple(targets), tuple(candidates), tuple(static), {}, sequence, timestep, options.group_column, ()
    )
    kinds = {name: kinds[name] for name in candidates}
    columns = _with_features(table, columns, kinds, times, hints)
    if not columns.features and options.window is None:
        raise TrainingError("; ".join([f"{table.where}: expected columns with numbers or words", *columns.hints]))
    return columns


def _with_features(
    table: Table,
    columns: Columns,
    kinds: Mapping[str, Kind],
    times: Sequence[str],
    hints: list[str],
) -> Columns:
    """Decide which columns are numbers, categories, or left out."""
    ((rows,),) = table.ask("SELECT count(*) FROM rows")
    features, categories = [], {}
    long = columns.sequence is not None or columns.timestep is not None
    numbers = [name for name, kind in kinds.items() if kind == "numbers"]
    counting = _counting_rows(table, numbers, rows) if not long and rows >= FEWEST_ROWS else set()
    for name, kind in kinds.items():
        if name in times:
            hints.append(f"column {name!r} holds times and is left out")
        elif kind == "text":
            values = values_of(table, name)
            if len(values) > MOST_CATEGORIES or (len(values) == rows and rows > 2):
                hints.append(f"column {name!r} holds {len(values):,} different texts and is left out")
            else:
                categories[name] = values
                features.append(name)
                if len(values) > 1 and look_like_dates(values):
                    hints.append(
                        f"column {name!r} was taken as a category of {len(values):,} values such as "
                        f"{shown(values[0])}; if it is a time, name it with --timestep-column, and its form with "
                        "--date-format"
                    )
        elif name in counting:
            hints.append(f"column {name!r} counts the rows and is left out")
        else:
            features.append(name)
    numbers = [name for name in numbers if name not in counting]
    table.refuse_words(numbers, may_be_missing=True)
    hints += _offsets(table, numbers)
    static = tuple(name for name in columns.static if name in features)
    return replace(columns, features=tuple(features), static=static, categories=categories, hints=tuple(hints))


def _guessed_target(table: Table, hints: list[str]) -> tuple[str, ...]:
    found = [name for name in table.names if name.lower() in TARGETS]
    if len(found) != 1:
        raise TrainingError(f"{table.where}: expected --target-column, the column to predict: {table.shown_names()}")
    hints.append(f"column {found[0]!r} is taken as the target")
    return tuple(found)


def _guessed_keys(
    table: Table,
    candidates: Sequence[str],
    kinds: Mapping[str, Kind],
    times: Sequence[str],
    targets: Sequence[str],
) -> tuple[str, str] | tuple[None, None]:
    """Return the columns that identify the sequence and order its rows, if only one pair can be meant.

    Each pair of their values occurs once, each identifier on several rows, and with one target. Refuse a table of which
    several pairs are like that, or one whose identifiers have the same times but several targets.
    """
    timesteps = [*times, *(name for name in candidates if kinds[name] == "numbers" and TIMES.fullmatch(name))]
    identifiers = [name for name in candidates if kinds[name] in {"text", "numbers"} and name not in timesteps]
    target = quoted(targets[0])
    pairs, panels = [], []
    for timestep in timesteps:
        for identifier in identifiers[:MOST_CATEGORIES]:
            sequence, time = quoted(identifier), quoted(timestep)
            ((rows, sequences, repeated, labels),) = table.ask(
                f"SELECT sum(n), count(*), sum(n - m), max(k) FROM (SELECT count(*) AS n, count(DISTINCT {time}) AS m, "
                f"count(DISTINCT {target}) AS k FROM rows GROUP BY {sequence})"
            )
            if repeated == 0 and 2 < 2 * sequences <= rows:
                if labels == 1:
                    pairs.append((identifier, timestep))
                elif timestep in times and _have_same_times(table, sequences * FULL_PANEL, rows, time):
                    panels.append((identifier, timestep))
    if len(pairs) == 1:
        return pairs[0]
    if possible := pairs or panels:
        listed = " or ".join(
            f"{identifier!r} ordered by {timestep!r}" for identifier, timestep in possible[:MOST_NAMED]
        )
        raise TrainingError(
            f"{table.where}: expected --sequence-column, as rows may be the timesteps of {listed}; if each row is a "
            f"sequence, --drop-columns {','.join(dict.fromkeys(timestep for _, timestep in possible))}"
        )
    return None, None


def _have_same_times(table: Table, sequences: float, rows: int, time: str) -> bool:
    """Return whether so many sequences with all times have at most the rows of a table."""
    ((times,),) = table.ask(f"SELECT count(DISTINCT {time}) FROM rows")
    return bool(sequences * times <= rows)


def values_of(table: Table, column: str) -> tuple[str, ...]:
    """Return the values of a category in their order, one more than allowed at most."""
    word = table.word(column)
    found = table.ask(
        f"SELECT DISTINCT {word} FROM rows WHERE {word} IS NOT NULL ORDER BY 1 LIMIT {MOST_CATEGORIES + 1}"
    )
    return tuple(value for (value,) in found)


def _counting_rows(table: Table, columns: Sequence[str], rows: int) -> set[str]:
    """Return the columns that hold the number of the row, counted from any number."""
    found = table.of_each(columns, lambda name, cell: _apart(table.number(name, cell)))
    return {name for name, (least, most, count) in found.items() if least == most and count == rows}


def _mean_and_spread(number: str) -> str:
    return f"[avg({number}), stddev_pop({number})]"


def _apart(number: str) -> str:
    apart = f"{number} - {quoted(ROW)}"
    return f"[min({apart}), max({apart}), count({apart})]"


def _offsets(table: Table, columns: Sequence[str]) -> list[str]:
    """Return a hint for each column whose variation float32 loses, because the numbers are large."""
    found = table.of_each(columns, lambda name, cell: _mean_and_spread(table.number(name, cell)))
    return [
        f"column {name!r} has values near {mean:.6g} that differ by some {spread:.2g} only; float32 keeps 7 digits: "
        "subtract an offset first"
        for name, (mean, spread) in found.items()
        if mean is not None and spread and abs(mean) > MOST_OFFSET * spread
    ]
