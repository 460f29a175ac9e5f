"""Reading of tables: a file to fit and, if given, a file to hold out become sequences with labels."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from service.artifact.card import TableFormat, Timing
from service.errors import TableError
from service.tables.columns import Columns
from service.tables.long import TIME_FEATURE, long_sequences, sorted_rows, steps_and_lengths
from service.tables.rows import Table, is_csv, open_table, shown
from service.tables.sequences import Sequences
from service.tables.timeline import Timeline, timeline_of, timeline_on_card
from service.tables.times import look_like_dates, times_of
from service.tables.wide import Wide, list_sequences, wide_of, wide_sequences
from training import TrainingError
from training.command_line import flag_of
from training.data import Indices, SourceData, numbered
from training.options import Options
from training.tables.columns import columns_of, values_of
from training.tables.labels import Labels
from training.tables.spool import SpoolWriter
from training.tables.windows import Windows, split_by_time, window_starts


@contextmanager
def table_errors() -> Iterator[None]:
    """Raise the error of a table as one of training."""
    try:
        yield
    except TableError as error:
        raise TrainingError(str(error)) from error


@table_errors()
def read(sources: Mapping[str, Any], options: Options) -> SourceData:
    """Read one table, or a table to fit and a table to hold out.

    Args:
        sources: by their names in error messages, paths of files, or frames of pandas, polars or pyarrow.
        options: the options of the training.

    Raises:
        TrainingError: a table cannot be read, or its values do not suit the options.
    """
    is_text = any(map(is_csv, sources.values()))
    tables = [open_table(where, source, options.dialect, is_text=is_text) for where, source in sources.items()]
    columns = columns_of(tables[0], options)
    for table in tables[1:]:
        needed = [*columns.targets, *columns.features, columns.sequence, columns.timestep, columns.group]
        table.require([name for name in needed if name is not None], has_option=True)
        kinds = tables[0].kinds(columns.features)
        table.refuse_words(
            [name for name in columns.features if name not in columns.categories and kinds[name] != "lists"]
        )
    if options.window is not None:
        if len(tables) > 1:
            raise TrainingError("--test-data: windows are held out by time, got a second table")
        return _windows(tables[0], columns, options)
    if columns.sequence is None and columns.timestep is not None:
        raise TrainingError(
            "--timestep-column: expected --sequence-column, too, for one row a timestep, or --window, for windows of "
            "one long series"
        )
    return _sequences(tables, columns, options)


@table_errors()
def read_again(
    table: Table, options: Options, columns: Columns, known: TableFormat | None, wide: Wide | None
) -> SourceData:
    """Read another table for a model of an earlier training. A series is not cut into windows.

    Args:
        table: the table.
        options: the options of the training.
        columns: the roles of the columns.
        known: of a table of one row a timestep, how that of the training was read, to turn times into timesteps as
            then.
        wide: of a table with a column for each timestep, these columns.

    Raises:
        TrainingError: a value is wrong.
    """
    kinds = table.kinds([name for name in columns.features if name not in columns.categories])
    table.refuse_words([name for name, kind in kinds.items() if kind != "lists"])
    return _sequences([table], columns, options, known, wide)


def _sequences(
    tables: list[Table],
    columns: Columns,
    options: Options,
    known: TableFormat | None = None,
    wide: Wide | None = None,
) -> SourceData:
    first = tables[0]
    timing: Timing | None = None
    kinds = first.kinds(columns.features)
    lists = [name for name in columns.features if kinds[name] == "lists"]
    hints = list(columns.hints)
    if columns.sequence is not None or known is not None:
        times = None if columns.timestep is None else times_of(first, columns.timestep, options.date_format)
        if known is None:
            timeline = timeline_of(first, columns, times, gaps=not options.time_feature)
        else:
            timeline = timeline_on_card(times, known.timing)
        hints += _hints_on_time(timeline, options)
        features = (*columns.features, *((TIME_FEATURE,) if options.time_feature else ()))
        labels, static, timing = timeline.labels(), columns.static, timeline.timing()
        parts = [long_sequences(table, columns, timeline, time_feature=options.time_feature) for table in tables]
    elif lists:
        left = [name for name in columns.features if name not in {*lists, *columns.static}]
        if left:
            hints.append(f"{', '.join(map(repr, left))} left out: not a series; --static-columns uses such columns")
        features, labels, static = (*lists, *columns.static), (), columns.static
        parts = [list_sequences(table, columns, lists) for table in tables]
    else:
        wide = wide or wide_of(first, columns)
        features, labels, static = (*wide.features, *wide.static), wide.timesteps, wide.static
        columns, hints = _categories_of_wide(first, columns, wide.columns, wide.features), [*hints, *wide.hints]
        columns = columns.with_used(wide.columns)
        parts = [wide_sequences(table, columns, wide) for table in tables]
    targets, groups = [Labels(name) for name in columns.targets], Labels(columns.group or "")
    numbers: list[Indices] = []
    counts: list[int] = []
    with SpoolWriter(len(features)) as writer:
        for table, sequences in zip(tables, parts, strict=True):
            before = sum(map(len, numbers))
            for some in sequences:
                _refuse_empty(table, some)
                writer.append(some.steps, some.lengths)
                numbers.append(some.numbers)
                for column, values in zip(targets, some.targets, strict=True):
                    _refuse_unlabelled(table, column.column, some.numbers, values)
                    column.add(table, values)
                if some.groups is not None:
                    groups.add(table, some.groups)
            counts.append(sum(map(len, numbers)) - before)
        spool = writer.spool()
    places = np.concatenate(numbers)
    hints += _without_effect(options, is_long=columns.sequence is not None)

    def locate(index: int) -> str:
        return tables[0 if index < counts[0] else -1].place(int(places[index]))

    return SourceData(
        where=first.where,
        x=spool,
        labels=_labels(first, targets),
        label_names=columns.targets,
        timestep_labels=labels or numbered(spool.shape[1]),
        feature_labels=features,
        locate=locate,
        fitted=counts[0] if len(tables) > 1 else None,
        groups=None if columns.group is None else _codes(groups.array(first)),
        categories={name: columns.categories[name] for name in features if name in columns.categories},
        static_labels=static,
        hints=tuple(hints),
        table=_format(first, columns, features, timing, options),
    )


def _windows(table: Table, columns: Columns, options: Options) -> SourceData:
    """Cut the series of a table into windows, with the values that follow each."""
    assert options.window is not None
    times = None if columns.timestep is None else times_of(table, columns.timestep, options.date_format)
    past = tuple(name for name in columns.targets if name not in (options.drop_columns or ()))
    kinds = table.kinds(columns.targets)
    numbers = all(kinds[name] in {"numbers", "booleans"} for name in columns.targets)
    numbers = numbers and options.task != "classification"
    if numbers:  # the past of a number is a feature
        table.refuse_words(columns.targets)
        columns = columns.with_features(past)
    if not columns.features:
        raise TrainingError(f"{table.where}: expected a feature besides the target, got {table.shown_names()}")
    timeline = timeline_of(table, columns, times, gaps=not options.time_feature)
    parts = list(sorted_rows(table, columns, timeline))
    steps: list[Any] = []
    lengths: list[Any] = []
    labels: list[Any] = []
    moments: list[Any] = []
    rows: list[Any] = []
    for part in parts:
        positions = timeline.positions(part.times, part.starts)
        found, of_each = steps_and_lengths(part, positions, trim=False)
        place = np.repeat(np.cumsum(of_each) - of_each, part.sizes) + positions
        target = np.full((len(found), len(columns.targets)), None, dtype=object)
        for index, values in enumerate(part.targets):
            target[place, index] = values.to_numpy(zero_copy_only=False)
        number = np.zeros(len(found), np.int64)
        number[place] = part.numbers
        moment = np.full(len(found), np.nan)
        moment[place] = part.times if timeline.times is not None else positions
        for known, values in ((steps, found), (lengths, of_each), (labels, target), (rows, number)):
            known.append(values)
        moments.append(_filled(moment))
    every, of_series, target, moment = map(np.concatenate, (steps, lengths, labels, moments))
    width, horizon = options.window, options.horizon
    starts = window_starts(of_series, width, horizon, options.stride)
    if numbers:
        wanted = starts[:, np.newaxis] + width + np.arange(horizon)  # (n, horizon)
        y = (
            np.array(target[wanted], dtype=np.float64)
            .transpose(0, 2, 1)
            .reshape(len(starts), horizon * len(columns.targets))
        )
        usable = ~np.isnan(y).any(axis=1)
    else:
        y = target[starts + width + horizon - 1, 0]
        usable = np.array([value is not None for value in y], dtype=np.bool_)
    x = Windows(every, starts, width)
    usable &= np.array([not np.isnan(x[index : index + 1]).all() for index in range(len(starts))], dtype=np.bool_)
    starts, y = starts[usable], y[usable]
    fit, test = split_by_time(starts, moment, width, horizon, options.test_split)
    if not (len(fit) and len(test)):
        raise TrainingError(
            f"{table.where}: expected enough rows for windows of {width} and {horizon} after them, to fit and to hold "
            f"out, got series of {', '.join(map(str, of_series[:3]))} rows"
        )
    order = np.concatenate([fit, test])
    first = starts[order]
    numbered_rows = np.concatenate(rows)
    names = tuple(f"{name}+{step}" for name in columns.targets for step in range(1, horizon + 1))
    return SourceData(
        where=table.where,
        x=Windows(every, first, width),
        labels=y[order] if numbers else _texts(table, columns.targets[0], y[order]),
        label_names=names if numbers else columns.targets,
        table=_format(table, columns, columns.features, _without_times(timeline.timing()), options),
        timestep_labels=tuple(map(str, range(1 - width, 1))),
        feature_labels=columns.features,
        locate=lambda index: table.place(int(numbered_rows[starts[order[index]]])),
        fitted=len(fit),
        spans=np.stack([moment[first], moment[first + width + horizon - 1]], axis=1),
        categories=columns.categories,
        static_labels=columns.static,
        ordered=True,
        past=_past(columns, horizon) if numbers else (),
        hints=(*columns.hints, *_hints_on_time(timeline, options), *_without_effect(options, is_long=True)),
    )


def _without_times(timing: Timing | None) -> Timing | None:
    """Return the timing of windows: those to predict begin at other times than those of training."""
    return timing and timing.model_copy(update={"times": ()})


def _format(
    table: Table, columns: Columns, features: tuple[str, ...], timing: Timing | None, options: Options
) -> TableFormat:
    """Return how the table was read, for the service, which reads posted tables in the same way."""
    keys = (columns.sequence, columns.timestep)
    used = {*columns.targets, *features, *columns.used, *keys}
    return TableFormat(
        sequence_column=columns.sequence,
        timestep_column=columns.timestep,
        timing=timing,
        windows=options.window is not None,
        time_feature=TIME_FEATURE if options.time_feature and TIME_FEATURE in features else None,
        header=options.header,
        target_columns=columns.targets,
        static_columns=columns.static,
        other_columns=tuple(table.given_name(name) for name in table.names if name not in used),
        delimiter=table.text.delimiter if table.text else ",",
        decimal="," if table.decimal == "," else ".",
        thousands=table.thousands[:1],
        missing=options.missing or (),
    )


def _past(columns: Columns, horizon: int) -> tuple[int | None, ...]:
    """Return the feature of the past of each number to predict; None for a column that is no feature."""
    features = [columns.features.index(name) if name in columns.features else None for name in columns.targets]
    return tuple(feature for feature in features for _ in range(horizon))


def _texts(table: Table, column: str, values: NDArray[Any]) -> NDArray[Any]:
    labels = Labels(column)
    labels.add(table, pa.array(values.tolist()))
    return labels.array(table)


def _filled(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return times with those of absent timesteps filled in."""
    known = np.flatnonzero(~np.isnan(moments))
    filled: NDArray[np.float64] = np.interp(np.arange(len(moments)), known, moments[known])
    return filled


def _hints_on_time(timeline: Timeline, options: Options) -> list[str]:
    if timeline.times is None:
        return ["the rows of a sequence are in the order of the table; --timestep-column orders them"]
    if timeline.is_uneven and not options.time_feature:
        return [
            f"the times of column {timeline.times.column!r} are uneven, so each row is a timestep, whatever the time "
            "since the last one; --time-feature makes this time a feature"
        ]
    return []


def _without_effect(options: Options, *, is_long: bool) -> list[str]:
    """Return a hint on each option that says nothing about the rows as they are read."""
    if options.window is not None:
        reasons = {
            "time_feature": "windows: their rows are the timesteps",
            "group_column": "windows: they are held out by time",
        }
    else:
        reasons = dict.fromkeys(("horizon", "stride"), "a table without --window")
        if not is_long:
            reasons["time_feature"] = "a table of one row a sequence"
    return [
        f"{flag_of(name)} has no effect on {reason}"
        for name, reason in reasons.items()
        if getattr(options, name) != Options.model_fields[name].default
    ]


def _categories_of_wide(table: Table, columns: Columns, names: tuple[str, ...], features: tuple[str, ...]) -> Columns:
    """Return the columns with one list of categories for all timesteps of a feature, by its label, too."""
    categories = dict(columns.categories)
    for index, feature in enumerate(features):
        of_feature = names[index :: len(features)]
        if words := [name for name in of_feature if name in categories]:
            other = [name for name in of_feature if name not in categories and name in columns.features]
            if other:
                kinds = table.kinds(other)
                if numeric := [name for name in other if kinds[name] != "empty"]:
                    raise TrainingError(
                        f"{table.where}, column {words[0]!r}: expected numbers, as in column {numeric[0]!r}, got text; "
                        "if rows are timesteps, --sequence-column and --timestep-column name what orders them"
                        f"{_about_dates(categories, words)}; --drop-columns leaves a column out, --static-columns "
                        "names those that do not change with time"
                    )
            # A column without a number may hold words such as `none`, which are values of a category.
            known = categories | {name: values_of(table, name) for name in other}
            values = tuple(sorted({value for name in (*words, *other) for value in known[name]}))
            categories |= dict.fromkeys([*of_feature, feature], values)
    return columns.with_categories(categories)


def _about_dates(categories: Mapping[str, Sequence[str]], columns: Sequence[str]) -> str:
    """Return the part of an error message that names a column of dates of unknown form; "" if there is none."""
    dates = next((name for name in columns if look_like_dates(categories[name])), None)
    if dates is None:
        return ""
    return f"; column {dates!r} looks like dates ({shown(categories[dates][0])}), whose form --date-format gives"


def _refuse_empty(table: Table, some: Sequences) -> None:
    if len(empty := np.flatnonzero(some.lengths == 0)):
        raise TrainingError(f"{table.place(int(some.numbers[empty[0]]))}: expected values in the sequence, got none")


def _refuse_unlabelled(table: Table, column: str, numbers: Indices, values: Any) -> None:
    if values.null_count:
        row = int(values.is_null().to_numpy(zero_copy_only=False).argmax())
        raise TrainingError(f"{table.place(int(numbers[row]), column)}: expected a value, got none")


def _labels(table: Table, targets: list[Labels]) -> NDArray[Any]:
    arrays = [target.array(table) for target in targets]
    if len(arrays) == 1:
        return arrays[0]
    for target, values in zip(targets, arrays, strict=True):
        if values.dtype == object:
            table.refuse_words([target.column])
            raise TrainingError(f"{table.where}, column {target.column!r}: expected numbers, got text")
    return np.stack([values.astype(np.float64) for values in arrays], axis=1)


def _codes(groups: NDArray[Any]) -> Indices:
    _, codes = np.unique(groups.astype(str), return_inverse=True)
    return codes.astype(np.int64)
