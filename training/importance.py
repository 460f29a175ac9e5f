"""Permutation importance of timesteps, of features and of cells of both, and how far attention agrees with it."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.artifact.card import Agreement, CellImportance, FeatureImportance, Importance, Target
from service.artifact.distances import rank_correlation
from service.artifact.tensors import Array
from training.data import Indices, LabelledSequences
from training.progress import Bar, progress_bar
from training.scores import MAIN_METRIC, main_score

#: Largest number of sequences, of repetitions, and of timesteps that the model processes in all. The last is a budget
#: that does not depend on the speed of the machine, so that the same seed gives the same importance.
MOST_SEQUENCES, MOST_REPETITIONS, MOST_TIMESTEPS = 5000, 10, 6_000_000
#: The same for the features, and for the cells of a timestep and a feature.
FEATURE_SEQUENCES, FEATURE_TIMESTEPS = 5000, 1_000_000
CELL_SEQUENCES, CELL_TIMESTEPS = 1000, 3_000_000
#: A model of more weights takes longer for a timestep, so that its budget is smaller in this ratio.
SMALL_MODEL = 40_000
#: Smallest number of sequences, regardless of length: with fewer, drops are random.
FEWEST_SEQUENCES = 50
#: Sequences are measured by at most this number of groups of timesteps, if the budget does not allow to measure each
#: timestep of so many long sequences, or of the smallest number. The most important groups are divided, so many at a
#: time.
GROUPS, GROUPED_FROM, DIVIDED_AT_A_TIME = 64, 500, 8
#: Number of sequences in one call of the model, which is faster than many calls.
SEQUENCES_AT_A_TIME = 1024
#: The fraction of timesteps that count as most important.
TOP = 0.1

Predict = Callable[[Array], Array]


class Group(NamedTuple):
    """Neighbouring timesteps `(k,)` of one feature, or of all features together, which sequences exchange at once."""

    timesteps: Indices
    feature: int | None = None

    def halves(self) -> "list[Group]":
        return [Group(half, self.feature) for half in np.array_split(self.timesteps, 2)]


#: A group, and the drop of the metric in each repetition `(repetitions,)`.
Measured = tuple[Group, NDArray[np.float64]]


class Budget(NamedTuple):
    """Limits of a measurement: the number of sequences, and of timesteps that the model processes in all."""

    sequences: int
    timesteps: int

    def of(self, weights: int) -> "Budget":
        """Return the budget of a model of so many weights."""
        return self._replace(timesteps=int(self.timesteps / max(1.0, weights / SMALL_MODEL)))


class Importances(NamedTuple):
    """The importance of timesteps, of features, and of cells of both; None where the model is too large."""

    timesteps: Importance
    features: FeatureImportance | None
    cells: CellImportance | None


def importances(
    predict: Predict, test: LabelledSequences, target: Target, rng: np.random.Generator, weights: int = 0
) -> Importances:
    """Return all importances. The arguments are those of `importance`. Cells of one feature are the timesteps."""
    arguments = (predict, test, target, rng, weights)
    of_timesteps, of_features = importance(*arguments), feature_importance(*arguments)
    if test.x.shape[2] > 1:
        return Importances(of_timesteps, of_features, cell_importance(*arguments))
    cells = {**of_timesteps.model_dump(), "drop": [[drop] for drop in of_timesteps.drop]}
    return Importances(of_timesteps, of_features, CellImportance.model_validate(cells))


def importance(
    predict: Predict,
    test: LabelledSequences,
    target: Target,
    rng: np.random.Generator,
    weights: int = 0,
) -> Importance:
    """Return the drop of the main metric when sequences exchange their values of a timestep at random.

    At most `MOST_SEQUENCES` sequences are drawn at random. Only those that have the timestep take part, so that lengths
    do not change. Static features stay: a model may read them at one timestep. `predict` maps
    `(n, timesteps, features)` to predictions `(n, outputs)`; it is that of a model of so many weights.

    Sequences that are too long for the budget exchange groups of neighbouring timesteps. Then the most important groups
    are divided again and again, while the budget lasts. The drop of a divided group is split between its halves in the
    ratio of their own drops, and that of any other group equally between its timesteps. So the sum over the timesteps
    is the sum over the first groups.

    Source: Breiman, Random Forests, 2001; scikit-learn.org/stable/modules/permutation_importance.html.
    """
    exchange = _Exchange(predict, test, target, rng)
    found, grouped = exchange.measured([None], Budget(MOST_SEQUENCES, MOST_TIMESTEPS).of(weights), "importance")
    drops = np.concatenate([np.tile(drop / len(group.timesteps), (len(group.timesteps), 1)) for group, drop in found])
    return Importance(
        metric=MAIN_METRIC[target.task],
        drop=tuple(drops.mean(axis=1).tolist()),
        spread=tuple(drops.std(axis=1).tolist()),
        sequences=len(exchange),
        repetitions=exchange.repetitions,
        groups=len(found) if grouped else None,
    )


def feature_importance(
    predict: Predict, test: LabelledSequences, target: Target, rng: np.random.Generator, weights: int = 0
) -> FeatureImportance | None:
    """Return the drop of the main metric when sequences exchange a feature at all timesteps at once, at random.

    A value is only exchanged between sequences that have one there, so that neither lengths nor missing values change.
    The arguments are those of `importance`. The result is None if the model is so large that the budget does not allow
    one exchange of each feature.
    """
    _, timesteps, features = test.x.shape
    budget = Budget(FEATURE_SEQUENCES, FEATURE_TIMESTEPS).of(weights)
    if budget.timesteps < FEWEST_SEQUENCES * timesteps * features:
        return None
    exchange = _Exchange(predict, test, target, rng)
    exchange.draw(min(budget.sequences, budget.timesteps // (timesteps * features)))
    groups = [Group(np.arange(timesteps), feature) for feature in range(features)]
    with _progress(features, "features") as bar:
        drops = np.array(exchange.drops(groups, bar))  # (features, repetitions)
    return FeatureImportance(
        metric=MAIN_METRIC[target.task],
        drop=tuple(drops.mean(axis=1).tolist()),
        spread=tuple(drops.std(axis=1).tolist()),
        sequences=len(exchange),
        repetitions=exchange.repetitions,
    )


def cell_importance(
    predict: Predict, test: LabelledSequences, target: Target, rng: np.random.Generator, weights: int = 0
) -> CellImportance | None:
    """Return the drop of the main metric when sequences exchange a feature at a timestep at random.

    If there are too many cells for the budget, groups of neighbouring timesteps of one feature are exchanged, and the
    most important ones are divided, as in `importance`: the work is where the importance is. The cells of static
    features have no drop, since they are not exchanged.
    The arguments are those of `importance`. The result is None if the model is so large that the budget does not allow
    one exchange of each feature.
    """
    _, timesteps, features = test.x.shape
    budget = Budget(CELL_SEQUENCES, CELL_TIMESTEPS).of(weights)
    if budget.timesteps < FEWEST_SEQUENCES * timesteps * features:
        return None
    exchange = _Exchange(predict, test, target, rng)
    found, grouped = exchange.measured(exchange.varying, budget, "cells")
    drops = np.zeros((timesteps, features))
    for group, drop in found:
        drops[group.timesteps, group.feature] = drop.mean() / len(group.timesteps)
    return CellImportance(
        metric=MAIN_METRIC[target.task],
        drop=tuple(map(tuple, drops.tolist())),
        sequences=len(exchange),
        repetitions=exchange.repetitions,
        groups=len(found) if grouped else None,
    )


def _progress(total: int, what: str) -> Bar:
    return progress_bar(total, what, "exchange", stays=False)


class _Exchange:
    """Measures how far the main metric drops when sequences exchange some of their values."""

    def __init__(
        self,
        predict: Predict,
        test: LabelledSequences,
        target: Target,
        rng: np.random.Generator,
    ) -> None:
        self.repetitions = 1
        self._predict, self._test, self._target, self._rng = predict, test, target, rng

    @property
    def varying(self) -> Sequence[int]:
        """The indices of the features that change with time."""
        return self._test.varying or range(self._test.x.shape[2])

    def __len__(self) -> int:
        """Return the number of sequences that are drawn."""
        return len(self._x)

    def draw(self, most: int) -> None:
        """Draw at most so many sequences, and repeat each exchange if these are all."""
        most = max(FEWEST_SEQUENCES, most)
        some = self._test.take(np.sort(self._rng.permutation(len(self._test))[:most]))
        self.repetitions = max(1, min(MOST_REPETITIONS, most // len(some)))
        self._x = some.x[:]
        self._varying: Indices = np.array(self.varying)
        self._has: NDArray[np.bool_] = ~np.isnan(self._x)  # (n, timesteps, features)
        self._score: Callable[[Array], float] = lambda predictions: main_score(predictions, some.y, self._target)
        self._before = self._score(self._predict(self._x))

    def measured(self, features: Sequence[int | None], budget: Budget, what: str) -> tuple[list[Measured], bool]:
        """Return the drops of each timestep of some features within a budget, and whether timesteps are grouped."""
        timesteps, first = self._test.x.shape[1], max(GROUPS, len(features))
        exchanges = timesteps * len(features)
        fewest = GROUPED_FROM if exchanges > first else FEWEST_SEQUENCES
        grouped = min(len(self._test), fewest) * timesteps * exchanges > budget.timesteps
        # One half of the budget is for the first groups, the other for dividing them.
        exchanges = 2 * first if grouped else exchanges
        self.draw(min(budget.sequences, budget.timesteps // (timesteps * exchanges)))
        parts = timesteps
        if grouped:
            exchanges = max(2, budget.timesteps // (len(self) * self.repetitions * timesteps))
            parts = max(1, min(GROUPS, max(2, exchanges // 2)) // len(features))
        groups = [Group(part, feature) for feature in features for part in np.array_split(np.arange(timesteps), parts)]
        with _progress(exchanges, what) as bar:
            found = list(zip(groups, self.drops(groups, bar), strict=True))
            if grouped:
                found = _divided(found, self, exchanges - len(groups), bar)
        return found, grouped

    def drops(self, groups: Sequence[Group], bar: Bar) -> list[NDArray[np.float64]]:
        """Return the drops `(repetitions,)` for each group."""
        at_a_time = max(1, SEQUENCES_AT_A_TIME // (len(self._x) * self.repetitions))
        found = []
        for start in range(0, len(groups), at_a_time):
            some = groups[start : start + at_a_time]
            exchanged = [self._exchanged(group) for group in some for _ in range(self.repetitions)]
            predictions = np.split(self._predict(np.concatenate(exchanged)), len(exchanged))
            scores = np.array([self._score(one) for one in predictions]).reshape(len(some), self.repetitions)
            found += list(self._before - scores)
            bar.update(len(some))
        return found

    def _exchanged(self, group: Group) -> Array:
        """Return the sequences after an exchange. A sequence takes all values from one other, if both have them."""
        order, exchanged = self._rng.permutation(len(self._x)), self._x.copy()
        columns = self._varying if group.feature is None else np.array([group.feature])
        for t in group.timesteps.tolist():
            has: NDArray[np.bool_] = np.any(self._has[:, t, columns], axis=1)
            taken = self._x[order[has[order]], t]
            exchanged[np.flatnonzero(has)[:, np.newaxis], t, columns] = taken[:, columns]
        return exchanged


def _divided(found: list[Measured], exchange: _Exchange, exchanges: int, bar: Bar) -> list[Measured]:
    """Divide the most important groups in halves, until all exchanges are used or no group is left that matters."""
    finished: list[Group] = []  # groups of which no half matters by itself
    while True:
        candidates = [
            (group, drop)
            for group, drop in found
            if len(group.timesteps) > 1 and drop.mean() > 0 and not any(group is one for one in finished)
        ]
        most = max(0, min(DIVIDED_AT_A_TIME, exchanges // 2))
        chosen = sorted(candidates, key=lambda one: -one[1].mean())[:most]
        if not chosen:
            return found
        halves = [half for group, _ in chosen for half in group.halves()]
        drops = exchange.drops(halves, bar)
        exchanges -= len(halves)
        for i, (group, drop) in enumerate(chosen):
            pair = np.maximum([drops[2 * i].mean(), drops[2 * i + 1].mean()], 0)
            if not pair.any():
                finished.append(group)
                continue
            parts = [(half, drop * share) for half, share in zip(halves[2 * i :], pair / pair.sum(), strict=False)]
            place = next(j for j, one in enumerate(found) if one[0] is group)
            found[place : place + 1] = parts


def agreement(attention: Sequence[float], found: Importance, present: Sequence[float]) -> Agreement:
    """Compare mean attention `(timesteps,)` with importance.

    `present (timesteps,)` is the fraction of sequences that have each timestep. Both values are divided by it before
    ranking: otherwise late timesteps, which few sequences have, would rank low in both for that reason alone.
    """
    drop, fraction = np.array(found.drop), np.maximum(present, np.finfo(np.float64).tiny)
    everywhere = np.ones((1, len(drop)), bool)
    correlation = float(rank_correlation(np.array([attention]) / fraction, drop[np.newaxis] / fraction, everywhere)[0])
    most = np.argsort(-drop, kind="stable")[: max(1, round(TOP * len(drop)))]
    top = [t for t in most.tolist() if drop[t] > 0]
    return Agreement(
        rank_correlation=None if math.isnan(correlation) else correlation,
        top=tuple(top),
        attention=sum(attention[t] for t in top),
        importance=sum(found.mass[t] for t in top) if found.mass else None,
    )
