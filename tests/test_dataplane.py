"""The data plane checks sequences against the card, and answers before the deadline or fails."""

import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from service.artifact.engine import Signature
from service.artifact.gate import Verified
from service.artifact.tensors import Array
from service.artifact.version import Artifact
from service.errors import DeadlineExceeded, InvalidInput
from service.serving.dataplane import DataPlane, Question
from service.serving.model import Limits, Model
from service.serving.repository import Repository
from service.serving.unloaded import Unloaded
from tests.fakes import load

pytestmark = pytest.mark.anyio


class Stuck:
    """An engine that answers only when released."""

    name = "stuck"
    signatures: Mapping[str, Signature] = MappingProxyType({})

    def __init__(self) -> None:
        self.released = threading.Event()

    def run(self, sequences: Array, outputs: Collection[str]) -> dict[str, Array]:
        self.released.wait(timeout=10)
        return dict.fromkeys(outputs, np.full(sequences.shape[:2], 1 / sequences.shape[1], np.float32))


@pytest.fixture
def plane(tmp_path: Path) -> DataPlane:
    """Return a data plane over an empty folder; the tests make their models."""
    repository = Repository(tmp_path, load, default=None, pins={}, keep=1, unloaded=Unloaded(None))
    return DataPlane(repository, max_sequences=8, max_values=1000)


@pytest.fixture
def model_of(artifacts: Path) -> Callable[[Stuck], Model]:
    """Return a function that makes a model of an engine."""
    contents = Artifact(artifacts / "after-lstm" / "1").read()
    limits = Limits(max_batch=8, max_queue=16, timeout=0.05)
    return lambda engine: Model(Verified(contents.card(), contents.golden(), {}, engine), 1, limits)


@pytest.mark.parametrize("shape", [(1, 19, 2), (1, 20, 3), (20, 2), (0, 20, 2), (1, 1, 20, 2)])
async def test_another_shape_than_the_cards_never_reaches_the_queue(
    plane: DataPlane, model_of: Callable[[Stuck], Model], shape: tuple[int, ...]
) -> None:
    """The message has both shapes."""
    model = model_of(Stuck())
    with pytest.raises(InvalidInput) as caught:
        await plane.ask(model, Question(np.zeros(shape, np.float32), ["prediction"]))
    assert str(caught.value) == f"expected sequences of shape (n, 20, 2), got {shape}"
    await model.close()


async def test_a_late_answer_is_an_error_and_only_answers_are_counted(
    plane: DataPlane, model_of: Callable[[Stuck], Model]
) -> None:
    """The next request is answered once the engine is free again."""
    engine = Stuck()
    model = model_of(engine)
    question = Question(np.ones((1, 20, 2), np.float32), ["prediction"])
    with pytest.raises(DeadlineExceeded, match=r"no answer within 0\.05 s"):
        await plane.ask(model, question)
    engine.released.set()
    assert (await plane.ask(model, question)).outputs["prediction"].shape == (1, 20)
    await model.close()
    assert model.live_profile is not None
    assert (await model.live_profile.totals())["start"].sequences == 1


async def test_short_sequences_count_with_all_their_timesteps(
    plane: DataPlane, model_of: Callable[[Stuck], Model]
) -> None:
    """A small body cannot become an array of any size."""
    card = model_of(Stuck()).card
    assert plane.most_sequences(card) == 8
    varying = card.model_copy(update={"variable_length": True})
    assert plane.most_sequences(varying) == 8
    assert DataPlane(plane.repository, max_sequences=8, max_values=100).most_sequences(varying) == 2
    assert DataPlane(plane.repository, max_sequences=8, max_values=1).most_sequences(varying) == 1
