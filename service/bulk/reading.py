"""Reads a unit of a source: its sequences, and the problems of those that the model does not take."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.artifact.card import ModelCard
from service.artifact.missing import NO_ROW, absent, absent_row, problem_of, refused
from service.artifact.steps import Steps, complete_static, last_windows, too_sparse, up_to_last_value
from service.artifact.table_format import format_of
from service.artifact.tensors import Array
from service.artifact.timing import timesteps_of
from service.bulk.arrays import array_of, numbers_of, texts_of
from service.bulk.parquet_rows import ParquetRows
from service.bulk.source import Source, Unit

Indices = NDArray[np.int64]
#: The columns that `prepare` writes: the number of the row, key, time, values of all columns, the place of the first
#: wrong value among them, from 1, and its text.
ROW, KEY, TIME, VALUES, WRONG, TEXT = "row", "key", "time", "values", "wrong", "text"
#: Rows that are turned from columns into rows at a time, so that they stay in the cache of the CPU.
ROWS: Final = 2**12


class Problem(NamedTuple):
    """Why a sequence is not scored, and the row that says so, counted from 1."""

    row: int
    reason: str


@dataclass(frozen=True)
class Part:
    """The sequences of a unit.

    Attributes:
        x: `(n, timesteps, features)`, those that the model takes; NaN where a value is missing and after the end.
        lengths: `(n,)`, the timesteps of each.
        rows: `(n,)`, the first row of each.
        keys: the key of each, a pyarrow array; None if the number of the row is the key.
        problems: those of the other sequences, in the order of their rows.
        problem_keys: the keys of these sequences as text, a pyarrow array; nulls without keys.
    """

    x: Array
    lengths: Indices
    rows: Indices
    keys: Any
    problems: list[Problem]
    problem_keys: Any

    def without(self, wrong: NDArray[np.bool_], reason: str) -> "Part":
        """Return the part with some of its sequences `(n,)` among the problems."""
        good, bad = np.flatnonzero(~wrong), np.flatnonzero(wrong)
        problems = [*self.problems, *(Problem(row, reason) for row in self.rows[bad].tolist())]
        order = sorted(range(len(problems)), key=lambda index: problems[index].row)
        names = pa.concat_arrays([self.problem_keys, _as_text(self.keys, bad)])
        return Part(
            x=self.x[good],
            lengths=self.lengths[good],
            rows=self.rows[good],
            keys=_taken(self.keys, good),
            problems=[problems[index] for index in order],
            problem_keys=_taken(names, np.array(order, np.int64)),
        )


def _taken(keys: Any, indices: Indices) -> Any:
    """Return some keys; None if there are none."""
    return None if keys is None else keys.take(array_of(indices))


def _as_text(keys: Any, indices: Indices) -> Any:
    """Return some keys as text; nulls without keys."""
    return texts_of([None] * len(indices)) if keys is None else _taken(keys, indices).cast(pa.string())


@dataclass(frozen=True)
class Read:
    """All sequences of a unit, before their values are checked.

    Attributes:
        steps: the timesteps of the sequences without a problem.
        alive: `(n,)`, whether a sequence is among these.
        rows: `(n,)`, the first row of each sequence.
        keys: the key of each, a pyarrow array; None if the number of the row is the key.
        problems: the problems by the index of the sequence.
    """

    steps: Steps
    alive: NDArray[np.bool_]
    rows: Indices
    keys: Any
    problems: dict[int, Problem]


def read(source: Source, unit: Unit, card: ModelCard, file: ParquetRows) -> Part:
    """Return the sequences of a unit, in their order."""
    match source.form:
        case "array":
            found = _array(source, unit)
        case "long":
            found = _long(source, _table(source, unit, file), card)
        case "wide":
            found = _wide(source, _table(source, unit, file), card)
        case "series":
            found = _series(source, _table(source, unit, file), card)
    return _checked(found, source, card)


def _checked(found: Read, source: Source, card: ModelCard) -> Part:
    """Return the sequences that the model takes, as `service.api.codecs.tables.decode_table` does.

    Those of an array are taken as `service.api.codecs.sequences.decode_sequences` does.
    """
    alive, problems, steps = np.flatnonzero(found.alive), found.problems, found.steps
    windows = format_of(card).windows and source.form not in ("wide", "array")
    if len(alive):
        if source.form != "array":
            complete_static(steps, card)
        if windows or (card.variable_length and not source.lengths):
            steps = up_to_last_value(steps)
    if windows and len(alive):
        steps = last_windows(steps, card.timesteps)
    lengths = steps.lengths
    fewest = card.timesteps if windows else card.fewest_timesteps
    wrong = ((lengths < fewest) | (lengths > card.timesteps)) & (lengths > 0)
    for index in np.flatnonzero(wrong):
        problems[int(alive[index])] = Problem(
            int(found.rows[alive[index]]), _wrong_length(card, int(lengths[index]), windows=windows)
        )
    with np.errstate(over="ignore"):  # too large values become infinite, and are refused
        values = steps.values.astype(np.float32, copy=False)
    if (lengths == card.timesteps).all():
        x = values.reshape(len(alive), card.timesteps, card.features)
    else:
        x = np.full((len(alive), card.timesteps, card.features), np.nan, np.float32)
        inside = np.arange(card.timesteps) < np.where(wrong, 0, lengths)[:, np.newaxis]
        x[inside] = values[~wrong.repeat(lengths)]
    if not problems and card.tokens is None and not card.categories and np.isfinite(x).all():  # as nearly always
        return Part(x, lengths, found.rows, found.keys, [], texts_of([]))
    places = refused(x, card) & ~wrong[:, np.newaxis, np.newaxis]
    empty = absent(x).all(axis=1) & ~wrong
    starts = steps.starts
    for index in np.flatnonzero(places.any(axis=(1, 2)) & ~empty):
        t, f = np.argwhere(places[index])[0].tolist()
        step = int(starts[index]) + t
        if source.form == "long" and source.time is not None and absent_row(steps.rows, step, int(starts[index])):
            reason = NO_ROW
        else:
            problem = problem_of(float(steps.values[step, f]), card, card.feature_labels[f])
            reason = f"{_place(source, t, f, card)}{problem}"
        problems[int(alive[index])] = Problem(int(steps.rows[step]), reason)
    for index in np.flatnonzero(empty):
        problems[int(alive[index])] = Problem(
            int(found.rows[alive[index]]), "expected a sequence of at least one value, got none"
        )
    good = np.array([index not in problems for index in alive.tolist()], np.bool_)
    bad = sorted(problems, key=lambda index: problems[index].row)
    return Part(
        x=x[good],
        lengths=lengths[good],
        rows=found.rows[alive[good]],
        keys=_taken(found.keys, alive[good]),
        problems=[problems[index] for index in bad],
        problem_keys=_as_text(found.keys, np.array(bad, np.int64)),
    )


def _wrong_length(card: ModelCard, got: int, *, windows: bool) -> str:
    expected = f"1 to {card.timesteps}" if card.variable_length else f"{card.timesteps}"
    expected = f"at least {card.timesteps}" if windows else expected
    return f"expected a sequence of {expected} timesteps, got {got}"


def _place(source: Source, t: int, f: int, card: ModelCard) -> str:
    """Return the column of a value, for messages; of an array, the indices of the timestep and the feature."""
    match source.form:
        case "array":
            return f"[{t}][{f}]: "
        case "wide":
            of_feature = _of_label(source, card.feature_labels[f])
            return _column(source.columns[of_feature[min(t, len(of_feature) - 1)]])
    names = (*source.columns, format_of(card).timestep_column or "")
    return _column(names[f])


def _of_label(source: Source, label: str) -> list[int]:
    """Return the indices of the columns of a feature: one for each timestep, or one for a static feature."""
    return [index for index, one in enumerate(source.labels) if one == label]


def _column(name: str) -> str:
    return f"column {name[:80]!r}: "


def _array(source: Source, unit: Unit) -> Read:
    n, (_, timesteps, features) = unit.stop - unit.start, source.shape
    size = timesteps * features
    dtype = np.dtype(source.dtype)
    values: NDArray[Any] = np.fromfile(
        source.path, dtype, n * size, offset=source.offset + unit.start * size * dtype.itemsize
    )
    lengths = told = np.full(n, timesteps)
    values = values.astype(np.float64 if dtype.itemsize > 4 else np.float32).reshape(n * timesteps, features)
    if source.lengths:
        with np.load(source.lengths) as arrays:
            told = arrays["lengths"][unit.start : unit.stop]
        lengths = np.where((told > 0) & (told <= timesteps), told, 0).astype(np.int64)
        values = values[(np.arange(timesteps) < lengths[:, np.newaxis]).ravel()]
    rows = np.arange(unit.start, unit.stop) + 1
    problems = {
        int(index): Problem(int(rows[index]), f"expected a length from 1 to {timesteps}, got {told[index]}")
        for index in np.flatnonzero(lengths == 0)
    }
    return Read(Steps(values, rows.repeat(lengths), lengths[lengths > 0]), lengths > 0, rows, None, problems)


def _table(source: Source, unit: Unit, file: ParquetRows) -> Any:
    """Return the rows of a unit with the columns that are needed, a pyarrow record batch; and the row of each."""
    columns = [name for name in (source.key, source.time) if name is not None]
    if not source.prepared:
        columns += source.columns
    elif source.form == "series":
        columns += [ROW, WRONG, TEXT, *series_columns(source)]
    else:
        columns += [ROW, WRONG, TEXT, VALUES]
    batch = file.read(source.path, columns, unit.start, unit.stop)
    if source.prepared:
        return batch
    arrays = [one.cast(pa.list_(one.type.value_type)) if _is_other_list(one.type) else one for one in batch.columns]
    rows = array_of(np.arange(unit.start + 1, unit.stop + 1))
    return pa.RecordBatch.from_arrays([*arrays, rows], [*batch.schema.names, "the number of the row"])


def _is_other_list(of_type: Any) -> bool:
    """Return whether a type is a list of another kind than the usual one."""
    return bool(pa.types.is_large_list(of_type) or pa.types.is_fixed_size_list(of_type))


def series_columns(source: Source) -> list[str]:
    """Return the columns of the features of a prepared table of series."""
    return [f"{VALUES}{index}" for index in range(len(source.columns))]


def _rows(source: Source, batch: Any) -> Indices:
    return numbers_of(batch[ROW] if source.prepared else batch.columns[-1]).astype(np.int64, copy=False)


def _values(source: Source, batch: Any) -> NDArray[Any]:
    """Return the values of the columns, `(rows, columns)`; NaN where one is missing."""
    if source.prepared:
        return numbers_of(batch[VALUES].flatten()).reshape(len(batch), -1).copy()
    columns = [numbers_of(batch[name]) for name in source.columns]
    wide = any(column.dtype.itemsize > 4 for column in columns)
    values = np.empty((len(batch), len(columns)), np.float64 if wide else np.float32)
    for start in range(0, len(batch), ROWS):
        for index, column in enumerate(columns):
            values[start : start + ROWS, index] = column[start : start + ROWS]
    return values


def _wrong_values(source: Source, batch: Any, card: ModelCard) -> dict[int, str]:
    """Return the reason for each row of a prepared table whose text is no value of the model."""
    if not source.prepared:
        return {}
    wrong = numbers_of(batch[WRONG])
    reasons = {}
    for row in np.flatnonzero(wrong > 0).tolist():
        index = int(wrong[row]) - 1
        text = batch[TEXT][row].as_py()
        if index == len(source.columns):
            noun = "a number or a time such as 2024-01-31 12:00"
            column, problem = format_of(card).timestep_column or "", f"expected {noun}, got {_shown(text)}"
        elif source.form == "series" and source.labels[index] not in card.static_labels:
            column, problem = source.columns[index], f"expected a list of numbers, got {_shown(text)}"
        else:
            column, problem = source.columns[index], problem_of(_shown(text), card, source.labels[index])
        reasons[row] = f"{_column(column)}{problem}"
    return reasons


def _shown(text: str | None) -> str:
    return "no value" if text is None else repr(text if len(text) <= 60 else f"{text[:59]}…")


def _wide(source: Source, batch: Any, card: ModelCard) -> Read:
    rows, values = _rows(source, batch), _values(source, batch)
    problems = {row: Problem(int(rows[row]), reason) for row, reason in _wrong_values(source, batch, card).items()}
    alive = np.ones(len(rows), np.bool_)
    alive[list(problems)] = False
    places = [_of_label(source, label) for label in card.feature_labels]
    order = [place[min(step, len(place) - 1)] for step in range(card.timesteps) for place in places]
    if order != list(range(values.shape[1])):
        values = values[:, order]
    lengths = np.full(int(alive.sum()), card.timesteps)
    good = values[alive] if problems else values
    steps = Steps(good.reshape(-1, card.features), rows[alive].repeat(card.timesteps), lengths)
    return Read(steps, alive, rows, None, problems)


def _series(source: Source, batch: Any, card: ModelCard) -> Read:
    rows = _rows(source, batch)
    names = series_columns(source) if source.prepared else source.columns
    problems = {row: Problem(int(rows[row]), reason) for row, reason in _wrong_values(source, batch, card).items()}
    is_list = [label not in card.static_labels for label in source.labels]
    lists = [name for name, one in zip(names, is_list, strict=True) if one]
    lengths = np.stack([_lengths(batch[name]) for name in lists])
    for index in np.flatnonzero((lengths != lengths[0]).any(axis=0)).tolist():
        got = sorted({*lengths[:, index].tolist()})
        problems.setdefault(index, Problem(int(rows[index]), f"expected series of one length, got {got}"))
    for index in np.flatnonzero(lengths[0] == 0).tolist():
        problems.setdefault(index, Problem(int(rows[index]), "expected a sequence of at least one value, got none"))
    alive = np.ones(len(rows), np.bool_)
    alive[list(problems)] = False
    sizes = lengths[0][alive]
    some = batch.take(array_of(np.flatnonzero(alive))) if problems else batch
    columns = [
        numbers_of(some[name].flatten()) if one else numbers_of(some[name]).repeat(sizes)
        for name, one in zip(names, is_list, strict=True)
    ]
    values = np.stack(columns, axis=1) if len(sizes) else np.empty((0, len(names)))
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    return Read(Steps(values, rows[alive].repeat(sizes), sizes), alive, rows, None, problems)


def _lengths(lists: Any) -> Indices:
    """Return the length of each list, 0 for a null."""
    lengths = numbers_of(lists.value_lengths())
    return np.where(np.isnan(lengths), 0, lengths).astype(np.int64)


def _long(source: Source, batch: Any, card: ModelCard) -> Read:
    rows, values = _rows(source, batch), _values(source, batch)
    starts = starts_of(batch[source.key]) if source.key is not None else np.zeros(1, np.int64)
    first_rows = np.minimum.reduceat(rows, starts) if source.prepared else rows[starts]
    problems: dict[int, Problem] = {}
    for row, reason in _wrong_values(source, batch, card).items():
        problems.setdefault(_at(starts, row), Problem(int(rows[row]), reason))
    times: NDArray[Any] = rows
    if source.time is not None:
        times = _with_room(numbers_of(batch[source.time]))
        for row in np.flatnonzero(~np.isfinite(times)).tolist():
            got = "no value" if np.isnan(times[row]) else f"{times[row]}"
            column = _column(format_of(card).timestep_column or "")
            reason = f"{column}expected a number or a time such as 2024-01-31 12:00, got {got}"
            problems.setdefault(_at(starts, row), Problem(int(rows[row]), reason))
        if not _rises(times, starts):
            order = np.lexsort((times, np.repeat(np.arange(len(starts)), np.diff(starts, append=len(rows)))))
            rows, values, times = rows[order], values[order], times[order]
            for row in np.flatnonzero((times[1:] == times[:-1]) & ~np.isin(np.arange(1, len(rows)), starts)).tolist():
                number = int(rows[row : row + 2].max())
                column = _column(format_of(card).timestep_column or "")
                reason = f"{column}expected each timestep of a sequence once, got one twice"
                problems.setdefault(_at(starts, row), Problem(number, reason))
    for column, label in zip(source.columns, source.labels, strict=True):
        if label in card.static_labels:
            problems = {**_changing(column, values[:, source.columns.index(column)], rows, starts), **problems}
    alive = np.ones(len(starts), np.bool_)
    alive[list(problems)] = False
    sizes = np.diff(starts, append=len(rows))[alive]
    if problems:
        kept = alive.repeat(np.diff(starts, append=len(rows)))
        values, rows, times = values[kept], rows[kept], times[kept]
    some = Steps(values, rows, sizes)
    steps = _in_time(some, times, source, card) if source.time is not None and len(sizes) else some
    whole = steps.lengths > 0
    if not whole.all():
        for index in np.flatnonzero(alive)[~whole].tolist():
            reason = f"expected a sequence of at most {card.timesteps} timesteps, got too many between its times"
            problems[index] = Problem(int(first_rows[index]), reason)
        alive[np.flatnonzero(alive)[~whole]] = False
        steps = Steps(steps.values, steps.rows, steps.lengths[whole])
    keys = None if source.key is None else batch[source.key].take(array_of(starts))
    if keys is not None and source.key_is_text:
        keys = keys.cast(pa.string())
    return Read(steps, alive, first_rows, keys, problems)


def _with_room(times: NDArray[Any]) -> NDArray[Any]:
    """Return numbers in a type that has the differences of all numbers of a smaller type."""
    return times.astype(np.float64 if times.dtype.kind == "f" else np.int64) if times.dtype.itemsize < 8 else times


def _at(starts: Indices, row: int) -> int:
    """Return the index of the sequence that has a row."""
    return int(np.searchsorted(starts, row, side="right")) - 1


def _rises(times: NDArray[Any], starts: Indices) -> bool:
    """Return whether each time is after the one before of the same sequence."""
    rises = times[1:] > times[:-1]
    rises[starts[1:] - 1] = True
    return bool(rises.all())


def _in_time(steps: Steps, times: NDArray[Any], source: Source, card: ModelCard) -> Steps:
    """Return sequences with the time since the row before as a feature, or with their absent timesteps.

    The length of a sequence with too many absent timesteps is 0.
    """
    timing, starts = format_of(card).timing, steps.starts
    if format_of(card).time_feature is not None:
        since = np.diff(times, prepend=times[:1]).astype(np.float64) / source.scale
        since[starts] = 0
        varying = ~np.isin(source.labels, card.static_labels)
        since[np.isnan(steps.values[:, varying]).all(axis=1)] = np.nan
        return Steps(np.column_stack([steps.values, since]), steps.rows, steps.lengths)
    if timing is None or not timing.has_steps:
        return steps
    step = None if timing.step is None else timing.step * source.scale
    positions = timesteps_of(times, starts, np.array(timing.times) * source.scale, step)
    spans = positions[starts + steps.lengths - 1] + 1
    spans[too_sparse(spans, steps.lengths)] = 0
    kept = spans.repeat(steps.lengths) > 0
    place = ((np.cumsum(spans) - spans).repeat(steps.lengths) + positions)[kept]
    values = np.full((int(spans.sum()), steps.values.shape[1]), np.nan, steps.values.dtype)
    values[place] = steps.values[kept]
    row_of = np.zeros(len(values), np.intp)
    row_of[place] = np.flatnonzero(kept)
    return Steps(values, steps.rows[np.maximum.accumulate(row_of)], spans)


def _changing(column: str, values: NDArray[Any], rows: Indices, starts: Indices) -> Mapping[int, Problem]:
    """Return the problem of each sequence that has two values in a column that must not change."""
    lowest, highest = (function.reduceat(values, starts) for function in (np.fmin, np.fmax))
    problems = {}
    ends = [*starts.tolist(), len(rows)]
    bounds = list(pairwise(ends))
    for index in np.flatnonzero(lowest < highest).tolist():
        start, end = bounds[index]
        known = values[start:end][~np.isnan(values[start:end])]
        at = start + int(np.flatnonzero(~np.isnan(values[start:end]) & (values[start:end] != known[0]))[0])
        reason = f"{_column(column)}expected {known[0]:g}, as in a row before of the same sequence, got {values[at]:g}"
        problems[index] = Problem(int(rows[at]), reason)
    return problems


def starts_of(keys: Any) -> Indices:
    """Return the indices at which a key differs from the one before, and 0."""
    if pa.types.is_integer(keys.type):  # numpy takes half as long
        numbers = numbers_of(keys)
        changes = numbers[1:] != numbers[:-1]
    else:
        changes = numbers_of(pc.not_equal(keys.slice(1), keys.slice(0, len(keys) - 1))).view(np.bool_)
    starts: Indices = np.concatenate([[0], np.flatnonzero(changes) + 1])
    return starts
