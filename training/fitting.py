"""The fit of a model, by Keras."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from service.artifact.card import Target
from service.artifact.tensors import PREDICTION, Array
from training import TrainingError, batches, folds
from training.checkpoints import Checkpoint, Progress
from training.data import Dataset, Indices
from training.evaluate import forward, predict
from training.options import Options
from training.plan import Plan
from training.reports import Report
from training.scores import compute_metrics

# Keras ships no types.
Tensor = Any
#: Maps labels and predictions `(batch, outputs)` to the loss of each sequence, `(batch,)`.
Losses = Callable[[Tensor, Tensor], Tensor]


class FitResult(NamedTuple):
    """The result of a fit.

    Attributes:
        sequences: number of fitted sequences.
        epochs: number of epochs; None for a closed form.
        epoch: the epoch of the model's weights, from 1; None for a closed form.
        seconds: duration.
        history: the losses and metrics after each epoch, by name.
        plan: the options about learning that were used; None if the model has a closed form.
    """

    sequences: int
    epochs: int | None
    epoch: int | None
    seconds: float
    history: Mapping[str, Sequence[float]] = {}
    plan: Plan | None = None


def fit(  # noqa: PLR0913, PLR0917
    model: keras.Model,
    dataset: Dataset,
    options: Options,
    seed: int,
    checkpoint: Checkpoint,
    after_epoch: Callable[[int], None] = lambda _: None,
) -> FitResult:
    """Fit a model in place with Keras, on the training data without the validation data.

    If there is validation data, the model gets the weights of the epoch with the lowest loss on it. The seed decides
    the order of the sequences. The checkpoint is restored at the start, and saved during the fit. `after_epoch` takes
    the number of finished epochs, and may raise an error to end the fit.

    Raises:
        TrainingError: class weights or patience do not suit the data, or the loss is not finite.
    """
    plan = Plan.of(options, len(dataset.train))
    train, validation = folds.split(dataset, plan.validation_split, seed)
    if options.patience is not None and not len(validation):
        raise TrainingError(
            f"--patience needs validation data, got none: --validation-split {plan.validation_split} of "
            f"{len(dataset.train):,} sequences"
        )
    steps = -(-len(train) // plan.batch_size)
    weights = class_weights(dataset.target, train.y, options)
    losses, run = loss_function(dataset, options), forward(model)
    fitted = compiled(model, losses, options, plan, steps)
    watch = Watch(fitted, checkpoint, [tf.Variable(variable.value) for variable in fitted.weights])
    watch.restore()
    with Report(options, seed, plan.epochs * steps, watch.progress.epoch * steps + watch.progress.step) as watch.report:
        while not watch.progress.is_over(plan):
            epoch, step = watch.progress.epoch, watch.progress.step
            epoch_data = batches.batches_of(train, weights, plan.batch_size, (seed, epoch), step)
            done = fitted.fit(
                epoch_data, initial_epoch=epoch, epochs=epoch + 1, verbose=0, shuffle=False, callbacks=[watch]
            )
            logs = {"loss": done.history["loss"][0]}
            if len(validation):
                predictions = predict(run, validation.x)
                outcome = compute_metrics(predictions, validation.y, dataset.target)
                outcome["loss"] = _finite(tf.reduce_mean(losses(validation.y, predictions)))
                logs |= {f"validation {name}": value for name, value in outcome.items()}
            watch.end_epoch(logs)
            after_epoch(watch.progress.epoch)
    progress = watch.finish()
    best_epoch = progress.best_epoch or progress.epoch
    return FitResult(len(train), progress.epoch, best_epoch, progress.seconds, progress.history, plan)


def compiled(model: keras.Model, losses: Losses, options: Options, plan: Plan, steps: int) -> keras.Model:
    """Return the part of a model that gives predictions, with the optimizer of a plan of some steps an epoch.

    A call runs several steps, because it takes longer than a step of a small model. XLA fuses their operations; of
    convolutions it would take longer to compile than it saves.
    """
    if plan.decay:
        falling = keras.optimizers.schedules.CosineDecay(plan.learning_rate, plan.epochs * steps)
        optimizer = keras.optimizers.AdamW(falling)
    else:
        optimizer = keras.optimizers.Adam(plan.learning_rate)
    fitted = keras.Model(model.input, model.output[PREDICTION])
    fitted.compile(
        optimizer,
        loss=losses,
        jit_compile=options.architecture != "inception",
        steps_per_execution=min(steps, batches.MOST_STEPS),
    )
    optimizer.build(fitted.trainable_variables)
    return fitted


class Watch(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Shows the progress of a fit, and saves weights and progress together, so that a killed fit continues exactly.

    Keras's BackupAndRestore and EarlyStopping do not suffice: the first writes weights and progress to two files, the
    second keeps the best weights in memory only.
    """

    report: Report

    def __init__(self, fitted: keras.Model, checkpoint: Checkpoint, best: Sequence[tf.Variable]) -> None:
        super().__init__()
        self._weights, self._best, self._checkpoint = fitted.weights, best, checkpoint
        self._means = fitted.metrics_variables  # sums over the steps of an epoch
        self._state = [*fitted.variables, *fitted.optimizer.variables, *best, *self._means]
        self.progress = Progress()

    def restore(self) -> None:
        """Restore the saved state, if there is one."""
        self.progress = self._start = self._checkpoint.restore(self._state)
        self._of_means = [variable.numpy() for variable in self._means]
        self._began = time.perf_counter() - self.progress.seconds

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Continue the means of an epoch that was interrupted. Keras has just reset them."""
        self._start = self.progress
        if self.progress.step:
            _assign(self._means, self._of_means)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Report steps and save. `batch` is the last step of a call, from 0; in the last call it may be too high."""
        assert logs is not None
        of_epoch = self._start.step + self.params["steps"]
        steps = min(self._start.step + batch + 1, of_epoch) - self.progress.step
        loss = _finite(logs["loss"])
        self.progress = self.progress.after_steps(steps, self._seconds())
        self.report.add_steps(steps, loss)
        if self.progress.step < of_epoch:  # a fit cannot resume without a step; the end of the epoch comes next
            self._checkpoint.save_if_due(self.progress, self._state)

    def end_epoch(self, logs: Mapping[str, float]) -> None:
        """Report an epoch and save. The weights are kept if its validation loss is the lowest."""
        self.progress = self.progress.after_epoch(logs, self._seconds())
        if self.progress.best_epoch == self.progress.epoch:
            _assign(self._best, self._weights)
        self.report.end_epoch(self.progress.epoch, logs)
        self._checkpoint.save_if_due(self.progress, self._state)

    def finish(self) -> Progress:
        """Save, set the weights to those of the best epoch, and return the progress."""
        self._checkpoint.save(self.progress, self._state)
        if self.progress.best_epoch:
            _assign(self._weights, self._best)
        return self.progress

    def _seconds(self) -> float:
        return time.perf_counter() - self._began


def class_weights(target: Target, y: Indices, options: Options) -> Array | None:
    """Return the weight of a sequence of each class, `(classes,)`; None if all weights are 1.

    `--balanced` gives all classes the same total weight in `y (n,)`; `--class-weight` multiplies it.

    Raises:
        TrainingError: a weight names an unknown class, or the target has no classes.
    """
    if not (options.balanced or options.class_weight):
        return None
    if target.classes is None or target.task == "multilabel":
        got = "numbers to predict" if target.classes is None else "several labels at once"
        raise TrainingError(f"--balanced, --class-weight: expected classes, got {got}")
    if unknown := set(options.class_weight) - set(target.classes):
        raise TrainingError(
            f"--class-weight: expected classes of {', '.join(target.classes)}, got {', '.join(sorted(unknown))}"
        )
    weights = np.array([options.class_weight.get(name, 1.0) for name in target.classes], np.float32)
    if options.balanced:
        counts = np.bincount(y, minlength=len(weights))
        weights *= len(y) / (len(weights) * np.maximum(counts, 1))
    return weights


def loss_function(dataset: Dataset, options: Options) -> Losses:
    """Return the loss of each sequence.

    It is cross-entropy in nats for classes, and `--loss` for numbers, each in units of its standard deviation.
    """
    match dataset.target.task:
        case "binary":
            return lambda y, predictions: keras.losses.binary_crossentropy(tf.reshape(y, (-1, 1)), predictions)
        case "multiclass":
            of_classes: Losses = keras.losses.sparse_categorical_crossentropy
            return of_classes
        case "multilabel":
            of_labels: Losses = keras.losses.binary_crossentropy
            return of_labels
        case "regression":
            deviation = dataset.target_scale.deviation.astype(np.float32)
            of_numbers = keras.losses.get(options.loss)
            return lambda y, predictions: of_numbers(y / deviation, predictions / deviation)


def _finite(loss: Tensor) -> float:
    if not np.isfinite(value := float(loss)):
        raise TrainingError("training diverged: the loss is not finite; try a smaller --learning-rate")
    return value


def _assign(variables: Any, values: Any) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
