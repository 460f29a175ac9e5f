"""The interface of an engine: one loaded graph that runs forward passes."""

from collections.abc import Collection, Mapping
from typing import NamedTuple, Protocol

from service.artifact.tensors import Array


class TensorType(NamedTuple):
    """Declaration of an input or output in a graph: its data type and shape. Open axes are None."""

    dtype: str
    shape: tuple[int | None, ...]


class Signature(NamedTuple):
    """The inputs and outputs of a graph, by name."""

    inputs: Mapping[str, TensorType]
    outputs: Mapping[str, TensorType]


class Engine(Protocol):
    """One loaded graph. Several threads may call `run` at the same time."""

    @property
    def name(self) -> str: ...

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """The signatures of the contract that the graph has, by name."""
        ...

    def run(self, sequences: Array, outputs: Collection[str]) -> dict[str, Array]:
        """Execute one forward pass.

        Args:
            sequences: `(batch, timesteps, features)`; NaN where a value is missing.
            outputs: names of the outputs to return; `tensors.AXES` lists their axes.

        Returns:
            The outputs by name.
        """
        ...
