"""A model of another program, as it was opened: its inputs, its own program, and its graph as ONNX."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import onnx
from numpy.typing import NDArray

from service.artifact.card import Layer

#: Arrays by the names of a model's inputs, outputs or other tensors. The first axis is the batch.
Values = Mapping[str, NDArray[Any]]
#: Number of sequences in one call of a model.
BATCH_SIZE: Final = 256
#: How far an imported graph may differ from the original program, in float32 and with half precision.
TOLERANCE: Final = 1e-5
HALF_TOLERANCE: Final = 1e-3


class ModelInput(NamedTuple):
    """Declaration of an input: its name, its data type as NumPy calls it, and its shape. Open axes are None."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Original:
    """A model with inputs of fixed sizes except for the batch.

    Attributes:
        outputs: the names of the outputs that the author gave the model.
        exposed: the names of further outputs: layers that were asked for, or that are distributions over time.
        convert: returns the same computation as ONNX; its inputs and outputs have the same names.
        run: returns outputs by name, as the original program computes them. The second argument has the names of
            outputs or of other tensors; those that the program does not have are left out.
        tolerance: how far the imported graph may differ from it.
    """

    outputs: tuple[str, ...]
    exposed: tuple[str, ...]
    convert: Callable[[], onnx.ModelProto]
    run: Callable[[Values, Collection[str]], dict[str, NDArray[Any]]]
    tolerance: float = TOLERANCE


class Opened(Protocol):
    """A model that was opened, and whose inputs may have open sizes."""

    @property
    def inputs(self) -> tuple[ModelInput, ...]: ...

    @property
    def libraries(self) -> tuple[str, ...]:
        """The packages that the original program needs."""
        ...

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of a Keras model, for its diagram; none for other models."""
        ...

    def trace(self, examples: Values, named: Sequence[str], timesteps: int) -> Original:
        """Return the model with the sizes of the examples.

        Args:
            examples: some values of each input.
            named: the names that the person gave for attention; layers of these names become outputs.
            timesteps: the number of timesteps. Layers that are distributions over so many become outputs.

        Raises:
            TrainingError: the model cannot run on the examples.
        """
        ...


def name_of_place(place: int) -> str:
    """Return the name of an input that has none: one of the list that a subclass of keras.Model takes."""
    return f"input_{place}"


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, or over the names and contents of the files of a directory."""
    if path.is_file():
        return _sha256(path.read_bytes())
    files = sorted(one for one in path.rglob("*") if one.is_file())
    return _sha256(*(part for one in files for part in (f"{one.relative_to(path)}\0".encode(), one.read_bytes())))


def batches(values: Values) -> Iterable[Values]:
    """Yield arrays in parts of `BATCH_SIZE`."""
    count = min(map(len, values.values()))
    for start in range(0, count, BATCH_SIZE):
        yield {name: array[start : start + BATCH_SIZE] for name, array in values.items()}


def _sha256(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
