"""Permutation importance of timesteps, and how far attention agrees with it."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from service.artifact.card import Agreement, Importance, Target
from service.artifact.distances import rank_correlation
from service.artifact.tensors import Array
from training.data import LabelledSequences
from training.scores import MAIN_METRIC, main_score

#: Largest number of sequences, of repetitions, and of timesteps that the model processes in all.
MOST_SEQUENCES, MOST_REPETITIONS, MOST_TIMESTEPS = 5000, 10, 20_000_000
#: Smallest number of sequences, regardless of length: with fewer, drops are random.
FEWEST_SEQUENCES = 50
#: The fraction of timesteps that count as most important.
TOP = 0.1


def importance(
    predict: Callable[[Array], Array], test: LabelledSequences, target: Target, rng: np.random.Generator
) -> Importance:
    """Return the drop of the main metric when sequences exchange their values of a timestep at random.

    At most `MOST_SEQUENCES` sequences are drawn at random. Only those that have the timestep take part, so that lengths
    do not change. `predict` maps `(n, timesteps, features)` to predictions `(n, outputs)`.

    Source: Breiman, Random Forests, 2001; scikit-learn.org/stable/modules/permutation_importance.html.
    """
    timesteps = test.x.shape[1]
    most = max(FEWEST_SEQUENCES, min(MOST_SEQUENCES, MOST_TIMESTEPS // timesteps**2))
    some = test.take(np.sort(rng.permutation(len(test))[:most]))
    x = some.x[:]
    repetitions = max(1, min(MOST_REPETITIONS, most // len(x)))
    score = MAIN_METRIC[target.task]

    def scored(predictions: Array) -> float:
        return main_score(predictions, some.y, target)

    before = scored(predict(x))
    drops = np.empty((repetitions, timesteps))
    for t in range(timesteps):
        present = np.flatnonzero(~np.isnan(x[:, t]).all(axis=-1))
        exchanged = np.stack([x] * repetitions)  # (repetitions, n, timesteps, features)
        for one in exchanged:
            one[present, t] = x[rng.permutation(present), t]
        predictions = predict(exchanged.reshape(-1, *x.shape[1:]))  # one call is faster than many
        drops[:, t] = [before - scored(one) for one in np.split(predictions, repetitions)]
    return Importance(
        metric=score,
        drop=tuple(drops.mean(axis=0).tolist()),
        spread=tuple(drops.std(axis=0).tolist()),
        sequences=len(x),
        repetitions=repetitions,
    )


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
