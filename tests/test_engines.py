"""Both engines run the same graph; which one is opened follows from the choice and from what is there."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from service.artifact.engine import Engine
from service.artifact.tensors import SIGNATURES
from service.artifact.version import Artifact
from service.engines import EngineChoice, opener
from service.engines.onnx import OnnxEngine
from service.engines.tensorflow import TensorFlowEngine
from service.errors import ArtifactError

OUTPUTS = SIGNATURES["attention"]


@pytest.fixture
def artifact(artifacts: Path, tmp_path: Path) -> Artifact:
    """A version of its own to break."""
    return Artifact(Path(shutil.copytree(artifacts / "after-lstm" / "1", tmp_path / "1")))


@pytest.fixture
def without_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where only the base dependencies are installed."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorflow" else found(name))


def opened(artifact: Artifact, choice: EngineChoice, threads: int) -> Engine:
    """The engine of a version as it is, whatever was published."""
    artifact.write_sums()
    contents = artifact.read()
    return opener(choice, threads)(contents, contents.card())


def test_an_engine_returns_the_outputs_asked_for_and_no_others(artifact: Artifact, engine: EngineChoice) -> None:
    """Both signatures are reached, by what is wanted of them."""
    engine_ = opened(artifact, engine, threads=1)
    sequences = np.zeros((3, 20, 2), dtype=np.float32)
    shapes = {"prediction": (3, 1), "attention": (3, 20), "attention_vec": (3, 20, 32)}
    for outputs in (["prediction"], ["prediction", "attention"], list(OUTPUTS)):
        results = engine_.run(sequences, outputs)
        assert {name: value.shape for name, value in results.items()} == {name: shapes[name] for name in outputs}


def test_batched_equals_unbatched(artifact: Artifact, engine: EngineChoice) -> None:
    """A sequence's prediction and attention do not depend on who else is in the batch."""
    engine_ = opened(artifact, engine, threads=1)
    sequences = np.random.default_rng(0).standard_normal((50, 20, 2), dtype=np.float32)
    together = engine_.run(sequences, OUTPUTS)
    for name in OUTPUTS:
        alone = np.concatenate([engine_.run(sequences[i : i + 1], OUTPUTS)[name] for i in range(len(sequences))])
        np.testing.assert_allclose(together[name], alone, rtol=0, atol=1e-6)


def test_tensorflow_never_traces_again(artifact: Artifact) -> None:
    """Whatever the sizes of the batches: each trace would take seconds, and its memory for good."""
    from tensorflow.python.eager import context

    engine_ = opened(artifact, "tensorflow", threads=1)
    engine_.run(np.zeros((1, 20, 2), dtype=np.float32), OUTPUTS)
    engine_.run(np.zeros((1, 20, 2), dtype=np.float32), ["prediction"])
    traced = set(context.context().list_function_names())
    for batch in (1, 2, 3, 32, 33, 512):
        for outputs in (["prediction"], OUTPUTS):
            engine_.run(np.zeros((batch, 20, 2), dtype=np.float32), outputs)
    assert set(context.context().list_function_names()) == traced


def test_attention_is_the_mean_of_attention_vec_over_units(artifact: Artifact, engine: EngineChoice) -> None:
    """And both sum to 1 over the timesteps."""
    engine_ = opened(artifact, engine, threads=1)
    results = engine_.run(np.random.default_rng(0).standard_normal((50, 20, 2), dtype=np.float32), OUTPUTS)
    np.testing.assert_allclose(results["attention_vec"].mean(axis=-1), results["attention"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(results["attention_vec"].sum(axis=1), 1, rtol=0, atol=1e-5)


def test_auto_prefers_the_lowering(artifact: Artifact) -> None:
    """The fast engine is the default one."""
    assert isinstance(opened(artifact, "auto", threads=1), OnnxEngine)


def test_auto_runs_the_saved_model_where_there_is_no_lowering(artifact: Artifact) -> None:
    """A plain SavedModel with a card is served too."""
    artifact.lowering_path.unlink()
    assert isinstance(opened(artifact, "auto", threads=1), TensorFlowEngine)


@pytest.mark.usefixtures("without_tensorflow")
@pytest.mark.parametrize("choice", ["auto", "onnx"])
def test_nothing_to_run_is_said_with_what_to_do(artifact: Artifact, choice: EngineChoice) -> None:
    """No lowering and no TensorFlow."""
    artifact.lowering_path.unlink()
    with pytest.raises(ArtifactError, match=r"model\.onnx is missing: export the version again, or install TensorFlow"):
        opened(artifact, choice, threads=1)


@pytest.mark.usefixtures("without_tensorflow")
def test_a_missing_tensorflow_is_said_with_what_to_do(artifact: Artifact) -> None:
    """The message says how to get it."""
    with pytest.raises(ArtifactError, match=r"not installed: pip install 'tensorflow>=2\.21'"):
        opened(artifact, "tensorflow", threads=1)


@pytest.mark.parametrize("choice", ["auto", "onnx", "tensorflow"])
def test_a_lowering_of_another_saved_model_is_refused(
    artifact: Artifact, artifacts: Path, choice: EngineChoice
) -> None:
    """Weights that were exchanged under the lowering are noticed, not averaged over by a slower engine."""
    other = artifacts / "before-lstm" / "1" / "variables"
    shutil.rmtree(artifact.directory / "variables")
    shutil.copytree(other, artifact.directory / "variables")
    with pytest.raises(ArtifactError, match=r"model\.onnx was not derived from the SavedModel beside it"):
        opened(artifact, choice, threads=1)


def test_a_lowering_that_the_card_does_not_know_is_refused(artifact: Artifact) -> None:
    """Where the card says there is none, a file of that name came from elsewhere."""
    contents = artifact.read()
    card = contents.card().model_copy(update={"lowering": None})
    with pytest.raises(ArtifactError, match="does not describe it"):
        opener("auto", threads=1)(contents, card)


def test_a_damaged_lowering_is_named(artifact: Artifact) -> None:
    """ONNX Runtime's own words follow."""
    artifact.lowering_path.write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match=r"model\.onnx cannot be opened by ONNX Runtime"):
        opened(artifact, "onnx", threads=1)


def test_a_damaged_saved_model_is_named(artifact: Artifact) -> None:
    """TensorFlow's own words follow."""
    artifact.lowering_path.unlink()
    (artifact.directory / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match="is not a SavedModel with signatures serving_default, attention"):
        opened(artifact, "tensorflow", threads=1)
