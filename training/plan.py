"""The plan of a fit: the options about learning, where the person gave none computed from the number of sequences."""

import math
from dataclasses import dataclass
from typing import Final, Self, TypeVar

from training.options import SYNTHETIC, Options

Value = TypeVar("Value")

#: Number of steps that a plan aims at, and the fewest and most epochs for it.
STEPS: Final = 4000
FEWEST_EPOCHS, MOST_EPOCHS = 10, 150
#: Smallest and largest batch of a plan.
SMALLEST_BATCH, LARGEST_BATCH = 16, 128
#: Below this number of sequences a plan has no validation data, because their loss would be too uncertain.
FEW: Final = 100


@dataclass(frozen=True)
class Plan:
    """The options about learning that a fit uses.

    Attributes:
        epochs: largest number of passes over the fitted sequences.
        batch_size: sequences in one step of the optimizer.
        learning_rate: step size, at the start if it falls.
        decay: whether the step size falls to 0 along half a cosine, with AdamW; else it is constant, with Adam.
        patience: number of epochs without a lower validation loss that ends the fit; None for no early end.
        validation_split: fraction of the training data that is not fitted but validated on.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    decay: bool
    patience: int | None
    validation_split: float

    @classmethod
    def of(cls, options: Options, sequences: int) -> Self:
        """Return the plan for a number of training sequences. Options that a person gave are kept.

        Synthetic data has a fixed plan: one epoch of batches of 128, and Adam with the constant step size 0.001.
        """
        if options.data in SYNTHETIC:
            split = _given(options.validation_split, 0.1)
            batch_size, learning_rate = _given(options.batch_size, 128), _given(options.learning_rate, 0.001)
            epochs, patience = _given(options.epochs, 1), options.patience
            return cls(epochs, batch_size, learning_rate, decay=False, patience=patience, validation_split=split)
        split = _given(options.validation_split, 0.1 if sequences >= FEW or options.patience else 0.0)
        suitable = 2 ** round(math.log2(max(sequences, 1) / LARGEST_BATCH))
        batch_size = _given(options.batch_size, int(min(LARGEST_BATCH, max(SMALLEST_BATCH, suitable))))
        steps = max(1, math.ceil(sequences * (1 - split) / batch_size))
        epochs = _given(options.epochs, min(MOST_EPOCHS, max(FEWEST_EPOCHS, STEPS // steps)))
        patience = options.patience
        if patience is None and options.epochs is None and split:
            patience = max(5, epochs // 5)
        decay = options.learning_rate is None
        return cls(epochs, batch_size, _given(options.learning_rate, 0.003), decay, patience, split)


def _given(value: Value | None, otherwise: Value) -> Value:
    return otherwise if value is None else value
