"""A model is one verified and warmed-up version, comparable with others, and has the name of its folder."""

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from service.artifact.card import ModelCard
from service.artifact.engine import Engine, Signature
from service.artifact.gate import Verified
from service.artifact.tensors import ATTENTION, Array
from service.artifact.version import Artifact, Contents
from service.engines import EngineChoice, opener
from service.errors import ArtifactError
from service.serving.loading import ModelLoader
from service.serving.model import Limits, Model


def test_attention_moves_by_the_total_variation(artifacts: Path) -> None:
    """The distance is total variation on the new version's golden example: 1 if all attention moved, 0 if none did."""

    class FixedAttention:
        name = "looking"
        signatures: Mapping[str, Signature] = MappingProxyType({})

        def __init__(self, timestep: int) -> None:
            self.timestep = timestep

        def run(self, sequences: Array, outputs: Collection[str]) -> dict[str, Array]:
            attention = np.zeros((len(sequences), 20), np.float32)
            attention[:, self.timestep] = 0.75
            attention[:, 0] += 0.25
            return {ATTENTION: attention}

    def model(name: str, engine: Engine) -> Model:
        contents = Artifact(artifacts / name / "1").read()
        verified = Verified(contents.card(), contents.golden(), {}, engine)
        return Model(verified, 1, Limits(max_batch=8, max_queue=16, timeout=1))

    third = model("after-lstm", FixedAttention(3))
    assert third.attention_moved_from(model("after-lstm", FixedAttention(3))) == 0
    assert third.attention_moved_from(model("after-lstm", FixedAttention(4))) == 0.75
    assert third.attention_moved_from(model("three", FixedAttention(3))) is None


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
def test_attention_is_compared_on_sequences_that_both_versions_take(
    masked: Path, engine: EngineChoice, newer: str, other: str, *, comparable: bool
) -> None:
    """The newer version's golden example may have missing values, which the other may not take."""
    limits = Limits(max_batch=8, max_queue=16, timeout=1)
    after, before = (
        ModelLoader(opener(engine, threads=1), limits).load(Artifact(masked / name / "1")) for name in (newer, other)
    )
    assert (after.attention_moved_from(before) is not None) == comparable


def test_a_version_of_another_model_is_refused(artifacts: Path, tmp_path: Path, engine: EngineChoice) -> None:
    """A version that was copied into another model's folder is rejected."""
    shutil.copytree(artifacts / "after-lstm" / "1", tmp_path / "renamed" / "1")
    limits = Limits(max_batch=8, max_queue=16, timeout=1)
    with pytest.raises(ArtifactError, match="names the model 'after-lstm', its folder 'renamed': rename one"):
        ModelLoader(opener(engine, threads=1), limits).load(Artifact(tmp_path / "renamed" / "1"))


@pytest.mark.anyio
async def test_a_loaded_model_is_warm(artifacts: Path, engine: EngineChoice) -> None:
    """Its engine has run several sizes before there are requests."""
    sizes: set[int] = set()

    def recorded(contents: Contents, card: ModelCard) -> Engine:
        opened = opener(engine, threads=1)(contents, card)
        run = opened.run

        def record(sequences: Array, outputs: Collection[str]) -> dict[str, Array]:
            sizes.add(len(sequences))
            return run(sequences, outputs)

        opened.run = record  # type: ignore[method-assign]
        return opened

    limits = Limits(max_batch=8, max_queue=16, timeout=30)
    model = ModelLoader(recorded, limits).load(Artifact(artifacts / "three" / "1"))
    assert (model.version, model.engine.name) == (1, engine)
    assert sizes >= {1, 8}
    await model.close()


def test_a_version_that_is_not_better_than_its_baseline_is_warned_about(
    artifacts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning comes once for each version, with the verdict of its card. Other versions have none."""
    shutil.copytree(artifacts / "three" / "1", tmp_path / "three" / "1")
    artifact = Artifact(tmp_path / "three" / "1")
    card = artifact.read().card()
    assert card.judgement is not None
    loader = ModelLoader(opener("onnx", threads=1), Limits(max_batch=8, max_queue=16, timeout=1))
    loader.load(artifact)
    assert not caplog.records
    worse = card.judgement.model_copy(update={"beats_baseline": False, "verdict": "accuracy 0.3 does not beat 0.4"})
    artifact.card_path.write_text(card.model_copy(update={"judgement": worse}).model_dump_json())
    artifact.write_sums()
    loader.load(artifact, loader.load(artifact))
    (record,) = caplog.records
    assert record.getMessage() == "three version 1 is not better than its baseline: accuracy 0.3 does not beat 0.4"
