"""Versions that may run for ever or take all memory are refused, and others are served meanwhile."""

import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from service.app import create_app
from service.artifact.version import Artifact
from service.engines import opener
from service.errors import ArtifactError
from service.serving.model import Limits, Model
from service.serving.trial import Trials
from service.settings import Settings
from tests.fakes import FakeModel
from tests.onnx_graphs import insert, loop

LIMITS = Limits(max_batch=8, max_queue=8, timeout=1)


def nothing() -> Model:
    """Stand for loading after a trial, which is tested elsewhere."""
    return FakeModel(1, "")


@pytest.fixture
def artifact(artifacts: Path, tmp_path: Path) -> Artifact:
    """Copy a version, for a test to change."""
    return Artifact(Path(shutil.copytree(artifacts / "after-lstm" / "1", tmp_path / "models" / "after-lstm" / "1")))


def test_a_trained_version_needs_no_trial(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its work follows from its graph. A process would take longer than all else."""
    monkeypatch.setattr(subprocess, "Popen", None)
    Trials("auto", 1, LIMITS, 60).load(artifact.read(), nothing)


def test_loading_on_tensorflow_has_a_deadline(artifact: Artifact) -> None:
    """Its graphs have loops, and its import takes too long for a trial. Errors are those of the version."""
    trials, contents, released = Trials("tensorflow", 1, LIMITS, 0.1), artifact.read(), threading.Event()

    def endless() -> Model:
        released.wait(60)
        return nothing()

    with pytest.raises(
        ArtifactError, match=r"1 is not loaded within 0\.1 s; TensorFlow goes on until the service starts"
    ):
        trials.load(contents, endless)
    released.set()
    late = TimeoutError("of the version")

    def fail() -> Model:
        raise late

    with pytest.raises(TimeoutError, match="of the version"):
        trials.load(contents, fail)


def test_a_version_that_loads_for_ever_is_refused_and_later_ones_are_served(artifact: Artifact) -> None:
    """The service starts with the version before. The loop has a loop in it, and more steps than time will tell."""
    home = artifact.directory.parent
    for number in (2, 3):
        shutil.copytree(artifact.directory, home / str(number))
    insert(Artifact(home / "2"), loop("outer", loop("inner")), trips=2**62)
    (home / "3").rename(home / ".staging-3")
    repository = create_app(Settings(artifacts=home.parent, load_timeout=1)).state.repository
    assert repository.get().version == 1
    (status, _) = repository.models["after-lstm"].statuses()
    assert (status.version, status.state) == (2, "rejected")
    expected = "2 is not loaded in a trial within 1 s and 2048 MiB, because of the operation 'Loop', whose work is not"
    assert expected in status.reason
    (home / ".staging-3").rename(home / "3")
    repository.update()
    assert repository.get().version == 3


def test_a_version_that_takes_too_much_memory_is_refused(artifact: Artifact) -> None:
    """The message has the operation, and the limit."""
    nodes = [
        helper.make_node("Tile", ["x", "times"], ["large"]),
        helper.make_node("ReduceSum", ["large"], ["total"], keepdims=0),
        helper.make_node("Mul", ["total", "zero"], ["nothing"]),
        helper.make_node("Add", ["x", "nothing"], ["y"]),
    ]
    insert(artifact, *nodes, times=[1, 3000, 200], zero=np.float32(0))
    message = r"running Tile node\..* \(in a trial within 60 s and 2048 MiB, because of the operation 'Tile'"
    with pytest.raises(ArtifactError, match=message):
        Trials("auto", 1, LIMITS, 60).load(artifact.read(), nothing)


def test_a_version_with_a_loop_that_ends_is_served_and_its_calls_end(artifact: Artifact) -> None:
    """The number of steps may depend on the sequences, which come from clients."""
    endless = Artifact(Path(shutil.copytree(artifact.directory, artifact.directory.with_name("2"))))
    insert(artifact, loop("body"), trips=3)
    contents = artifact.read()
    Trials("auto", 1, LIMITS, 60).load(contents, nothing)
    sequences, outputs = contents.golden().sequence, contents.golden().outputs
    replayed = opener("auto", 1, seconds=60)(contents, contents.card()).run(sequences, outputs)
    for name, expected in outputs.items():
        np.testing.assert_allclose(replayed[name], expected, atol=1e-5)
    insert(endless, loop("body"), trips=2**62)
    contents = endless.read()
    with pytest.raises(Exception, match="Exiting due to terminate flag"):
        opener("auto", 1, seconds=0.1)(contents, contents.card()).run(sequences, outputs)


def test_closing_ends_the_trial(artifact: Artifact) -> None:
    """The service need not wait for it when it stops."""
    insert(artifact, loop("body"), trips=2**62)
    trials, refusals, contents = Trials("auto", 1, LIMITS, 600), list[str](), artifact.read()

    def check() -> None:
        with pytest.raises(ArtifactError) as caught:
            trials.load(contents, nothing)
        refusals.append(str(caught.value))

    thread = threading.Thread(target=check)
    thread.start()
    trials.close()
    thread.join(60)
    assert "ended its process with status -9" in refusals[0]
