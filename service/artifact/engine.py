"""The interface of an engine: one loaded graph that runs forward passes."""

from collections.abc import Collection, Mapping
from typing import NamedTuple, Protocol

from service.artifact.tensors import Array


class TensorType(NamedTuple):
    """Data type and shape that a graph declares for an input or output; open axes are None."""

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
        """The artifact's signatures that the graph has."""
        ...

    def run(self, sequences: Array, outputs: Collection[str]) -> dict[str, Array]:
        """Execute one forward pass.

        Args:
            sequences: `(batch, timesteps, features)`; NaN where a value is missing.
            outputs: names of the outputs to return: `prediction (batch, outputs)`, `attention (batch, timesteps)`,
                `attention_vec (batch, timesteps, units)`.
        """
        ...
