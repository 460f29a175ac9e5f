"""Layouts of sequences in a table: one row a sequence (wide), or one row a timestep (long)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.artifact.tensors import Array
from training import TrainingError
from training.data import MOST_COLUMNS, Indices, SourceData, numbered
from training.options import Options
from training.sources.labels import Labels
from training.sources.spool import SpoolWriter
from training.sources.tables import Table, TableBatch, first_refused, is_text, open_table, shown


@dataclass(frozen=True)
class Chunk:
    """Some whole sequences of a table.

    Attributes:
        heads: `(k,)`, index in `batch` of the first row of each sequence.
        steps: `(m, features)`, the timesteps of all sequences, one after the other.
        starts: `(k,)`, index in `steps` of the start of each sequence.
    """

    batch: TableBatch
    heads: Indices
    steps: Array
    starts: Indices


def read(files: Mapping[str, Path], options: Options) -> SourceData:
    """Read one table, or a table to fit and a table to hold out, and write the sequences to disk."""
    tables = [open_table(where, path) for where, path in files.items()]
    layout = _layout(tables[0], options)
    targets = options.target_column or ()
    labels, rows = Labels(targets, typed=tables[0].typed), []
    counts = []  # sequences of each table
    with SpoolWriter(len(layout.feature_labels)) as writer:
        for table in tables:
            counts.append(0)
            try:
                for chunk in layout.chunks(table):
                    for target in targets:
                        chunk.batch.refuse_null(target)
                    steps, lengths = _trimmed(chunk)
                    writer.append(steps, lengths)
                    labels.add(chunk.batch, chunk.heads)
                    rows.append(chunk.batch.first + chunk.heads)
                    counts[-1] += len(lengths)
            except pa.ArrowException as error:  # values of a column cannot be compared, lists for example
                raise TrainingError(f"{table.where}: expected columns of text, numbers or times: {error}") from error
        spool = writer.spool()
    first_rows = np.concatenate(rows)

    def locate(index: int) -> str:
        return f"{tables[0 if index < counts[0] else -1].where}, row {first_rows[index]:,}"

    return SourceData(
        where=tables[0].where,
        x=spool,
        labels=labels.array(),
        label_names=tuple(targets),
        timestep_labels=layout.timestep_labels or numbered(spool.shape[1]),
        feature_labels=layout.feature_labels,
        locate=locate,
        fitted=counts[0] if len(tables) > 1 else None,
    )


def _layout(table: Table, options: Options) -> "Wide | Long":
    targets = options.target_column or ()
    if not targets:
        raise TrainingError(f"{table.where}: expected --target-column, the column to predict: {table.shown_names()}")
    if (options.sequence_column is None) != (options.timestep_column is None):
        raise TrainingError(
            "--sequence-column and --timestep-column: expected both, for one row a timestep, or neither"
        )
    keys = [column for column in (options.sequence_column, options.timestep_column) if column is not None]
    features = _features(table, [*targets, *keys], options)
    if options.sequence_column is None or options.timestep_column is None:
        return Wide(table, features, targets)
    return Long(options.sequence_column, options.timestep_column, features, targets)


def _features(table: Table, taken: Sequence[str], options: Options) -> tuple[str, ...]:
    """Return the columns with the values of sequences."""
    dropped = options.drop_columns or ()
    table.require([*taken, *dropped, *(options.feature_columns or ())])
    without = {*taken, *dropped}
    features = tuple(name for name in options.feature_columns or table.names if name not in without)
    if not features:
        raise TrainingError(f"{table.where}: expected columns besides {', '.join(taken)}, got {table.shown_names()}")
    return features


def _trimmed(chunk: Chunk) -> tuple[Array, Indices]:
    """Remove absent timesteps at the end of each sequence.

    Return the timesteps `(sum of lengths, features)` and the lengths `(k,)`.
    """
    count = len(chunk.steps)
    present = np.any(~np.isnan(chunk.steps), axis=1)
    last = np.maximum.reduceat(np.where(present, np.arange(count), -1), chunk.starts)
    if len(empty := np.flatnonzero(last < 0)):
        row = chunk.batch.first + chunk.heads[empty[0]]
        raise TrainingError(f"{chunk.batch.where}, row {row:,}: expected values in the sequence, got none")
    kept = np.arange(count) <= np.repeat(last, np.diff(chunk.starts, append=count))
    return chunk.steps[kept], last - chunk.starts + 1


class Wide:
    """One row a sequence. A column is a timestep, or a timestep of one feature: `feature@timestep`."""

    def __init__(self, table: Table, columns: Sequence[str], targets: Sequence[str]) -> None:
        self._targets = targets
        plain = [column for column in columns if "@" not in column]
        if len(plain) == len(columns):
            self.feature_labels: tuple[str, ...] = ("0",)
            self.timestep_labels, self._columns = tuple(columns), tuple(columns)
            return
        if plain:
            raise TrainingError(
                f"{table.where}: expected all columns or none to be named feature@timestep, got {columns[0]!r} "
                f"and {plain[0]!r}; --drop-columns leaves some out"
            )
        pairs = [column.rpartition("@") for column in columns]
        self.feature_labels = tuple(dict.fromkeys(feature for feature, _, _ in pairs))
        self.timestep_labels = tuple(dict.fromkeys(timestep for _, _, timestep in pairs))
        expected = len(self.feature_labels) * len(self.timestep_labels)
        # A generator, because uneven features may give millions of names.
        names = (f"{feature}@{timestep}" for timestep in self.timestep_labels for feature in self.feature_labels)
        if len(columns) != expected:
            there = set(columns)
            missing = next(name for name in names if name not in there)
            raise TrainingError(
                f"{table.where}: uneven features: expected each at every timestep, {expected:,} columns, "
                f"got {len(columns):,}, without {missing!r}"
            )
        self._columns = tuple(names)

    def chunks(self, table: Table) -> Iterator[Chunk]:
        for batch in table.batches([*self._columns, *self._targets]):
            heads = np.arange(len(batch))
            steps = batch.numbers(self._columns).astype(np.float32).reshape(-1, len(self.feature_labels))
            yield Chunk(batch, heads, steps, heads * len(self.timestep_labels))


class Long:
    """One row a timestep. The rows of a sequence follow each other, timesteps ascending, labels the same."""

    def __init__(self, sequence: str, timestep: str, features: Sequence[str], targets: Sequence[str]) -> None:
        self._sequence, self._timestep, self._targets = sequence, timestep, targets
        self.feature_labels = tuple(features)
        self._timesteps = Timesteps(timestep)

    @property
    def timestep_labels(self) -> tuple[str, ...]:
        """The timesteps, complete after the tables were read; empty if sequences differ in them."""
        return self._timesteps.labels()

    def chunks(self, table: Table) -> Iterator[Chunk]:
        seen = SeenSequences()
        rest: TableBatch | None = None
        for read in table.batches([self._sequence, self._timestep, *self.feature_labels, *self._targets]):
            batch = read if rest is None else rest.joined(read)
            starts = self._starts(batch)
            # The last sequence may continue in the next batch.
            whole, rest = batch.part(0, int(starts[-1])), batch.part(int(starts[-1]), len(batch))
            if len(whole):
                yield self._chunk(whole, starts[:-1], seen)
        assert rest is not None, "a table without rows is refused before"
        yield self._chunk(rest, np.zeros(1, dtype=np.int64), seen)
        seen.refuse_returned(table.where, self._sequence)

    def _starts(self, batch: TableBatch) -> Indices:
        """Return the starts of sequences. Refuse a sequence that is too long before its end is read."""
        batch.refuse_null(self._sequence)
        starts = np.concatenate([[0], np.flatnonzero(_changes(batch[self._sequence])) + 1])
        sizes = np.diff(starts, append=len(batch)) * len(self.feature_labels)
        if (most := sizes.max()) > MOST_COLUMNS:
            place = batch.locate(self._sequence, int(starts[sizes.argmax()]))
            raise TrainingError(
                f"{place}: expected at most {MOST_COLUMNS:,} values in a sequence, got {most:,} or more"
            )
        return starts

    def _chunk(self, batch: TableBatch, starts: Indices, seen: "SeenSequences") -> Chunk:
        inside = np.ones(len(batch), dtype=np.bool_)  # rows that continue the sequence of the row before
        inside[starts] = False
        self._timesteps.check(batch, starts, inside)
        for target in self._targets:
            batch.refuse_null(target)
            if len(wrong := np.flatnonzero(_changes(batch[target]) & inside[1:])):
                row = int(wrong[0]) + 1
                before, value = shown(batch[target][row - 1]), shown(batch[target][row])
                raise TrainingError(
                    f"{batch.locate(target, row)}: expected {before}, as before in the sequence, got {value}"
                )
        seen.add(batch[self._sequence].take(pa.array(starts)), batch.first + starts)
        return Chunk(batch, starts, batch.numbers(self.feature_labels).astype(np.float32), starts)


class Timesteps:
    """Checks that timesteps ascend in each sequence, and finds labels if all sequences share their timesteps."""

    def __init__(self, column: str) -> None:
        self._column = column
        self._known: NDArray[Any] = np.zeros(0, dtype=np.int64)  # of the longest sequence
        self._shared = True

    def check(self, batch: TableBatch, starts: Indices, inside: NDArray[np.bool_]) -> None:
        """Check whole sequences. `starts (k,)` are their first rows; `inside (rows,)` is true in all other rows."""
        times = self._times(batch)
        if len(wrong := np.flatnonzero(~(times[1:] > times[:-1]) & inside[1:])):
            row = int(wrong[0]) + 1
            values = batch[self._column]
            before, value = shown(values[row - 1]), shown(values[row])
            place = batch.locate(self._column, row)
            if times[row] == times[row - 1]:
                raise TrainingError(f"{place}: expected each timestep of a sequence once, got {value} twice")
            raise TrainingError(f"{place}: expected timesteps in ascending order, got {value} after {before}")
        if self._shared:
            self._compare(times, starts)

    def labels(self) -> tuple[str, ...]:
        """Return the timesteps of the longest sequence if all others are prefixes of it, else ()."""
        if not self._shared:
            return ()
        if self._known.dtype.kind == "M":
            return tuple(np.datetime_as_string(self._known, unit="auto").tolist())
        whole = bool((self._known == np.trunc(self._known)).all())
        return tuple(map(str, (self._known.astype(np.int64) if whole else self._known).tolist()))

    def _compare(self, times: NDArray[Any], starts: Indices) -> None:
        sizes = np.diff(starts, append=len(times))
        longest = int(sizes.argmax())
        if sizes[longest] > len(self._known):
            of_longest = times[starts[longest] : starts[longest] + sizes[longest]]
            self._shared = bool((of_longest[: len(self._known)] == self._known).all())
            self._known = of_longest.copy()
        position = np.arange(len(times)) - np.repeat(starts, sizes)
        self._shared = self._shared and bool((times == self._known[position]).all())

    def _times(self, batch: TableBatch) -> NDArray[Any]:
        """Return the timesteps as integers, else as numbers, else as points in time."""
        batch.refuse_null(self._column)
        values = batch[self._column]
        types = [pa.int64(), pa.float64(), pa.timestamp("us"), pa.timestamp("us", "UTC")]
        if not is_text(values.type):
            types = [of_type for of_type in types if _is_like(values.type, of_type)]
        for of_type in types:
            try:
                times: NDArray[Any] = values.cast(of_type).to_numpy(zero_copy_only=False)
            except pa.ArrowInvalid:
                continue
            if len(self._known) and (times.dtype.kind == "M") != (self._known.dtype.kind == "M"):
                raise TrainingError(
                    f"{batch.locate(self._column, 0)}: expected numbers or times, as before, got {shown(values[0])}"
                )
            return times
        if not is_text(values.type):
            raise TrainingError(f"{batch.where}, column {self._column!r}: expected numbers or times, got {values.type}")
        kind = pa.float64() if first_refused(values, pa.float64()) else pa.timestamp("us")
        row = first_refused(values, kind)
        raise TrainingError(
            f"{batch.locate(self._column, row)}: expected a number or a time such as 2024-01-31 12:00, "
            f"got {shown(values[row])}"
        )


class SeenSequences:
    """The identifiers of all sequences so far, as 64-bit hashes to save memory."""

    def __init__(self) -> None:
        self._hashes: list[Indices] = []
        self._rows: list[Indices] = []

    def add(self, sequences: Any, rows: Indices) -> None:
        """Add some identifiers and the first row of each sequence."""
        self._hashes.append(np.fromiter(map(hash, sequences.cast(pa.string()).to_pylist()), np.int64, len(rows)))
        self._rows.append(rows)

    def refuse_returned(self, where: str, column: str) -> None:
        """Refuse a sequence that occurs again after another one."""
        hashes, rows = np.concatenate(self._hashes), np.concatenate(self._rows)
        order = np.argsort(hashes, kind="stable")
        again = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]]) + 1
        if len(again):
            first = again[order[again].argmin()]
            raise TrainingError(
                f"{where}, column {column!r}, row {rows[order[first]]:,}: expected the rows of a sequence to be "
                f"consecutive, got a sequence that also begins in row {rows[order[first - 1]]:,}"
            )


def _changes(values: Any) -> NDArray[np.bool_]:
    """Return, for each value but the first, whether it differs from the one before."""
    changes: NDArray[np.bool_] = pc.not_equal(values[1:], values[:-1]).to_numpy(zero_copy_only=False)
    return changes


def _is_like(given: Any, wanted: Any) -> bool:
    """Return whether values of a pyarrow type keep their order when cast to another type."""
    if pa.types.is_integer(wanted):
        return bool(pa.types.is_integer(given))
    if pa.types.is_floating(wanted):
        return bool(pa.types.is_integer(given) or pa.types.is_floating(given) or pa.types.is_decimal(given))
    return bool(pa.types.is_timestamp(given) or pa.types.is_date(given))
