"""Cross-validation: each sequence is predicted by a model that was not fitted on it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import keras
import numpy as np

from service.artifact.card import CrossValidation
from service.artifact.tensors import Array
from training.data import Dataset, Scale
from training.evaluate import Evaluation, forward, predict
from training.fitting import FitResult
from training.folds import Part
from training.options import Options
from training.reports import announce
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


def cross_validate(dataset: Dataset, parts: list[Part], fit_fold: FitFold) -> CrossValidated:
    """Fit a model for each part of the training data on the others, and judge it on that part.

    Source: Stone, "Cross-Validatory Choice and Assessment of Statistical Predictions", 1974.
    """
    predictions = np.zeros((len(dataset.train), dataset.target.outputs or 0), np.float32)
    of_folds: list[dict[str, float]] = []
    epochs = []
    for number, part in enumerate(parts, 1):
        announce(f"fold {number} of {len(parts)}")
        fold = fold_of(dataset, part)
        model, fitted = fit_fold(fold, number)
        predictions[part.held_out] = predict(forward(model), fold.test.x)
        of_folds.append(compute_metrics(predictions[part.held_out], fold.test.y, dataset.target))
        epochs += [fitted.epoch] if fitted.epoch is not None else []
    metrics = {name: tuple(one[name] for one in of_folds) for name in of_folds[0]}
    record = CrossValidation(folds=len(parts), metrics=metrics, epochs=tuple(epochs))
    return CrossValidated(predictions, compute_metrics(predictions, dataset.train.y, dataset.target), record)
