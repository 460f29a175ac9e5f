"""The explanation of predictions: importance and faithfulness, by running changed sequences."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, TypeVar

import numpy as np

from service.artifact.card import ModelCard
from service.artifact.distances import rank_correlation
from service.artifact.missing import absent
from service.artifact.occlusion import Occlusions, Replacement
from service.artifact.removal import FRACTIONS, Removals
from service.artifact.tensors import (
    ATTENTION,
    ATTENTION_FAITHFULNESS,
    CELL_IMPORTANCE,
    FEATURE_IMPORTANCE,
    IMPORTANCE,
    IMPORTANCE_FAITHFULNESS,
    PREDICTION,
    RANK_CORRELATION,
    Array,
)
from service.errors import DeadlineExceeded, InvalidInput, TooLarge
from service.serving.model import Model
from service.serving.request_queue import Outputs, Result

#: The copies of a sequence for the faithfulness of one order.
REMOVALS: Final = 2 * len(FRACTIONS)
#: The outputs that measure importance.
IMPORTANCES: Final[tuple[str, ...]] = (IMPORTANCE, FEATURE_IMPORTANCE, CELL_IMPORTANCE)
#: The outputs that measure faithfulness, each with the output whose order of timesteps it measures.
ORDERS: Final[Mapping[str, str]] = {ATTENTION_FAITHFULNESS: ATTENTION, IMPORTANCE_FAITHFULNESS: IMPORTANCE}
EXPLANATIONS: Final = (*IMPORTANCES, *ORDERS)
#: More predictions than these are compared in a thread.
LARGE_COMPARISON: Final = 2**15

T = TypeVar("T")


async def explain(
    model: Model, sequences: Array, outputs: Collection[str], names: Collection[str], replacement: Replacement
) -> Result:
    """Return outputs of a model and explanations, with the rank correlation of attention and importance if both exist.

    All runs are admitted, or none, and have one deadline.

    Args:
        model: the model.
        sequences: `(n, timesteps, features)`.
        outputs: the outputs of the graph to return: the prediction, mean attention if the model has attention, others.
        names: the explanations to return. For the faithfulness of importance, importance is returned, too.
        replacement: what replaces parts to measure importance. For faithfulness it is always the baseline.

    Raises:
        InvalidInput: the model has no such replacement.
        TooLarge: the explanations take more runs than may wait.
        QueueFull: too many sequences are waiting or running.
        DeadlineExceeded: no answer within the timeout.
    """
    replacements = replacements_of(model, replacement)
    require_few_runs(model, len(sequences), names, len(replacements))
    orders = {name: order for name, order in ORDERS.items() if name in names}
    wanted = {*names, *orders.values()}
    occlusions = {
        name: Occlusions(sequences, replacements, name, model.card.varying) for name in IMPORTANCES if name in wanted
    }
    try:
        async with asyncio.timeout(model.limits.timeout):
            with model.batcher.queue.hold(REMOVALS * len(sequences) * len(orders)):
                result = await _with_importance(model, sequences, outputs, occlusions)
                scores = [result.outputs[order] for order in orders.values()]
                if not orders:
                    return result
                removals = await _computed(lambda: _removals(model, sequences, scores), sequences.size)
            return await _with_faithfulness(model, result, removals, tuple(orders))
    except TimeoutError:
        raise DeadlineExceeded(f"no answer within {model.limits.timeout:g} s") from None


async def _with_importance(
    model: Model, sequences: Array, outputs: Collection[str], occlusions: Mapping[str, Occlusions]
) -> Result:
    """Run sequences and their occlusions."""
    copies = [(one, (PREDICTION,)) for one in occlusions.values()]
    result, *runs = await model.batcher.submit_all([(sequences, outputs), *copies])
    found = result.outputs
    predictions = [run.outputs[PREDICTION] for run in runs]

    def explained() -> Outputs:
        measured = zip(occlusions.items(), predictions, strict=True)
        importances = {
            name: one.importance(found[PREDICTION], occluded, model.card.target, model.units)
            for (name, one), occluded in measured
        }
        if IMPORTANCE not in importances or ATTENTION not in found:
            return {**found, **importances}
        correlation = rank_correlation(found[ATTENTION], importances[IMPORTANCE], ~absent(sequences))
        return {**found, **importances, RANK_CORRELATION: correlation}

    last = max((result, *runs), key=lambda run: run.queue + run.inference)
    return Result(await _computed(explained, sum(one.size for one in predictions)), last.queue, last.inference)


def _removals(model: Model, sequences: Array, scores: Sequence[Array]) -> Removals:
    """Return the copies of sequences for several orders, one order after the other."""
    (baseline,) = model.replacements["baseline"]
    return Removals(np.concatenate([sequences] * len(scores)), baseline, np.concatenate(scores), model.card.varying)


async def _with_faithfulness(model: Model, result: Result, removals: Removals, names: Sequence[str]) -> Result:
    """Add the faithfulness of some orders to a result: `(n, 2)` each, the means of both measures over the fractions."""
    run = await model.batcher.submit(removals, (PREDICTION,))
    others = run.outputs[PREDICTION]

    def measured() -> Outputs:
        predictions = np.concatenate([result.outputs[PREDICTION]] * len(names))
        measures = [one.mean(axis=1) for one in removals.moved(predictions, others, model.card.target, model.units)]
        return dict(zip(names, np.split(np.stack(measures, axis=1), len(names)), strict=True))

    faithfulness = await _computed(measured, others.size)
    return Result({**result.outputs, **faithfulness}, result.queue + run.queue, result.inference + run.inference)


async def _computed(function: Callable[[], T], numbers: int) -> T:
    """Return the value of a function, which is called in a thread if it compares many numbers."""
    return await asyncio.to_thread(function) if numbers > LARGE_COMPARISON else function()


def replacements_of(model: Model, replacement: Replacement) -> Array:
    """Return the values that replace others: `(draws, timesteps, features)`.

    Raises:
        InvalidInput: the card has no baseline, or the golden example has one sequence only.
    """
    name = f"{model.card.name} version {model.version}"
    if not model.replacements:
        raise InvalidInput(f"{name} has no baseline on its card, which importance needs: train it again")
    if replacement not in model.replacements:
        raise InvalidInput(
            f"replacement: expected 'baseline', as the golden example of {name} has a single sequence, "
            f"got {replacement!r}"
        )
    return model.replacements[replacement]


def require_few_runs(model: Model, sequences: int, names: Collection[str], draws: int) -> None:
    """Check that the runs of a request may wait all together.

    Raises:
        TooLarge: there are more.
    """
    each = runs_of(model.card, names, draws)
    if sequences * each > model.limits.max_queue:
        raise TooLarge(
            f"expected at most {model.limits.max_queue} runs of the model for one request, got {sequences * each}: "
            f"{each} for each of {sequences} sequences, as explanations change and run them again"
        )


def runs_of(card: ModelCard, names: Collection[str], draws: int = 1) -> int:
    """Return how many runs one sequence takes at most for explanations, its own included.

    It is one for each part and each draw, and `REMOVALS` for each order.
    """
    parts = {
        IMPORTANCE: card.timesteps,
        FEATURE_IMPORTANCE: card.features,
        CELL_IMPORTANCE: card.timesteps * card.features,
    }
    orders = [ORDERS[name] for name in names if name in ORDERS]
    occluded = sum(size for name, size in parts.items() if name in names or name in orders)
    return 1 + draws * occluded + REMOVALS * len(orders)


def answerable(model: Model) -> tuple[str, ...]:
    """Return the explanations that a model can answer for a sequence, all together, within the limit on runs."""
    names: list[str] = []
    most = model.limits.max_queue if model.replacements else 0
    for name in EXPLANATIONS:
        has_order = ORDERS.get(name) != ATTENTION or model.live_profile is not None
        if has_order and runs_of(model.card, (*names, name)) <= most:
            names.append(name)
    return tuple(names)
