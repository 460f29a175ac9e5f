"""The way from the one sequence of the contract to a model's own inputs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from service.artifact.missing import absent
from service.artifact.tensors import SEQUENCE, Array
from training import TrainingError
from training.importing.original import ModelInput, Values

#: ONNX's data types by NumPy's names.
ONNX_TYPES: Final = {
    "float32": onnx.TensorProto.FLOAT,
    "float64": onnx.TensorProto.DOUBLE,
    "float16": onnx.TensorProto.FLOAT16,
    "int64": onnx.TensorProto.INT64,
    "int32": onnx.TensorProto.INT32,
    "int16": onnx.TensorProto.INT16,
    "int8": onnx.TensorProto.INT8,
    "uint8": onnx.TensorProto.UINT8,
    "bool": onnx.TensorProto.BOOL,
}
#: Names of values that the nodes before the model compute.
FILLED, PRESENT, HAS_VALUE = "filled", "present", "has_value"


class Part(NamedTuple):
    """One input of the model, as a part of the sequence's features.

    Attributes:
        name: the name of the input.
        kind: whether it has a value for each timestep, or one for the whole sequence.
        first: its first feature.
        width: its number of features.
        dtype: its data type.
        rank: its number of axes.
    """

    name: str
    kind: Literal["sequence", "static"]
    first: int
    width: int
    dtype: str
    rank: int


@dataclass(frozen=True)
class Feeding:
    """The inputs of a model as parts of one sequence `(batch, timesteps, features)`.

    Attributes:
        parts: the inputs.
        timesteps: the number of timesteps.
        pad: the value that takes the place of a missing one; None if the graph leaves missing values as they are.
    """

    parts: tuple[Part, ...]
    timesteps: int
    pad: float | None = None

    @property
    def features(self) -> int:
        return sum(part.width for part in self.parts)

    @property
    def without_pad(self) -> "Feeding":
        """The same for sequences without missing values."""
        return replace(self, pad=None)

    def values(self, x: NDArray[np.floating]) -> Values:
        """Return the model's inputs for sequences `x (n, timesteps, features)`."""
        if self.pad is not None:
            x = np.where(np.isnan(x), np.float32(self.pad), x)
        return {part.name: self._part(part, x) for part in self.parts}

    def _part(self, part: Part, x: NDArray[np.floating]) -> NDArray[Any]:
        values = x[:, :, part.first : part.first + part.width]
        if part.kind == "static":
            values = values[:, 0]
        values = values.reshape(*values.shape[: part.rank]) if part.rank < values.ndim else values
        return np.ascontiguousarray(values.astype(part.dtype))

    def nodes(self) -> Iterator[onnx.NodeProto | onnx.TensorProto]:
        """Yield the nodes and constants that compute the model's inputs from `sequence`."""
        source = SEQUENCE
        if self.pad is not None:
            source = FILLED
            yield _constant("pad", np.float32(self.pad))
            yield helper.make_node("IsNaN", [SEQUENCE], ["is_missing"])
            yield helper.make_node("Where", ["is_missing", "pad", SEQUENCE], [FILLED])
        for part in self.parts:
            yield from self._part_nodes(part, source)

    def _part_nodes(self, part: Part, source: str) -> Iterator[onnx.NodeProto | onnx.TensorProto]:
        name = f"of_{part.name}"
        if part.kind == "static" or part.width != self.features:
            first_timesteps = 1 if part.kind == "static" else self.timesteps
            yield _constant(f"{name}/starts", np.array([0, part.first]))
            yield _constant(f"{name}/ends", np.array([first_timesteps, part.first + part.width]))
            yield _constant(f"{name}/axes", np.array([1, 2]))
            bounds = [f"{name}/{bound}" for bound in ("starts", "ends", "axes")]
            yield helper.make_node("Slice", [source, *bounds], [f"{name}/slice"])
            source = f"{name}/slice"
        if part.kind == "static" or part.rank == 2:
            shape = {"sequence": [-1, self.timesteps], "static": [-1, part.width][: part.rank]}[part.kind]
            yield _constant(f"{name}/shape", np.array(shape))
            yield helper.make_node("Reshape", [source, f"{name}/shape"], [f"{name}/reshape"])
            source = f"{name}/reshape"
        yield helper.make_node("Cast", [source], [part.name], to=ONNX_TYPES[part.dtype])


def feeding_of(inputs: Sequence[ModelInput], sizes: Sequence[tuple[int, ...]]) -> Feeding:
    """Return how the inputs of a model are parts of one sequence.

    Args:
        inputs: the model's inputs.
        sizes: the shape of each input in the examples, without the batch.

    Raises:
        TrainingError: no input is a sequence, or an input is of another kind.
    """
    for one in inputs:
        if one.dtype not in ONNX_TYPES:
            raise TrainingError(f"input {one.name}: expected numbers, got {one.dtype}")
    kinds = [_kind(one, size, sizes) for one, size in zip(inputs, sizes, strict=True)]
    timesteps = {size[0] for kind, size in zip(kinds, sizes, strict=True) if kind == "sequence"}
    if len(timesteps) != 1:
        shapes = ", ".join(f"{one.name} {_shape(one)}" for one in inputs)
        raise TrainingError(f"the model's inputs are {shapes}: expected one with timesteps, got {len(timesteps)}")
    parts, first = [], 0
    for one, kind, size in zip(inputs, kinds, sizes, strict=True):
        count = 1 if len(size) == (1 if kind == "sequence" else 0) else size[-1]
        parts.append(Part(one.name, kind, first, count, one.dtype, len(size) + 1))
        first += count
    return Feeding(tuple(parts), timesteps.pop())


def _kind(one: ModelInput, size: tuple[int, ...], sizes: Sequence[tuple[int, ...]]) -> Literal["sequence", "static"]:
    """Return whether an input has timesteps: three axes, or two axes if no other input has more timesteps than it."""
    if len(size) == 2:
        return "sequence"
    if len(size) != 1:
        if len(size) > 2:
            raise TrainingError(f"input {one.name}: expected (batch, timesteps, features), got {_shape(one)}")
        return "static"
    others = [other for other in sizes if len(other) == 2]
    if others:
        return "sequence" if size[0] == others[0][0] and np.dtype(one.dtype).kind in "iu" else "static"
    longest = max(other[0] for other in sizes if len(other) == 1)
    return "sequence" if size[0] == longest else "static"


def _shape(one: ModelInput) -> str:
    return f"({', '.join('n' if size is None else str(size) for size in one.shape)})"


def present(x: Array) -> Array:
    """Return `(n, timesteps)`: 1 where a timestep of `x (n, timesteps, features)` has a value, else 0."""
    return (~absent(x)).astype(np.float32)


def _constant(name: str, value: NDArray[np.int64] | np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)
