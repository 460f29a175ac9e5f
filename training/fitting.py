"""The fit of a model with Adam."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from service.artifact.card import Target
from service.artifact.tensors import PREDICTION, Array
from training import TrainingError
from training.batches import Batches, batches_of
from training.checkpoints import Checkpoint
from training.data import Dataset, Indices
from training.evaluate import forward, predict
from training.options import Options
from training.reports import Report
from training.scores import compute_metrics

# Keras ships no types.
Tensor = Any
#: Maps labels and predictions `(batch, outputs)` to the loss of each sequence, `(batch,)`.
Losses = Callable[[Tensor, Tensor], Tensor]
#: Runs some steps of the optimizer; returns the sum of their losses.
MakeSteps = Callable[[Batches], float]


class FitResult(NamedTuple):
    """The result of a fit. `epoch` is the epoch of the model's weights, from 1; None without epochs.

    `history` has the losses and metrics after each epoch, by name.
    """

    sequences: int
    epochs: int | None
    epoch: int | None
    seconds: float
    history: Mapping[str, Sequence[float]] = {}


def fit(  # noqa: PLR0913, PLR0917
    model: keras.Model,
    dataset: Dataset,
    options: Options,
    seed: int,
    checkpoint: Checkpoint,
    after_epoch: Callable[[int], None] = lambda _: None,
) -> FitResult:
    """Fit a model in place, on the training data without its last part, the validation data.

    If there is validation data, the model gets the weights of the epoch with the lowest loss on it. The seed decides
    the order of the sequences. The checkpoint is restored at the start, and saved during the fit. `after_epoch` takes
    the number of finished epochs, and may raise an error to end the fit.

    Raises:
        TrainingError: class weights or patience do not suit the data, or the loss is not finite.
    """
    fitted = len(dataset.train) - int(len(dataset.train) * options.validation_split)
    train, validation = dataset.train.take(slice(0, fitted)), dataset.train.take(slice(fitted, None))
    if options.patience is not None and not len(validation):
        raise TrainingError(
            f"--patience needs validation data, got none: --validation-split {options.validation_split} of "
            f"{len(dataset.train):,} sequences"
        )
    steps = -(-fitted // options.batch_size)
    weights = class_weights(dataset.target, train.y, options)
    optimizer = keras.optimizers.Adam(options.learning_rate)
    optimizer.build(model.trainable_variables)
    losses, run = loss_function(dataset, options), forward(model)
    make_steps = compile_steps(model, optimizer, losses)
    best = [tf.Variable(variable.value) for variable in model.trainable_variables]
    state = [*model.variables, *optimizer.variables, *best]

    progress = checkpoint.restore(state)
    began = time.perf_counter() - progress.seconds
    with Report(options, seed, steps, progress) as report:
        while not progress.is_over(options):
            for batches in batches_of(train, weights, options.batch_size, (seed, progress.epoch), progress.step):
                loss = make_steps(batches)
                progress = progress.after_steps(batches.steps, loss, time.perf_counter() - began)
                report.add_steps(batches.steps, loss / batches.steps)
                checkpoint.save_if_due(progress, state)
            logs = {"loss": progress.loss / steps}
            if len(validation):
                predictions = predict(run, validation.x)
                outcome = compute_metrics(predictions, validation.y, dataset.target)
                outcome["loss"] = _finite(tf.reduce_mean(losses(validation.y, predictions)))
                logs |= {f"validation {name}": value for name, value in outcome.items()}
            progress = progress.after_epoch(logs, time.perf_counter() - began)
            if progress.best_epoch == progress.epoch:
                _assign(best, model.trainable_variables)
            report.end_epoch(progress.epoch, logs)
            checkpoint.save_if_due(progress, state)
            after_epoch(progress.epoch)
    checkpoint.save(progress, state)
    if progress.best_epoch:
        _assign(model.trainable_variables, best)
    return FitResult(fitted, progress.epoch, progress.best_epoch or progress.epoch, progress.seconds, progress.history)


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


def compile_steps(model: keras.Model, optimizer: keras.optimizers.Optimizer, losses: Losses) -> MakeSteps:
    """Return steps of the optimizer as one program of XLA, which fuses operations."""

    @tf.function(jit_compile=True)
    def make_steps(x: Tensor, y: Tensor, weights: Tensor, steps: Tensor) -> Tensor:
        total, step = 0.0, 0
        while step < steps:
            with tf.GradientTape() as tape:
                # training=True selects the LSTM that XLA can compile.
                predictions = model(x[step], training=True)[PREDICTION]
                count = tf.math.count_nonzero(weights[step], dtype=tf.float32)
                loss = tf.reduce_sum(weights[step] * losses(y[step], predictions)) / tf.maximum(count, 1.0)
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply(gradients, model.trainable_variables)
            total, step = total + loss, step + 1
        return total

    return lambda batches: _finite(make_steps(*map(tf.constant, batches)))


def loss_function(dataset: Dataset, options: Options) -> Losses:
    """Return the loss of each sequence.

    It is cross-entropy in nats for classes, and `--loss` for numbers, each in units of its standard deviation.
    """
    match dataset.target.task:
        case "binary":
            return lambda y, predictions: keras.losses.binary_crossentropy(y[:, tf.newaxis], predictions)
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
