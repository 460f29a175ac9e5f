"""Readers see all of a version or nothing, whatever happens to whoever publishes it."""

import os
import resource
import subprocess
import sys
import textwrap
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
from tests.server import ROOT

#: Does one of two things over and over, each time in a process of its own that is killed at the line that it reads
#: from its input; answers how many lines there were, or nothing where it was killed.
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
    """Publishes, or prunes, until it is killed at a line; returns how many lines there are, or nothing."""
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
    """The versions that readers find; each must be whole."""
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


def test_versions_count_up_and_leave_nothing_else(tmp_path: Path) -> None:
    """From the largest there is."""
    (tmp_path / "6").mkdir()
    assert add_version(tmp_path) == tmp_path / "7"
    assert add_version(tmp_path) == tmp_path / "8"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["6", "7", "8"]


def test_killed_at_any_line_it_has_published_all_or_nothing(tmp_path: Path) -> None:
    """And the next to publish finds its way, and cleans up."""
    with publisher(tmp_path, "publish") as killed_at:
        lines = int(killed_at(0))
        assert lines > 40
        outcomes = []
        for line in range(1, lines + 1):
            before = whole(tmp_path)
            assert not killed_at(line)
            outcomes.append(whole(tmp_path))
            assert outcomes[-1] in (before, [*before, before[-1] + 1])
    assert len(outcomes[0]) == 1, "killed at its first line it has published nothing"
    assert len(outcomes[-1]) > 1, "killed at its last line it has published"
    (tmp_path / f"{PREFIX}dead").mkdir()
    assert add_version(tmp_path) == tmp_path / str(outcomes[-1][-1] + 1)
    assert not leftovers(tmp_path)


def test_killed_while_it_removes_versions_it_leaves_only_whole_ones(tmp_path: Path) -> None:
    """Whatever was removed is gone at once."""
    add_version(tmp_path)
    with publisher(tmp_path, "prune") as killed_at:
        add_version(tmp_path)
        for line in range(1, int(killed_at(0)) + 1):
            add_version(tmp_path)
            newest = add_version(tmp_path)
            assert not killed_at(line)
            assert whole(tmp_path)[-1] == int(newest.name)


def test_a_version_copied_file_by_file_is_none_until_it_is_whole(artifacts: Path, tmp_path: Path) -> None:
    """In whatever order; what was refused is seen to have changed with each file."""
    source = artifacts / "three" / "1"
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


def test_many_at_once_get_a_number_each(tmp_path: Path) -> None:
    """And nobody cleans up what another is still writing."""
    threads = [threading.Thread(target=add_version, args=[tmp_path]) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert whole(tmp_path) == list(range(1, 25))
    assert not leftovers(tmp_path)


def test_only_what_nobody_is_writing_any_more_is_cleaned_up(tmp_path: Path) -> None:
    """Whether it is from this process or from another; files of other names are people's own."""
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
def test_a_number_that_is_no_version_is_passed_over(tmp_path: Path, kind: str) -> None:
    """What was trained for hours is not lost to it."""
    add_version(tmp_path)
    (tmp_path / "2").touch() if kind == "file" else (tmp_path / "2").symlink_to("nowhere")
    assert add_version(tmp_path) == tmp_path / "3"


def test_a_number_taken_meanwhile_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two trainings that end at once, each gets its own version."""
    theirs = add_version(tmp_path)
    seen = iter([[], [1]])
    monkeypatch.setattr(publishing, "versions_of", lambda _: next(seen))
    with staging(tmp_path) as staged:
        (staged / "saved_model.pb").write_text("ours")
        assert publish(staged, tmp_path) == tmp_path / "2"
    assert (theirs / "saved_model.pb").read_text() == "graph"


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond 20 kB: the nearest to a full disk that needs no disk of its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    """Whoever publishes is told, and the next one starts afresh."""
    with pytest.raises(OSError, match="File too large"), staging(tmp_path) as staged:
        (staged / "saved_model.pb").write_bytes(bytes(100_000))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.training
def test_a_training_on_a_full_disk_says_so_in_one_line(tmp_path: Path) -> None:
    """Though it is TensorFlow that cannot write; how far it came is kept, to go on from once there is room."""
    program = textwrap.dedent("""
        import resource, sys
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        sys.argv = ["training", "--artifacts", sys.argv[1], "--sequences", "200", "--units", "4"]
        from training.__main__ import main
        main()
    """)
    outcome = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 1
    last = outcome.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "File too large" in last
    assert "Traceback" not in outcome.stderr
    (checkpoint,) = (tmp_path / "after-lstm").iterdir()
    assert [path.name for path in checkpoint.iterdir()] == ["0.npz"]


def test_pruning_keeps_the_newest_and_the_pinned(tmp_path: Path) -> None:
    """What is left is whole, and what is gone leaves nothing."""
    for _ in range(6):
        add_version(tmp_path)
    (tmp_path / "pin").write_text("2\n")
    assert prune(tmp_path, keep=2) == [1, 3, 4]
    assert whole(tmp_path) == [2, 5, 6]
    assert not leftovers(tmp_path)
    assert prune(tmp_path, keep=9) == []


def test_pruning_does_not_count_broken_versions(tmp_path: Path) -> None:
    """Or what is left might be nothing that can be served."""
    for _ in range(4):
        add_version(tmp_path)
    (tmp_path / "4" / "saved_model.pb").write_text("broken")
    (tmp_path / "9").mkdir()
    assert prune(tmp_path, keep=1) == [1, 2]
    assert versions_of(tmp_path) == [3, 4, 9]
    (tmp_path / "3" / "saved_model.pb").write_text("broken")
    assert prune(tmp_path, keep=1) == []


def test_pruning_is_a_command(tmp_path: Path) -> None:
    """It says what it did, or in one line why it cannot."""
    home = tmp_path / "m"
    home.mkdir()
    for _ in range(3):
        add_version(home)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "training", "prune", *arguments]
        return subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)

    done = run("m", "--keep", "1", "--artifacts", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "m: removed 1, 2; kept 3\n")
    unknown = run("n", "--keep", "1", "--artifacts", str(tmp_path))
    assert (unknown.returncode, unknown.stderr) == (1, f"error: no model 'n' in {tmp_path}\n")
    (home / "pin").write_text("latest")
    broken = run("m", "--keep", "1", "--artifacts", str(tmp_path))
    assert broken.returncode == 1
    assert broken.stderr == f"error: {home / 'pin'}: expected the number of a version, got 'latest'\n"
    nothing = run("m", "--keep", "0", "--artifacts", str(tmp_path))
    assert "--keep: Input should be greater than or equal to 1, got '0'" in nothing.stderr
