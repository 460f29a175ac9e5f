"""The models of a folder are found, kept up with, and chosen by the rules."""

import asyncio
import logging
import os
import shutil
import threading
from pathlib import Path

import pytest

from service.artifact.layout import discover, versions_of
from service.artifact.version import Artifact
from service.errors import ArtifactError, Unavailable, UnknownModel
from service.serving import repository as repository_module
from service.serving.model import Model
from service.serving.repository import Repository
from service.serving.unloaded import Unloaded
from tests.fakes import BAD, load


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An artifacts folder with version 1 of the model first."""
    home = tmp_path / "artifacts"
    add(home, "first", 1)
    return home


def add(home: Path, model: str, number: int | str, text: str = "good") -> None:
    (home / model / str(number)).mkdir(parents=True, exist_ok=True)
    (home / model / str(number) / "text").write_text(text)


def open_repository(
    home: Path, default: str | None = None, pins: dict[str, int] | None = None, keep: int = 2
) -> Repository:
    return Repository(home, load, default=default, pins=pins or {}, keep=keep, unloaded=Unloaded(None))


def started(home: Path, default: str | None = None, pins: dict[str, int] | None = None) -> Repository:
    repository = open_repository(home, default, pins)
    repository.start()
    return repository


async def until_version_2_answers(repository: Repository, home: Path) -> None:
    watching = asyncio.create_task(repository.watch(0.01))
    add(home, "first", 2)
    async with asyncio.timeout(10):
        while repository.get().version != 2:
            await asyncio.sleep(0.01)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching


def test_names_that_are_no_plain_integers_are_passed_over(home: Path) -> None:
    """Versions being written, and people's own folders, are not versions."""
    for name in (".staging-x", "2.tmp", "007", "0", "9" * 30, "-3", "latest", "٣"):
        add(home, "first", name)
    (home / "first" / "5").write_text("a file")
    (home / "notes.txt").write_text("a file")
    (home / "empty").mkdir()
    assert discover(home) == {"first": [1]}


@pytest.mark.parametrize("name", [".hidden", "-rf", "a b", "a\nb", "ä", "a:b", "lost+found"])
def test_names_that_are_not_plain_are_no_models(home: Path, name: str) -> None:
    """They would be parts of addresses, of log lines and of commands."""
    add(home, name, 1)
    assert discover(home) == {"first": [1]}


def test_no_folder_and_no_model_are_said_with_what_to_do(tmp_path: Path) -> None:
    """The message holds the command that trains one."""
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ArtifactError, match=r"no model in .*: train one with `python -m training --artifacts"):
            started(folder)


def test_an_unknown_default_is_said_with_the_choices(home: Path) -> None:
    """A misspelt name is answered with the right ones."""
    with pytest.raises(ArtifactError, match=r"no model 'frist' in .*: expected one of first"):
        started(home, default="frist")


def test_several_models_need_a_default(home: Path) -> None:
    """Which one answers must not depend on the alphabet."""
    add(home, "second", 4)
    with pytest.raises(ArtifactError, match="has first, second: choose the default with --model"):
        started(home)
    repository = started(home, default="second")
    assert repository.get().version == 4
    assert repository.get("first").version == 1


def test_a_broken_default_is_fatal_and_another_broken_model_is_not(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One model's files do not take the others down."""
    add(home, "second", 1, BAD)
    add(home, "second", 2, BAD)
    repository = started(home, default="first")
    with pytest.raises(Unavailable, match="no version of model 'second' can be served"):
        repository.get("second")
    with pytest.raises(ArtifactError, match=r"no version of 'second' in .* can be served"):
        started(home, default="second")
    assert caplog.text.count("second version 2 is rejected: ") == 2


@pytest.mark.parametrize(
    ("pins", "expected"),
    [({"first": 7}, r"first has 1, 2"), ({"frist": 1}, "expected one of first")],
)
def test_a_pin_to_nothing_is_fatal_at_the_start(home: Path, pins: dict[str, int], expected: str) -> None:
    """Whoever mistyped it is still there to read it."""
    add(home, "first", 2)
    assert started(home, pins={"first": 1}).get().version == 1
    with pytest.raises(ArtifactError, match=rf"no version to pin in .*: {expected}"):
        started(home, pins=pins)


def test_only_what_answers_is_loaded_before_the_service_starts(home: Path) -> None:
    """The others follow: nobody waits for them."""
    add(home, "first", 2)
    repository = started(home)
    with pytest.raises(UnknownModel, match="model 'first' has no version 1: expected 2"):
        repository.get(version=1)
    repository.update()
    assert repository.get(version=1).version == 1


def test_models_that_are_published_and_deleted_come_and_go(home: Path) -> None:
    """While the service runs."""
    repository = started(home)
    add(home, "second", 3)
    repository.update()
    assert repository.get("second").version == 3
    shutil.rmtree(home / "second")
    repository.update()
    with pytest.raises(UnknownModel, match="no model 'second': expected one of first"):
        repository.get("second")


def test_a_model_whose_directory_is_there_is_not_given_up(home: Path) -> None:
    """Its versions are: whoever deletes all of them one by one may be about to publish."""
    add(home, "second", 1)
    repository = started(home, default="first")
    shutil.rmtree(home / "first" / "1")
    repository.update()
    assert repository.get().version == 1


def test_a_folder_that_is_not_there_any_more_changes_nothing(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A volume that is not mounted is no wish to stop serving; the log says so once."""
    repository = started(home)
    home.rename(home.with_name("elsewhere"))
    for _ in range(2):
        repository.update()
    assert repository.get().version == 1
    assert caplog.text.count("any more: all stay as they are") == 1
    home.mkdir()
    repository.update()
    assert repository.get().version == 1
    home.rmdir()
    home.with_name("elsewhere").rename(home)
    add(home, "first", 2)
    repository.update()
    assert repository.get().version == 2


def test_a_model_that_cannot_be_read_for_a_while_stays_as_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all its versions; and the other models are kept up with."""
    add(home, "first", 2)
    add(home, "second", 1)
    repository = started(home, default="first")
    repository.update()

    def stale(model: Path) -> list[int]:
        if model.name == "first":
            raise OSError(116, "Stale file handle")
        return versions_of(model)

    monkeypatch.setattr(repository_module, "versions_of", stale)
    add(home, "second", 2)
    repository.update()
    assert repository.get("first", 1).version == 1
    assert repository.get("second").version == 2


@pytest.mark.anyio
async def test_what_is_published_is_served_while_the_loop_runs(home: Path) -> None:
    """And loading it happens elsewhere, and behind everything else."""
    threads: list[tuple[str, int]] = []

    def noting(artifact: Artifact) -> Model:
        nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        threads.append((threading.current_thread().name, nice))
        return load(artifact)

    repository = Repository(home, noting, default=None, pins={}, keep=2, unloaded=Unloaded(None))
    repository.start()
    await until_version_2_answers(repository, home)
    here, elsewhere = threads[0], threads[-1]
    assert here[0] == "MainThread"
    assert elsewhere[0].startswith("repository")
    assert elsewhere[1] == max(here[1], repository_module.NICENESS)


@pytest.mark.anyio
async def test_a_look_that_fails_is_not_the_last(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever went wrong is in the log, and what is served is served on."""
    caplog.set_level(logging.ERROR, logger="service")
    repository = started(home)
    update = repository.update
    failures = iter([OSError("stale file handle")])

    def failing() -> None:
        for error in failures:
            raise error
        update()

    monkeypatch.setattr(repository, "update", failing)
    await until_version_2_answers(repository, home)
    assert "stale file handle" in caplog.text


def test_a_process_that_starts_again_does_not_load_what_was_unloaded(home: Path) -> None:
    """Not even where it is the default; the others are served."""
    unloaded = Unloaded(None)
    unloaded.add("first")
    repository = Repository(home, load, default="first", pins={}, keep=2, unloaded=unloaded)
    repository.start()
    with pytest.raises(Unavailable, match="model 'first' is unloaded"):
        repository.get()
    unloaded.discard("first")
    repository.update()
    assert repository.get().version == 1


@pytest.mark.anyio
async def test_a_closed_repository_serves_nothing(home: Path) -> None:
    """Who asks while the service stops is told that nothing is loaded."""
    repository = started(home)
    await repository.close()
    with pytest.raises(Unavailable, match="no model is loaded"):
        repository.get()
