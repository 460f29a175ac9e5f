"""Data in memory as the data of a training: frames, and arrays or lists of sequences."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from service.artifact.card import ModelCard
from service.artifact.table_format import format_of
from service.artifact.table_layout import TableLayout, layout_of
from service.artifact.tensors import Array
from service.problems import missing_column
from service.tables.columns import Columns
from service.tables.rows import Table, arrow_table, open_table
from service.tables.wide import Wide
from training import TrainingError
from training.continuation import IN_MEMORY
from training.data import Dataset, SourceData, lengths_of
from training.options import Options
from training.sources.loading import TABLES, load
from training.tables import reading

#: Frames of pandas and polars, tables of pyarrow. None of them is imported for this type.
Frame = Any
#: The packages whose objects are frames.
FRAMES: Final = frozenset(("pandas", "polars", "pyarrow"))
#: The names of data in memory, in messages and in the card's record of options.
FRAME, ARRAYS = IN_MEMORY
#: The name of the column that takes the place of the target when a frame is read for predictions.
NUMBER: Final = "number of the sequence"


def is_frame(data: object) -> bool:
    """Return whether data are a frame of pandas or polars, or a table of pyarrow."""
    return type(data).__module__.partition(".")[0] in FRAMES and hasattr(data, "columns")


@reading.table_errors()
def load_frame(options: Options, frame: Frame) -> Dataset:
    """Return the dataset of a frame: `options` say which columns it has, as they do for a file."""
    return load(options.model_copy(update={"data": FRAME}), frame=arrow_table(FRAME, frame))


def load_arrays(options: Options, x: object, y: object) -> Dataset:
    """Return the dataset of sequences `x` and labels `y (n,)` or `(n, numbers)`.

    Raises:
        TrainingError: the arrays have other shapes or types.
    """
    return load(options.model_copy(update={"data": ARRAYS}), arrays_in_memory=(sequences_of(x), _labels(y)))


def sequences_of(x: object, features: int | None = None) -> NDArray[Any]:
    """Return sequences `(n, timesteps, features)`.

    Args:
        x: these sequences; `(n, timesteps)` for one feature; or a list of `n` sequences `(timesteps, features)` of
            different lengths, which are padded with NaN.
        features: the number of features if it is known. Then `x` may be one sequence `(timesteps, features)`.

    Raises:
        TrainingError: `x` has another shape.
    """
    try:
        array = np.asarray(x)
    except ValueError:  # different lengths
        array = _padded([numbers_of(np.asarray(sequence), np.float64) for sequence in x])  # type: ignore[attr-defined]
    if array.ndim == 0:
        raise TrainingError(f"x: expected sequences (n, timesteps, features), got {type(x).__name__}")
    if array.ndim == 2:
        array = array[np.newaxis] if array.shape[1] == features else array[..., np.newaxis]
    if array.ndim != 3:
        raise TrainingError(f"x: expected sequences (n, timesteps, features), got {array.shape}")
    return array


def numbers_of(x: NDArray[Any], dtype: type[np.floating[Any]]) -> NDArray[Any]:
    """Return an array as numbers of a type. None is NaN.

    Raises:
        TrainingError: a value is no number.
    """
    try:
        return x.astype(dtype)
    except (TypeError, ValueError) as error:
        wrong = next(value for value in x.flat if not _is_number(value))
        got = repr(str(wrong)) if isinstance(wrong, str) else f"a {type(wrong).__name__}"
        raise TrainingError(
            f"x: expected numbers, got {got:.60}; names of categories come in a frame or a file"
        ) from error


def _is_number(value: Any) -> bool:
    try:
        float("nan" if value is None else value)
    except (TypeError, ValueError):
        return False
    return True


def frame_like(frame: Frame, columns: Mapping[str, Any]) -> Frame:
    """Return columns by name as a frame of the same kind. A frame of pandas keeps its index if the length fits."""
    if hasattr(frame, "from_pydict"):
        return type(frame).from_pydict(columns)
    made = type(frame)(columns)
    if hasattr(frame, "iloc") and len(made) == len(frame):
        made.index = frame.index
    return made


class FrameSequences(NamedTuple):
    """The sequences of a frame.

    Attributes:
        x: `(n, timesteps, features)`, padded with NaN to the timesteps of a card.
        names: the value of the sequence column of each sequence `(n,)`; None where a row is a sequence.
    """

    x: Array
    names: Any


@reading.table_errors()
def sequences_of_frame(frame: Frame | Path, card: ModelCard) -> FrameSequences:
    """Return the sequences of a frame, or of a file, that has the columns of training, in the order of first rows.

    Of a model of windows, each series has one sequence: its last window. The target is read only if its past is a
    feature.

    Raises:
        TrainingError: a column is missing, a value is wrong, or a sequence has a wrong number of timesteps.
    """
    options = _options(card)
    if not options.target_column:
        got = "a file" if isinstance(frame, Path) else "a frame"
        raise TrainingError(f"expected arrays (n, {card.timesteps}, {card.features}), as in training, got {got}")
    where, text = FRAME, None
    if isinstance(frame, Path):
        if options.data == FRAME:  # no text, so that its card does not know how numbers are written
            options = options.model_copy(update={"decimal": None, "thousands": None})
        file = _opened(frame, options)
        options = options.model_copy(update={"decimal": file.decimal, "thousands": file.thousands or None})
        where, text, frame = file.where, file.text, file.arrow()
    table = arrow_table(where, frame)
    layout = _layout(where, table, card, options)
    # The number of the sequence takes the place of the target: reading returns it for each sequence.
    numbers, names = np.zeros(len(table), np.int64) if layout.form == "long" else np.arange(len(table)), None
    if layout.key is not None:
        key = table[layout.key]
        if pa.types.is_dictionary(key.type):  # its categories may be more, and in another order
            key = key.cast(key.type.value_type)
        key = key.dictionary_encode().combine_chunks()
        numbers, names = key.indices, key.dictionary
    numbered = open_table(where, table.append_column(NUMBER, [numbers]), options.dialect, text=text)
    known = format_of(card) if layout.form == "long" else None
    wide = _wide(layout, card) if layout.form == "wide" else None
    source = reading.read_again(numbered, options, _roles(layout, card), known, wide)
    order = np.argsort(source.labels.astype(np.int64))
    return FrameSequences(_fitting(source, layout, card)[order], names)


def _opened(path: Path, options: Options) -> Table:
    """Return the table of a file, whose text is divided as it was in training, or found out again."""
    if path.suffix not in TABLES:
        raise TrainingError(f"{path}: expected a table ({', '.join(TABLES)}), or its sequences as arrays")
    if not path.is_file():
        raise TrainingError(f"{path}: expected a file, got {'a directory' if path.is_dir() else 'no such file'}")
    return open_table(str(path), path, options.dialect)


def _options(card: ModelCard) -> Options:
    """Return the options of a version's training, with what reading found by itself."""
    recorded = card.training_options
    options = Options.from_keywords({name: value for name, value in recorded.items() if name in Options.model_fields})
    if card.table is None:
        return options
    return options.model_copy(
        update={
            "sequence_column": card.table.sequence_column,
            "timestep_column": card.table.timestep_column,
            "target_column": card.table.target_columns or None,
            "decimal": card.table.decimal,
            "thousands": card.table.thousands or None,
        }
    )


def _layout(where: str, table: Any, card: ModelCard, options: Options) -> TableLayout:
    """Return the layout of a table of pyarrow. A table of one row a timestep has the key and the times of training."""

    def has_lists(name: str) -> bool:
        return open_table(where, table.select([name]), options.dialect).kinds([name])[name] == "lists"

    layout = layout_of(table.column_names, card, has_lists=has_lists)
    needed = [*layout.needed]
    if layout.form == "long":
        needed += [name for name in (options.sequence_column, options.timestep_column) if name is not None]
    for name in needed:
        if name not in table.column_names:
            raise TrainingError(f"{where}: {missing_column(name, table.column_names)}")
    if layout.form == "series":
        for name in layout.columns:
            if name not in card.static_labels and not has_lists(name):
                raise TrainingError(f"{where}, column {name!r}: expected lists of numbers, as in the others")
    return layout


def _roles(layout: TableLayout, card: ModelCard) -> Columns:
    labels = zip(layout.columns, layout.labels, strict=True)
    return Columns(
        targets=(NUMBER,),
        features=layout.columns,
        static=card.static_labels,
        categories={name: card.categories[label] for name, label in labels if label in card.categories},
        sequence=layout.key,
        timestep=layout.time,
        group=None,
        hints=(),
    )


def _wide(layout: TableLayout, card: ModelCard) -> Wide:
    static = card.static_labels
    columns = tuple(name for name, label in zip(layout.columns, layout.labels, strict=True) if label not in static)
    varying = tuple(label for label in card.feature_labels if label not in static)
    return Wide(columns, varying, static, card.timestep_labels, ())


def _fitting(source: SourceData, layout: TableLayout, card: ModelCard) -> Array:
    """Return all sequences in memory, padded to the timesteps of a card; of windows, the last timesteps."""
    x = source.x[:]
    if layout.form != "long":  # static features come last
        read = sorted(card.feature_labels, key=card.static_labels.__contains__)
        x = x[..., [read.index(label) for label in card.feature_labels]]
    if format_of(card).windows and layout.form != "wide":
        return _last_windows(source.where, x, card.timesteps)
    if x.shape[1] > card.timesteps:
        raise TrainingError(
            f"{source.where}: expected sequences of at most {card.timesteps} timesteps, got {x.shape[1]}"
        )
    return np.pad(x, ((0, 0), (0, card.timesteps - x.shape[1]), (0, 0)), constant_values=np.nan)


def _last_windows(where: str, x: Array, width: int) -> Array:
    """Return the last `width` timesteps of each sequence.

    Raises:
        TrainingError: a sequence is shorter.
    """
    lengths = lengths_of(x)
    if (lengths < width).any():
        raise TrainingError(f"{where}: expected series of at least {width} timesteps, got {lengths.min()}")
    steps = (lengths - width)[:, np.newaxis] + np.arange(width)
    windows: Array = x[np.arange(len(x))[:, np.newaxis], steps]
    return windows


def _labels(y: object) -> NDArray[Any]:
    labels = np.asarray(y)
    return labels.astype(str) if labels.dtype == object and all(isinstance(one, str) for one in labels.flat) else labels


def _padded(sequences: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return sequences `(timesteps, features)` of different lengths as one array, padded with NaN."""
    if {sequence.ndim for sequence in sequences} == {1}:
        sequences = [sequence[:, np.newaxis] for sequence in sequences]
    if {sequence.shape[1:] for sequence in sequences} != {sequences[0].shape[1:]} or sequences[0].ndim != 2:
        raise TrainingError("x: expected sequences (timesteps, features) of the same features")
    padded = np.full((len(sequences), max(map(len, sequences)), sequences[0].shape[1]), np.nan)
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = sequence
    return padded
