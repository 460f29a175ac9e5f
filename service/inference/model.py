"""One loaded version: its card, its engine and its batcher."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

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
            engine.run, max_batch=limits.max_batch, max_queue=limits.max_queue, timeout=limits.timeout
        )

    def admit(self) -> None:
        """Refuse a request of whatever size while there is no room: before it costs the work of reading it.

        Raises:
            QueueFull: too much is waiting already.
            Unavailable: the version is being unloaded.
        """
        self._batcher.admit(1)

    async def predict(self, sequences: Array, outputs: Collection[str]) -> Result:
        """Predict, with the attention of the same forward pass.

        Args:
            sequences: `(n, timesteps, features)`, n ≥ 1.
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
        expected = (self.card.timesteps, self.card.features)
        if sequences.ndim != 3 or sequences.shape[1:] != expected or not len(sequences):
            raise InvalidInput(f"expected sequences of shape (n, {expected[0]}, {expected[1]}), got {sequences.shape}")
        return await self._batcher.submit(sequences, outputs)

    async def close(self) -> None:
        """Finish what was accepted, then free the engine's thread."""
        await self._batcher.close()
