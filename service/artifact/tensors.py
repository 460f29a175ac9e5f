"""The tensors of the contract: their names, their axes, and the signatures that compute them."""

from collections.abc import Mapping
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Axis = Literal["batch", "timesteps", "features", "outputs", "units", "steps", "measures"]

SEQUENCE: Final = "sequence"
PREDICTION: Final = "prediction"
ATTENTION: Final = "attention"
ATTENTION_VEC: Final = "attention_vec"
#: No graph computes the others. The service finds them by running the graph on changed sequences.
IMPORTANCE: Final = "importance"
FEATURE_IMPORTANCE: Final = "feature_importance"
CELL_IMPORTANCE: Final = "cell_importance"
ATTENTION_FAITHFULNESS: Final = "attention_faithfulness"
IMPORTANCE_FAITHFULNESS: Final = "importance_faithfulness"
RANK_CORRELATION: Final = "rank_correlation"
#: The entries of faithfulness.
MEASURES: Final = ("comprehensiveness", "sufficiency")

#: The axes of each tensor. `axes_of` has those of models whose output is a sequence.
AXES: Final[Mapping[str, tuple[Axis, ...]]] = {
    SEQUENCE: ("batch", "timesteps", "features"),
    PREDICTION: ("batch", "outputs"),
    ATTENTION: ("batch", "timesteps"),
    ATTENTION_VEC: ("batch", "timesteps", "units"),
    IMPORTANCE: ("batch", "timesteps"),
    FEATURE_IMPORTANCE: ("batch", "features"),
    CELL_IMPORTANCE: ("batch", "timesteps", "features"),
    ATTENTION_FAITHFULNESS: ("batch", "measures"),
    IMPORTANCE_FAITHFULNESS: ("batch", "measures"),
    RANK_CORRELATION: ("batch",),
}
#: The tensors that have one entry for each timestep of a sequence.
OVER_TIME: Final = frozenset(name for name, axes in AXES.items() if "timesteps" in axes)

#: The signatures of the SavedModel, and the outputs of each. All take the one input `sequence`.
SIGNATURES: Final[Mapping[str, tuple[str, ...]]] = {
    "serving_default": (PREDICTION,),
    "attention": (PREDICTION, ATTENTION, ATTENTION_VEC),
}


def axes_of(name: str, *, steps: bool) -> tuple[Axis, ...]:
    """Return the axes of a tensor; `steps` says whether the model's output is a sequence."""
    return ("batch", "steps", "outputs") if steps and name == PREDICTION else AXES[name]


def shape_of(name: str, sizes: Mapping[Axis, int]) -> tuple[int | None, ...]:
    """Return the shape of a tensor.

    Args:
        name: one of `AXES`.
        sizes: the size of each axis; an axis without a size is open and becomes None.
    """
    known = {"measures": len(MEASURES), **sizes}
    return tuple(known.get(axis) for axis in axes_of(name, steps="steps" in sizes))
