"""Both engines compute the same outputs. The choice and the files of a version decide which one is opened."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from service.artifact.engine import Engine
from service.artifact.gate import open_verified
from service.artifact.tensors import SIGNATURES
from service.artifact.version import Artifact, saved_model_digest
from service.engines import EngineChoice, opener
from service.engines.onnx import OnnxEngine
from service.engines.tensorflow import TensorFlowEngine
from service.errors import ArtifactError
from tests.placeholder import mount

OUTPUTS = SIGNATURES["attention"]


@pytest.fixture
def artifact(artifacts: Path, tmp_path: Path) -> Artifact:
    """Copy a version, for a test to damage."""
    return Artifact(Path(shutil.copytree(artifacts / "after-lstm" / "1", tmp_path / "1")))


@pytest.fixture
def without_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide TensorFlow, as if only the base dependencies were installed."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorflow" else found(name))


def opened(artifact: Artifact, choice: EngineChoice) -> Engine:
    """Open an engine for the files of a version as they are, with correct checksums."""
    artifact.write_sums()
    contents = artifact.read()
    return opener(choice, threads=1)(contents, contents.card())


@pytest.fixture(scope="module")
def running(artifacts: Path, engine: EngineChoice) -> Engine:
    """Open either engine."""
    contents = Artifact(artifacts / "after-lstm" / "1").read()
    return opener(engine, threads=1)(contents, contents.card())


def test_an_engine_returns_the_requested_outputs_only(running: Engine) -> None:
    """The requested outputs decide which signature runs."""
    sequences = np.zeros((3, 20, 2), dtype=np.float32)
    shapes = {"prediction": (3, 1), "attention": (3, 20), "attention_vec": (3, 20, 32)}
    for outputs in (["prediction"], ["prediction", "attention"], list(OUTPUTS)):
        results = running.run(sequences, outputs)
        assert {name: value.shape for name, value in results.items()} == {name: shapes[name] for name in outputs}


def test_a_version_in_a_volume_is_served(artifact: Artifact, engine: EngineChoice) -> None:
    """Kubernetes mounts a ConfigMap or a Secret as links to a hidden directory."""
    mount(artifact.directory, "..2026_11_27")
    verified = open_verified(artifact.read(), opener(engine, threads=1))
    assert verified.engine.name == engine


def test_batched_equals_unbatched(running: Engine) -> None:
    """The outputs for a sequence do not depend on the other sequences of its batch."""
    sequences = np.random.default_rng(0).standard_normal((50, 20, 2), dtype=np.float32)
    together = running.run(sequences, OUTPUTS)
    for name in OUTPUTS:
        alone = np.concatenate([running.run(sequences[i : i + 1], OUTPUTS)[name] for i in range(len(sequences))])
        np.testing.assert_allclose(together[name], alone, rtol=0, atol=1e-6)


@pytest.mark.tensorflow
def test_tensorflow_never_traces_again(artifact: Artifact) -> None:
    """A trace for each batch size would take seconds, and memory that is never freed."""
    from tensorflow.python.eager import context

    engine = opened(artifact, "tensorflow")
    engine.run(np.zeros((1, 20, 2), dtype=np.float32), OUTPUTS)
    engine.run(np.zeros((1, 20, 2), dtype=np.float32), ["prediction"])
    traced = set(context.context().list_function_names())
    for batch in (1, 2, 3, 32, 33, 512):
        for outputs in (["prediction"], OUTPUTS):
            engine.run(np.zeros((batch, 20, 2), dtype=np.float32), outputs)
    assert set(context.context().list_function_names()) == traced


def test_attention_is_the_mean_of_attention_vec_over_units(running: Engine) -> None:
    """Both sum to 1 over the timesteps."""
    results = running.run(np.random.default_rng(0).standard_normal((50, 20, 2), dtype=np.float32), OUTPUTS)
    np.testing.assert_allclose(results["attention_vec"].mean(axis=-1), results["attention"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(results["attention_vec"].sum(axis=1), 1, rtol=0, atol=1e-5)


def test_the_card_holds_the_digest_of_the_saved_model(artifact: Artifact) -> None:
    """The lowering was derived from this SavedModel."""
    contents = artifact.read()
    lowering = contents.card().lowering
    assert lowering is not None
    assert saved_model_digest(contents.digests) == lowering.source_digest


def test_auto_prefers_the_lowering(artifact: Artifact) -> None:
    """The default engine is the fast one."""
    assert isinstance(opened(artifact, "auto"), OnnxEngine)


@pytest.mark.tensorflow
def test_auto_runs_the_saved_model_where_there_is_no_lowering(artifact: Artifact) -> None:
    """A version needs no lowering."""
    artifact.lowering_path.unlink()
    assert isinstance(opened(artifact, "auto"), TensorFlowEngine)


@pytest.mark.usefixtures("without_tensorflow")
@pytest.mark.parametrize("choice", ["auto", "onnx"])
def test_the_error_without_anything_to_run_says_how_to_go_on(artifact: Artifact, choice: EngineChoice) -> None:
    """The version has no lowering, and TensorFlow is not installed."""
    artifact.lowering_path.unlink()
    with pytest.raises(ArtifactError, match=r"model\.onnx is missing: export the version again, or install TensorFlow"):
        opened(artifact, choice)


@pytest.mark.usefixtures("without_tensorflow")
def test_the_error_without_tensorflow_says_how_to_install_it(artifact: Artifact) -> None:
    """The message names the command."""
    with pytest.raises(ArtifactError, match=r"not installed: pip install 'tensorflow>=2\.21'"):
        opened(artifact, "tensorflow")


@pytest.mark.parametrize("choice", ["auto", "onnx", "tensorflow"])
def test_a_lowering_of_another_saved_model_is_refused(
    artifact: Artifact, artifacts: Path, choice: EngineChoice
) -> None:
    """No choice of engine accepts it, as files have been mixed up."""
    other = artifacts / "before-lstm" / "1" / "variables"
    shutil.rmtree(artifact.directory / "variables")
    shutil.copytree(other, artifact.directory / "variables")
    with pytest.raises(ArtifactError, match=r"model\.onnx was not derived from the SavedModel beside it"):
        opened(artifact, choice)


def test_a_lowering_that_the_card_does_not_describe_is_refused(artifact: Artifact) -> None:
    """Such a file was not written with the card."""
    contents = artifact.read()
    card = contents.card().model_copy(update={"lowering": None})
    with pytest.raises(ArtifactError, match="does not describe it"):
        opener("auto", threads=1)(contents, card)


def test_a_damaged_lowering_is_named(artifact: Artifact) -> None:
    """The message ends with ONNX Runtime's."""
    artifact.lowering_path.write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match=r"model\.onnx cannot be opened by ONNX Runtime"):
        opened(artifact, "onnx")


@pytest.mark.tensorflow
def test_a_damaged_saved_model_is_named(artifact: Artifact) -> None:
    """The message ends with TensorFlow's."""
    artifact.lowering_path.unlink()
    (artifact.directory / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match="is not a SavedModel with signatures serving_default, attention"):
        opened(artifact, "tensorflow")
