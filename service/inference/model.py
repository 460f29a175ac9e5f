"""One loaded version: its card, its engine and its batcher."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from service.errors import InvalidInput
from service.inference.artifact import Array
from service.inference.batching import Batcher, Result
from service.inference.card import ModelCard
from service.inference.engines import Engine


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
        card: what it says about itself.
        version: its number.
        engine: what executes its graph.
        limits: what it takes on at a time.
        charts: its attention profile as a bar chart, by file suffix.
    """

    def __init__(
        self, card: ModelCard, version: int, engine: Engine, limits: Limits, charts: Mapping[str, bytes]
    ) -> None:
        self.card = card
        self.version = version
        self.engine = engine
        self.charts = charts
        self._batcher = Batcher(
            self._run, max_batch=limits.max_batch, max_queue=limits.max_queue, timeout=limits.timeout
        )

    async def predict(self, sequences: Array, outputs: Collection[str]) -> Result:
        """Predict, with the attention of the same forward pass.

        Args:
            sequences: `(n, timesteps, features)`, n ≥ 1.
            outputs: which of `prediction (n, outputs)`, `attention (n, timesteps)` and
                `attention_vec (n, timesteps, units)` to return.

        Raises:
            InvalidInput: the shape is not the card's, or values are so large that the answer is not finite.
            QueueFull: too much is waiting already.
            DeadlineExceeded: no answer within the timeout.
            Unavailable: the version is being unloaded.
        """
        expected = (self.card.timesteps, self.card.features)
        if sequences.ndim != 3 or sequences.shape[1:] != expected or not len(sequences):
            raise InvalidInput(f"expected sequences of shape (n, {expected[0]}, {expected[1]}), got {sequences.shape}")
        return await self._batcher.submit(sequences, outputs)

    def _run(self, sequences: Array, outputs: Collection[str]) -> dict[str, Array]:
        """Run the engine, and refuse what JSON could not say; the batcher finds out whose it was."""
        results = self.engine.run(sequences, outputs)
        for name, output in results.items():
            if not np.isfinite(output).all():
                index = int(np.argwhere(~np.isfinite(output))[0, 0])
                raise InvalidInput(
                    f"sequence {index}: expected values that the model can handle, got {name} not finite"
                )
        return results

    async def close(self) -> None:
        """Finish what was accepted, then free the engine's thread."""
        await self._batcher.close()
