"""Readers see a whole version or none, even if the publisher is killed."""

import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from service.artifact import publishing
from service.artifact.layout import versions_of
from service.artifact.publishing import PREFIX, prune, publish, remove_leftovers, staging
from service.artifact.version import Artifact
from service.errors import ArtifactError
from tests.placeholder import write_version
from tests.server import ROOT
from training.__main__ import main

#: Publishes or prunes once for each line number in its input, in a process of its own that is killed at that line.
#: Prints the number of lines that ran, or nothing if the process was killed.
PUBLISHER = """
import os, sys
from pathlib import Path
from service.artifact.version import Artifact
from tests.killing import run_until
from service.artifact import publishing

home, action = Path(sys.argv[1]), sys.argv[2]


def act():
    if action == "prune":
        publishing.prune(home, keep=1)
        return
    with publishing.staging(home) as staged:
        (staged / "assets.extra").mkdir()
        for name in ("saved_model.pb", "assets.extra/card.json"):
            (staged / name).write_text(f"{name} of {os.getpid()}")
        Artifact(staged).write_sums()
        publishing.publish(staged, home)


def traced(code):
    return code is act.__code__ or code.co_filename == publishing.__file__


for fatal in sys.stdin:
    child = os.fork()
    if not child:
        print(run_until(int(fatal), act, traced), flush=True)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        print(flush=True)
"""


@contextmanager
def publisher(home: Path, action: str) -> Iterator[Callable[[int], str]]:
    """Yield a function that publishes or prunes until a line, and returns the answer of the program above."""
    command = [sys.executable, "-c", PUBLISHER, str(home), action]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def killed_at(line: int) -> str:
            assert process.stdin is not None
            assert process.stdout is not None
            print(line, file=process.stdin, flush=True)
            answer = process.stdout.readline()
            assert answer, "the publisher itself ended"
            return answer.strip()

        yield killed_at
        assert process.stdin is not None
        process.stdin.close()


def whole(home: Path) -> list[int]:
    """Return the version numbers that readers find, after a check that each version is whole."""
    numbers = versions_of(home)
    for number in numbers:
        Artifact(home / str(number)).read()
    return numbers


def add_version(home: Path) -> Path:
    with staging(home) as staged:
        (staged / "saved_model.pb").write_text("graph")
        (staged / "assets.extra").mkdir()
        Artifact(staged).write_sums()
        return publish(staged, home)


def leftovers(home: Path) -> list[Path]:
    return list(home.glob(f"{PREFIX}*"))


def test_version_numbers_count_up(tmp_path: Path) -> None:
    """Numbers follow the largest one, and no staging directory remains."""
    (tmp_path / "6").mkdir()
    assert add_version(tmp_path) == tmp_path / "7"
    assert add_version(tmp_path) == tmp_path / "8"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["6", "7", "8"]


def test_a_publisher_killed_at_any_line_has_published_all_or_nothing(tmp_path: Path) -> None:
    """The next publisher removes the directories that killed ones left."""
    with publisher(tmp_path, "publish") as killed_at:
        lines = int(killed_at(0))
        assert lines > 40
        outcomes = []
        for line in range(1, lines + 1):
            before = whole(tmp_path)
            assert not killed_at(line)
            outcomes.append(whole(tmp_path))
            assert outcomes[-1] in (before, [*before, before[-1] + 1])
    assert len(outcomes[0]) == 1, "a publisher killed at its first line has published nothing"
    assert len(outcomes[-1]) > 1, "a publisher killed at its last line has published"
    (tmp_path / f"{PREFIX}dead").mkdir()
    assert add_version(tmp_path) == tmp_path / str(outcomes[-1][-1] + 1)
    assert not leftovers(tmp_path)


def test_pruning_killed_at_any_line_leaves_only_whole_versions(tmp_path: Path) -> None:
    """A version disappears by one rename."""
    add_version(tmp_path)
    with publisher(tmp_path, "prune") as killed_at:
        add_version(tmp_path)
        for line in range(1, int(killed_at(0)) + 1):
            add_version(tmp_path)
            newest = add_version(tmp_path)
            assert not killed_at(line)
            assert whole(tmp_path)[-1] == int(newest.name)


def test_a_version_copied_file_by_file_is_refused_until_it_is_whole(tmp_path: Path) -> None:
    """Files may arrive in any order, and each changes the stamp."""
    source = write_version(tmp_path / "source").directory
    files = [path.relative_to(source) for path in source.rglob("*") if path.is_file()]
    for seed in range(20):
        np.random.default_rng(seed).shuffle(files)
        artifact = Artifact(tmp_path / str(seed))
        artifact.directory.mkdir()
        stamps = [artifact.stamp()]
        for file in files:
            with pytest.raises(ArtifactError):
                artifact.read()
            (artifact.directory / file).parent.mkdir(parents=True, exist_ok=True)
            content = (source / file).read_bytes()
            (artifact.directory / file).write_bytes(content[: len(content) // 2])
            stamps.append(artifact.stamp())
            with pytest.raises(ArtifactError):
                artifact.read()
            (artifact.directory / file).write_bytes(content)
            stamps.append(artifact.stamp())
        artifact.read()
        assert all(one != following for one, following in pairwise(stamps))


def test_concurrent_publishers_get_different_numbers(tmp_path: Path) -> None:
    """None removes a version that another is writing."""
    threads = [threading.Thread(target=add_version, args=[tmp_path]) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert whole(tmp_path) == list(range(1, 25))
    assert not leftovers(tmp_path)


def test_only_unused_staging_directories_are_removed(tmp_path: Path) -> None:
    """Neither this process nor another removes a locked one. Files of other names remain."""
    (tmp_path / f"{PREFIX}dead").mkdir()
    (tmp_path / "notes").mkdir()
    with staging(tmp_path) as staged:
        assert not (tmp_path / f"{PREFIX}dead").exists()
        remove_leftovers(tmp_path)
        subprocess.run(
            [
                sys.executable,
                "-c",
                f"from service.artifact.publishing import *; remove_leftovers(Path({str(tmp_path)!r}))",
            ],
            cwd=ROOT,
            check=True,
        )
        assert staged.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_a_number_that_another_entry_has_is_skipped(tmp_path: Path, kind: str) -> None:
    """The trained version is not lost."""
    add_version(tmp_path)
    (tmp_path / "2").touch() if kind == "file" else (tmp_path / "2").symlink_to("nowhere")
    assert add_version(tmp_path) == tmp_path / "3"


def test_a_version_published_meanwhile_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If two trainings end at the same time, each gets its own version."""
    theirs = add_version(tmp_path)
    seen = iter([[], [1]])
    monkeypatch.setattr(publishing, "versions_of", lambda _: next(seen))
    with staging(tmp_path) as staged:
        (staged / "saved_model.pb").write_text("ours")
        assert publish(staged, tmp_path) == tmp_path / "2"
    assert (theirs / "saved_model.pb").read_text() == "graph"


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Limit files to 20 kB, which has the effect of a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_leaves_no_files(tmp_path: Path) -> None:
    """The publisher raises OSError."""
    with pytest.raises(OSError, match="File too large"), staging(tmp_path) as staged:
        (staged / "saved_model.pb").write_bytes(bytes(100_000))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.training
@pytest.mark.usefixtures("full_disk")
def test_a_training_on_a_full_disk_ends_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """TensorFlow fails to write. The checkpoint remains, so that the training can go on later."""
    command = ["training", "--artifacts", str(tmp_path), "--sequences", "200", "--units", "4", "--publish-anyway"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as exit_:
        main()
    (line,) = str(exit_.value.code).splitlines()
    assert line.startswith("error: ")
    assert "File too large" in line
    assert "Traceback" not in capfd.readouterr().err
    (checkpoint,) = (tmp_path / "after-lstm").iterdir()
    assert [path.name for path in checkpoint.iterdir()] == ["0.npz"]


def test_pruning_keeps_the_newest_and_the_pinned(tmp_path: Path) -> None:
    """The kept versions are whole, and no staging directory remains."""
    for _ in range(6):
        add_version(tmp_path)
    (tmp_path / "pin").write_text("2\n")
    assert prune(tmp_path, keep=2) == [1, 3, 4]
    assert whole(tmp_path) == [2, 5, 6]
    assert not leftovers(tmp_path)
    assert prune(tmp_path, keep=9) == []


def test_pruning_does_not_count_broken_versions(tmp_path: Path) -> None:
    """At least one version that can be served remains."""
    for _ in range(4):
        add_version(tmp_path)
    (tmp_path / "4" / "saved_model.pb").write_text("broken")
    (tmp_path / "9").mkdir()
    assert prune(tmp_path, keep=1) == [1, 2]
    assert versions_of(tmp_path) == [3, 4, 9]
    (tmp_path / "3" / "saved_model.pb").write_text("broken")
    assert prune(tmp_path, keep=1) == []


def test_pruning_is_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It prints the removed versions, or one line with the error."""
    home = tmp_path / "m"
    home.mkdir()
    for _ in range(3):
        add_version(home)

    def error_of(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["training", "prune", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
        return str(exit_.value.code)

    command = [sys.executable, "-m", "training", "prune", "m", "--keep", "1", "--artifacts", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "m: removed 1, 2; kept 3\n"
    assert error_of("n", "--keep", "1", "--artifacts", str(tmp_path)) == f"error: no model 'n' in {tmp_path}"
    (home / "pin").write_text("latest")
    expected = f"error: {home / 'pin'}: expected the number of a version, got 'latest'"
    assert error_of("m", "--keep", "1", "--artifacts", str(tmp_path)) == expected
    nothing = error_of("m", "--keep", "0", "--artifacts", str(tmp_path))
    assert '--keep: expected a number of at least 1, got "0"' in nothing
