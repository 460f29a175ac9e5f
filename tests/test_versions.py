"""Tests of the versions of a model: the files on disk decide which one answers."""

import errno
import gc
import logging
import os
import shutil
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from service.artifact.layout import PIN
from service.artifact.version import Artifact
from service.errors import ArtifactError, Unavailable, UnknownModel
from service.serving.model import Model
from service.serving.versions import Versions
from tests.fakes import BAD, FakeModel, load, text_of, write


def numbers(home: Path) -> list[int]:
    return [int(path.name) for path in home.iterdir() if path.name.isdecimal()]


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    return Versions(tmp_path, load, pin=None)


def states(versions: Versions) -> dict[int, str]:
    return {status.version: status.state for status in versions.statuses()}


def test_the_newest_answers_and_some_older_ones_are_served(versions: Versions, tmp_path: Path) -> None:
    """Versions are compared as numbers, so 10 is newer than 9."""
    for number in (2, 9, 10):
        write(tmp_path, number, "good")
    versions.update(numbers(tmp_path), keep=2)
    assert versions.get().version == 10
    assert versions.get(9).version == 9
    with pytest.raises(UnknownModel, match=r"has no version 2: expected 9, 10"):
        versions.get(2)
    assert states(versions) == {10: "live", 9: "live", 2: "retired"}


def test_a_broken_version_is_rejected_with_its_reason_until_its_files_change(
    versions: Versions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not loaded, and the log does not mention it, again and again."""
    write(tmp_path, 1, "good")
    write(tmp_path, 2, BAD)
    for _ in range(3):
        versions.update([1, 2], keep=2)
    assert versions.get().version == 1
    assert states(versions) == {2: "rejected", 1: "live"}
    assert versions.statuses()[0].reason == f"{tmp_path / '2' / 'text'} is bad"
    assert caplog.text.count("version 2 is rejected") == 1
    write(tmp_path, 2, "good again")
    versions.update([1, 2], keep=2)
    assert text_of(versions.get()) == "good again"


def test_an_unexpected_failure_rejects_one_version_and_no_other(tmp_path: Path) -> None:
    """Runtimes may raise any exception."""

    def fail(artifact: Artifact, _: Model | None) -> Model:
        if artifact.directory.name == "2":
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
        return load(artifact)

    versions = Versions(tmp_path, fail, pin=None)
    write(tmp_path, 1, "good")
    write(tmp_path, 2, "good")
    versions.update([1, 2], keep=2)
    assert versions.get().version == 1
    assert "invalid start byte" in str(versions.statuses()[0].reason)


def test_a_loaded_version_answers_as_it_was_loaded_when_its_files_break(versions: Versions, tmp_path: Path) -> None:
    """Its status says why. Once the files can be loaded again, they replace it."""
    write(tmp_path, 1, "one")
    write(tmp_path, 2, "two")
    versions.update([1, 2], keep=2)
    write(tmp_path, 2, BAD)
    versions.update([1, 2], keep=2)
    assert text_of(versions.get()) == "two"
    assert versions.statuses()[0].state == "live"
    assert "is bad" in str(versions.statuses()[0].reason)
    write(tmp_path, 2, "two, written again")
    versions.update([1, 2], keep=2)
    assert text_of(versions.get()) == "two, written again"
    assert versions.statuses()[0].reason is None


def test_a_version_whose_files_hold_the_same_is_not_loaded_again(versions: Versions, tmp_path: Path) -> None:
    """`touch` and `chmod` change nothing, nor does a copy in place of the directory. Its counters go on."""
    write(tmp_path, 1, "good")
    versions.update([1], keep=2)
    loaded = versions.get()
    os.utime(tmp_path / "1" / "text", (1, 1))
    versions.update([1], keep=2)
    (tmp_path / "1" / "text").chmod(0o600)
    versions.update([1], keep=2)
    shutil.copytree(tmp_path / "1", tmp_path / "copy")
    shutil.rmtree(tmp_path / "1")
    (tmp_path / "copy").rename(tmp_path / "1")
    versions.update([1], keep=2)
    write(tmp_path, 1, BAD)
    versions.update([1], keep=2)
    write(tmp_path, 1, "good")
    versions.update([1], keep=2)
    assert versions.get() is loaded
    assert isinstance(loaded, FakeModel)
    assert not loaded.retired
    assert versions.statuses()[0].reason is None


def test_the_check_names_a_broken_version_that_should_answer(versions: Versions, tmp_path: Path) -> None:
    """So it does for each version that is newer than the one that answers, and for a pin, but not for an older one."""
    write(tmp_path, 1, "good")
    write(tmp_path, 2, BAD)
    versions.update([1, 2], keep=3)
    with pytest.raises(Unavailable, match=r"version 2 cannot be loaded: .*2/text is bad; version 1 answers"):
        versions.check()
    write(tmp_path, 3, "good")
    versions.update([1, 2, 3], keep=3)
    versions.check()
    write(tmp_path, 3, BAD)
    versions.update([1, 2, 3], keep=3)
    with pytest.raises(Unavailable, match=r"version 3 cannot be loaded: .*3/text is bad; version 3 answers"):
        versions.check()
    write(tmp_path, 3, "better")
    (tmp_path / PIN).write_text("2")
    versions.update([1, 2, 3], keep=3)
    with pytest.raises(Unavailable, match=r"pinned version 2 cannot be served: .*2/text is bad; version 3 answers"):
        versions.check()


def test_a_version_that_meets_too_many_open_files_is_tried_again(tmp_path: Path) -> None:
    """It is not rejected for good, as its files do not change afterwards."""
    errors = iter([OSError(errno.EMFILE, os.strerror(errno.EMFILE))])

    def fail(artifact: Artifact, loaded: Model | None) -> Model:
        for error in errors:
            raise ArtifactError("text cannot be read: Too many open files") from error
        return load(artifact, loaded)

    versions = Versions(tmp_path, fail, pin=None)
    write(tmp_path, 1, "good")
    versions.update([1], keep=2)
    assert versions.statuses()[0].reason == "text cannot be read: Too many open files"
    versions.update([1], keep=2)
    assert versions.get().version == 1


def test_deleting_the_newest_rolls_back(versions: Versions, tmp_path: Path) -> None:
    """A version that was retired is loaded again."""
    for number in (1, 2):
        write(tmp_path, number, "good")
    versions.update([1, 2], keep=1)
    assert states(versions) == {2: "live", 1: "retired"}
    shutil.rmtree(tmp_path / "2")
    versions.update([1], keep=1)
    assert versions.get().version == 1
    assert states(versions) == {1: "live"}


def test_models_are_retired(versions: Versions, tmp_path: Path) -> None:
    """Newer versions or unloading retire a model."""
    retired = []
    for number in (1, 2, 3):
        write(tmp_path, number, f"text of {number}")
        versions.update(numbers(tmp_path), keep=1)
        model = versions.get()
        assert isinstance(model, FakeModel)
        retired.append(model)
        assert [one.retired for one in retired] == [True] * (number - 1) + [False]
    versions.unload(numbers(tmp_path))
    assert all(one.retired for one in retired)


def test_the_last_version_stays(versions: Versions, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The model is served at all times, and the log says why by this version."""
    write(tmp_path, 1, "good")
    versions.update([1], keep=2)
    shutil.rmtree(tmp_path / "1")
    write(tmp_path, 2, BAD)
    versions.update([2], keep=2)
    assert versions.get().version == 1
    assert versions.problem == f"no version in {tmp_path} can be loaded: version 1 stays"
    assert versions.problem in caplog.text
    assert states(versions) == {2: "rejected", 1: "live"}
    write(tmp_path, 2, "good")
    versions.update([2], keep=2)
    assert versions.get().version == 2
    assert versions.problem is None


def test_without_any_good_version_none_is_served(versions: Versions, tmp_path: Path) -> None:
    """Requests get an error until there is one."""
    write(tmp_path, 1, BAD)
    versions.update([1], keep=2)
    with pytest.raises(Unavailable, match=rf"no version of model '{tmp_path.name}' can be served"):
        versions.get()


def test_a_pinned_version_answers_and_newer_ones_are_served(versions: Versions, tmp_path: Path) -> None:
    """Once the file `pin` is deleted, the newest answers again."""
    for number in (1, 2, 3):
        write(tmp_path, number, "good")
    (tmp_path / PIN).write_text("1\n")
    versions.update([1, 2, 3], keep=2)
    assert versions.get().version == 1
    assert versions.get(3).version == 3
    (tmp_path / PIN).unlink()
    versions.update([1, 2, 3], keep=2)
    assert versions.get().version == 3
    assert states(versions) == {3: "live", 2: "live", 1: "retired"}


def test_the_command_line_pins_over_the_file(tmp_path: Path) -> None:
    """The option takes precedence."""
    for number in (1, 2, 3):
        write(tmp_path, number, "good")
    (tmp_path / PIN).write_text("1")
    versions = Versions(tmp_path, load, pin=2)
    versions.update([1, 2, 3], keep=2)
    assert versions.get().version == 2


def test_a_pin_that_is_being_written_changes_nothing(versions: Versions, tmp_path: Path) -> None:
    """`echo 1 > pin` empties the file before writing to it."""
    for number in (1, 2):
        write(tmp_path, number, "good")
    (tmp_path / PIN).write_text("1")
    versions.update([1, 2], keep=2)
    (tmp_path / PIN).write_text("")
    versions.update([1, 2], keep=2)
    assert versions.get().version == 1
    assert versions.problem == f"{tmp_path / PIN}: expected the number of a version, got ''"


@pytest.mark.parametrize("kind", ["pipe", "link", "bytes", "number too long", "directory"])
def test_an_invalid_pin_is_reported_and_does_no_harm(tmp_path: Path, kind: str) -> None:
    """It neither blocks the service nor shows the contents of another file."""
    home = tmp_path / "home"
    secret = tmp_path / "secret"
    secret.write_text("secret")
    home.mkdir()
    write(home, 1, "good")
    match kind:
        case "pipe":
            os.mkfifo(home / PIN)
        case "link":
            (home / PIN).symlink_to(secret)
        case "bytes":
            (home / PIN).write_bytes(b"\xff")
        case "number too long":
            (home / PIN).write_text("9" * 5000)
        case "directory":
            (home / PIN).mkdir()
    versions = Versions(home, load, pin=None)
    versions.update([1], keep=2)
    assert versions.get().version == 1
    assert str(home / PIN) in str(versions.problem) or "there is no such version" in str(versions.problem)
    assert "secret" not in str(versions.problem).removeprefix(str(home))


def test_reasons_are_printable(tmp_path: Path) -> None:
    """File names may hold any bytes."""

    def fail(_: Artifact, __: Model | None) -> Model:
        raise ArtifactError("\udcff\n is not a file")

    versions = Versions(tmp_path, fail, pin=None)
    write(tmp_path, 1, "good")
    versions.update([1], keep=2)
    assert versions.statuses()[0].reason == "\\xdcff\\x0a is not a file"


def test_another_directory_of_the_same_number_is_another_version(versions: Versions, tmp_path: Path) -> None:
    """The model of the deleted directory does not answer for the new one."""
    write(tmp_path, 1, "one")
    write(tmp_path, 2, "two")
    versions.update([1, 2], keep=2)
    write(tmp_path, 3, BAD)
    shutil.rmtree(tmp_path / "2")
    (tmp_path / "3").rename(tmp_path / "2")
    versions.update([1, 2], keep=2)
    assert versions.get().version == 1
    assert states(versions) == {2: "rejected", 1: "live"}


@pytest.mark.parametrize(("pin", "reason"), [("7", "there is no such version"), ("2", "is bad")])
def test_a_pinned_version_that_cannot_be_served_is_reported(
    versions: Versions, tmp_path: Path, pin: str, reason: str
) -> None:
    """Meanwhile the newest good version answers."""
    write(tmp_path, 1, "good")
    write(tmp_path, 2, BAD)
    (tmp_path / PIN).write_text(pin)
    versions.update([1, 2], keep=2)
    assert versions.get().version == 1
    assert str(versions.problem).startswith(f"pinned version {pin} cannot be served: ")
    assert reason in str(versions.problem)


def test_a_change_of_version_reports_how_far_attention_moved(
    versions: Versions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log and the status of the new version say so."""
    caplog.set_level(logging.INFO, logger="service")
    write(tmp_path, 1, "a")
    versions.update([1], keep=2)
    write(tmp_path, 2, "ab")
    versions.update([1, 2], keep=2)
    assert [status.attention_moved for status in versions.statuses()] == [1.0, None]
    assert "version 2 answers instead of version 1; attention moved by 1.0000 (total variation)" in caplog.text


def test_a_retired_version_is_freed_with_its_last_request(versions: Versions, tmp_path: Path) -> None:
    """A request that began on it ends on it."""
    gc.collect()
    gc.freeze()
    try:
        write(tmp_path, 1, "good")
        versions.update([1], keep=1)
        used = versions.get()
        freed = weakref.ref(used)
        write(tmp_path, 2, "good")
        assert versions.update([1, 2], keep=1)
        assert versions.get().version == 2
        assert text_of(used) == "good"
        del used
        assert freed() is None
    finally:
        gc.unfreeze()


class Files(RuleBasedStateMachine):
    """Changes of files and pins in any order, while another thread gets the model all the time."""

    root: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        self.on_disk: dict[int, str] = {}
        self.loaded: dict[int, str] = {}
        self.pin: int | None = None
        self.keep = 2
        self.stopped = threading.Event()
        self.wrong: list[Any] = []

    @initialize(keep=st.integers(1, 3))
    def start(self, keep: int) -> None:
        self.home = Path(tempfile.mkdtemp(dir=self.root))
        self.keep = keep
        self.versions = Versions(self.home, load, pin=None)
        self.publish("good")
        self.update()
        self.thread = threading.Thread(target=self.get_models)
        self.thread.start()

    def get_models(self) -> None:
        while not self.stopped.wait(0.001):
            try:
                model = self.versions.get()
                if text_of(model) == BAD:
                    self.wrong.append(model.version)
            except Exception as error:  # noqa: BLE001 - no exception is expected
                self.wrong.append(error)

    @rule(text=st.sampled_from(["good", "better", BAD]))
    def publish(self, text: str) -> None:
        number = max([*numbers(self.home), *self.on_disk], default=0) + 1
        write(self.home, number, text)
        self.on_disk[number] = text

    @precondition(lambda self: self.on_disk)
    @rule(data=st.data(), text=st.sampled_from(["changed", "changed again", BAD]))
    def change(self, data: st.DataObject, text: str) -> None:
        number = data.draw(st.sampled_from(sorted(self.on_disk)))
        write(self.home, number, text)
        self.on_disk[number] = text

    @precondition(lambda self: self.on_disk)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.on_disk)))
        shutil.rmtree(self.home / str(number))
        del self.on_disk[number]

    @rule(pin=st.integers(1, 6))
    def pin_one(self, pin: int) -> None:
        (self.home / PIN).write_text(str(pin))
        self.pin = pin

    @rule()
    def unpin(self) -> None:
        (self.home / PIN).unlink(missing_ok=True)
        self.pin = None

    @rule()
    def update(self) -> None:
        """Update, and compare with the rules, which are computed in another way here."""
        before = self.versions.current
        self.versions.update(numbers(self.home), self.keep)
        good = {
            number: text if text != BAD else self.loaded[number]
            for number, text in self.on_disk.items()
            if text != BAD or number in self.loaded
        }
        newest_first = sorted(good, reverse=True)
        kept = sorted(newest_first, key=lambda number: number != self.pin)[: self.keep]
        if not kept and before is not None:  # the last one stays
            assert self.versions.get() is before
            assert self.versions.problem is not None
            self.loaded = {before.version: text_of(before)} if before.version in self.on_disk else {}
            return
        self.loaded = {number: good[number] for number in kept}
        assert self.versions.get().version == kept[0]
        assert {number: text_of(model) for number, model in self.versions.served.items()} == self.loaded
        assert all(self.versions.get(number) is model for number, model in self.versions.served.items())
        live = {status.version for status in self.versions.statuses() if status.state == "live"}
        assert live == self.loaded.keys()

    @invariant()
    def every_request_got_a_good_model(self) -> None:
        assert self.wrong == []

    def teardown(self) -> None:
        self.stopped.set()
        if hasattr(self, "thread"):
            self.thread.join()


def test_the_rules_hold_after_any_changes(tmp_path: Path) -> None:
    """Requests get good models in the meantime."""
    Files.root = tmp_path
    run_state_machine_as_test(Files, settings=settings(max_examples=100, stateful_step_count=40, derandomize=True))
