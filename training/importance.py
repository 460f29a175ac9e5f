"""How much a model depends on each timestep, and whether attention lies there."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from service.artifact.card import Agreement, Importance, Target
from service.artifact.distances import rank_correlation
from service.artifact.tensors import Array
from training.data import LabelledSequences
from training.scores import MAIN_METRIC, compute_metrics

#: Most sequences to exchange values between, most times to do so, and most timesteps to run the model over in all.
MOST_SEQUENCES, MOST_REPETITIONS, MOST_TIMESTEPS = 5000, 10, 20_000_000
#: Fewest sequences, however long they are: of a handful, drops are chance.
FEWEST_SEQUENCES = 50
#: The share of timesteps that count as the most important ones.
TOP = 0.1


def importance(
    predict: Callable[[Array], Array], test: LabelledSequences, target: Target, rng: np.random.Generator
) -> Importance:
    """Permutation importance: how far the metric drops once the values of a timestep come from another sequence.

    Only sequences that have the timestep exchange its values, so each stays as long as it is.

    Source: Breiman, Random Forests, 2001; scikit-learn.org/stable/modules/permutation_importance.html.

    Args:
        predict: `(n, timesteps, features)` to predictions `(n, outputs)`.
        test: held-out sequences; at most `MOST_SEQUENCES` of them, drawn at random, are used.
        target: decides the metric.
        rng: draws them, and who exchanges with whom.
    """
    timesteps = test.x.shape[1]
    most = max(FEWEST_SEQUENCES, min(MOST_SEQUENCES, MOST_TIMESTEPS // timesteps**2))
    some = test.take(np.sort(rng.permutation(len(test))[:most]))
    x = some.x[:]
    repetitions = max(1, min(MOST_REPETITIONS, most // len(x)))
    score = MAIN_METRIC[target.task]

    def scored(predictions: Array) -> float:
        return compute_metrics(predictions, some.y, target)[score]

    before = scored(predict(x))
    drops = np.empty((repetitions, timesteps))
    for t in range(timesteps):
        present = np.flatnonzero(~np.isnan(x[:, t]).all(axis=-1))
        exchanged = np.stack([x] * repetitions)  # (repetitions, n, timesteps, features)
        for one in exchanged:
            one[present, t] = x[rng.permutation(present), t]
        predictions = predict(exchanged.reshape(-1, *x.shape[1:]))  # all at once: few calls are faster than many
        drops[:, t] = [before - scored(one) for one in np.split(predictions, repetitions)]
    return Importance(
        metric=score,
        drop=tuple(drops.mean(axis=0).tolist()),
        spread=tuple(drops.std(axis=0).tolist()),
        sequences=len(x),
        repetitions=repetitions,
    )


def agreement(attention: Sequence[float], found: Importance, present: Sequence[float]) -> Agreement:
    """Whether mean attention lies where importance does.

    Args:
        attention: `(timesteps,)`, over all sequences.
        found: importance of the same timesteps.
        present: `(timesteps,)`, the share of sequences that have each. Ranks are of what a timestep has where it is
            there: else later ones, which fewer sequences have, would be low in both for that alone.
    """
    drop, share = np.array(found.drop), np.maximum(present, np.finfo(np.float64).tiny)
    everywhere = np.ones((1, len(drop)), bool)
    correlation = float(rank_correlation(np.array([attention]) / share, drop[np.newaxis] / share, everywhere)[0])
    most = np.argsort(-drop, kind="stable")[: max(1, round(TOP * len(drop)))]
    top = [t for t in most.tolist() if drop[t] > 0]
    return Agreement(
        rank_correlation=None if math.isnan(correlation) else correlation,
        top=tuple(top),
        attention=sum(attention[t] for t in top),
        importance=sum(found.mass[t] for t in top) if found.mass else None,
    )
