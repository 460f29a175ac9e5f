"""Parts of attention: the units of one layer, head, query or output step, as the card's `attention_from` names them."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.artifact.card import LAYER, AttentionSource
from service.errors import InvalidInput

#: Most axes that a message lists.
MOST_LISTED: Final = 8


def units_of(part: Mapping[str, int], sources: Sequence[AttentionSource]) -> NDArray[np.intp]:
    """Return the indices of the units of `attention_vec` that belong to a part.

    Args:
        part: an index for each chosen axis. `layer` is the index of the source.
        sources: where the units come from.

    Raises:
        InvalidInput: there is no such part. The message names the axis and says which there are.
    """
    chosen: list[NDArray[np.intp]] = []
    start = 0
    for layer, source in enumerate(sources):
        units = np.arange(start, start + source.units).reshape(tuple(source.axes.values()))
        start += source.units
        wanted = {axis: index for axis, index in part.items() if axis != LAYER}
        if part.get(LAYER, layer) == layer and all(index < source.axes.get(axis, 0) for axis, index in wanted.items()):
            chosen.append(units[tuple(wanted.get(axis, slice(None)) for axis in source.axes)].ravel())
    if not chosen:
        raise InvalidInput(_problem(part, sources))
    return np.concatenate(chosen)


def _problem(part: Mapping[str, int], sources: Sequence[AttentionSource]) -> str:
    if not sources:
        return "attention: expected 'mean', 'full' or 'none', as the card has no attention_from, got a part"
    sizes = {LAYER: len(sources)}
    for source in [sources[part[LAYER]]] if part.get(LAYER, len(sources)) < len(sources) else sources:
        sizes |= {axis: max(size, sizes.get(axis, 0)) for axis, size in source.axes.items()}
    there = ", ".join(f"{axis} (0 to {size - 1})" for axis, size in list(sizes.items())[:MOST_LISTED])
    for axis, index in part.items():
        if axis not in sizes:
            return f"attention: expected any of {there}, got {axis[:80]!r}"
        if index >= sizes[axis]:
            return f"attention.{axis}: expected an index from 0 to {sizes[axis] - 1}, got {index}"
    return f"attention: expected a part that some layer has, of {there}, got {dict(part)}"
