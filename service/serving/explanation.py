"""The explanation of predictions: importance of timesteps, features and cells, by running changed sequences."""

import asyncio
from collections.abc import Collection
from typing import Final, Literal, get_args

from service.artifact.card import ModelCard
from service.artifact.distances import rank_correlation
from service.artifact.missing import absent
from service.artifact.occlusion import Occlusions
from service.artifact.tensors import (
    ATTENTION,
    CELL_IMPORTANCE,
    FEATURE_IMPORTANCE,
    IMPORTANCE,
    PREDICTION,
    RANK_CORRELATION,
    Array,
)
from service.errors import InvalidInput, TooLarge
from service.serving.model import Model
from service.serving.request_queue import Outputs, Result

#: What replaces a part: the card's baseline, or the values of other sequences, those of the golden example.
Replacement = Literal["baseline", "marginal"]
REPLACEMENTS: Final[tuple[Replacement, ...]] = get_args(Replacement)
#: The outputs that measure importance.
IMPORTANCES: Final = (IMPORTANCE, FEATURE_IMPORTANCE, CELL_IMPORTANCE)
#: More predictions than these are compared in a thread.
LARGE_COMPARISON: Final = 2**15


async def explain(
    model: Model, sequences: Array, outputs: Collection[str], names: Collection[str], replacement: Replacement
) -> Result:
    """Return outputs of a model, explanations, and the rank correlation of attention with importance.

    All runs are admitted, or none.

    Args:
        model: the model.
        sequences: `(n, timesteps, features)`.
        outputs: the outputs of the graph that are wanted. Mean attention and the prediction are returned, too.
        names: the explanations that are wanted.
        replacement: what replaces timesteps, features and cells.

    Raises:
        InvalidInput: the model has no such replacement.
        TooLarge: the explanations take more runs than may wait.
        QueueFull: too many sequences are waiting or running.
    """
    replacements = replacements_of(model, replacement)
    require_few_runs(model, len(sequences), names, len(replacements))
    occlusions = {name: Occlusions(sequences, replacements, name) for name in IMPORTANCES if name in names}
    batcher = model.batcher
    batcher.queue.require_room(len(sequences) + sum(map(len, occlusions.values())))
    result, *runs = await asyncio.gather(
        batcher.submit(sequences, outputs), *(batcher.submit(one, (PREDICTION,)) for one in occlusions.values())
    )
    found = result.outputs
    predictions = {name: run.outputs[PREDICTION] for name, run in zip(occlusions, runs, strict=True)}

    def explained() -> Outputs:
        target = model.card.target
        importances = {
            name: one.importance(found[PREDICTION], predictions[name], target) for name, one in occlusions.items()
        }
        if IMPORTANCE not in importances or ATTENTION not in found:
            return {**found, **importances}
        correlation = rank_correlation(found[ATTENTION], importances[IMPORTANCE], ~absent(sequences))
        return {**found, **importances, RANK_CORRELATION: correlation}

    many = sum(one.size for one in predictions.values()) > LARGE_COMPARISON
    last = max(runs, key=lambda run: run.queue + run.inference)
    return Result(await asyncio.to_thread(explained) if many else explained(), last.queue, last.inference)


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
            f"{each} for each of {sequences} sequences, as each part that is replaced is one more"
        )


def runs_of(card: ModelCard, names: Collection[str], draws: int = 1) -> int:
    """Return how many runs one sequence takes at most: its own, and one for each part and each draw."""
    parts = {
        IMPORTANCE: card.timesteps,
        FEATURE_IMPORTANCE: card.features,
        CELL_IMPORTANCE: card.timesteps * card.features,
    }
    return 1 + draws * sum(size for name, size in parts.items() if name in names)


def answerable(model: Model) -> tuple[str, ...]:
    """Return the importances that a model can answer, one by one, within the limit on runs."""
    most = model.limits.max_queue if model.replacements else 0
    return tuple(name for name in IMPORTANCES if runs_of(model.card, (name,)) <= most)
