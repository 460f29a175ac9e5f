"""Tables of one row a sequence: a column is a timestep, or holds whole series."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import not_
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.artifact.tensors import Array
from service.errors import TableError
from service.tables.columns import Columns
from service.tables.long import label
from service.tables.rows import ROW, Table, quoted
from service.tables.sequences import Sequences

_NUMBERS: Final = re.compile(r"(\d+)")


@dataclass(frozen=True)
class Wide:
    """The columns of a table of one row a sequence.

    Attributes:
        columns: for each timestep, one column for each feature that changes with time.
        features: the labels of these features.
        static: the columns that do not change with time, which are further features.
        timesteps: the labels of the timesteps.
        hints: sentences on the order of the columns.
    """

    columns: tuple[str, ...]
    features: tuple[str, ...]
    static: tuple[str, ...]
    timesteps: tuple[str, ...]
    hints: tuple[str, ...]


def wide_of(table: Table, columns: Columns) -> Wide:
    """Return which column is which timestep of which feature: all columns of one, or `feature@timestep`.

    Raises:
        TableError: some columns are named feature@timestep and others are not, or a timestep lacks a feature.
    """
    changing = [name for name in columns.features if name not in columns.static]
    plain = [name for name in changing if "@" not in name]
    if not changing:
        raise TableError(f"{table.where}: expected columns that change with time, got {table.shown_names()}")
    if len(plain) == len(changing):
        timesteps, hints = _in_order(changing)
        return Wide(timesteps, ("0",), columns.static, timesteps, hints)
    if plain:
        raise TableError(
            f"{table.where}: expected all columns or none to be named feature@timestep, got "
            f"{next(name for name in changing if '@' in name)!r} and {plain[0]!r}; --static-columns names those that "
            "do not change with time, --drop-columns leaves some out"
        )
    pairs = [name.rpartition("@") for name in changing]
    features = tuple(dict.fromkeys(feature for feature, _, _ in pairs))
    timesteps, hints = _in_order(list(dict.fromkeys(timestep for _, _, timestep in pairs)))
    expected = len(features) * len(timesteps)
    names = (f"{feature}@{timestep}" for timestep in timesteps for feature in features)
    if len(changing) != expected:
        there = set(changing)
        missing = next(name for name in names if name not in there)
        raise TableError(
            f"{table.where}: uneven features: expected each at every timestep, {expected:,} columns, "
            f"got {len(changing):,}, without {missing!r}"
        )
    return Wide(tuple(names), features, columns.static, timesteps, hints)


def wide_sequences(table: Table, columns: Columns, wide: Wide) -> Iterator[Sequences]:
    """Yield the sequences of a table of one row a sequence."""
    read = [*wide.columns, *wide.static]
    # One list of all texts that are numbers, because the plan of many expressions takes long.
    are_texts = [table.types[name] == "VARCHAR" and name not in columns.categories for name in read]
    texts = list(compress(read, are_texts))
    others = list(compress(read, map(not_, are_texts)))
    lists = [f"[{', '.join(columns.value(table, name) for name in others)}]"] if others else []
    if texts:
        listed = ", ".join(map(quoted, texts))
        lists.append(f"list_transform([{listed}], lambda cell: {table.float32(texts[0], 'cell')})")
    place = {name: index for index, name in enumerate([*others, *texts])}
    order = [place[name] for name in read]
    for batch in _batches(table, columns, [f"{' || '.join(lists)} AS f"], len(read)):
        values = batch["f"].flatten().to_numpy(zero_copy_only=False).reshape(len(batch), -1)[:, order]
        steps = values[:, : len(wide.columns)].reshape(len(batch), -1, len(wide.features))
        yield _sequences(columns, batch, steps, values[:, len(wide.columns) :])


def list_sequences(table: Table, columns: Columns, lists: Sequence[str]) -> Iterator[Sequences]:
    """Yield the sequences of a table whose columns `lists` hold whole series, one for each feature.

    Raises:
        TableError: a cell holds no numbers, or the series of a row differ in length.
    """
    cast = {name: table.series(name, "FLOAT") for name in lists}
    selected = [f"{sql} AS l{index}" for index, sql in enumerate(cast.values())]
    selected += [f"{columns.value(table, name)} AS f{index}" for index, name in enumerate(columns.static)]
    for name, sql in cast.items():
        ((row,),) = table.ask(f"SELECT min({quoted(ROW)}) FROM rows WHERE {sql} IS NULL OR len({sql}) = 0")
        if row is not None:
            table.refuse_cell(name, int(row), "a list of numbers")
    for batch in _batches(table, columns, selected, len(selected)):
        series = [batch[f"l{index}"] for index in range(len(lists))]
        lengths = np.stack([one.value_lengths().to_numpy(zero_copy_only=False) for one in series])
        if len(uneven := np.flatnonzero((lengths != lengths[0]).any(axis=0))):
            place = table.place(int(batch["r"][int(uneven[0])].as_py()))
            raise TableError(
                f"{place}: expected series of one length, got {', '.join(map(str, lengths[:, uneven[0]]))}"
            )
        most = int(lengths.max())
        steps = np.full((len(batch), most, len(series)), np.nan, np.float32)
        inside = np.arange(most) < lengths[0][:, np.newaxis]
        for index, one in enumerate(series):
            steps[inside, index] = one.flatten().to_numpy(zero_copy_only=False)
        static = [batch[f"f{index}"].to_numpy(zero_copy_only=False) for index in range(len(columns.static))]
        yield _sequences(columns, batch, steps, np.stack(static, axis=1) if static else np.empty((len(batch), 0)))


def _batches(table: Table, columns: Columns, selected: list[str], width: int) -> Iterator[Any]:
    """Yield some SQL values of all rows, some `width` numbers wide, with their targets, groups and numbers."""
    targets = [f"{label(table, name)} AS y{index}" for index, name in enumerate(columns.targets)]
    table.refuse_missing([] if columns.group is None else [columns.group])
    group = quoted(columns.group) if columns.group else "NULL"
    question = f"SELECT {', '.join([*selected, *targets])}, {group} AS g, {quoted(ROW)} AS r FROM rows ORDER BY r"
    return table.batches(question, width + len(targets) + 2)


def _sequences(columns: Columns, batch: Any, steps: Array, static: NDArray[Any]) -> Sequences:
    """Return sequences `(k, timesteps, features)` with static values `(k, static)` at each present timestep."""
    present = np.any(~np.isnan(steps), axis=2)  # (k, timesteps)
    repeated = np.where(present[..., np.newaxis], static[:, np.newaxis], np.nan)
    every = np.concatenate([steps, repeated.astype(np.float32)], axis=2)
    lengths = np.where(present.any(axis=1), steps.shape[1] - present[:, ::-1].argmax(axis=1), 0)
    inside = np.arange(steps.shape[1]) < lengths[:, np.newaxis]
    return Sequences(
        numbers=batch["r"].to_numpy(zero_copy_only=False),
        steps=every[inside],
        lengths=lengths,
        targets=[batch[f"y{index}"] for index in range(len(columns.targets))],
        groups=batch["g"] if columns.group is not None else None,
    )


def _in_order(labels: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return labels in the order of the numbers within them, if they differ by these alone; and a hint on that."""
    split = [_NUMBERS.split(label) for label in labels]
    if any(len(parts) == 1 for parts in split) or len({tuple(parts[::2]) for parts in split}) > 1:
        return tuple(labels), ()
    ordered = tuple(sorted(labels, key=lambda label: [int(number) for number in _NUMBERS.split(label)[1::2]]))
    if ordered == tuple(labels):
        return ordered, ()
    return ordered, (f"the columns were put into the order of their numbers: {', '.join(ordered[:5])}, …",)
