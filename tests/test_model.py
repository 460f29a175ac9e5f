"""A model checks what comes against its card, and answers in time or says so."""

import shutil
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np
import pytest

from service.artifact.engine import Engine, Signature
from service.artifact.gate import Verified
from service.artifact.tensors import ATTENTION, Array
from service.artifact.version import Artifact
from service.engines import EngineChoice, opener
from service.errors import ArtifactError, DeadlineExceeded, InvalidInput
from service.serving.batcher import INLINE_SECONDS
from service.serving.loading import ModelLoader
from service.serving.model import Limits, Model


class Stuck:
    """An engine that answers only when released."""

    name = "stuck"
    signatures: Mapping[str, Signature] = {}

    def __init__(self) -> None:
        self.released = threading.Event()

    def run(self, sequences: Array, outputs: Collection[str]) -> dict[str, Array]:
        self.released.wait(timeout=10)
        return dict.fromkeys(outputs, np.full(sequences.shape[:2], 1 / sequences.shape[1], np.float32))


@pytest.fixture
def model_of(artifacts: Path) -> Callable[[Stuck], Model]:
    contents = Artifact(artifacts / "after-lstm" / "1").read()
    limits = Limits(max_batch=8, max_queue=16, timeout=0.05)
    return lambda engine: Model(Verified(contents.card(), contents.golden(), contents.charts(), {}, engine), 1, limits)


@pytest.mark.parametrize("shape", [(1, 19, 2), (1, 20, 3), (20, 2), (0, 20, 2), (1, 1, 20, 2)])
@pytest.mark.anyio
async def test_another_shape_than_the_cards_never_reaches_the_queue(
    model_of: Callable[[Stuck], Model], shape: tuple[int, ...]
) -> None:
    """The message says both shapes."""
    engine = Stuck()
    model = model_of(engine)
    with pytest.raises(InvalidInput) as caught:
        await model.predict(np.zeros(shape, dtype=np.float32), ["prediction"])
    assert str(caught.value) == f"expected sequences of shape (n, 20, 2), got {shape}"
    await model.close()


@pytest.mark.anyio
async def test_an_answer_that_takes_too_long_is_given_up(model_of: Callable[[Stuck], Model]) -> None:
    """The caller is told; the next caller is served once the engine is free again."""
    engine = Stuck()
    model = model_of(engine)
    sequences = np.ones((1, 20, 2), dtype=np.float32)
    with pytest.raises(DeadlineExceeded, match=r"no answer within 0\.05 s"):
        await model.predict(sequences, ["prediction"])
    engine.released.set()
    assert (await model.predict(sequences, ["prediction"])).outputs["prediction"].shape == (1, 20)
    await model.close()
    assert model.live_profile._filled == 0, "what was answered is counted before the process ends"


def test_attention_moves_as_far_as_it_lies_apart(artifacts: Path) -> None:
    """Total variation on the new version's golden example: 1 where all of it is on other timesteps, 0 where none is."""

    class Looking(Stuck):
        def __init__(self, timestep: int) -> None:
            super().__init__()
            self.timestep = timestep

        def run(self, sequences: Array, outputs: Collection[str]) -> dict[str, Array]:
            attention = np.zeros((len(sequences), 20), np.float32)
            attention[:, self.timestep] = 0.75
            attention[:, 0] += 0.25
            return {ATTENTION: attention}

    def model(name: str, engine: Engine) -> Model:
        contents = Artifact(artifacts / name / "1").read()
        verified = Verified(contents.card(), contents.golden(), {}, {}, engine)
        return Model(verified, 1, Limits(max_batch=8, max_queue=16, timeout=1))

    third = model("after-lstm", Looking(3))
    assert third.attention_moved_from(model("after-lstm", Looking(3))) == 0
    assert third.attention_moved_from(model("after-lstm", Looking(4))) == 0.75
    assert third.attention_moved_from(model("three", Looking(3))) is None


@pytest.mark.parametrize(
    ("newer", "other", "comparable"),
    [
        ("both", "gaps", True),
        ("both", "shorter", False),
        ("gaps", "shorter", False),
        ("shorter", "gaps", True),
        ("shorter", "both", True),
    ],
)
def test_attention_is_compared_on_what_both_versions_take(
    masked: Path, engine: EngineChoice, newer: str, other: str, *, comparable: bool
) -> None:
    """The newer one's golden example may lack values that the other needs."""
    limits = Limits(max_batch=8, max_queue=16, timeout=1)
    after, before = (
        ModelLoader(opener(engine, threads=1), limits).load(Artifact(masked / name / "1")) for name in (newer, other)
    )
    assert (after.attention_moved_from(before) is not None) == comparable


def test_a_version_of_another_model_is_refused(artifacts: Path, tmp_path: Path, engine: EngineChoice) -> None:
    """One that was copied into the wrong model's folder is not served under its name."""
    shutil.copytree(artifacts / "after-lstm" / "1", tmp_path / "renamed" / "1")
    limits = Limits(max_batch=8, max_queue=16, timeout=1)
    with pytest.raises(ArtifactError, match="names the model 'after-lstm', its folder 'renamed': rename one"):
        ModelLoader(opener(engine, threads=1), limits).load(Artifact(tmp_path / "renamed" / "1"))


def test_a_loaded_model_is_warm(artifacts: Path, engine: EngineChoice) -> None:
    """It has run calls of the sizes that there will be; it knows its number and its engine."""
    limits = Limits(max_batch=8, max_queue=16, timeout=1)
    model = ModelLoader(opener(engine, threads=1), limits).load(Artifact(artifacts / "three" / "1"))
    assert (model.version, model.engine.name) == (1, engine)
    assert model._batcher._durations._begin != 2 * INLINE_SECONDS, "what it starts from, knowing nothing"
