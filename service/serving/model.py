"""One loaded version: its card, its engine, its Batcher, its live profile, and its statistics."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.artifact.distances import total_variation, units_of
from service.artifact.gate import Verified
from service.artifact.golden import Golden
from service.artifact.missing import refused
from service.artifact.occlusion import replacements_of
from service.artifact.tensors import (
    ATTENTION,
    ATTENTION_VEC,
    AXES,
    PREDICTION,
    SEQUENCE,
    SIGNATURES,
    shape_of,
)
from service.artifact.tokens import are_plain, words_of
from service.serving.batcher import Batcher
from service.serving.live_profile import LiveProfile
from service.serving.statistics import Statistics

#: Most numbers of the largest tensor in one run of an engine. An engine holds several tensors of that size, and keeps
#: their memory for good.
MOST_NUMBERS: Final = 2**21


OUTPUTS: Final = SIGNATURES["attention"]


@dataclass(frozen=True)
class Limits:
    """The limits of each model.

    Attributes:
        max_batch: most sequences in one call of the engine.
        max_queue: most sequences waiting or running.
        timeout: longest time from request to answer, in seconds.
    """

    max_batch: int
    max_queue: int
    timeout: float


class Model:
    """One loaded version.

    A replaced version is not closed. Its requests refer to it; after the last of them, its memory and its thread are
    freed.

    Args:
        verified: the parts of the version, as the gate returns them.
        version: its number.
        limits: its limits.
        shared: folder in which the worker processes of one service share state; None with one process.

    Attributes:
        live_profile: the attention of the traffic; None for a model without attention.
        outputs: the outputs that the graph has.
        usual_outputs: the outputs of most requests: the prediction, and mean attention if there is any.
        numbers: how many numbers each output has for one sequence.
        most_numbers: how many numbers an answer to one sequence has at most.
        replacements: by name, what replaces parts of a sequence to measure importance, `(draws, timesteps, features)`
            each; nothing if the card has no baseline.
        units: the units of several predicted numbers, by which explanations compare them.
        texts: the word of each token; None if there is no vocabulary.
        load_seconds: how long it took to read, verify and warm up the version.
    """

    load_seconds: float = 0

    def __init__(self, verified: Verified, version: int, limits: Limits, shared: Path | None = None) -> None:
        self.card = card = verified.card
        self.version = version
        self.limits = limits
        self.engine = verified.engine
        self.golden = verified.golden
        self.signatures = verified.signatures
        self.digests = verified.digests
        self.texts = words_of(card) if are_plain(card) else None
        self.units = units_of(card.target, verified.golden.prediction, card.target_deviation)
        self.replacements = replacements_of(card, verified.golden)
        # A version that replaces a deleted one may have its number, but not its time of creation.
        key = f"{card.name}@{version}@{card.created:%Y%m%dT%H%M%S%f}"
        attends = card.attention is not None
        self.live_profile = LiveProfile(card.timesteps, shared / "live" if shared else None, key) if attends else None
        self.outputs = OUTPUTS if attends else (PREDICTION,)
        self.usual_outputs = (PREDICTION, ATTENTION) if attends else (PREDICTION,)
        self.statistics = Statistics(limits.max_batch, shared / "statistics" if shared else None, key)
        sizes = verified.golden.sizes
        self.numbers = {name: math.prod(filter(None, shape_of(name, sizes))) for name in AXES if name != SEQUENCE}
        self.most_numbers = sum(self.numbers.values())
        self.batcher = Batcher(
            verified.engine.run,
            max_batch=limits.max_batch,
            max_step=most_rows(verified.golden),
            max_queue=limits.max_queue,
            timeout=limits.timeout,
            count=self.statistics.count_call,
            waiting=self.statistics.waiting,
        )

    def warm_up(self) -> None:
        """Run the engine at several sizes, before there are requests. Any thread may call this."""
        self.batcher.warm_up(self.golden.sequence, self.usual_outputs)

    def attention_moved_from(self, other: "Model") -> float | None:
        """Return how far attention lies from another version's on this version's golden example.

        Returns:
            The total variation, from 0 (the same) to 1 (on other timesteps), as the mean over the sequences; None
            where the other version does not take those sequences: their shape differs, or values are missing; and
            where one of both has no attention.
        """
        if self.live_profile is None or other.live_profile is None:
            return None
        sequences = self.golden.sequence
        shape = (other.card.timesteps, other.card.features)
        if sequences.shape[1:] != shape or refused(sequences, other.card).any():
            return None
        before, after = (model.engine.run(sequences, (ATTENTION,))[ATTENTION] for model in (other, self))
        return float(total_variation(before, after).mean())

    def retire(self) -> None:
        """Stop counting for this process; accepted requests are finished. Any thread may call this."""
        if self.live_profile is not None:
            self.live_profile.retire()
        self.statistics.retire()

    async def close(self) -> None:
        """Finish the accepted requests, then free the engine's thread."""
        await self.batcher.close()
        if self.live_profile is not None:
            self.live_profile.close()


def most_rows(golden: Golden) -> int:
    """Return the most rows in one run of a model's engine, as the sizes of its golden example allow."""
    largest = max(math.prod(filter(None, shape_of(name, golden.sizes))) for name in (SEQUENCE, ATTENTION_VEC))
    return max(1, MOST_NUMBERS // largest)
