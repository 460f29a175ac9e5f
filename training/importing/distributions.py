"""The tensors that are distributions over the timesteps: candidates for attention."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.artifact.tensors import Array
from training.importing.original import Values

#: How far a sum may be from 1, and how far below 0 rounding may lead.
SUM_TOLERANCE: Final = 1e-3
#: Differences below it are rounding: between two copies, and between the weights of two examples.
SAME: Final = 1e-5
#: Number of examples that a graph is run on.
EXAMPLES: Final = 8
#: The end of the names that tf2onnx makes.
MADE_BY_CONVERSION: Final = re.compile(r"__\d+(:\d+)?$")
#: Names of the axes of units: of attention with heads, and with queries alone.
HEAD, QUERY, UNIT, STEP = "head", "query", "unit", "step"


@dataclass(frozen=True)
class Distribution:
    """A tensor that is a distribution over the timesteps, for each example and each unit.

    Attributes:
        name: its name in the graph.
        shape: its shape, with the examples first.
        axis: its axis of timesteps.
        folded: the number of heads in the first axis beside the examples, as PyTorch has it; 1 for none.
        axes: names and sizes of its units' axes, in the order of the tensor; without axes of size 1.
        units: its values on the examples, `(units, examples, timesteps)`.
    """

    name: str
    shape: tuple[int, ...]
    axis: int
    folded: int
    axes: dict[str, int]
    units: NDArray[np.float64]

    @property
    def described(self) -> str:
        """Name and shape for a message, with n for the examples."""
        first = "n" if self.folded == 1 else f"n·{self.folded}"
        return f"{self.name} ({', '.join([first, *map(str, self.shape[1:])])})"

    @property
    def is_self_attention(self) -> bool:
        """Whether each timestep has a query of its own. The queries are the last axis of units."""
        return bool(self.axes.get(QUERY) == self.units.shape[2])


def number_of_examples(timesteps: int) -> int:
    """Return how many examples to run. It is not the number of timesteps, so that their axes can be told apart."""
    return EXAMPLES - 1 if timesteps == EXAMPLES else EXAMPLES


def distribution(
    name: str, values: NDArray[np.floating], examples: int, timesteps: int, steps: int | None = None
) -> Distribution | str:
    """Return a tensor as a distribution over the timesteps, or the reason why it is none.

    Args:
        name: its name.
        values: its values on some examples.
        examples: the number of examples.
        timesteps: the number of timesteps.
        steps: the number of output steps of the model, if it predicts a sequence.
    """
    folded, shape = 1, values.shape
    if values.ndim == 3 and shape[0] > examples and shape[0] % examples == 0:
        folded = shape[0] // examples
        values = values.reshape(examples, folded, *shape[1:])
    axes = [axis for axis in range(1, values.ndim) if values.shape[axis] == timesteps]
    if values.ndim < 2 or values.shape[0] != examples or not axes:
        return f"has the shape {shape} for {examples} examples, which has no axis of {timesteps} timesteps"
    least = float(values.min())
    if not least >= -SUM_TOLERANCE:  # NaN is not, either
        return (
            f"holds negative values (from {least:.2g}), so it is no distribution: it may be the scores before the "
            "softmax"
        )
    sums = {axis: values.sum(axis=axis, dtype=np.float64) for axis in axes}
    fitting = [axis for axis in axes if np.abs(sums[axis] - 1).max() <= SUM_TOLERANCE]
    if not fitting:
        low, high = sums[axes[-1]].min(), sums[axes[-1]].max()
        return f"sums over axis {axes[-1]} to between {low:.3g} and {high:.3g}, expected 1 within {SUM_TOLERANCE:g}"
    axis = fitting[-1]  # the keys of self-attention are the last axis
    moved = np.moveaxis(values, axis, -1).astype(np.float64)  # (examples, …, timesteps)
    sizes = moved.shape[1:-1]
    units = moved.reshape(examples, -1, timesteps).swapaxes(0, 1)  # (units, examples, timesteps)
    return Distribution(name, shape, axis, folded, _axes(sizes, axis, timesteps, steps), units)


def _axes(sizes: Sequence[int], axis: int, timesteps: int, steps: int | None) -> dict[str, int]:
    """Return the names and sizes of the axes of units, `sizes`, without those of size 1.

    The last axis before the timesteps has the queries, or the steps of a sequence that is predicted; those before it
    are heads. Axes behind the timesteps are other units.
    """
    keys_last = axis == len(sizes) + 1
    named = [size for size in sizes if size > 1] if len(sizes) != 2 else list(sizes)
    names = [HEAD, *(f"{HEAD} {place}" for place in range(1, len(named)))][: len(named)]
    if named:
        is_query = keys_last and (len(named) > 1 or named[-1] == timesteps)
        names[-1] = STEP if named[-1] == steps else QUERY if is_query else UNIT
    return {name: size for name, size in zip(names, named, strict=True) if size > 1}


def may_attend(found: Distribution) -> bool:
    """Return whether the weights depend on the sequence, and are not only 0 and 1, as those of a selection are."""
    return bool(np.ptp(found.units, axis=1).max() > SAME and not np.isin(found.units, (0, 1)).all())


def is_input(found: Distribution, x: Array) -> bool:
    """Return whether each unit is a feature of the examples `x (examples, timesteps, features)`, perhaps scaled.

    Examples may be shares, whose sum over time is the same for all.
    """
    sums = x.sum(axis=1, dtype=np.float64)  # (examples, features)
    same = np.ptp(sums, axis=0) <= SUM_TOLERANCE * np.abs(sums.mean(axis=0))
    same &= sums[0] != 0
    features = np.moveaxis(x[..., same] / sums[:, np.newaxis, same].mean(axis=0), -1, 0)
    return all((np.abs(features - unit) <= SAME).all(axis=(1, 2)).any() for unit in found.units)


def without_copies(found: Iterable[Distribution], *preferred: Collection[str]) -> list[Distribution]:
    """Return the distributions that hold weights of their own, in the order given.

    Left out are copies, parts and means over units of another one. Of two copies the one with a preferred name is
    kept, else the one that is not folded, else one with a name that conversion did not make, else the one with the
    fewest axes, else the later one, which is nearest to its consumer.

    Args:
        found: the distributions in the order of the graph.
        preferred: names that people know, the best ones last.
    """
    ranks = {name: rank for rank, names in enumerate(preferred, 1) for name in names}

    def goodness(numbered: tuple[int, Distribution]) -> tuple[int, bool, bool, int, int]:
        place, one = numbered
        return (
            ranks.get(one.name, 0), one.folded == 1, not MADE_BY_CONVERSION.search(one.name), -len(one.shape), place
        )  # fmt: skip

    ordered = sorted(enumerate(found), key=goodness)
    kept: list[tuple[int, Distribution]] = []
    for place, one in reversed(ordered):
        if not any(_holds(other, one) for _, other in kept):
            kept = [(at, other) for at, other in kept if not _holds(one, other)] + [(place, one)]
    return [one for _, one in sorted(kept, key=lambda pair: pair[0])]


def belong_together(found: Sequence[Distribution]) -> bool:
    """Return whether distributions are the layers of one Transformer: they have queries, and equal axes."""
    return len(found) > 1 and QUERY in found[0].axes and all(one.axes == found[0].axes for one in found)


def _holds(one: Distribution, other: Distribution) -> bool:
    """Return whether all units of another distribution are units of this one, or means over some of its axes."""
    units = one.units.reshape(len(one.units), -1)
    parts = other.units.reshape(len(other.units), -1)
    if len(units) == 1:
        return bool(np.abs(parts - units).max() <= SAME)  # itself, or repeated for each unit
    if len(units) == len(parts):
        return _is_copy(parts, np.sort(units.ravel()))
    if all(np.abs(units - part).max(axis=1).min() <= SAME for part in parts):
        return True
    return any(
        mean.shape == parts.shape and np.abs(mean - parts).max() <= SAME
        for mean in _means(units, tuple(one.axes.values()))
    )


def _means(units: NDArray[np.float64], sizes: tuple[int, ...]) -> Iterable[NDArray[np.float64]]:
    """Yield the means over each axis and over all axes of units `(units, values)`."""
    shaped = units.reshape(*sizes, -1)
    for axis in range(len(sizes)):
        yield shaped.mean(axis=axis).reshape(-1, units.shape[1])
    yield units.mean(axis=0, keepdims=True)


def candidates(
    values: Values, examples: int, timesteps: int, steps: int | None, excluded: Iterable[NDArray[np.floating]]
) -> list[Distribution]:
    """Return the tensors that may be attention: distributions that depend on the sequence, without the prediction.

    Args:
        values: tensors of floats by name, on some examples.
        examples: the number of examples.
        timesteps: the number of timesteps.
        steps: the number of output steps of the model, if it predicts a sequence.
        excluded: tensors that are no attention, such as the prediction. Their copies are left out, too.
    """
    left_out = [np.sort(one.ravel()) for one in excluded]
    found = []
    for name, array in values.items():
        if any(_is_copy(array, one) for one in left_out):
            continue
        one = distribution(name, array, examples, timesteps, steps)
        if isinstance(one, Distribution) and may_attend(one):
            found.append(one)
    return found


def _is_copy(array: NDArray[np.floating], values: NDArray[np.floating]) -> bool:
    """Return whether an array holds exactly some sorted values, in any shape."""
    return array.size == values.size and bool(np.abs(np.sort(array.ravel()) - values).max(initial=0) <= SAME)
