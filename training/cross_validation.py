"""Cross-validation: each sequence is predicted by a model that was not fitted on it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import keras
import numpy as np

from service.artifact.card import CrossValidation
from service.artifact.tensors import Array
from training.data import Dataset, Scale
from training.evaluate import Evaluation, forward, predict
from training.fitting import FitResult
from training.folds import Part
from training.jobs import Runner, in_turn
from training.options import Options
from training.progress import announce
from training.scores import compute_metrics

#: Fits a model to the training data of a dataset; takes the number of the fold, from 1, too.
FitFold = Callable[[Dataset, int], tuple[keras.Model, FitResult]]


@dataclass(frozen=True)
class CrossValidated:
    """The results of a cross-validation.

    Attributes:
        predictions: `(n, outputs)`, each by the model of its fold.
        metrics: of these predictions, all together.
        record: the results of each fold, for the card.
    """

    predictions: Array
    metrics: dict[str, float]
    record: CrossValidation

    def judging(self, evaluation: Evaluation) -> Evaluation:
        """Return the evaluation of the model of all data, with these predictions and metrics in place of its own."""
        return replace(evaluation, predictions=self.predictions, metrics=self.metrics)

    def last_options(self, options: Options) -> Options:
        """Return the options of the fit on all data: the median of the folds' best epochs, without validation data."""
        if not self.record.epochs:
            return options
        epochs = round(float(np.median(self.record.epochs)))
        return options.model_copy(update={"epochs": epochs, "validation_split": 0.0, "patience": None})


def fold_of(dataset: Dataset, part: Part) -> Dataset:
    """Return the dataset of a fold, whose scale is that of its training data alone."""
    train, test = dataset.train.take(part.fitted), dataset.train.take(part.held_out)
    return replace(dataset, train=train, test=test, scale=dataset.scale and Scale.of(train.x))


class Fold(NamedTuple):
    """The results of one fold: the predictions of its held-out part `(n, outputs)`, their metrics, the best epoch."""

    predictions: Array
    metrics: dict[str, float]
    epoch: int | None


def cross_validate(dataset: Dataset, parts: list[Part], fit_fold: FitFold, run: Runner = in_turn) -> CrossValidated:
    """Fit a model for each part of the training data on the others, and judge it on that part.

    Source: Stone, "Cross-Validatory Choice and Assessment of Statistical Predictions", 1974.
    """
    predictions = np.zeros((len(dataset.train), dataset.target.outputs or 0), np.float32)
    judge_fold = partial(_judge_fold, fit_fold=fit_fold, count=len(parts))
    folds = list(run(judge_fold, dataset, tuple(enumerate(parts, 1))))
    for part, fold in zip(parts, folds, strict=True):
        predictions[part.held_out] = fold.predictions
    metrics = {name: tuple(fold.metrics[name] for fold in folds) for name in folds[0].metrics}
    epochs = tuple(fold.epoch for fold in folds if fold.epoch is not None)
    record = CrossValidation(folds=len(parts), metrics=metrics, epochs=epochs)
    return CrossValidated(predictions, compute_metrics(predictions, dataset.train.y, dataset.target), record)


def _judge_fold(dataset: Dataset, numbered: tuple[int, Part], *, fit_fold: FitFold, count: int) -> Fold:
    number, part = numbered
    announce(f"fold {number} of {count}")
    fold = fold_of(dataset, part)
    model, fitted = fit_fold(fold, number)
    predictions = predict(forward(model), fold.test.x)
    return Fold(predictions, compute_metrics(predictions, fold.test.y, dataset.target), fitted.epoch)
