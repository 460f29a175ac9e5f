"""The choice of an architecture by cross-validation on the training data, within a time budget."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from service.artifact.card import Target, Trial
from service.artifact.classes import chosen
from service.artifact.tensors import Array
from training import TrainingError
from training.data import Dataset
from training.evaluate import forward, predict
from training.folds import parts_of
from training.jobs import Runner, in_turn
from training.options import Architecture, Options
from training.plan import Plan
from training.reports import announce
from training.scores import MAIN_METRIC, compute_metrics

#: The candidates, in the order of the trials.
CANDIDATES: Final[tuple[Architecture, ...]] = ("minirocket", "additive", "inception", "after_lstm")
#: The candidate that is fitted in closed form, and so tried on every fold. The others are tried on the first fold.
CLOSED_FORM: Final = "minirocket"
#: Number of folds, and largest number of sequences with which all of them are tried.
FOLDS, MOST_FOR_ALL_FOLDS = 5, 2000
#: Largest number of sequences of a part that a candidate is judged on. Their predictions take time, too.
MOST_JUDGED: Final = 5000
#: Fewest sequences for a choice.
FEWEST: Final = 10
#: The share of the budget for the choice. The rest is for the last fit and for importance.
SHARE: Final = 0.6
#: How many standard errors a candidate must be better than the best one before it, to be chosen in its place.
ERRORS: Final = 2.0

#: Fits a model to the training data of a dataset. Calls the function after each epoch, with the number of epochs done.
FitModel = Callable[[Dataset, Options, Callable[[int], None]], keras.Model]


class GivenUp(Exception):
    """A trial would take longer than the time that is left. The message says why."""


@dataclass(frozen=True)
class Scored:
    """The results of one candidate.

    Attributes:
        architecture: its name.
        trial: its line on the card.
        scores: `(n,)`, how good the predictions for the first fold are: 1 for the right class and 0 for another one, or
            minus the squared error; None if it was given up.
    """

    architecture: Architecture
    trial: Trial
    scores: NDArray[Any] | None


class Deadline:
    """The end of the time for the fit of `epochs` epochs, as an observer of its epochs.

    It is wall-clock time, because the fit may run on another machine, which has another monotonic clock.
    """

    def __init__(self, end: float, epochs: int) -> None:
        self._end, self._epochs = end, epochs
        self._first = 0.0

    def __call__(self, epoch: int) -> None:
        """Raise `GivenUp` if the fit would end too late, at the speed of all epochs but the first, which compiles."""
        now = time.time()
        if epoch == 1:
            self._first = now
        each = (now - self._first) / (epoch - 1) if epoch > 1 else 0.0
        if now + each * (self._epochs - epoch) > self._end:
            raise GivenUp(f"given up after {epoch} of {self._epochs} epochs: too slow for the time that was left")


def choose(
    dataset: Dataset, options: Options, fit_model: FitModel, run: Runner = in_turn
) -> tuple[Options, tuple[Trial, ...]]:
    """Try all candidates on held-out parts of the training data. Return options that name the best, and all trials.

    A candidate must be better than the best one before it by two standard errors of the difference on the same
    sequences, so that chance does not choose. A perfect candidate ends the choice. Candidates that would take longer
    than the time that is left are given up; the clock decides that, so other machines may choose another one.

    Source of the rule: Breiman and others, Classification and Regression Trees, 1984, section 3.4.3.
    """
    end = time.time() + SHARE * options.budget * 60
    folds = list(folds_of(dataset, options.seed)) if len(dataset.train) >= FEWEST else []
    if not folds:  # too few sequences, or too long windows
        return options.model_copy(update={"architecture": CLOSED_FORM}), ()
    results: list[Scored] = []
    best: Scored | None = None
    attempt = partial(_attempt, options=options, fit_model=fit_model, end=end)
    with closing(_outcomes(attempt, folds, run)) as outcomes:
        for result in outcomes:
            if isinstance(result, TrainingError):
                raise result
            results.append(result)
            if result.scores is not None and (best is None or _is_better(result.scores, best.scores)):
                best = result
            if best is not None and best.scores is not None and best.scores.min() == 1 == best.trial.mean:
                break
    chosen = best.architecture if best is not None else CLOSED_FORM
    names = [one.architecture for one in results]
    trials = tuple(
        one.trial.model_copy(update={"outcome": "chosen" if one.architecture == chosen else "worse"})
        if one.scores is not None and names.index(one.architecture) <= names.index(chosen)
        else one.trial
        for one in results
    )
    return options.model_copy(update={"architecture": chosen}), trials


def folds_of(dataset: Dataset, seed: int) -> Iterator[Dataset]:
    """Yield datasets whose training and test data are parts of the training data, as `folds.parts_of` makes them."""
    parts = parts_of(dataset, FOLDS, seed)
    for fitted, held_out in parts if len(dataset.train) <= MOST_FOR_ALL_FOLDS else parts[-1:]:
        test = dataset.train.take(held_out[:MOST_JUDGED])  # training data is in random order
        yield replace(dataset, train=dataset.train.take(fitted), test=test)


def _outcomes(
    attempt: Callable[[Sequence[Dataset], Architecture], Scored | TrainingError], folds: Sequence[Dataset], run: Runner
) -> Generator[Scored | TrainingError]:
    """Yield the outcome of each candidate. The first takes seconds and may be perfect, so the others start after it."""
    yield attempt(folds, CANDIDATES[0])
    yield from run(attempt, folds, CANDIDATES[1:])


def _attempt(
    folds: Sequence[Dataset], architecture: Architecture, *, options: Options, fit_model: FitModel, end: float
) -> Scored | TrainingError:
    """Return the results of a candidate, or its error, which does not matter if a candidate before it is perfect."""
    try:
        return _try(architecture, folds, options, fit_model, end)
    except TrainingError as error:
        return error


def _try(
    architecture: Architecture, folds: Sequence[Dataset], options: Options, fit_model: FitModel, end: float
) -> Scored:
    """Fit a candidate and score it on one or more folds."""
    began = time.time()
    metric = MAIN_METRIC[folds[0].target.task]
    given = options.model_copy(update={"architecture": architecture})
    means: list[float] = []
    first, outcome = None, "not clearly better"
    try:
        # the last fold of sequences in the order of time has the most training data
        for fold in folds[::-1] if architecture == CLOSED_FORM else folds[-1:]:
            if time.time() > end:
                raise GivenUp("not tried: no time was left" if first is None else outcome)
            if not means:
                announce(f"trying {architecture}")
            model = fit_model(fold, given, Deadline(end, Plan.of(given, len(fold.train)).epochs))
            predictions = predict(forward(model), fold.test.x)
            means.append(compute_metrics(predictions, fold.test.y, fold.target)[metric])
            first = scores_of(predictions, fold.test.y, fold.target) if first is None else first
    except GivenUp as error:
        outcome = str(error)
    trial = Trial(
        architecture=architecture,
        metric=metric,
        mean=float(np.mean(means)) if means else None,
        spread=float(np.std(means)) if len(means) > 1 else None,
        seconds=time.time() - began,
        outcome=outcome,
    )
    return Scored(architecture, trial, first)


def scores_of(predictions: Array, y: NDArray[Any], target: Target) -> NDArray[Any]:
    """Return how good the prediction for each sequence is, `(n,)`: 1 or 0 for classes, minus the squared error."""
    if target.task == "regression":
        deviation = np.maximum(y.std(axis=0), np.finfo(np.float32).tiny)
        errors: NDArray[Any] = -np.square((predictions - y) / deviation, dtype=np.float64).mean(axis=1)
        return errors
    right: NDArray[Any] = chosen(predictions, target.task) == y
    return right.mean(axis=1) if target.task == "multilabel" else right.astype(np.float64)


def _is_better(scores: NDArray[Any], best: NDArray[Any] | None) -> bool:
    if best is None:
        return True
    difference = scores - best
    return bool(difference.mean() > ERRORS * difference.std() / np.sqrt(len(difference)))
