"""A file of sequences in a form that workers read by themselves, and the parts of it that they read."""

from dataclasses import dataclass
from typing import Literal

from service.artifact.table_layout import Form


@dataclass(frozen=True)
class Source:
    """A file of sequences in a form that workers read by themselves.

    Attributes:
        file: the file as it was given.
        path: the file to read: that one, or a copy in the folder of the run.
        form: array for numpy's; wide, series or long for a Parquet table, as in `TableLayout`.
        columns: the columns of values, as in `TableLayout`.
        labels: the feature of each column.
        key: the column of the sequence's key; None if the number of the row is the key.
        time: the column of the time of a row, numbers; None if there is none.
        scale: how many of these numbers are a second, a month, or 1.
        key_is_text: whether keys become text, because those of other files have another type.
        prepared: whether the file was written by `prepare`, whose columns have other names.
        dtype: of an array, the type of its numbers.
        shape: of an array, its shape `(n, timesteps, features)`.
        offset: of an array, where it begins in the file.
        lengths: of an array, the .npz file with the lengths of the sequences; empty if there are none.
    """

    file: str
    path: str
    form: Form | Literal["array"]
    columns: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    key: str | None = None
    time: str | None = None
    scale: float = 1.0
    key_is_text: bool = False
    prepared: bool = False
    dtype: str = ""
    shape: tuple[int, ...] = ()
    offset: int = 0
    lengths: str = ""


@dataclass(frozen=True)
class Unit:
    """Some sequences of a source, the work of one call of a worker.

    Attributes:
        number: the number of the unit, and of the part of the output that it becomes.
        source: the number of the source.
        start, stop: the rows of its file; of an array, the sequences.
        sequences: the number of sequences.
    """

    number: int
    source: int
    start: int
    stop: int
    sequences: int
