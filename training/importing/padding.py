"""Whether a model ignores the padding of a sequence, so that shorter sequences may be asked for."""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.artifact.gate import differences
from service.artifact.tensors import PREDICTION, Array
from training import TrainingError
from training.importing.feeding import present
from training.importing.interpretation import Interpretation
from training.importing.original import Opened, Original, Values

#: Largest attention of a padded timestep in a model that ignores padding.
IGNORED: Final = 1e-6
#: Returns tensors of the model by name for sequences `(n, timesteps, features)`.
Compute = Callable[[Array, Collection[str]], dict[str, NDArray[Any]]]


def effect_of_padding(
    opened: Opened, original: Original, compute: Compute, interpretation: Interpretation, x: Array
) -> str | None:
    """Return what padding changes, for a hint; None if it changes nothing.

    Sequences `x (n, timesteps, features)` are cut at several lengths and padded. Attention on the padding must be below
    `IGNORED`; that of absent queries is left out. A model that takes any number of timesteps must also compute for the
    padded sequence what it computes for the short sequence alone. A model of a fixed number cannot be asked that: its
    attention decides alone, and a model without attention is taken as one that does not ignore padding.
    """
    timesteps, is_open = interpretation.feeding.timesteps, _is_open(opened, interpretation)
    if timesteps < 2 or not (is_open or interpretation.sources):
        return f"the model takes {timesteps} timesteps"
    if interpretation.reading.target.steps == timesteps:
        return "each timestep has an output of its own"
    half = max(1, timesteps // 2)
    for length in sorted({max(1, timesteps // 4), half, timesteps - 1}):
        padded = x.copy()
        padded[:, length:] = np.nan
        try:
            own = compute(padded, interpretation.names)
        except TrainingError:
            return "the model does not run on padding"
        if interpretation.sources:
            on_padding = interpretation.weights(own, padded) * (1 - present(padded))[..., np.newaxis]
            if not (most := np.abs(on_padding).max()) <= IGNORED:
                return f"attention on padding is up to {most:.2g}, expected 0"
        effect = None
        if is_open and length == half:
            effect = _effect_of_length(opened, original, interpretation, own, padded, length)
        if effect is not None:
            return effect
    return None


def _is_open(opened: Opened, interpretation: Interpretation) -> bool:
    """Return whether a model takes any number of timesteps."""
    sequence = next(part.name for part in interpretation.feeding.parts if part.kind == "sequence")
    return {one.name: one.shape for one in opened.inputs}.get(sequence, (None, None))[1] is None


def _effect_of_length(  # noqa: PLR0913, PLR0917 - private
    opened: Opened, original: Original, interpretation: Interpretation, own: Values, padded: Array, length: int
) -> str | None:
    """Return how the answers for padded sequences differ from the model's own for the first `length` timesteps.

    Tensors that only this number of timesteps has are left out.
    """
    reading, names, cut = interpretation.reading, interpretation.names, padded[:, :length]
    short = replace(interpretation, feeding=replace(interpretation.feeding, timesteps=length))
    values = short.feeding.values(cut)
    try:
        alone = opened.trace(values, names[1:], length).run(values, names)
        predictions = reading.prediction(alone[reading.output]), reading.prediction(own[reading.output])
        errors = differences(PREDICTION, *predictions, reading.target).max(initial=0)
        if interpretation.sources and alone.keys() >= set(names):
            both = short.attention_vec(alone, cut), interpretation.attention_vec(own, padded)[:, :length]
            errors = np.append(errors, np.abs(both[0].mean(axis=2) - both[1].mean(axis=2)))
    except (TrainingError, ValueError):  # other layers need this number of timesteps
        return f"the model does not take {length} timesteps"
    if not (error := np.max(errors)) <= original.tolerance:
        return f"a padded sequence has another answer than the short one alone, by {error:.2g}"
    return None
