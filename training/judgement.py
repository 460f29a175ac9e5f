"""The judgement of a model: its metrics on held-out data beside those of a prediction that needs no model."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support, recall_score, roc_auc_score

from service.artifact.card import ClassScores, JudgedMetric, Judgement, Target
from service.artifact.classes import chosen
from service.artifact.tensors import Array
from training.data import Dataset, LabelledSequences, Subset, parts_of
from training.resampling import resamples
from training.scores import compute_metrics, of_each_step, probabilities

Numbers = NDArray[np.float64]
Baseline = Literal["most frequent class", "mean", "last value"]
#: Maps weights of the held-out sequences `(n,)` to metrics.
WeightedMetrics = Callable[[Numbers], dict[str, float]]

#: Fraction of the resamples in which a model must be better than its baseline: to beat it, and to be uncertain. The
#: first is that of a 95 % interval whose lower end is above the baseline.
CERTAIN, UNCERTAIN = 0.975, 0.8
#: Metrics of which more is better.
MORE_IS_BETTER: Final = frozenset({"accuracy", "balanced accuracy", "roc auc", "r2"})
#: Most classes for which the confusion matrix is recorded.
MOST_CLASSES = 100
CALIBRATION_BINS = 10
#: A metric without a unit that is nearer to 0 is 0: a calibration error of 8e-18 comes from rounding.
ROUNDING: Final = 1e-12


def judge(predictions: Array, dataset: Dataset, seed: int) -> Judgement:
    """Return the judgement of a model from its predictions `(n, outputs)` for the held-out sequences.

    The baseline of classes predicts their frequencies in the training data. The baseline of numbers predicts their mean
    there, or, for forecasts, the last value of the predicted feature. The intervals are those of the
    bootstrap: sequences, or groups of sequences, are drawn again with replacement; the seed decides which. Windows of
    a series overlap, so neighbours are drawn together.

    A model with classes may beat its baseline in accuracy or in balanced accuracy: accuracy hardly counts rare classes.
    If its output is a sequence, each step counts as a prediction, and the steps of a sequence are drawn together.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile intervals).
    """
    predictions, dataset = of_each_step(predictions, dataset.target), _with_each_step(dataset)
    target, test = dataset.target, dataset.test
    baseline, kind = _baseline(dataset)
    values, others = (judged_metrics(one, test.y, target) for one in (predictions, baseline))
    of_model, of_baseline = (weighted_metrics(one, test.y, target) for one in (predictions, baseline))
    weights = resamples(test, np.random.default_rng(seed), ordered=dataset.ordered)
    drawn = [(of_model(one), of_baseline(one)) for one in weights]
    metrics = {name: _judged(name, value, others[name], drawn) for name, value in values.items()}
    deciding = _deciding(metrics)
    beats = _beats(metrics[deciding])
    classes, confusion = _per_class(predictions, test.y, target)
    return Judgement(
        metric=deciding,
        baseline=kind,
        beats_baseline=beats,
        verdict=_verdict(metrics[deciding], kind, beats=beats),
        metrics=tuple(metrics.values()),
        classes=classes,
        confusion=confusion,
    )


def judged_metrics(predictions: Array, y: NDArray[Any], target: Target) -> dict[str, float]:
    """Return the metrics that are judged.

    For classes they are accuracy, balanced accuracy, log loss in nats, area under the ROC curve (mean over the classes,
    each against the rest) and expected calibration error; for numbers they are those of `compute_metrics`.

    Args:
        predictions: `(n, 1)` probabilities of class 1 (binary), `(n, classes)` probabilities or `(n, outputs)` numbers.
        y: `(n,)` class indices, `(n, classes)` 0 or 1 for several labels, or `(n, outputs)` numbers.
        target: the meaning of both.

    Source of the calibration error: Guo and others, On Calibration of Modern Neural Networks, 2017.
    """
    if target.classes is None:
        return compute_metrics(predictions, y, target)
    p = _probabilities(predictions, y)
    truth, predicted = _one_hot(y, p.shape[1]), chosen(predictions, target.task)
    correct = predicted == y
    metrics = {"accuracy": float(correct.mean())}
    if y.ndim == 1:
        present = np.unique(y)
        metrics["balanced accuracy"] = float(
            recall_score(y, predicted, labels=present, average="macro", zero_division=0)
        )
        metrics["log loss"] = float(log_loss(y, p, labels=np.arange(p.shape[1])))
    else:
        metrics["log loss"] = float(_log_losses(p, y).mean())
    defined = truth.any(axis=0) & ~truth.all(axis=0)
    if defined.any():
        metrics["roc auc"] = float(np.mean([roc_auc_score(truth[:, c], p[:, c]) for c in np.flatnonzero(defined)]))
    confidence = p.max(axis=1) if y.ndim == 1 else np.maximum(p, 1 - p)
    bins = np.minimum(confidence * CALIBRATION_BINS, CALIBRATION_BINS - 1).astype(np.int64)
    gaps = np.bincount(bins.ravel(), (correct - confidence).ravel())
    return metrics | {"calibration error": float(np.abs(gaps).sum() / correct.size)}


def weighted_metrics(predictions: Array, y: NDArray[Any], target: Target) -> WeightedMetrics:
    """Return a function that computes some of `judged_metrics` with a weight for each sequence.

    The errors of each sequence are computed once, as scikit-learn's functions take too long for a thousand resamples.
    """
    if target.classes is None:
        return _weighted_numbers(predictions.astype(np.float64), y.astype(np.float64), target.names or ())
    p = _probabilities(predictions, y)
    correct, losses = (chosen(predictions, target.task) == y).astype(np.float64), _log_losses(p, y)
    if y.ndim == 2:
        correct, losses = correct.mean(axis=1), losses.mean(axis=1)

    def of_classes(weights: Numbers) -> dict[str, float]:
        total = weights.sum()
        metrics = {"accuracy": weights @ correct / total, "log loss": weights @ losses / total}
        if y.ndim == 1:
            count, right = np.bincount(y, weights), np.bincount(y, weights * correct)
            metrics["balanced accuracy"] = np.mean(right[count > 0] / count[count > 0])
        return metrics

    return of_classes


def _weighted_numbers(predictions: Numbers, y: Numbers, names: tuple[str, ...]) -> WeightedMetrics:
    errors, centred = predictions - y, y - y.mean(axis=0)  # (n, outputs)
    squares, absolute = errors**2, np.abs(errors)

    def of_numbers(weights: Numbers) -> dict[str, float]:
        count = weights.sum()
        residual, around_zero = weights @ squares, weights @ centred**2
        total = around_zero - (weights @ centred) ** 2 / count
        varies = total > around_zero * 1e-12  # not by rounding alone
        r2 = np.where(varies, 1 - residual / np.where(varies, total, 1), 0.0)
        each = {"r2": r2, "mae": weights @ absolute / count, "rmse": np.sqrt(residual / count)}
        if len(names) == 1:
            return {metric: values[0] for metric, values in each.items()}
        of_each = {f"{metric} of {name}": values[i] for metric, values in each.items() for i, name in enumerate(names)}
        return {"r2": r2.mean(), **of_each}

    return of_numbers


def _probabilities(predictions: Array, y: NDArray[Any]) -> Numbers:
    """Return probabilities `(n, classes)`. Those of one sequence sum to 1, unless it may have several labels."""
    return predictions.astype(np.float64) if y.ndim == 2 else probabilities(predictions)


def _log_losses(p: Numbers, y: NDArray[Any]) -> Numbers:
    """Return the log loss of each sequence, `(n,)` or, for several labels, `(n, classes)`; 0 counts as 2e-16."""
    of_label = p[np.arange(len(y)), y] if y.ndim == 1 else np.where(y == 1, p, 1 - p)
    losses: Numbers = -np.log(np.maximum(of_label, np.finfo(np.float64).eps))
    return losses


def _one_hot(y: NDArray[Any], classes: int) -> NDArray[np.bool_]:
    return np.asarray(y == 1 if y.ndim == 2 else y[:, np.newaxis] == np.arange(classes))


def _with_each_step(dataset: Dataset) -> Dataset:
    """Return a dataset in which each step of an output is a label of its own, in the group of its sequence."""
    target, steps = dataset.target, dataset.target.steps
    if steps is None:
        return dataset

    def stepped(sequences: LabelledSequences) -> LabelledSequences:
        owner = np.repeat(np.arange(len(sequences)), steps)
        return LabelledSequences(Subset(sequences.x, owner), of_each_step(sequences.y, target), groups=owner)

    return replace(dataset, train=stepped(dataset.train), test=stepped(dataset.test))


def _baseline(dataset: Dataset) -> tuple[Array, Baseline]:
    """Return the predictions of the baseline for the held-out sequences `(n, outputs)`, and their name."""
    target, y, n = dataset.target, dataset.train.y, len(dataset.test)
    if target.classes is not None:
        counts = y.sum(axis=0) if y.ndim == 2 else np.bincount(y, minlength=len(target.classes))
        frequencies = (counts / len(y))[1 if target.task == "binary" else 0 :]
        return np.tile(frequencies, (n, 1)), "most frequent class"
    means = np.tile(y.mean(axis=0, dtype=np.float64), (n, 1))
    features = [feature for feature in dataset.past if feature is not None]
    if len(features) < means.shape[1]:
        return means, "mean"
    parts = [np.stack([_last_values(x[:, :, one]) for one in features], axis=1) for x in parts_of(dataset.test.x)]
    last = np.concatenate(parts)
    return np.where(np.isnan(last), means, last), "last value"


def _last_values(x: Array) -> Array:
    """Return the last value present of each sequence `(n,)` of one feature `(n, timesteps)`; NaN if it has none."""
    last = x.shape[1] - 1 - (~np.isnan(x))[:, ::-1].argmax(axis=1)
    values: Array = x[np.arange(len(x)), last]
    return values


def _judged(
    name: str, value: float, baseline: float, drawn: list[tuple[dict[str, float], dict[str, float]]]
) -> JudgedMetric:
    if not name.startswith(("mae", "rmse")):  # they have the unit of the target, which may be small
        value, baseline = (0.0 if abs(one) < ROUNDING else one for one in (value, baseline))
    if name not in drawn[0][0]:
        return JudgedMetric(name=name, value=value, baseline=baseline)
    of_model, of_baseline = (np.array([one[i][name] for one in drawn]) for i in range(2))
    more = name.partition(" of ")[0] in MORE_IS_BETTER
    low, high = np.quantile(of_model, [0.025, 0.975]).tolist()
    return JudgedMetric(
        name=name,
        value=value,
        baseline=baseline,
        low=low,
        high=high,
        better=float(np.mean(of_model > of_baseline if more else of_model < of_baseline)),
    )


def _deciding(metrics: Mapping[str, JudgedMetric]) -> str:
    """Return the name of the metric that decides: the first that is certain, else uncertain, else the first."""
    names = [name for name in ("accuracy", "balanced accuracy", "r2") if name in metrics]
    return min(names, key=lambda name: (True, None, False).index(_beats(metrics[name])))


def _beats(metric: JudgedMetric) -> bool | None:
    better = metric.better or 0.0
    return True if better >= CERTAIN else None if better >= UNCERTAIN else False


def _verdict(metric: JudgedMetric, baseline: Baseline, *, beats: bool | None) -> str:
    name = metric.name.replace("r2", "R²")
    measured = f"{name} {metric.value:.3g} (95 % interval {metric.low:.3g} to {metric.high:.3g})"
    other = f"{metric.baseline:.3g}, the {name} of always predicting the {baseline}"
    if beats is None:
        return f"{measured} is probably better than {other}, but the held-out data are too few to be certain"
    return f"{measured} {'beats' if beats else 'does not beat'} {other}"


def _per_class(
    predictions: Array, y: NDArray[Any], target: Target
) -> tuple[tuple[ClassScores, ...] | None, tuple[tuple[int, ...], ...] | None]:
    """Return the scores of each class and the confusion matrix, or None for what the target does not have."""
    if target.classes is None:
        return None, None
    predicted, indices = chosen(predictions, target.task), np.arange(len(target.classes))
    columns = precision_recall_fscore_support(y, predicted, labels=indices, average=None, zero_division=0)
    scores = tuple(
        ClassScores(name=name, precision=precision, recall=recall, f1=f1, support=int(support))
        for name, precision, recall, f1, support in zip(target.classes, *columns, strict=True)
    )
    if y.ndim == 2 or len(indices) > MOST_CLASSES:
        return scores, None
    return scores, tuple(map(tuple, confusion_matrix(y, predicted, labels=indices).tolist()))
