"""Tables of one row a timestep."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.artifact.tensors import Array
from service.errors import TableError
from service.tables.columns import Columns
from service.tables.rows import ROW, Table, quoted
from service.tables.sequences import MOST_COLUMNS, Indices, Sequences
from service.tables.timeline import Timeline

#: The name of the feature of `--time-feature`.
TIME_FEATURE = "time since the last row"


@dataclass(frozen=True)
class Rows:
    """The rows of some whole sequences, ordered by sequence and time.

    Attributes:
        numbers: `(rows,)`, the number of each row in its table.
        times: `(rows,)`.
        starts: `(sequences,)`, the first row of each sequence.
        values: `(rows, features)`.
        targets: the columns to predict, as pyarrow arrays.
        groups: the group of each row, a pyarrow array; None if there are no groups.
    """

    numbers: Indices
    times: NDArray[Any]
    starts: Indices
    values: Array
    targets: list[Any]
    groups: Any

    @property
    def sizes(self) -> Indices:
        """The number of rows of each sequence."""
        return np.diff(self.starts, append=len(self.times))

    def with_feature(self, values: Array) -> "Rows":
        """Return the rows with one more feature, `(rows, 1)`."""
        return replace(self, values=np.concatenate([self.values, values.astype(np.float32)], axis=1))


def long_sequences(table: Table, columns: Columns, timeline: Timeline, *, time_feature: bool) -> Iterator[Sequences]:
    """Yield the sequences of a table of one row a timestep."""
    static = [columns.features.index(name) for name in columns.static]
    for rows in sorted_rows(table, columns, timeline):
        values = rows.values
        for index in static:
            column = pa.array(values[:, index], from_pandas=True)
            known, _ = one_of_each(table, rows, columns.features[index], column, required=False)
            values[:, index] = np.repeat(known.to_numpy(zero_copy_only=False), rows.sizes)
        changing = np.delete(values, static, axis=1)
        values[np.isnan(changing).all(axis=1)] = np.nan
        if time_feature:
            assert timeline.times is not None, "checked with the options"
            since = np.where(
                np.isnan(values).all(axis=1, keepdims=True), np.nan, time_since_last(rows, timeline.times.unit)
            )
            with_time = rows.with_feature(since)
        else:
            with_time = rows
        steps, lengths = steps_and_lengths(with_time, timeline.positions(rows.times, rows.starts))
        targets = [
            one_of_each(table, rows, name, values, required=True)[0]
            for name, values in zip(columns.targets, rows.targets, strict=True)
        ]
        groups = None
        if columns.group is not None:
            groups, _ = one_of_each(table, rows, columns.group, rows.groups, required=True)
        yield Sequences(rows.numbers[rows.starts], steps, lengths, targets, groups)


def sorted_rows(table: Table, columns: Columns, timeline: Timeline) -> Iterator[Rows]:
    """Yield all rows in the order of sequence and time, some whole sequences at once.

    Raises:
        TableError: a row has no identifier, or a sequence has a time twice or too many values.
    """
    keys = [column for column in (columns.sequence, columns.group) if column is not None]
    table.refuse_missing(keys)
    sequence = "0" if columns.sequence is None else quoted(columns.sequence)
    selected = [f"{sequence} AS s", f"{timeline.sql} AS t", f"{quoted(ROW)} AS r"]
    selected += [f"{columns.value(table, name)} AS f{index}" for index, name in enumerate(columns.features)]
    selected += [f"{label(table, name)} AS y{index}" for index, name in enumerate(columns.targets)]
    selected.append(f"{quoted(columns.group) if columns.group else 'NULL'} AS g")
    question = f"SELECT {', '.join(selected)} FROM rows ORDER BY 1, 2, 3"
    rest: Any = None
    for read in table.batches(question, len(selected)):
        batch = read if rest is None else pa.concat_batches([rest, read])
        starts = _starts(batch["s"])
        # The last sequence may continue in the next batch.
        whole, rest = batch.slice(0, int(starts[-1])), batch.slice(int(starts[-1]))
        if columns.sequence is not None and len(rest) * len(columns.features) > MOST_COLUMNS:
            raise TableError(
                f"{table.place(rest['r'][0].as_py(), columns.sequence)}: expected at most {MOST_COLUMNS:,} values in a "
                f"sequence, got {len(rest) * len(columns.features):,} or more"
            )
        if len(whole):
            yield _rows(table, columns, timeline, whole, starts[:-1])
    assert rest is not None, "a table without rows is refused before"
    yield _rows(table, columns, timeline, rest, np.zeros(1, dtype=np.int64))


def _rows(table: Table, columns: Columns, timeline: Timeline, batch: Any, starts: Indices) -> Rows:
    features, targets = range(len(columns.features)), range(len(columns.targets))
    values = np.empty((len(batch), len(features)), np.float32)
    for index in features:
        values[:, index] = batch[f"f{index}"].to_numpy(zero_copy_only=False)
    rows = Rows(
        numbers=batch["r"].to_numpy(zero_copy_only=False),
        times=batch["t"].to_numpy(zero_copy_only=False),
        starts=starts,
        values=values,
        targets=[batch[f"y{index}"] for index in targets],
        groups=batch["g"] if columns.group is not None else None,
    )
    if timeline.times is not None:
        inside = np.ones(len(batch), dtype=np.bool_)
        inside[starts] = False
        if len(twice := np.flatnonzero((rows.times[1:] == rows.times[:-1]) & inside[1:])):
            first, second = rows.numbers[twice[0] : twice[0] + 2].tolist()
            column = timeline.times.column
            ((value,),) = table.ask(f"SELECT {quoted(column)} FROM rows WHERE {quoted(ROW)} = {second}")
            raise TableError(
                f"{table.place(second, column)}: expected each timestep of a sequence once, got {str(value)!r} here "
                f"and in row {table.line(first):,}"
            )
    return rows


def steps_and_lengths(rows: Rows, positions: Indices, *, trim: bool = True) -> tuple[Array, Indices]:
    """Return the timesteps of sequences `(sum of lengths, features)`, absent ones included, and lengths `(sequences,)`.

    `positions (rows,)` are the timesteps of the rows. With `trim`, absent timesteps at the end of a sequence are
    left out, so the length may be 0.
    """
    present = np.any(~np.isnan(rows.values), axis=1) | (not trim)
    lengths = np.maximum.reduceat(np.where(present, positions, -1), rows.starts) + 1
    ends = np.repeat(lengths, rows.sizes)
    offsets = np.repeat(np.cumsum(lengths) - lengths, rows.sizes)
    steps = np.full((int(lengths.sum()), rows.values.shape[1]), np.nan, np.float32)
    kept = positions < ends
    steps[(offsets + positions)[kept]] = rows.values[kept]
    return steps, lengths


def one_of_each(table: Table, rows: Rows, column: str, values: Any, *, required: bool) -> tuple[Any, Indices]:
    """Return the only value of each sequence in a column, and the index of a row that has it `(sequences,)`.

    Rows without a value do not count.

    Raises:
        TableError: a sequence has two values, or none although one is required.
    """
    codes = values.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    of_sequence = np.maximum.reduceat(codes, rows.starts)
    if required and len(none := np.flatnonzero(of_sequence < 0)):
        place = table.place(int(rows.numbers[rows.starts[none[0]]]), column)
        raise TableError(f"{place}: expected a value in a row of the sequence, got none")
    repeated = np.repeat(of_sequence, rows.sizes)
    other = np.flatnonzero((codes >= 0) & (codes != repeated))
    has = codes == repeated
    first = rows.starts + np.array([part.argmax() for part in np.split(has, rows.starts[1:])], np.int64)
    if len(other):
        row = int(other[0])
        known = first[np.searchsorted(rows.starts, row, side="right") - 1]
        one, two = sorted([row, int(known)], key=lambda index: int(rows.numbers[index]))
        raise TableError(
            f"{table.place(int(rows.numbers[two]), column)}: expected {values[one].as_py()!r}, as in row "
            f"{table.line(int(rows.numbers[one])):,} of the same sequence, got {values[two].as_py()!r}"
        )
    return values.take(pa.array(first)), first


def time_since_last(rows: Rows, unit: str) -> Array:
    """Return the time between each row and the one before, `(rows, 1)`; 0 for the first row of a sequence.

    Points in time differ by seconds.
    """
    since = np.diff(rows.times, prepend=rows.times[:1]).astype(np.float64)
    since[rows.starts] = 0
    return (since / {"us": 1e6, "ns": 1e9}.get(unit, 1.0)).astype(np.float32)[:, np.newaxis]


def label(table: Table, column: str) -> str:
    """Return the SQL of a label; null if there is none."""
    name = quoted(column)
    if table.types[column] == "VARCHAR":
        return f"nullif(trim({name}), '')"
    if table.types[column] in {"DOUBLE", "FLOAT"}:
        return f"CASE WHEN NOT isnan({name}) THEN {name} END"
    return f"{name}::VARCHAR" if table.types[column].startswith("ENUM") else name


def _starts(values: Any) -> Indices:
    """Return the indices at which a value differs from the one before, and 0."""
    changes = pc.not_equal(values.slice(1), values.slice(0, len(values) - 1)).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.flatnonzero(changes) + 1])
