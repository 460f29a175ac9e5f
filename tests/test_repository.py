"""Versions are found, verified, and chosen by the rules; a broken one is never served."""

import json
import shutil
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest

from service.errors import ArtifactError, Unavailable, UnknownModel
from service.inference.artifact import Artifact
from service.inference.engines import EngineChoice
from service.inference.model import Limits
from service.inference.repository import Repository, discover, open_verified

LIMITS = Limits(max_batch=8, max_queue=16, timeout=5)


@pytest.fixture
def home(artifacts: Path, tmp_path: Path) -> Path:
    """An artifacts folder of its own, with after-lstm in version 1."""
    shutil.copytree(artifacts / "after-lstm" / "1", tmp_path / "after-lstm" / "1")
    return tmp_path


class Load(Protocol):
    """Loads the repository of a folder."""

    def __call__(self, home: Path, default: str | None = None) -> Repository: ...


@pytest.fixture
def load(engine: EngineChoice) -> Load:
    """On either engine."""

    def loaded(home: Path, default: str | None = None) -> Repository:
        repository = Repository(home, default=default, engine=engine, threads=1, limits=LIMITS)
        repository.load()
        return repository

    return loaded


def add_version(home: Path, number: int | str, model: str = "after-lstm") -> Artifact:
    source = home / "after-lstm" / "1"
    artifact = Artifact(Path(shutil.copytree(source, home / model / str(number))))
    edit_card(artifact, name=model)
    return artifact


def edit_card(artifact: Artifact, **fields: Any) -> None:
    card = json.loads(artifact.card_path.read_text())
    artifact.card_path.write_text(json.dumps({**card, **fields}))


def test_the_largest_integer_is_the_newest(load: Load, home: Path) -> None:
    """Ten is more than nine, whatever their names sort like."""
    add_version(home, 9)
    add_version(home, 10)
    assert load(home).get().version == 10


def test_names_that_are_no_plain_integers_are_passed_over(home: Path) -> None:
    """Versions being written, and people's own folders, are not versions."""
    for name in (".staging-x", "2.tmp", "007", "-3", "latest", "٣"):
        add_version(home, name)
    (home / "after-lstm" / "5").write_text("a file")
    (home / "notes.txt").write_text("a file")
    (home / "empty").mkdir()
    assert discover(home) == {"after-lstm": [1]}


def test_an_older_version_steps_in_for_a_broken_one(load: Load, home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The reason is logged."""
    add_version(home, 2).card_path.write_text("{")
    assert load(home).get().version == 1
    assert "after-lstm version 2 is rejected" in caplog.text
    assert "card.json is not a valid card" in caplog.text


def test_no_folder_and_no_model_are_said_with_what_to_do(load: Load, tmp_path: Path) -> None:
    """The message holds the command that trains one."""
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ArtifactError, match=r"no model in .*: train one with `python -m training --artifacts"):
            load(folder)


def test_an_unknown_default_is_said_with_the_choices(load: Load, home: Path) -> None:
    """A misspelt name is answered with the right ones."""
    with pytest.raises(ArtifactError, match=r"no model 'after-lsm' in .*: expected one of after-lstm"):
        load(home, default="after-lsm")


def test_several_models_need_a_default(load: Load, home: Path) -> None:
    """Which one answers must not depend on the alphabet."""
    add_version(home, 1, model="other")
    with pytest.raises(ArtifactError, match="has after-lstm, other: choose the default with --model"):
        load(home)
    repository = load(home, default="other")
    assert repository.get().card.name == "other"
    assert repository.get("after-lstm").card.name == "after-lstm"


def test_a_broken_default_is_fatal_and_another_broken_model_is_not(load: Load, home: Path) -> None:
    """One model's files do not take the others down."""
    add_version(home, 1, model="other").golden_path.unlink()
    repository = load(home, default="after-lstm")
    with pytest.raises(UnknownModel, match="no model 'other': expected one of after-lstm"):
        repository.get("other")
    with pytest.raises(ArtifactError, match=r"golden\.npz cannot be read"):
        load(home, default="other")


def test_an_unknown_version_is_said_with_the_choices(load: Load, home: Path) -> None:
    """The message names the version that is served."""
    repository = load(home)
    assert repository.get(version=1).version == 1
    with pytest.raises(UnknownModel, match="model 'after-lstm' has no version 2: expected 1"):
        repository.get(version=2)


@pytest.mark.anyio
async def test_a_closed_repository_serves_nothing(load: Load, home: Path) -> None:
    """Who asks while the service stops is told that nothing is loaded."""
    repository = load(home)
    await repository.close()
    with pytest.raises(Unavailable, match="no model is loaded"):
        repository.get()


def test_a_card_of_another_model_is_refused(load: Load, home: Path) -> None:
    """A version that was copied into the wrong model's folder is not served under its name."""
    shutil.copytree(home / "after-lstm", home / "renamed")
    with pytest.raises(ArtifactError, match="names the model 'after-lstm', its folder 'renamed': rename one"):
        load(home, default="renamed")


@pytest.mark.parametrize("output", ["prediction", "attention_vec"])
def test_a_version_that_cannot_replay_its_golden_example_is_refused(
    home: Path, engine: EngineChoice, output: str
) -> None:
    """Prediction and attention both count."""
    artifact = Artifact(home / "after-lstm" / "1")
    with np.load(artifact.golden_path) as golden:
        arrays = dict(golden)
    arrays[output] = arrays[output] * 0.99
    np.savez(artifact.golden_path, **arrays)
    with pytest.raises(ArtifactError, match=rf"does not replay its golden example on engine {engine}: "):
        open_verified(artifact, engine, threads=1)


def test_a_golden_example_of_another_shape_is_refused(home: Path, engine: EngineChoice) -> None:
    """Outputs of the wrong shape do not pass by broadcasting."""
    artifact = Artifact(home / "after-lstm" / "1")
    with np.load(artifact.golden_path) as golden:
        arrays = dict(golden)
    np.savez(artifact.golden_path, **{**arrays, "prediction": arrays["prediction"][:, 0]})
    with pytest.raises(ArtifactError, match=r"expected arrays of 3, 2 and 3 axes, got \(3, 1, 3\)"):
        open_verified(artifact, engine, threads=1)
    np.savez(artifact.golden_path, **{**arrays, "attention_vec": arrays["attention_vec"][..., :1]})
    with pytest.raises(
        ArtifactError, match=r"attention_vec has shape \(32, 20, 32\), expected \(32, 20, 1\)|attention differs"
    ):
        open_verified(artifact, engine, threads=1)
    np.savez(artifact.golden_path, **{**arrays, "sequence": arrays["sequence"][:, :5]})
    with pytest.raises(ArtifactError, match=r"expected sequences of shape \(n, 20, 2\), got \(32, 5, 2\)"):
        open_verified(artifact, engine, threads=1)


def test_a_card_that_contradicts_the_graph_is_refused(home: Path) -> None:
    """A card that names three classes over one output would answer nonsense."""
    artifact = Artifact(home / "after-lstm" / "1")
    edit_card(artifact, target={"task": "multiclass", "classes": ["a", "b", "c"]})
    with pytest.raises(ArtifactError, match=r"describes a multiclass target with 3 output\(s\), .*golden\.npz has 1"):
        open_verified(artifact, "auto", threads=1)


def test_a_missing_chart_is_named(load: Load, home: Path) -> None:
    """Every file of the contract is there, or the version is not served."""
    Artifact(home / "after-lstm" / "1").chart_path("svg").unlink()
    with pytest.raises(ArtifactError, match=r"attention\.svg cannot be read"):
        load(home)
