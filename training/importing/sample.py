"""The person's own examples, on which an imported model is checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.artifact.card import TableFormat
from service.artifact.tensors import Array
from training import TrainingError
from training.data import SourceData, numbered
from training.importing.distributions import EXAMPLES
from training.importing.feeding import Feeding, feeding_of
from training.importing.original import ModelInput, name_of_place
from training.in_memory import sequences_of
from training.options import Options
from training.sources import arrays, loading

#: Suffixes of files of NumPy.
NUMPY = (".npy", ".npz")
#: The arrays of a `.npz` file that are not inputs of a model.
KNOWN = frozenset({"x", "y", "lengths", "feature_names", "timestep_labels", "target_names"})


@dataclass(frozen=True)
class Sample:
    """Examples of a model.

    Attributes:
        where: their origin, for messages.
        feeding: how the model's inputs are parts of a sequence.
        x: `(n, timesteps, features)`; NaN where a value is missing.
        longest: the number of timesteps of the longest example, which may be fewer than those of the model.
        labels: `(n,)`, `(n, numbers)` or, of a model with output steps, `(n, steps, numbers)`, as in the source; None
            without labels.
        label_names: a name for each number.
        timestep_labels: one for each timestep.
        feature_labels: one for each feature.
        static_labels: the features that do not change with time.
        table: how a table was read; None for a source of another kind.
        exact: some of `x` before they were rounded to float32, as float64; None for a source of another kind.
    """

    where: str
    feeding: Feeding
    x: Array
    longest: int
    labels: NDArray[Any] | None
    label_names: tuple[str, ...]
    timestep_labels: tuple[str, ...]
    feature_labels: tuple[str, ...]
    static_labels: tuple[str, ...] = ()
    table: TableFormat | None = None
    exact: NDArray[np.float64] | None = None


def read_sample(options: Options, inputs: Sequence[ModelInput]) -> Sample:
    """Return the examples of a file for a model with these inputs.

    Raises:
        TrainingError: the file cannot be read, or its examples do not fit the inputs.
    """
    where = f"--data {options.data}"
    path = Path(options.data)
    if path.suffix not in NUMPY:
        source = loading.read(options)
        return _of_source(source, source.labels, _feeding(source, inputs), where)
    if not path.is_file():
        raise TrainingError(f"{where}: no such file")
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            given = {"x": content} if isinstance(content, np.ndarray) else dict(content)
    except arrays.NUMPY_ERRORS as error:
        raise TrainingError(f"{where}: not a readable {path.suffix} file: {error}") from error
    if "x" not in given and not {one.name for one in inputs} & set(given):
        expected = " or ".join(["x", *(one.name for one in inputs)])
        raise TrainingError(f"{where}: expected arrays {expected}, got {', '.join(given) or 'none'}")
    return of_arrays(where, given, inputs)


def in_memory(examples: Any, y: Any, inputs: Sequence[ModelInput]) -> Sample:
    """Return examples in memory: an array, a list of sequences, or an array for each input by name or in a list.

    A list for a subclass of keras.Model is one of inputs if an array in it has three axes, and one of sequences if not.

    Raises:
        TrainingError: they do not fit the inputs.
    """
    if isinstance(examples, list | tuple):
        if len(inputs) > 1 and len(examples) == len(inputs):
            examples = dict(zip((one.name for one in inputs), examples, strict=True))
        elif not inputs and any(getattr(one, "ndim", 0) == 3 for one in examples):
            examples = {name_of_place(place): one for place, one in enumerate(examples)}
    arrays_of = dict(examples) if isinstance(examples, Mapping) else {"x": examples}
    given = {
        name: sequences_of(array) if isinstance(array, list) else np.asarray(array) for name, array in arrays_of.items()
    }
    return of_arrays("examples", given, inputs, None if y is None else np.asarray(y))


def of_arrays(
    where: str, given: Mapping[str, NDArray[Any]], inputs: Sequence[ModelInput], y: NDArray[Any] | None = None
) -> Sample:
    """Return examples in memory: `x`, or an array for each input, and perhaps `y` and names.

    An array with the name of one of several inputs is that input, and not what the name means otherwise.

    Raises:
        TrainingError: they do not fit the inputs.
    """
    names = {one.name for one in inputs}
    known = KNOWN - names if len(names) > 1 and names <= set(given) else KNOWN
    if y is None and "y" in known:
        y = given.get("y")
    unnamed = {name: array for name, array in given.items() if name not in known}
    if "x" not in given or (unnamed and names <= {*unnamed, "x"} and len(inputs) > 1):
        return _of_inputs(where, {**unnamed, **({"x": given["x"]} if "x" in given else {})}, y, inputs)
    x = sequences_of(given["x"])
    labelled = {} if y is None else {"y": y}
    source, labels = _with_labels(where, {name: given[name] for name in given if name in KNOWN} | {"x": x} | labelled)
    if not inputs:  # a subclass of keras.Model takes what it is given
        dtype = "int32" if given["x"].dtype.kind in "iu" else "float32"
        inputs = [ModelInput("sequence", dtype, (None, *given["x"].shape[1:]))]
    return _of_source(source, labels, _feeding(source, inputs), where, x)


def _with_labels(where: str, given: Mapping[str, NDArray[Any]]) -> tuple[SourceData, NDArray[Any] | None]:
    """Return the sequences of arrays, and their labels, if there are any. Labels of steps have an axis more."""
    x, y = given["x"], given.get("y")
    if y is not None and y.ndim < 3:
        source = arrays.joined([arrays.part_of(where, given)])
        return source, source.labels
    if y is not None and (len(y) != len(x) or y.ndim > 3 or not y.size):
        raise TrainingError(f"{where}: expected y ({len(x)}, steps, numbers), as there are examples, got {y.shape}")
    return arrays.joined([arrays.part_of(where, {**given, "y": np.zeros(len(x))})]), y


def _of_source(
    source: SourceData,
    labels: NDArray[Any] | None,
    feeding: Feeding,
    where: str,
    exact: NDArray[Any] | None = None,
) -> Sample:
    """Return the sequences of a source, whose features are those of all inputs in their order.

    `exact` are the sequences before they were rounded.
    """
    x = source.x[:]
    if labels is not None and labels.shape[1:] == (1,):
        labels = labels[:, 0]
    if feeding.features != x.shape[2] or feeding.timesteps < x.shape[1]:
        raise other_shape(where, feeding, x.shape)
    longest = x.shape[1]
    x = _filled_up(x, feeding.timesteps)
    if exact is not None:
        exact = _filled_up(exact[:EXAMPLES, :longest].astype(np.float64), feeding.timesteps)
        exact = np.where(np.isnan(x[:EXAMPLES]), np.nan, exact)
    timestep_labels = source.timestep_labels
    if len(timestep_labels) < feeding.timesteps:
        timestep_labels = numbered(feeding.timesteps)
    return Sample(
        where=where,
        feeding=feeding,
        x=x,
        longest=longest,
        labels=labels,
        label_names=source.label_names if labels is not None else (),
        timestep_labels=timestep_labels[: feeding.timesteps],
        feature_labels=source.feature_labels,
        static_labels=tuple(_static(feeding, source.feature_labels)),
        table=source.table,
        exact=exact,
    )


def _filled_up(x: NDArray[Any], timesteps: int) -> NDArray[Any]:
    return np.pad(x, ((0, 0), (0, timesteps - x.shape[1]), (0, 0)), constant_values=np.nan)


def other_shape(where: str, feeding: Feeding, shape: tuple[int, ...]) -> TrainingError:
    """Return the error for examples whose shape is not that of the model's input."""
    expected = f"(n, {feeding.timesteps}, {feeding.features})"
    return TrainingError(f"{where}: expected examples of shape {expected}, as the model's input takes, got {shape}")


def _feeding(source: SourceData, inputs: Sequence[ModelInput]) -> Feeding:
    """Return how the inputs are parts of a source's sequences. Open sizes are those of the sequences."""
    _, timesteps, features = source.x.shape
    fixed = [one.shape[1] for one in inputs if len(one.shape) == 3 and one.shape[1] is not None]
    steps = fixed[0] if fixed else timesteps
    known = sum((one.shape[-1] or 0) if len(one.shape) == 3 else 0 for one in inputs)
    sizes: list[tuple[int, ...]] = []
    for one in inputs:
        if len(one.shape) == 3:
            sizes.append((one.shape[1] or steps, one.shape[2] or max(features - known, 1)))
        else:
            sizes.append(tuple(size or steps for size in one.shape[1:]))
    return feeding_of(inputs, sizes)


def _of_inputs(
    where: str, given: Mapping[str, NDArray[Any]], y: NDArray[Any] | None, inputs: Sequence[ModelInput]
) -> Sample:
    """Return examples from an array for each input."""
    if not inputs:
        inputs = [
            ModelInput(name, "int32" if one.dtype.kind in "iu" else "float32", (None, *one.shape[1:]))
            for name, one in given.items()
        ]
    names = [one.name for one in inputs]
    if missing := set(names) - set(given):
        raise TrainingError(f"{where}: expected an array for each input, {', '.join(names)}: got no {min(missing)}")
    counts = {len(given[name]) for name in names}
    if len(counts) != 1:
        raise TrainingError(f"{where}: expected as many examples of each input, got {sorted(counts)}")
    for one in inputs:
        shape, expected = given[one.name].shape, one.shape
        if len(shape) != len(expected) or any(
            size not in (None, got) for got, size in zip(shape, expected, strict=True)
        ):
            shown = ", ".join("n" if size is None else str(size) for size in expected)
            raise TrainingError(f"{where}: expected {one.name} of shape ({shown}), as the model takes, got {shape}")
    feeding = feeding_of(inputs, [given[name].shape[1:] for name in names])
    parts, labels = [], []
    for part in feeding.parts:
        array = given[part.name]
        if part.kind == "static":
            array = np.repeat(array.reshape(len(array), 1, part.width), feeding.timesteps, axis=1)
        parts.append(array.reshape(len(array), feeding.timesteps, part.width))
        labels += [part.name] if part.width == 1 else [f"{part.name} {i}" for i in range(part.width)]
    x = np.concatenate(parts, axis=2)
    source, of_examples = _with_labels(where, {"x": x} if y is None else {"x": x, "y": y})
    return _of_source(replace(source, feature_labels=tuple(labels)), of_examples, feeding, where, x)


def _static(feeding: Feeding, labels: Sequence[str]) -> list[str]:
    return [labels[part.first + i] for part in feeding.parts if part.kind == "static" for i in range(part.width)]
