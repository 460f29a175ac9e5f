"""Sequences from .npz files, and the checks of all sources that read arrays."""

import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.artifact.tensors import Array
from service.tables.sequences import MOST_COLUMNS
from training import TrainingError
from training.data import SourceData, lengths_of, numbered

#: The errors of numpy for damaged files.
NUMPY_ERRORS: Final = (AttributeError, EOFError, KeyError, OSError, RuntimeError, TypeError, ValueError, zlib.error)


@dataclass(frozen=True)
class SourcePart:
    """Labelled sequences of one file or of one published split.

    Attributes:
        x: `(n, timesteps, features)`.
        labels: `(n,)` or `(n, numbers)`.
        names: those of `feature_names`, `timestep_labels` and `target_names` that the file has.
    """

    where: str
    x: Array
    labels: NDArray[Any]
    names: Mapping[str, tuple[str, ...]]


def read(files: Mapping[str, Path]) -> SourceData:
    """Read one .npz file, or a file to fit and a file to hold out."""
    return joined([_part(where, path) for where, path in files.items()])


def joined(parts: Sequence[SourcePart]) -> SourceData:
    """Join the part to fit and the part to hold out, which must match, or return the only part."""
    first, last = parts[0], parts[-1]
    if last.x.shape[2] != first.x.shape[2]:
        raise TrainingError(
            f"{last.where}: expected {first.x.shape[2]} features, as in the data to fit, got {last.x.shape[2]}"
        )
    if last.labels.shape[1:] != first.labels.shape[1:] or _kind(last.labels) != _kind(first.labels):
        raise TrainingError(
            f"{last.where}: expected labels as in the data to fit, {_described(first.labels)}, "
            f"got {_described(last.labels)}"
        )
    for name, values in last.names.items():
        if first.names.get(name, values) != values:
            raise TrainingError(
                f"{last.where}: expected {name} as in the data to fit, {first.names[name]}, got {values}"
            )

    lengths = [lengths_of(part.x) for part in parts]
    for part, of_part in zip(parts, lengths, strict=True):
        if len(empty := np.flatnonzero(of_part == 0)):
            raise TrainingError(f"{part.where}: expected values, got none in x[{empty[0]}]")
    timesteps = int(max(of_part.max() for of_part in lengths))
    names = {**last.names, **first.names}
    timestep_labels = names.get("timestep_labels", numbered(timesteps))
    if len(timestep_labels) < timesteps:
        raise TrainingError(
            f"{last.where}: expected at most {len(timestep_labels)} timesteps, as there are timestep_labels, "
            f"got {timesteps}"
        )
    label_names = ("target",) if first.labels.ndim == 1 else numbered(first.labels.shape[1])

    def locate(index: int) -> str:
        part, row = (first, index) if index < len(first.x) else (last, index - len(first.x))
        return f"{part.where} at y[{row}]"

    return SourceData(
        where=first.where,
        x=_stacked([part.x for part in parts], timesteps),
        labels=np.concatenate([part.labels for part in parts]),
        label_names=names.get("target_names", label_names),
        timestep_labels=timestep_labels,
        feature_labels=names.get("feature_names", numbered(first.x.shape[2])),
        locate=locate,
        fitted=len(first.x) if len(parts) > 1 else None,
    )


def checked(where: str, x: NDArray[Any]) -> Array:
    """Return sequences `(n, timesteps, features)` as float32. NaN stays NaN; refuse values too large for float32."""
    if x.dtype.kind not in "biuf" or 0 in x.shape:
        raise TrainingError(f"{where}: expected x to hold numbers, got shape {x.shape} of {x.dtype}")
    refuse_many(where, x.shape)
    with np.errstate(over="ignore"):  # values too large for float32 become infinite
        array = x.astype(np.float32)
    if len(wrong := np.argwhere(np.isinf(array))):
        place = "".join(f"[{index}]" for index in wrong[0])
        raise TrainingError(f"{where}: expected finite numbers, got {x[tuple(wrong[0])]} at x{place}")
    return array


def refuse_many(where: str, shape: Sequence[int]) -> None:
    """Refuse sequences of more than `MOST_COLUMNS` values."""
    if (values := math.prod(shape[1:])) > MOST_COLUMNS:
        raise TrainingError(
            f"{where}: expected at most {MOST_COLUMNS:,} values in a sequence, timesteps times features, "
            f"got {values:,} in x of shape {tuple(shape)}"
        )


def of_arrays(where: str, x: Any, y: Any) -> SourceData:
    """Return sequences `x (n, timesteps, features)` in memory with labels `y`, `(n,)` or `(n, numbers)`."""
    return joined([part_of(where, {"x": np.asarray(x), "y": np.asarray(y)})])


def _part(where: str, path: Path) -> SourcePart:
    return part_of(where, _arrays(where, path))


def part_of(where: str, arrays: Mapping[str, NDArray[Any]]) -> SourcePart:
    """Return labelled sequences from arrays: `x`, `y`, and perhaps `lengths` and names.

    Raises:
        TrainingError: an array is missing, or has another shape or type.
    """
    if missing := {"x", "y"} - set(arrays):
        raise TrainingError(f"{where}: expected arrays x and y, got no {' and no '.join(sorted(missing))}")
    x, y, lengths = arrays["x"], arrays["y"], arrays.get("lengths")
    if x.ndim != 3 or y.shape[:1] != x.shape[:1] or y.ndim > 2 or 0 in y.shape[1:]:
        raise TrainingError(
            f"{where}: expected x (n, timesteps, features) and y (n,) or (n, numbers), got {x.shape} and {y.shape}"
        )
    if lengths is not None:
        x = _cut(where, x, lengths)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    array = checked(where, x)
    counts = {"feature_names": x.shape[2], "timestep_labels": x.shape[1], "target_names": y[:1].size}
    return SourcePart(
        where, array, y, {name: _names(where, name, arrays[name], n) for name, n in counts.items() if name in arrays}
    )


def _arrays(where: str, path: Path) -> dict[str, NDArray[Any]]:
    wanted = ("x", "y", "lengths", "feature_names", "timestep_labels", "target_names")
    try:
        # Opened here, because numpy leaves an unreadable file open.
        with path.open("rb") as file:
            if file.read(6) == b"\x93NUMPY":
                raise TrainingError(
                    f"{where}: not a readable .npz file: expected several arrays, as numpy.savez writes, got one array"
                )
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if "x" in arrays.files:
                refuse_many(where, _shape(arrays.zip, "x.npy"))
            return {name: arrays[name] for name in wanted if name in arrays.files}
    except (*NUMPY_ERRORS, zipfile.BadZipFile) as error:
        raise TrainingError(f"{where}: not a readable .npz file: {error}") from error


def _shape(archive: zipfile.ZipFile, member: str) -> tuple[int, ...]:
    """Return the shape of an array from its header, without reading it."""
    with archive.open(member) as file:
        npy: Any = np.lib.format  # numpy.lib.format ships no types
        read_header = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
        shape: tuple[int, ...] = read_header(file)[0]
    return shape


def _cut(where: str, x: NDArray[Any], lengths: NDArray[Any]) -> NDArray[Any]:
    """Replace the padding after the end of each sequence by NaN."""
    if lengths.shape != x.shape[:1] or lengths.dtype.kind not in "iu":
        raise TrainingError(f"{where}: expected lengths (n,) of integers, got {lengths.shape} of {lengths.dtype}")
    if len(wrong := np.flatnonzero((lengths < 1) | (lengths > x.shape[1]))):
        raise TrainingError(
            f"{where}: expected lengths from 1 to {x.shape[1]}, got {lengths[wrong[0]]} at lengths[{wrong[0]}]"
        )
    after = np.arange(x.shape[1]) >= lengths[:, np.newaxis]
    return np.where(after[..., np.newaxis], np.nan, x) if x.dtype.kind in "biuf" else x


def _names(where: str, name: str, values: NDArray[Any], count: int) -> tuple[str, ...]:
    if values.shape != (count,) or values.dtype.kind == "V":
        raise TrainingError(f"{where}: expected {name} ({count},), got {values.shape} of {values.dtype}")
    return tuple(map(str, values.tolist()))


def _stacked(arrays: Sequence[Array], timesteps: int) -> Array:
    """Concatenate arrays after padding or cutting each to a number of timesteps."""
    fitting = [
        np.pad(x[:, :timesteps], ((0, 0), (0, max(0, timesteps - x.shape[1])), (0, 0)), constant_values=np.nan)
        if x.shape[1] != timesteps
        else x
        for x in arrays
    ]
    return fitting[0] if len(fitting) == 1 else np.concatenate(fitting)


def _kind(labels: NDArray[Any]) -> str:
    return "words" if labels.dtype.kind in "SUO" else "numbers"


def _described(labels: NDArray[Any]) -> str:
    return f"{labels.shape[1:] or 'one'} of {labels.dtype}"
