"""The data plane runs requests on models: selection, admission, limits, timing and counting."""

import asyncio
import time
from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Final, NamedTuple

from service.artifact.card import ModelCard
from service.artifact.occlusion import Replacement
from service.artifact.tensors import ATTENTION, ATTENTION_VEC, IMPORTANCE, PREDICTION, RANK_CORRELATION, Array
from service.errors import DeadlineExceeded, InvalidInput, QueueFull, Unavailable
from service.serving.explanation import ORDERS, explain
from service.serving.model import Model
from service.serving.repository import Repository
from service.serving.request_queue import Result


class Question(NamedTuple):
    """The inputs of a model, and the outputs to answer.

    Attributes:
        sequences: `(n, timesteps, features)`, n ≥ 1. NaN is a missing value. A timestep whose values are all NaN is
            absent and gets no attention; shorter sequences end with absent timesteps.
        outputs: which of `prediction (n, outputs)`, `attention (n, timesteps)` and
            `attention_vec (n, timesteps, units)` to answer.
        explanations: which of `importance (n, timesteps)`, `feature_importance (n, features)` and `cell_importance
            (n, timesteps, features)` to answer: how far each timestep, feature or cell moves the prediction (see
            `Occlusions`). With `importance` comes `rank_correlation (n,)`, its correlation with attention over the
            timesteps that are present, NaN where either is constant. A model without attention has none.
            `attention_faithfulness (n, 2)` and `importance_faithfulness (n, 2)` are comprehensiveness and sufficiency
            of the order of the timesteps by attention and by importance (see `Removals`).
        replacement: what replaces timesteps, features and cells.
        timeout: seconds after which the request fails; by default the model's limit alone holds.
        with_inputs: whether the answer has the sequences, too.
    """

    sequences: Array
    outputs: Collection[str]
    explanations: Collection[str] = ()
    replacement: Replacement = "baseline"
    timeout: float | None = None
    with_inputs: bool = False


#: Why attention is refused.
NO_ATTENTION: Final = "the model has no attention"
#: Why a service that drains refuses a request.
STOPPING: Final = "the service is stopping"


class DataPlane:
    """Runs requests on the models of a repository.

    Every protocol uses it in the same order: `model` selects a model, `admit` refuses a request while there is no room,
    and `ask` runs the sequences.

    Args:
        repository: the models.
        max_sequences: most sequences in one request.
        max_values: most values in one request, those of absent timesteps included.

    Attributes:
        draining: whether the service stops soon. Requests are answered until then.
    """

    def __init__(self, repository: Repository, *, max_sequences: int, max_values: int) -> None:
        self.repository = repository
        self.draining = False
        self._max_sequences = max_sequences
        self._max_values = max_values

    def model(self, name: str | None = None, version: int | None = None) -> Model:
        """Return the model that answers; by default the default model, in the version that answers for it.

        Raises:
            UnknownModel: there is no such model or version.
            Unavailable: no version of the model is loaded.
        """
        return self.repository.get(name, version)

    def require_ready(self, model: Model) -> None:
        """Check that a load balancer should send requests to a model. A full queue is no reason against it.

        Raises:
            Unavailable: the service stops soon, or the calls of the model's engine do not end.
        """
        if self.draining:
            raise Unavailable(STOPPING)
        if seconds := model.batcher.stuck_for:
            raise Unavailable(
                f"no call of {model.card.name!r} has ended for {seconds:.0f} s longer than any should take"
            )

    def admit(self, model: Model) -> AbstractContextManager[None]:
        """Return a context in which a request is read and decoded, and which holds room for it.

        Raises:
            QueueFull: too many sequences are waiting or running.
            Unavailable: the version is being unloaded.
        """
        try:
            return model.batcher.queue.reserve()
        except (QueueFull, Unavailable):
            model.statistics.count_failure(0)
            raise

    def most_sequences(self, card: ModelCard) -> int:
        """Return the largest number of sequences in one request to a model.

        Sequences that may be short count with all their timesteps: otherwise a small body could become an array of any
        size.
        """
        if not card.variable_length:
            return self._max_sequences
        return max(1, min(self._max_sequences, self._max_values // (card.timesteps * card.features)))

    @staticmethod
    def numbers(model: Model, question: Question) -> int:
        """Return how many numbers the answer to a question has."""
        names = [*question.outputs, *question.explanations]
        if IMPORTANCE in question.explanations:
            names.append(RANK_CORRELATION)
        repeated = question.sequences.size if question.with_inputs else 0
        return len(question.sequences) * sum([model.numbers[name] for name in names]) + repeated

    async def ask(self, model: Model, question: Question) -> Result:
        """Run sequences, and count their attention.

        Prediction and attention come from one forward pass. Outputs are not finite where the values are too large for
        the model.

        Raises:
            InvalidInput: the shape is not the card's, the model has no attention, or it lacks the values that replace
            others.
            TooLarge: the explanations take more runs than may wait.
            QueueFull: too many sequences are waiting or running.
            DeadlineExceeded: no answer within the timeout.
            Unavailable: the version is being unloaded.
        """
        card, sequences, wanted = model.card, question.sequences, question.outputs
        if sequences.shape[1:] != (card.timesteps, card.features) or not len(sequences):
            raise InvalidInput(
                f"expected sequences of shape (n, {card.timesteps}, {card.features}), got {sequences.shape}"
            )
        if question.timeout is not None:
            return await self._ask_within(question.timeout, model, question._replace(timeout=None))
        if question.explanations:
            return await self._explain(model, question)
        live_profile = model.live_profile
        if live_profile is None:
            return await model.batcher.submit(sequences, _without_attention(wanted))
        result = await model.batcher.submit(sequences, dict.fromkeys((*wanted, ATTENTION)))
        live_profile.add(result.outputs[ATTENTION])  # all traffic counts
        if ATTENTION not in wanted:
            del result.outputs[ATTENTION]
        return result

    async def _ask_within(self, timeout: float, model: Model, question: Question) -> Result:
        """Run sequences, but give up after some seconds. Rows that have not run by then are dropped."""
        late = DeadlineExceeded(f"no answer within {timeout:g} s, the timeout of the request")
        started = time.perf_counter()
        try:
            async with asyncio.timeout(timeout):
                result = await self.ask(model, question)
        except TimeoutError:
            raise late from None
        if time.perf_counter() - started > timeout:  # a short call is not interrupted
            raise late
        return result

    async def _explain(self, model: Model, question: Question) -> Result:
        """Run sequences, and changed ones for their explanations, which are not counted."""
        orders = {ORDERS[name] for name in question.explanations if name in ORDERS}
        wanted: Collection[str] = {*question.outputs, PREDICTION, *orders & {ATTENTION}}
        live_profile = model.live_profile
        wanted = _without_attention(wanted) if live_profile is None else {*wanted, ATTENTION}
        result = await explain(model, question.sequences, wanted, question.explanations, question.replacement)
        if live_profile is not None:
            live_profile.add(result.outputs[ATTENTION])
        return result


def _without_attention(wanted: Collection[str]) -> Collection[str]:
    """Return the outputs that are wanted of a model without attention.

    Raises:
        InvalidInput: attention is among them.
    """
    if not {ATTENTION, ATTENTION_VEC}.isdisjoint(wanted):
        raise InvalidInput(NO_ATTENTION)
    return wanted
