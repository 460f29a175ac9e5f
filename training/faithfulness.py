"""Faithfulness: whether attention and importance find the timesteps that matter, on held-out data."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.artifact.card import Faithfulness, Removal, Target
from service.artifact.distances import units_of
from service.artifact.missing import absent
from service.artifact.occlusion import Occlusions
from service.artifact.removal import FRACTIONS, Removals
from service.artifact.tensors import Array
from training.data import LabelledSequences
from training.importance import SMALL_MODEL, Predict
from training.resampling import resamples
from training.scores import MAIN_METRIC, main_score

Order = Literal["attention", "importance", "random"]
Finds = Literal["what matters", "part of it", "no more than chance"]
Numbers = NDArray[np.float64]
#: Returns predictions for sequences with given attention `(batch, timesteps, units)`.
Attending = Callable[[Array, Array], Array]

#: Largest and smallest number of sequences, and largest number of timesteps that the model processes in all.
MOST_SEQUENCES, FEWEST_SEQUENCES, MOST_TIMESTEPS = 200, 20, 6_000_000
#: Number of random orders of each sequence, whose results are averaged.
RANDOM_ORDERS = 5
#: Largest number of sequences whose attention is replaced.
MOST_REPLACED = 2000
#: Largest number of copies in one call of the model, and of their timesteps if it has attention for each.
COPIES_AT_A_TIME, TIMESTEPS_AT_A_TIME = 1024, 2**15
#: How far attention gets on the way from random orders to the best one: from the first on it finds what matters, and up
#: to the second no more than chance. `benchmarks/faithfulness.py` measures models for which the answer is known.
FINDS, CHANCE = 0.8, 0.3

VERDICTS: Final[Mapping[Finds, str]] = {
    "what matters": "Attention finds what matters here.",
    "part of it": "Attention finds only a part of what matters here: read importance beside it.",
    "no more than chance": "Attention finds what matters no better than chance here: read importance.",
}
#: The sentences if attention finds nothing, because there is none, or nothing to find.
WITHOUT_ATTENTION = "Importance finds what matters here, and the model has no attention."
NOTHING_MATTERS = "No order finds what matters better than chance here: read neither attention nor importance."


class Moved(NamedTuple):
    """How far predictions move by one order, `(n, fractions)` each."""

    comprehensiveness: Numbers
    sufficiency: Numbers

    @property
    def advantage(self) -> Numbers:
        """How much more the top timesteps matter than the others, `(n,)`: comprehensiveness minus sufficiency."""
        advantage: Numbers = (self.comprehensiveness - self.sufficiency).mean(axis=1)
        return advantage


def faithfulness(  # noqa: PLR0913 - each by its name
    predict: Predict,
    test: LabelledSequences,
    target: Target,
    baseline: Array,
    rng: np.random.Generator,
    *,
    attention: Predict | None = None,
    weights: int = 0,
    deviation: Sequence[float] = (),
) -> Faithfulness | None:
    """Return how far predictions move without the top timesteps of an order, and with these alone.

    The orders are attention, importance by occlusion of the sequence itself, as the service answers it, and random.

    Args:
        predict: maps `(n, timesteps, features)` to predictions `(n, outputs)`.
        test: held-out sequences; at most `MOST_SEQUENCES` are drawn at random. Their labels are not used.
        target: the target of the model.
        baseline: `(timesteps, features)`, which replaces timesteps.
        rng: draws sequences, random orders, and resamples: groups, and of windows their neighbours, are drawn together.
        attention: maps sequences to attention `(n, timesteps)`; None for a model without.
        weights: number of weights of the model. A large model is measured on fewer sequences.
        deviation: the deviation of each predicted number in training; empty if it is not known.

    Returns:
        None if no sequence has two present timesteps, which an order needs. Without removals if the budget allows fewer
        than `FEWEST_SEQUENCES` sequences.

    Source: DeYoung and others, ERASER, arXiv 1911.03429, section 4.2.
    """
    timesteps = test.x.shape[1]
    copies = timesteps + 2 * len(FRACTIONS) * (RANDOM_ORDERS + 2)
    most = int(MOST_TIMESTEPS / max(1.0, weights / SMALL_MODEL)) // (timesteps * copies)
    if most < FEWEST_SEQUENCES:
        return _not_measured(test, target, copies, weights)
    some = test.take(np.sort(rng.permutation(len(test))[: min(most, MOST_SEQUENCES)]))
    x = some.x[:]
    if np.all((~absent(x)).sum(axis=1) < 2):
        return None
    prediction, baseline = predict(x), baseline.astype(np.float32)

    units = units_of(target, prediction, deviation)

    def moved(scores: Array) -> Moved:
        removals = Removals(x, baseline, scores, test.varying)
        parts = removals.moved(prediction, _each(predict, removals), target, units)
        return Moved(*(part.astype(np.float64) for part in parts))

    occlusions = Occlusions(x, baseline, varying=test.varying)
    orders: dict[Order, Moved] = {} if attention is None else {"attention": moved(attention(x))}
    orders["importance"] = moved(occlusions.importance(prediction, _each(predict, occlusions), target, units))
    drawn = [moved(rng.random(x.shape[:2], np.float32)) for _ in range(RANDOM_ORDERS)]
    orders["random"] = Moved(*(np.mean(parts, axis=0) for parts in zip(*drawn, strict=True)))
    drawn_again = np.array(list(resamples(some, rng, ordered=test.spans is not None)))
    shares = drawn_again / drawn_again.sum(axis=1, keepdims=True)
    finds, verdict = _judged(orders, shares)
    return Faithfulness(
        sequences=len(x),
        fractions=FRACTIONS,
        removals=tuple(_removal(order, found, shares) for order, found in orders.items()),
        attention_finds=finds,
        verdict=verdict,
        metric=MAIN_METRIC[target.task],
    )


def _not_measured(test: LabelledSequences, target: Target, copies: int, weights: int) -> Faithfulness | None:
    """Return a result that only says why it has no removals."""
    timesteps = test.x.shape[1]
    model = f" and a model of {weights:,} weights" if weights > SMALL_MODEL else ""
    return Faithfulness(
        sequences=0,
        fractions=(),
        removals=(),
        attention_finds=None,
        verdict=f"Not measured: {copies:,} runs for each sequence of {timesteps:,} timesteps{model} take too long.",
        metric=MAIN_METRIC[target.task],
    )


def replaced_attention(
    attend: Attending, attention_vec: Predict, test: LabelledSequences, target: Target, rng: np.random.Generator
) -> dict[str, float]:
    """Return the main metric with uniform and with permuted attention over the present timesteps, by these names.

    Args:
        attend: predicts with given attention.
        attention_vec: maps sequences to their attention, `(n, timesteps, units)`.
        test: held-out sequences; at most `MOST_REPLACED` are drawn at random.
        target: the target of the model.
        rng: draws sequences, and their permutations. All units of a sequence have the same one.

    Sources: Wiegreffe and Pinter, arXiv 1908.04626, section 3.2; Jain and Wallace, arXiv 1902.10186, section 4.2.1.
    """
    some = test.take(np.sort(rng.permutation(len(test))[:MOST_REPLACED]))
    uniform, permuted = [], []
    at_a_time = max(1, min(COPIES_AT_A_TIME, TIMESTEPS_AT_A_TIME // test.x.shape[1]))
    for start in range(0, len(some), at_a_time):
        x = some.x[start : start + at_a_time]
        weights, present = attention_vec(x), ~absent(x)
        share = present / np.maximum(present.sum(axis=1, keepdims=True), 1)
        uniform.append(attend(x, np.broadcast_to(share[..., np.newaxis], weights.shape).astype(np.float32)))
        permuted.append(attend(x, _permuted(weights, present, rng)))
    parts = {"uniform": uniform, "permuted": permuted}
    return {name: main_score(np.concatenate(part), some.y, target) for name, part in parts.items()}


def _permuted(weights: Array, present: NDArray[np.bool_], rng: np.random.Generator) -> Array:
    """Return attention `(n, timesteps, units)` after the present timesteps of each sequence exchanged it."""
    places = np.argsort(~present, axis=1, kind="stable")  # the present timesteps first
    sources = np.argsort(np.where(present, rng.random(present.shape), np.inf), axis=1)
    permuted = np.zeros_like(weights)
    taken = np.take_along_axis(weights, sources[..., np.newaxis], axis=1)
    np.put_along_axis(permuted, places[..., np.newaxis], taken, axis=1)
    return permuted


def _each(predict: Predict, copies: Occlusions | Removals) -> Array:
    """Return the predictions of all copies, `(k, outputs)`, of which few are in memory at a time."""
    starts = range(0, len(copies), COPIES_AT_A_TIME)
    return np.concatenate([predict(np.asarray(copies[start : start + COPIES_AT_A_TIME])) for start in starts])


def _removal(order: Order, moved: Moved, shares: Numbers) -> Removal:
    fields: dict[str, object] = {"order": order}
    for name, values in moved._asdict().items():
        fields |= {
            name: values.mean(axis=0).tolist(),
            f"{name}_area": float(values.mean()),
            f"{name}_interval": _interval(values.mean(axis=1), shares),
        }
    return Removal.model_validate(fields)


def _interval(values: Numbers, shares: Numbers) -> tuple[float, float]:
    """Return the 95 % interval of the mean of values `(n,)`, by their shares in resamples `(resamples, n)`."""
    low, high = np.quantile(shares @ values, [0.025, 0.975]).tolist()
    return low, high


def _judged(orders: Mapping[Order, Moved], shares: Numbers) -> tuple[Finds | None, str]:
    """Return what attention finds, and the sentence on it."""
    over_chance = {name: moved.advantage - orders["random"].advantage for name, moved in orders.items()}
    certain = {name: _interval(values, shares)[0] > 0 for name, values in over_chance.items()}
    if not any(certain.values()):
        return None, NOTHING_MATTERS
    if "attention" not in orders:
        return None, WITHOUT_ATTENTION
    best = max(values.mean() for values in over_chance.values())
    reached = over_chance["attention"].mean() / best
    finds: Finds = "part of it"
    if reached >= FINDS:
        finds = "what matters"
    elif reached <= CHANCE or not certain["attention"]:
        finds = "no more than chance"
    return finds, VERDICTS[finds]
