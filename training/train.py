"""Fitting a model."""

from typing import Any

import keras
import tensorflow as tf
from tqdm import tqdm

from service.inference.artifact import PREDICTION
from service.inference.card import Task
from training.data import Split
from training.evaluate import BATCH_SIZE
from training.options import Options

#: Loss and metric per task; labels are class indices.
OBJECTIVES: dict[Task, tuple[str, str]] = {
    "binary": ("binary_crossentropy", "binary_accuracy"),
    "multiclass": ("sparse_categorical_crossentropy", "sparse_categorical_accuracy"),
}
#: Optimizer steps per call from Python. A step takes a millisecond or so, about as long as the call itself.
STEPS_PER_CALL = 100


def fit(model: keras.Model, train: Split, task: Task, options: Options) -> int:
    """Fit a model in place with Adam, on all but the validation part of the data.

    Args:
        model: as `models.build` makes it.
        train: sequences to fit and, from the end, to validate on.
        task: decides the loss.
        options: epochs, batch size, learning rate, validation split, seed.

    Returns:
        How many sequences the weights were fitted on.
    """
    loss, metric = OBJECTIVES[task]
    fitted = len(train) - int(len(train) * options.validation_split)
    steps = -(-fitted // options.batch_size)
    predictor = keras.Model(model.input, model.output[PREDICTION])  # the loss reads the prediction alone
    predictor.compile(
        keras.optimizers.Adam(options.learning_rate),
        loss=loss,
        metrics=[metric],
        jit_compile=False,  # XLA cannot compile the LSTM's loop; asking for it only warns
        steps_per_execution=min(STEPS_PER_CALL, steps),
    )
    batches = (
        tf.data.Dataset.from_tensor_slices((train.x[:fitted], train.y[:fitted]))
        .shuffle(fitted, seed=options.seed)
        .batch(options.batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )
    validation = (train.x[fitted:], train.y[fitted:]) if fitted < len(train) else None
    predictor.fit(
        batches,
        epochs=options.epochs,
        shuffle=False,  # the batches come shuffled
        validation_data=validation,
        validation_batch_size=BATCH_SIZE,
        verbose=0,
        callbacks=[ProgressBar(options.epochs, steps)],
    )
    return fitted


class ProgressBar(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """One bar for the whole fit: steps done, rate, time left, and the latest metrics."""

    def __init__(self, epochs: int, steps: int) -> None:
        super().__init__()
        self._steps = steps
        self._bar = tqdm(total=epochs * steps, desc="training", unit="step", dynamic_ncols=True)
        self._epoch_start = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch_start = self._bar.n

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        # The last call of an epoch reports a full group of steps, also where fewer were left.
        done = min(self._epoch_start + batch + 1, self._epoch_start + self._steps)
        self._bar.update(done - self._bar.n)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._bar.set_postfix({name: f"{value:.4f}" for name, value in (logs or {}).items()})

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._bar.close()
