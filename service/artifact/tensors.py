"""The tensors of the contract: their names, their axes, and the signatures that compute them."""

from collections.abc import Mapping
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Axis = Literal["batch", "timesteps", "features", "outputs", "units"]

SEQUENCE: Final = "sequence"
PREDICTION: Final = "prediction"
ATTENTION: Final = "attention"
ATTENTION_VEC: Final = "attention_vec"
#: No graph computes these two. The service finds them by running the graph on occluded sequences.
IMPORTANCE: Final = "importance"
RANK_CORRELATION: Final = "rank_correlation"

#: The axes of each tensor.
AXES: Final[Mapping[str, tuple[Axis, ...]]] = {
    SEQUENCE: ("batch", "timesteps", "features"),
    PREDICTION: ("batch", "outputs"),
    ATTENTION: ("batch", "timesteps"),
    ATTENTION_VEC: ("batch", "timesteps", "units"),
    IMPORTANCE: ("batch", "timesteps"),
    RANK_CORRELATION: ("batch",),
}
#: The tensors that have one entry for each timestep of a sequence.
OVER_TIME: Final = frozenset(name for name, axes in AXES.items() if "timesteps" in axes)

#: The signatures of the SavedModel, and the outputs of each. All take the one input `sequence`.
SIGNATURES: Final[Mapping[str, tuple[str, ...]]] = {
    "serving_default": (PREDICTION,),
    "attention": (PREDICTION, ATTENTION, ATTENTION_VEC),
}


def shape_of(name: str, sizes: Mapping[Axis, int]) -> tuple[int | None, ...]:
    """Return the shape of a tensor.

    Args:
        name: one of `AXES`.
        sizes: the size of each axis; an axis without a size is open and becomes None.
    """
    return tuple(sizes.get(axis) for axis in AXES[name])
