"""Data in memory as the data of a training: frames, and arrays or lists of sequences."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from service.artifact.card import ModelCard
from service.artifact.tensors import Array
from training import TrainingError
from training.data import Dataset, SourceData, as_published
from training.messages import did_you_mean
from training.options import Options
from training.sources.loading import load
from training.tables import reading

#: Frames of pandas and polars, tables of pyarrow. None of them is imported for this type.
Frame = Any
#: The packages whose objects are frames.
FRAMES: Final = frozenset(("pandas", "polars", "pyarrow"))
#: The names of data in memory, in messages and in the card's record of options.
FRAME, ARRAYS = "frame", "arrays"
#: The name of the column that takes the place of the target when a frame is read for predictions.
NUMBER: Final = "number of the sequence"


def is_frame(data: object) -> bool:
    """Return whether data are a frame of pandas or polars, or a table of pyarrow."""
    return type(data).__module__.partition(".")[0] in FRAMES and hasattr(data, "columns")


def load_frame(options: Options, frame: Frame) -> Dataset:
    """Return the dataset of a frame: `options` say which columns it has, as they do for a file."""
    return load(options.model_copy(update={"data": FRAME}), frame=arrow_table(frame))


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
        array = _padded([np.asarray(sequence, np.float64) for sequence in x])  # type: ignore[attr-defined]
    if array.ndim == 2:
        array = array[np.newaxis] if array.shape[1] == features else array[..., np.newaxis]
    if array.ndim != 3:
        raise TrainingError(f"x: expected sequences (n, timesteps, features), got {array.shape}")
    return array


def arrow_table(frame: Frame) -> Any:
    """Return a frame as a table of pyarrow. The index of pandas is left out."""
    if isinstance(frame, pa.Table):
        return frame
    return frame.to_arrow() if hasattr(frame, "to_arrow") else pa.Table.from_pandas(frame, preserve_index=False)


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


def sequences_of_frame(frame: Frame, card: ModelCard) -> FrameSequences:
    """Return the sequences of a frame that has the columns of training, in the order of their first rows.

    The target may be absent; it is not read.

    Raises:
        TrainingError: a column is missing, a value is wrong, or a sequence has more timesteps than the card.
    """
    recorded = card.training_options
    options = Options.from_keywords({name: value for name, value in recorded.items() if name in Options.model_fields})
    if card.table is not None:  # what reading found by itself
        found = {"sequence_column": card.table.sequence_column, "timestep_column": card.table.timestep_column}
        options = options.model_copy(update={**found, "target_column": card.table.target_columns or None})
    if not options.target_column:
        raise TrainingError(f"expected arrays (n, {card.timesteps}, {card.features}), as in training, got a frame")
    table = arrow_table(frame)
    table = table.drop_columns([name for name in options.target_column if name in table.column_names])
    # The number of the sequence takes the place of the target: reading returns it for each sequence.
    key = None if options.sequence_column is None else _column(table, options.sequence_column).dictionary_encode()
    numbers = np.arange(len(table)) if key is None else key.combine_chunks().indices
    source = reading.read(
        {FRAME: table.append_column(NUMBER, [numbers])},
        options.model_copy(
            update={
                "target_column": (NUMBER,),
                "feature_columns": _feature_columns(table.column_names, card, wide=key is None),
                "drop_columns": None,
            }
        ),
        card.table,
    )
    order = np.argsort(source.labels.astype(np.int64))
    names = None if key is None else key.combine_chunks().dictionary
    return FrameSequences(_fitting(source, card)[order], names)


def _column(table: Any, name: str) -> Any:
    if name not in table.column_names:
        raise TrainingError(f"expected a column {name!r}{did_you_mean(name, table.column_names)}")
    return table[name]


def _feature_columns(columns: Sequence[str], card: ModelCard, *, wide: bool) -> tuple[str, ...]:
    """Return the columns with the values of sequences, in the order of the card."""
    if not wide:
        return card.feature_labels
    pairs = tuple(f"{feature}@{timestep}" for timestep in card.timestep_labels for feature in card.feature_labels)
    return pairs if card.features > 1 or pairs[0] in columns else card.timestep_labels


def _fitting(source: SourceData, card: ModelCard) -> Array:
    """Return all sequences in memory, with the timesteps and the indices of categories of a card."""
    x = source.x[:]
    if x.shape[1] > card.timesteps:
        raise TrainingError(f"expected sequences of at most {card.timesteps} timesteps, got {x.shape[1]}")
    return as_published(x, source.categories, card)


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
