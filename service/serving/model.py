"""One loaded version: its card, its engine, its batcher, and where it looked."""

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from service.artifact.distances import rank_correlation, total_variation
from service.artifact.gate import Verified
from service.artifact.missing import absent, refused
from service.artifact.tensors import ATTENTION, IMPORTANCE, PREDICTION, RANK_CORRELATION, Array
from service.errors import InvalidInput, TooLarge
from service.serving.batcher import Batcher, Result
from service.serving.live_profile import LiveProfile
from service.serving.occlusion import Occlusions

#: More predictions of occluded sequences than these are compared in a thread, so that others go on.
LARGE_COMPARISON: Final = 2**15

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What one model takes on at a time.

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

    Args:
        verified: what it consists of.
        version: its number.
        limits: what it takes on at a time.
        shared: folder in which the worker processes of one service tell each other; none where there is one process.

    Nothing needs to be closed for a version to be given up: whoever began a request on it holds it until that is
    answered, and with the last of them go its memory and its thread.
    """

    def __init__(self, verified: Verified, version: int, limits: Limits, shared: Path | None = None) -> None:
        self.card = card = verified.card
        self.version = version
        self._shape = (card.timesteps, card.features)
        self.engine = verified.engine
        self.charts = verified.charts
        self.golden = verified.golden
        self.signatures = verified.signatures
        # Of another version with the same number, should this one be deleted, the time differs.
        key = f"{card.name}@{version}@{card.created:%Y%m%dT%H%M%S%f}"
        self.live_profile = LiveProfile(card.timesteps, shared / "live" if shared else None, key)
        self._baseline = None if card.baseline is None else np.array(card.baseline, np.float32)
        self._most_explained = max(1, limits.max_queue // (1 + card.timesteps))
        self._batcher = Batcher(
            verified.engine.run, max_batch=limits.max_batch, max_queue=limits.max_queue, timeout=limits.timeout
        )

    def warm_up(self) -> None:
        """Run calls of the sizes that there will be, before anybody waits for one; from no matter which thread."""
        self._batcher.warm_up(self.golden.sequence, (PREDICTION, ATTENTION))

    def attention_moved_from(self, other: "Model") -> float | None:
        """How far attention lies from another version's on this one's golden example.

        Returns:
            The total variation, from 0 (the same) to 1 (on other timesteps altogether), mean over the sequences; none
            where the other does not take those sequences: of this shape, or with the values missing that are.
        """
        sequences = self.golden.sequence
        shape = (other.card.timesteps, other.card.features)
        if sequences.shape[1:] != shape or refused(sequences, other.card).any():
            return None
        before, after = (model.engine.run(sequences, (ATTENTION,))[ATTENTION] for model in (other, self))
        return float(total_variation(before, after).mean())

    def admit(self) -> None:
        """Refuse a request of whatever size while there is no room: before it costs the work of reading it.

        Raises:
            QueueFull: too much is waiting already.
            Unavailable: the version is being unloaded.
        """
        self._batcher.admit(1)

    def let_in(self) -> bool:
        """Whether there is room for a request that is yet to be read, and for those let in just before it."""
        return self._batcher.let_in()

    async def predict(self, sequences: Array, outputs: Collection[str]) -> Result:
        """Predict, with the attention of the same forward pass.

        Args:
            sequences: `(n, timesteps, features)`, n ≥ 1. NaN is a missing value; a timestep of nothing but NaN is
                absent and gets no attention, and shorter sequences end with such.
            outputs: which of `prediction (n, outputs)`, `attention (n, timesteps)` and
                `attention_vec (n, timesteps, units)` to return.

        Returns:
            Those outputs, not finite where the values were too large for the model.

        Raises:
            InvalidInput: the shape is not the card's.
            QueueFull: too much is waiting already.
            DeadlineExceeded: no answer within the timeout.
            Unavailable: the version is being unloaded.
        """
        self._require_shape(sequences)
        if ATTENTION in outputs:
            result = await self._batcher.submit(sequences, outputs)
            self.live_profile.add(result.outputs[ATTENTION])
            return result
        # Nobody asked for it, but it counts.
        result = await self._batcher.submit(sequences, (*outputs, ATTENTION))
        self.live_profile.add(result.outputs.pop(ATTENTION))
        return result

    async def explain(self, sequences: Array, outputs: Collection[str]) -> Result:
        """Predict, and find how much each prediction depends on each timestep.

        Each timestep in turn is replaced by the card's baseline. The sequences that this makes are run as any others
        are, and are not counted in the live profile.

        Args:
            sequences: as for `predict`.
            outputs: likewise.

        Returns:
            Those outputs, prediction and attention at least, with `importance (n, timesteps)`, how far each timestep
            moves the prediction (see `Occlusions`), and `rank_correlation (n,)` of attention and importance over the
            timesteps that are present, NaN where either is the same everywhere.

        Raises:
            InvalidInput: as for `predict`; or the card has no baseline.
            TooLarge: there would be more to run than may wait.
            QueueFull, DeadlineExceeded, Unavailable: as for `predict`.
        """
        if self._baseline is None:
            raise InvalidInput(
                f"{self.card.name} version {self.version} has no baseline on its card, which importance needs: "
                "train it again"
            )
        if len(sequences) > self._most_explained:
            raise TooLarge(
                f"expected at most {self._most_explained} sequences with importance, as each of their timesteps is one "
                f"more to run, got {len(sequences)}"
            )
        self._require_shape(sequences)
        occlusions = Occlusions(sequences, self._baseline)
        self._batcher.admit(len(sequences) + len(occlusions))
        # Both at once: they run together, and one deadline is that of the other.
        result, occluded = await asyncio.gather(
            self._batcher.submit(sequences, {*outputs, PREDICTION, ATTENTION}),
            self._batcher.submit(occlusions, (PREDICTION,)),
        )
        found, moved = result.outputs, occluded.outputs[PREDICTION]
        self.live_profile.add(found[ATTENTION])

        def explained() -> dict[str, Array]:
            importance = occlusions.importance(found[PREDICTION], moved, self.card.target)
            correlation = rank_correlation(found[ATTENTION], importance, ~absent(sequences))
            return {**found, IMPORTANCE: importance, RANK_CORRELATION: correlation}

        return Result(
            await asyncio.to_thread(explained) if moved.size > LARGE_COMPARISON else explained(),
            occluded.queue,
            occluded.inference,
        )

    def _require_shape(self, sequences: Array) -> None:
        if sequences.shape[1:] != self._shape or not len(sequences):
            timesteps, features = self._shape
            raise InvalidInput(f"expected sequences of shape (n, {timesteps}, {features}), got {sequences.shape}")

    def retire(self) -> None:
        """Be served no more by this process, which finishes what it accepted. May be called from another thread."""
        self.live_profile.retire()

    async def close(self) -> None:
        """Finish what was accepted, then free the engine's thread."""
        await self._batcher.close()
        self.live_profile.close()
