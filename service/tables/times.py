"""The times of the rows of a table: how they are read, and the steps between them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from service.artifact.timing import TOLERANCE
from service.errors import TableError
from service.tables.rows import ROW, Table, literal, quoted, shown

#: Forms of the time of a day.
CLOCKS: Final = ("%H:%M:%S", "%H:%M", "%I:%M:%S %p", "%I:%M %p")


def _dates(*forms: str) -> tuple[str, ...]:
    """Return forms of dates, and the same followed by the time of a day."""
    return tuple(f"{form}{clock}" for form in forms for clock in ("", *(f" {one}" for one in CLOCKS)))


#: Formats of dates whose first number may be the day or the month. Years of two digits come first, as `%Y` takes them,
#: too.
DAY_FIRST: Final = _dates("%d/%m/%y", "%d/%m/%Y")
MONTH_FIRST: Final = _dates("%m/%d/%y", "%m/%d/%Y")
#: Formats of times as text, beside ISO 8601.
FORMATS: Final = (
    ("%Y-%m",),
    CLOCKS,
    _dates("%d.%m.%y", "%d.%m.%Y"),
    DAY_FIRST,
    MONTH_FIRST,
    _dates("%Y/%m/%d", "%Y-%m-%d"),
    _dates("%Y. %m. %d.", "%Y. %m. %d", "%Y.%m.%d", "%Y년 %m월 %d일"),
    ("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y"),
    ("%b %Y", "%B %Y"),
)
#: DuckDB takes more than this for a time: years of two digits, and any word after the time.
_ISO: Final = r"\s*\d{4}-\d\d?-\d\d?([T ]\d\d?:\d\d(:\d\d([.]\d+)?)?)?\s*([zZ]|[+-]\d\d(:?\d\d)?)?\s*"
#: The year of a date of any form, and its day or month.
_YEAR: Final = re.compile(r"(?<!\d)(19|20)\d\d(?!\d)")
_DAY: Final = re.compile(r"(?<!\d)\d\d?(?!\d)")
#: The first rows, by which the likeliest ways to read times are found.
SAMPLED: Final = 2**12
#: Texts of which more than this fraction look like dates are probably dates.
FEWEST_DATED: Final = 0.9
_ZONE: Final = r"([zZ]|[+-]\d\d(:?\d\d)?)\s*$"
#: More positions for each row than this are no equal steps with gaps.
MOST_POSITIONS: Final = 2.5
_EXPECTED: Final = "a number or a time such as 2024-01-31 12:00 (--date-format names another form)"

Unit = Literal["numbers", "integers", "us", "ns", "months"]


@dataclass(frozen=True)
class Times:
    """A column of times.

    Attributes:
        column: its name.
        sql: an integer or a number for each row, in ascending order of time.
        unit: numbers, integers, months, or the unit of points in time since 1970.
        clock: whether they are times of a day.
        formats: their formats as text, as of strptime; empty for numbers and ISO 8601.
    """

    column: str
    sql: str
    unit: Unit
    clock: bool = False
    formats: tuple[str, ...] = ()

    def labels(self, times: NDArray[Any]) -> tuple[str, ...]:
        """Return times `(n,)` as text."""
        if self.unit in {"numbers", "integers"}:
            whole = bool((times == np.trunc(times)).all())
            return tuple(map(str, (times.astype(np.int64) if whole else times).tolist()))
        if self.unit == "months":  # since the year 0
            return tuple(map(str, (times.astype(np.int64) - 1 - 1970 * 12).astype("M8[M]").tolist()))
        points = times.astype(np.int64).astype(f"M8[{self.unit}]")
        if self.clock:
            seconds = bool((points.astype("M8[m]") != points).any())
            return tuple(str(one)[11:] for one in points.astype("M8[s]" if seconds else "M8[m]"))
        return tuple(np.datetime_as_string(points, unit="auto").tolist())


def times_of(table: Table, column: str, date_format: str | None) -> Times:
    """Return how the times of a column are read.

    Raises:
        TableError: a cell holds no time, or the times may be read in two ways.
    """
    table.refuse_missing([column])
    if table.types[column] == "VARCHAR":
        return _of_text(table, column, date_format)
    return _finite(table, _of_type(table, column))


def likely_times(table: Table, column: str, formats: tuple[str, ...]) -> Times:
    """Return how most of the times of a column are read. The SQL is null for a cell that holds no such time.

    Args:
        table: the table.
        column: the name of the column.
        formats: the formats of times as text, as on a card; empty for numbers and ISO 8601.

    Raises:
        TableError: the column cannot hold times.
    """
    if table.types[column] != "VARCHAR":
        return _of_type(table, column)
    choices = [_by_formats(column, formats)] if formats else _choices(table, column)
    # Each way takes long: those that read fewer of the first rows are out.
    counted = ", ".join(f"count({one.sql})" for one in choices)
    (counts,) = table.ask(f"SELECT {counted} FROM (SELECT * FROM rows LIMIT {SAMPLED})")
    likely = [one for one, count in zip(choices, counts, strict=True) if count == max(counts)]
    if len(likely) == 1:
        return likely[0]
    read = []
    for one in likely:
        ((count, texts),) = table.ask(f"SELECT count({one.sql}), count({quoted(column)}) FROM rows")
        if count == texts:  # none reads more
            return one
        read.append(count)
    return likely[read.index(max(read))]


def _of_type(table: Table, column: str) -> Times:
    """Return how the times of a column that is no text are read."""
    name, of_type = quoted(column), table.types[column]
    match table.kinds([column])[column]:
        case "times" if of_type == "TIMESTAMP_NS":
            return Times(column, f"epoch_ns({name})", "ns")
        case "times":
            return Times(column, f"epoch_us({name})", "us", clock=of_type == "TIME")
        case "numbers" if of_type.endswith(("INT", "INTEGER")):
            return Times(column, f"{name}::BIGINT", "integers")
        case "numbers":
            return Times(column, f"{name}::DOUBLE", "numbers")
    raise TableError(f"{table.where}, column {column!r}: expected numbers or times, got {of_type}")


def are_times(table: Table, column: str, date_format: str | None = None) -> bool:
    """Return whether a column of text holds times rather than words. Times may have the format of the option."""
    named = () if date_format is None else (_by_formats(column, (date_format,)),)
    return any(_wrong(table, times) is None for times in (*named, _iso(table, column), *_formatted(column)))


def look_like_dates(texts: Sequence[str]) -> bool:
    """Return whether nearly all texts have a year and other digits, as dates of any form have."""
    dated = [text for text in texts if _YEAR.search(text) and _DAY.search(_YEAR.sub("", text, count=1))]
    return len(dated) > FEWEST_DATED * len(texts)


def _of_text(table: Table, column: str, date_format: str | None) -> Times:
    choices = _choices(table, column) if date_format is None else [_by_formats(column, (date_format,))]
    first_wrong = []
    for times in choices:
        wrong = _wrong(table, times)
        if wrong is None:
            break
        first_wrong.append(wrong)
    else:
        expected = f"a time of the format {date_format}" if date_format else _EXPECTED
        table.refuse_cell(column, max(first_wrong), expected)
    _require_one_order(table, times)
    return _finite(table, times)


def _require_one_order(table: Table, times: Times) -> None:
    """Refuse dates that may begin with the day or the month."""
    if times.formats == DAY_FIRST and _wrong(table, _by_formats(times.column, MONTH_FIRST)) is None:
        ((value,),) = table.ask(f"SELECT {quoted(times.column)} FROM rows ORDER BY {quoted(ROW)} LIMIT 1")
        raise TableError(
            f"{table.where}, column {times.column!r}: expected --date-format, as times such as {shown(value)} may "
            "begin with the day (%d/%m/%Y) or the month (%m/%d/%Y)"
        )


def _choices(table: Table, column: str) -> list[Times]:
    """Return the ways to read text as times, the likeliest first."""
    cell = f"trim({quoted(column)})"
    integers = f"CASE WHEN regexp_full_match({cell}, '[+-]?\\d+') THEN TRY_CAST({cell} AS BIGINT) END"
    numbers = Times(column, table.number(column), "numbers")
    return [Times(column, integers, "integers"), numbers, _iso(table, column), *_formatted(column)]


def _iso(table: Table, column: str) -> Times:
    name = quoted(column)
    ((zones, fractions),) = table.ask(
        f"SELECT bool_or(regexp_matches({name}, '{_ZONE}') AND length({name}) > 10), "
        f"bool_or(regexp_matches({name}, '\\.\\d{{7,9}}')) FROM rows"
    )
    text = f"CASE WHEN regexp_full_match({name}, {literal(_ISO)}) THEN {name} END"
    if zones:
        return Times(column, f"epoch_us(TRY_CAST({text} AS TIMESTAMPTZ))", "us")
    if fractions:
        return Times(column, f"epoch_ns(TRY_CAST({text} AS TIMESTAMP_NS))", "ns")
    return Times(column, f"epoch_us(TRY_CAST({text} AS TIMESTAMP))", "us")


def _formatted(column: str) -> list[Times]:
    return [_by_formats(column, formats) for formats in FORMATS]


def _by_formats(column: str, formats: tuple[str, ...]) -> Times:
    listed, cell = ", ".join(map(literal, formats)), f"trim({quoted(column)})"
    if all("%Y" in one for one in formats):  # DuckDB takes years of any number of digits
        cell = f"CASE WHEN regexp_matches({cell}, '\\d{{4}}') THEN {cell} END"
    return Times(
        column,
        f"epoch_us(try_strptime({cell}, [{listed}]))",
        "us",
        clock=formats == CLOCKS,
        formats=formats,
    )


def _wrong(table: Table, times: Times) -> int | None:
    """Return the first row that is not such a time."""
    # The first row that is found is the first in the table, as DuckDB keeps the order of rows. It then stops.
    found = table.ask(f"SELECT {quoted(ROW)} FROM rows WHERE {times.sql} IS NULL LIMIT 1")
    return int(found[0][0]) if found else None


def _finite(table: Table, times: Times) -> Times:
    if times.unit == "numbers":
        ((row,),) = table.ask(f"SELECT min({quoted(ROW)}) FROM rows WHERE NOT isfinite({times.sql})")
        if row is not None:
            table.refuse_cell(times.column, int(row), "a finite number or a time")
    return times


@dataclass(frozen=True)
class Steps:
    """Equal steps of time, some of which may be without a row.

    Attributes:
        sql: the times, as integers or numbers.
        size: the duration of a step.
        start: the time of the first timestep of all sequences; None if each sequence begins at its own first time.
    """

    sql: str
    size: float
    start: float | None


def steps_of(table: Table, times: Times, sequence: str | None, most: int) -> Steps | None:
    """Return the steps between the times of a table; None if the times are uneven.

    Args:
        table: the table.
        times: its times.
        sequence: the column that identifies the sequence of a row.
        most: the largest number of timesteps of a sequence.
    """
    found = _steps(table, times, sequence, most)
    if found is None and times.unit == "us" and not times.clock:
        found = _steps(table, replace(times, sql=_months(table, times)), sequence, most)
    return found


def month_of(times: Times) -> str:
    """Return the SQL of the month of each point in time, since the year 0."""
    return f"(year(make_timestamp({times.sql})) * 12 + month(make_timestamp({times.sql})))"


def _months(table: Table, times: Times) -> str:
    """Return the SQL of the month of each time if all have the same day of the month, or the last one; else null."""
    point = f"make_timestamp({times.sql})"
    ((same, last),) = table.ask(
        f"SELECT min({point} - date_trunc('month', {point})) = max({point} - date_trunc('month', {point})), "
        f"bool_and({point} = last_day({point})) FROM rows"
    )
    return month_of(times) if same or last else "NULL"


def _steps(table: Table, times: Times, sequence: str | None, most: int) -> Steps | None:
    partition = "" if sequence is None else f"PARTITION BY {quoted(sequence)} "
    apart = table.ask(
        f"SELECT d, count(*) AS n FROM (SELECT t - lag(t) OVER ({partition}ORDER BY t) AS d FROM "
        f"(SELECT {times.sql} AS t{'' if sequence is None else ', ' + quoted(sequence)} FROM rows)) "
        "WHERE d IS NOT NULL GROUP BY d ORDER BY n DESC, d LIMIT 10000"
    )
    if not apart or len(apart) == 10_000 or min(gap for gap, _ in apart) <= 0:
        return None
    size = apart[0][0]
    if any(abs(gap / size - round(gap / size)) > TOLERANCE for gap, _ in apart):
        return None
    by = "" if sequence is None else f" GROUP BY {quoted(sequence)}"
    first, last, longest, rows, positions, uneven = table.ask(
        "SELECT min(a), max(b), max(b - a), sum(n), sum(b - a), max(abs((a - m) / s - round((a - m) / s))) FROM "
        f"(SELECT min(t) AS a, max(t) AS b, count(*) AS n, min(min(t)) OVER () AS m, {size}::DOUBLE AS s FROM "
        f"(SELECT {times.sql} AS t{'' if sequence is None else ', ' + quoted(sequence)} FROM rows){by})"
    )[0]
    if longest / size + 1 > most or positions / size > MOST_POSITIONS * rows:
        return None
    shared = (last - first) == longest and uneven <= TOLERANCE
    return Steps(times.sql, float(size), first if shared else None)
