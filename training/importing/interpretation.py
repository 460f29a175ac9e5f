"""The interpretation of a model: how the tensors of the contract follow from its own."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.artifact.tensors import Array
from training.importing.distributions import Distribution
from training.importing.feeding import Feeding, present
from training.importing.original import Values
from training.importing.reading import Reading


@dataclass(frozen=True)
class Interpretation:
    """How the tensors of the contract follow from a model's own.

    Attributes:
        feeding: how a sequence becomes the model's inputs. The value for padding is None if all sequences are whole.
        reading: how the model's output becomes the prediction.
        sources: the model's tensors that are attention.
    """

    feeding: Feeding
    reading: Reading
    sources: tuple[Distribution, ...]

    @property
    def names(self) -> list[str]:
        """The names of the model's tensors that the contract needs."""
        return [self.reading.output, *(source.name for source in self.sources)]

    @property
    def units(self) -> int:
        """The number of distributions for each sequence."""
        return sum(len(source.units) for source in self.sources)

    def attention_vec(self, values: Values, x: Array) -> NDArray[np.float32]:
        """Return `attention_vec (n, timesteps, units)`, which is 0 at absent timesteps.

        Args:
            values: the model's own tensors by name.
            x: the sequences `(n, timesteps, features)` that they were computed for.
        """
        weights = self.weights(values, x)
        return weights if self.feeding.pad is None else weights * present(x)[..., np.newaxis]

    def weights(self, values: Values, x: Array) -> NDArray[np.float32]:
        """Return the same, with the weights that the model gives to absent timesteps.

        In self-attention, a query of an absent timestep has the mean of the weights of the others, so that the mean
        over all queries is that of the queries that are present.
        """
        parts = []
        for source in self.sources:
            part = _units(source, values[source.name])
            if source.is_self_attention and self.feeding.pad is not None:
                part = _of_present_queries(part, present(x) > 0)
            parts.append(part)
        return np.concatenate(parts, axis=2)


def _units(source: Distribution, array: NDArray[Any]) -> NDArray[np.float32]:
    """Return the units `(n, timesteps, units)` of a source from its values."""
    array = array.astype(np.float32)
    if source.folded > 1:
        array = array.reshape(-1, source.folded, *array.shape[1:])
    moved = np.moveaxis(array, source.axis, 1)
    return moved.reshape(*moved.shape[:2], -1)


def _of_present_queries(units: NDArray[np.float32], there: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return units `(n, timesteps, units)` whose last axis is the queries; `there (n, timesteps)` are present."""
    timesteps = there.shape[1]
    queries = units.reshape(*units.shape[:2], -1, timesteps)  # (n, timesteps, heads, queries)
    here = there[:, np.newaxis, np.newaxis]
    present_ones = np.where(here, queries, np.float32(0))  # an absent query may have NaN
    mean = present_ones.sum(axis=3, keepdims=True) / here.sum(axis=3, keepdims=True)
    return np.where(here, queries, mean).astype(np.float32).reshape(units.shape)
