"""Tests of the repository: it finds models, keeps up with changes, and selects the model of a request."""

import asyncio
import logging
import os
import resource
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.artifact.layout import discover
from service.artifact.version import Artifact
from service.errors import ArtifactError, Unavailable, UnknownModel
from service.serving.model import Model
from service.serving.repository import NICENESS, Repository
from service.serving.unloaded import Unloaded
from tests.fakes import BAD, load


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An artifacts folder with version 1 of the model first."""
    home = tmp_path / "artifacts"
    add(home, "first", 1)
    return home


def add(home: Path, model: str, number: int | str, text: str = "good") -> None:
    """Write a version of a model."""
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
    """Publish version 2 while the repository is watched, and wait until it answers."""
    watching = asyncio.create_task(repository.watch(0.01))
    add(home, "first", 2)
    async with asyncio.timeout(10):
        while repository.get().version != 2:
            await asyncio.sleep(0.01)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching


def test_directories_that_are_not_named_like_versions_are_ignored(home: Path) -> None:
    """They may be versions that are being written, or other folders of users."""
    for name in (".staging-x", "2.tmp", "007", "0", "9" * 30, "-3", "latest", "٣"):
        add(home, "first", name)
    (home / "first" / "5").write_text("a file")
    (home / "notes.txt").write_text("a file")
    (home / "empty").mkdir()
    assert discover(home).models == {"first": [1]}


@pytest.mark.parametrize("name", [".hidden", "-rf", "a b", "a\nb", "ä", "a:b", "lost+found"])
def test_directories_that_are_not_named_like_models_are_ignored(home: Path, name: str) -> None:
    """Names of models are parts of addresses, log lines and commands."""
    add(home, name, 1)
    assert discover(home).models == {"first": [1]}


def test_without_a_model_the_error_says_how_to_train_one(tmp_path: Path) -> None:
    """The folder may be empty or missing."""
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ArtifactError, match=r"no model in .*: train one with `python -m training --artifacts"):
            started(folder)


def saved(home: Path, *parts: str) -> None:
    """Write a directory that looks like a version."""
    home.joinpath(*parts, "assets.extra").mkdir(parents=True)
    home.joinpath(*parts, "saved_model.pb").touch()


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("m/00000123", "m/00000123 is passed over: .* a number without leading zeros, expected 123"),
        ("m/v1", "m/v1 is passed over: .* expected 1"),
        ("m/Version-2", "m/Version-2 is passed over: .* expected 2"),
        ("m/٣", "m/٣ is passed over: .* expected 3"),
        ("m/latest", "m/latest is passed over: .* expected 1, 2 and so on"),
        ("m/1.0", "m/1.0 is passed over: .* expected 1, 2 and so on"),
        ("m/0", "m/0 is passed over: .* expected 1, 2 and so on"),
        ("m", r"m/saved_model\.pb is passed over: the files of a version belong in a directory such as .*/m/1"),
        ("a model/1", "a model is passed over: a model's name has only letters, digits"),
        ("m/latest.part", "it has 'm' without a version such as .*/m/1: train one with"),
        ("m/.staging-1", "it has 'm' without a version such as .*/m/1: train one with"),
    ],
)
def test_the_error_without_a_model_says_what_was_passed_over(tmp_path: Path, version: str, expected: str) -> None:
    """It names the entry, and the name that was expected."""
    saved(tmp_path, version)
    with pytest.raises(ArtifactError, match=rf"^no model in {tmp_path}: .*{expected}"):
        started(tmp_path)


@pytest.mark.parametrize("version", ["1", "0001", "v1"])
@pytest.mark.parametrize("kind", ["version", "file", "model", "parent"])
def test_the_error_names_the_folder_that_was_meant(tmp_path: Path, version: str, kind: str) -> None:
    """`--artifacts` may point at a model, at a version, or a level too high."""
    folder = tmp_path / "data" / "artifacts"
    saved(folder, "m", version)
    if kind == "parent":
        add(folder, "other", 1)
    wrong, expected = {
        "version": (folder / "m" / version, "it is itself a version"),
        "file": (folder / "m" / version / "saved_model.pb", "it is a part of a version"),
        "model": (folder / "m", "it is itself the directory of a model"),
        "parent": (folder.parent, "artifacts in it has .*other"),
    }[kind]
    with pytest.raises(ArtifactError, match=rf"^no model in {wrong}: {expected}: use --artifacts {folder}$"):
        started(wrong)


def test_entries_that_are_passed_over_are_reported_once(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """So is a second such entry, when it appears. Versions that are being written are not reported."""
    repository = started(home)
    for name in (".staging-x", "2.tmp"):
        add(home, "first", name)
    repository.update()
    assert caplog.text == ""
    add(home, "first", "0002")
    for _ in range(3):
        repository.update()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    expected = "the name of a version is a number without leading zeros, expected 2"
    assert caplog.messages == [f"'{home}/first/0002' is passed over: {expected}"]
    (home / "first" / "3").write_text("a file")
    for _ in range(3):
        repository.update()
    assert caplog.messages[1:] == [f"'{home}/first/3' is passed over: it is not a directory"]


def test_entries_are_reported_at_the_start(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The first update does not repeat it."""
    add(home, "first", "v2")
    started(home).update()
    assert len(caplog.messages) == 1


def test_a_second_model_without_a_chosen_default_is_reported_once(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The next start would fail. With a chosen default it would not."""
    repository, chosen = started(home), started(home, default="first")
    add(home, "second", 1)
    for _ in range(3):
        chosen.update()
    assert caplog.text == ""
    for _ in range(3):
        repository.update()
    assert caplog.messages == [
        f"{home} has first, second: 'first' answers requests that name no model, but the next start fails "
        "without --model"
    ]


@pytest.mark.anyio
async def test_without_file_descriptors_the_log_says_so(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The models stay, also those whose files are read at that time. Afterwards new versions are served."""
    repository = started(home)
    add(home, "first", 2)
    with no_descriptors():
        for _ in range(3):
            repository.update()
    assert caplog.messages == [f"{home} cannot be read: Too many open files: all models stay as they are"]
    assert repository.get().version == 1
    with no_descriptors(), pytest.raises(Unavailable, match="cannot be read: Too many open files"):
        await repository.load("first", timeout=1)
    repository.update()
    assert repository.get().version == 2


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Let no file be opened in the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_error_of_an_unknown_default_lists_the_models(home: Path) -> None:
    """The name may be misspelt."""
    with pytest.raises(ArtifactError, match=r"no model 'frist' in .*: expected one of first"):
        started(home, default="frist")


def test_several_models_need_a_default(home: Path) -> None:
    """The alphabet must not decide which one answers."""
    add(home, "second", 4)
    with pytest.raises(ArtifactError, match="has first, second: choose the default with --model"):
        started(home)
    repository = started(home, default="second")
    assert repository.get().version == 4
    assert repository.get("first").version == 1


def test_a_broken_default_is_fatal_and_another_broken_model_is_not(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One model's files do not affect the other models."""
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
def test_a_pin_to_a_missing_version_is_fatal_at_the_start(home: Path, pins: dict[str, int], expected: str) -> None:
    """A user can still read the error after a typing mistake."""
    add(home, "first", 2)
    assert started(home, pins={"first": 1}).get().version == 1
    with pytest.raises(ArtifactError, match=rf"no version to pin in .*: {expected}"):
        started(home, pins=pins)


def test_only_the_version_that_answers_is_loaded_before_the_service_starts(home: Path) -> None:
    """The first update loads the others, so the start does not wait for them."""
    add(home, "first", 2)
    repository = started(home)
    with pytest.raises(UnknownModel, match="model 'first' has no version 1: expected 2"):
        repository.get(version=1)
    repository.update()
    assert repository.get(version=1).version == 1


def test_published_models_are_served_until_they_are_deleted(home: Path) -> None:
    """The service runs all the time."""
    repository = started(home)
    add(home, "second", 3)
    repository.update()
    assert repository.get("second").version == 3
    shutil.rmtree(home / "second")
    repository.update()
    with pytest.raises(UnknownModel, match="no model 'second': expected one of first"):
        repository.get("second")


def test_a_model_without_versions_stays_while_its_directory_is_there(home: Path) -> None:
    """After deleting all versions, a user may publish another."""
    add(home, "second", 1)
    repository = started(home, default="first")
    shutil.rmtree(home / "first" / "1")
    repository.update()
    assert repository.get().version == 1


def test_a_folder_that_is_gone_or_empty_changes_nothing(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its volume may not be mounted. The log says so once."""
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


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_a_model_that_cannot_be_read_stays_as_it_is(home: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """All its versions stay, and the other models are updated."""
    add(home, "first", 2)
    add(home, "second", 1)
    repository = started(home, default="first")
    repository.update()
    (home / "first").rename(home.with_name("away"))
    if kind == "file":
        (home / "first").touch()
    else:
        (home / "first").symlink_to("missing")
    add(home, "second", 2)
    repository.update()
    assert "first stays as it is: " in caplog.text
    assert repository.get("first", 1).version == 1
    assert repository.get("first").version == 2
    assert repository.get("second").version == 2


@pytest.mark.anyio
async def test_new_versions_are_loaded_in_a_thread_of_low_priority(home: Path) -> None:
    """The event loop runs meanwhile."""
    threads: list[tuple[str, int]] = []

    def load_and_note(artifact: Artifact, loaded: Model | None) -> Model:
        nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        threads.append((threading.current_thread().name, nice))
        return load(artifact, loaded)

    repository = Repository(home, load_and_note, default=None, pins={}, keep=2, unloaded=Unloaded(None))
    repository.start()
    await until_version_2_answers(repository, home)
    first, last = threads[0], threads[-1]
    assert first[0] == "MainThread"
    assert last[0].startswith("repository")
    assert last[1] == max(first[1], NICENESS)


@pytest.mark.anyio
async def test_an_update_that_fails_is_not_the_last(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the error, and the models stay served."""
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


def test_a_process_that_starts_again_does_not_load_unloaded_models(home: Path) -> None:
    """The default model is no exception."""
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
    """Requests that arrive while the service stops get an error."""
    repository = started(home)
    await repository.close()
    with pytest.raises(Unavailable, match="no model is loaded"):
        repository.get()
