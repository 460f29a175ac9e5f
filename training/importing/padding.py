"""Whether a model ignores the padding of a sequence, so that shorter sequences may be asked for."""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.artifact.gate import differences
from service.artifact.tensors import PREDICTION, Array
from training import TrainingError
from training.importing.attention import weights
from training.importing.distributions import Distribution
from training.importing.feeding import Feeding, present
from training.importing.original import Opened, Original
from training.importing.reading import Reading

#: Largest attention of a padded timestep in a model that ignores padding.
IGNORED: Final = 1e-6
#: Returns tensors of the model by name for sequences `(n, timesteps, features)`.
Compute = Callable[[Array, Collection[str]], dict[str, NDArray[Any]]]


def ignores_padding(
    opened: Opened,
    original: Original,
    compute: Compute,
    parts: tuple[Feeding, Reading, tuple[Distribution, ...]],
    x: Array,
) -> bool:
    """Return whether padding changes nothing.

    Sequences `x (n, timesteps, features)` are cut at several lengths and padded. Attention on the padding must be below
    `IGNORED`. A model that takes any number of timesteps must also predict for the padded sequence what it predicts for
    the short sequence alone. A model of a fixed number cannot be asked that: its attention decides alone, and a model
    without attention is taken as one that does not ignore padding.
    """
    feeding, reading, sources = parts
    timesteps = feeding.timesteps
    sequence = next(part.name for part in feeding.parts if part.kind == "sequence")
    declared = {one.name: one.shape for one in opened.inputs}.get(sequence, (None, None))
    if timesteps < 2 or (declared[1] is not None and not sources):
        return False
    names = [reading.output, *(source.name for source in sources)]
    for length in sorted({max(1, timesteps // 4), max(1, timesteps // 2), timesteps - 1}):
        padded = x.copy()
        padded[:, length:] = np.nan
        own = compute(padded, names)
        if sources:
            on_padding = weights(sources, own) * (1 - present(padded))[..., np.newaxis]
            if not np.abs(on_padding).max() <= IGNORED:
                return False
        if declared[1] is None and length == max(1, timesteps // 2):
            short = replace(feeding, timesteps=length).values(x[:, :length])
            try:
                alone = opened.trace(short, (), length).run(short, [reading.output])[reading.output]
                predictions = reading.prediction(alone), reading.prediction(own[reading.output])
                difference = differences(PREDICTION, *predictions, reading.target)
            except (TrainingError, ValueError):  # other layers need this number of timesteps
                return False
            if not difference.max() <= original.tolerance:
                return False
    return True
