"""The classes that predictions choose."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.artifact.card import Task

#: From this probability on, the second of two classes is chosen, and each of several labels.
LIKELY: Final = 0.5


def chosen(predictions: NDArray[np.floating[Any]], task: Task) -> NDArray[np.intp]:
    """Return the index of the class that each prediction chooses, `(…)`; of several labels 0 or 1 for each, `(…, n)`.

    Args:
        predictions: the outputs of a model of classes, `(…, outputs)`: the probability of the second class, or of each.
        task: the kind of prediction.
    """
    if task == "multilabel":
        return (predictions >= LIKELY).astype(np.intp)
    return (predictions[..., 0] >= LIKELY).astype(np.intp) if task == "binary" else predictions.argmax(axis=-1)
