"""Permutation importance of timesteps, and how far attention agrees with it."""

import math
from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from service.artifact.card import Agreement, Importance, Target
from service.artifact.distances import rank_correlation
from service.artifact.tensors import Array
from training.data import Indices, LabelledSequences
from training.scores import MAIN_METRIC, main_score

#: Largest number of sequences, of repetitions, and of timesteps that the model processes in all. The last is a budget
#: that does not depend on the speed of the machine, so that the same seed gives the same importance.
MOST_SEQUENCES, MOST_REPETITIONS, MOST_TIMESTEPS = 5000, 10, 6_000_000
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

#: Neighbouring timesteps, and the drop of the metric in each repetition `(repetitions,)`.
Measured = tuple[Indices, NDArray[np.float64]]


def importance(
    predict: Callable[[Array], Array],
    test: LabelledSequences,
    target: Target,
    rng: np.random.Generator,
    weights: int = 0,
) -> Importance:
    """Return the drop of the main metric when sequences exchange their values of a timestep at random.

    At most `MOST_SEQUENCES` sequences are drawn at random. Only those that have the timestep take part, so that lengths
    do not change. `predict` maps `(n, timesteps, features)` to predictions `(n, outputs)`; it is that of a model of so
    many weights.

    Sequences that are too long for the budget exchange groups of neighbouring timesteps. Then the most important groups
    are divided again and again, while the budget lasts. The drop of a divided group is split between its halves in the
    ratio of their own drops, and that of any other group equally between its timesteps. So the sum over the timesteps
    is the sum over the first groups.

    Source: Breiman, Random Forests, 2001; scikit-learn.org/stable/modules/permutation_importance.html.
    """
    timesteps, budget = test.x.shape[1], int(MOST_TIMESTEPS / max(1.0, weights / SMALL_MODEL))
    fewest = GROUPED_FROM if timesteps > GROUPS else FEWEST_SEQUENCES
    grouped = min(len(test), fewest) * timesteps**2 > budget
    # One half of the budget is for the first groups, the other for dividing them.
    exchanges = 2 * GROUPS if grouped else timesteps
    most = max(FEWEST_SEQUENCES, min(MOST_SEQUENCES, budget // (timesteps * exchanges)))
    some = test.take(np.sort(rng.permutation(len(test))[:most]))
    exchange = _Exchange(predict, some, target, repetitions=max(1, min(MOST_REPETITIONS, most // len(some))), rng=rng)
    if grouped:
        exchanges = max(2, budget // (len(some) * exchange.repetitions * timesteps))
    with tqdm(total=exchanges, desc="importance", unit="exchange", delay=1, leave=False, dynamic_ncols=True) as bar:
        count = min(GROUPS, max(2, exchanges // 2)) if grouped else timesteps
        groups = np.array_split(np.arange(timesteps), count)
        found = list(zip(groups, exchange.drops(groups, bar), strict=True))
        if grouped:
            found = _divided(found, exchange, exchanges - len(groups), bar)
    drops = np.concatenate([np.tile(drop / len(group), (len(group), 1)) for group, drop in found])  # (timesteps, reps)
    return Importance(
        metric=MAIN_METRIC[target.task],
        drop=tuple(drops.mean(axis=1).tolist()),
        spread=tuple(drops.std(axis=1).tolist()),
        sequences=len(some),
        repetitions=exchange.repetitions,
        groups=len(found) if grouped else None,
    )


class _Exchange:
    """Measures how far the main metric drops when sequences exchange the values of some timesteps."""

    def __init__(
        self,
        predict: Callable[[Array], Array],
        some: LabelledSequences,
        target: Target,
        *,
        repetitions: int,
        rng: np.random.Generator,
    ) -> None:
        self.repetitions = repetitions
        self._predict, self._rng, self._x = predict, rng, some.x[:]
        self._present: NDArray[np.bool_] = np.any(~np.isnan(self._x), axis=-1)  # (n, timesteps)
        self._score: Callable[[Array], float] = lambda predictions: main_score(predictions, some.y, target)
        self._before = self._score(predict(self._x))

    def drops(self, groups: Sequence[Indices], bar: "tqdm[NoReturn]") -> list[NDArray[np.float64]]:
        """Return the drops `(repetitions,)` for each group of timesteps."""
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

    def _exchanged(self, timesteps: Indices) -> Array:
        """Return the sequences after an exchange. A sequence takes all values from one other, if both have them."""
        order, exchanged = self._rng.permutation(len(self._x)), self._x.copy()
        for t in timesteps:
            exchanged[self._present[:, t], t] = self._x[order[self._present[order, t]], t]
        return exchanged


def _divided(found: list[Measured], exchange: _Exchange, exchanges: int, bar: "tqdm[NoReturn]") -> list[Measured]:
    """Divide the most important groups in halves, until all exchanges are used or no group is left that matters."""
    finished: list[int] = []  # the first timesteps of groups of which no half matters by itself
    while True:
        candidates = [one for one in found if len(one[0]) > 1 and one[1].mean() > 0 and one[0][0] not in finished]
        chosen = sorted(candidates, key=lambda one: -one[1].mean())[: min(DIVIDED_AT_A_TIME, exchanges // 2)]
        if not chosen:
            return found
        halves = [half for group, _ in chosen for half in np.array_split(group, 2)]
        drops = exchange.drops(halves, bar)
        exchanges -= len(halves)
        for i, (group, drop) in enumerate(chosen):
            pair = np.maximum([drops[2 * i].mean(), drops[2 * i + 1].mean()], 0)
            if not pair.any():
                finished.append(int(group[0]))
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
