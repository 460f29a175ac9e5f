"""Scoring in bulk as a program: resuming, killed processes, a full disk, two runs at once, and what it prints."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from service.bulk import output as of_output
from service.bulk.output import LOCK, MANIFEST, REJECTED, Output, claimed
from service.bulk.run import Options, score
from service.errors import ScoringError
from tests.scoring import answers, here, rejections, scored, silent

N = 600


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A long table in random order, which is prepared first, with a wrong number in some sequences."""
    rng = np.random.default_rng(0)
    wrong = np.isin(np.arange(4 * N), rng.integers(0, 4 * N, 9))
    table = pl.DataFrame(
        {
            "id": np.arange(N).repeat(4),
            "t": np.tile(np.arange(4), N),
            "u": np.where(wrong, np.inf, rng.standard_normal(4 * N)),
            "v": rng.standard_normal(4 * N),
        }
    )
    path = tmp_path_factory.mktemp("data") / "data.parquet"
    table.sample(fraction=1, shuffle=True, seed=1).write_parquet(path)
    return path


@pytest.fixture(scope="module")
def unbroken(models: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run that nothing interrupted."""
    output = tmp_path_factory.mktemp("unbroken") / "out"
    scored(models, data, output, "long", chunk=100)
    return output


def command(models: Path, data: Path, output: Path, *options: str) -> list[str]:
    """Return the command line of a run."""
    named = ["--model", "long", "--artifacts", str(models), "--chunk", "100", *options]
    return [sys.executable, "-m", "service", "score", str(data), str(output), *named]


def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=120, check=False)


def assert_same(output: Path, expected: Path) -> None:
    """Compare the parts of two runs, byte by byte, and what they rejected."""
    parts = [{path.name: path.read_bytes() for path in folder.glob("*.parquet")} for folder in (output, expected)]
    assert parts[0] == parts[1]
    assert rejections(output) == rejections(expected)


def test_a_run_in_processes_gives_the_same_and_prints_one_line(
    models: Path, data: Path, unbroken: Path, tmp_path: Path
) -> None:
    """Nothing else is printed, and no copy of the input is left."""
    outcome = run(models, data, tmp_path / "out", "--workers", "2")
    assert outcome.returncode == 0, outcome.stderr
    rejected = len(rejections(unbroken))
    begin = f"{tmp_path}/out: {N - rejected} sequences, {rejected} rejected (see {tmp_path}/out/_rejected), "
    assert outcome.stdout.startswith(begin)
    assert outcome.stdout.endswith(" sequences per second\n")
    assert outcome.stderr == ""
    assert {path.name for path in (tmp_path / "out").iterdir() if path.suffix != ".parquet"} == {
        MANIFEST,
        LOCK,
        REJECTED,
    }
    assert_same(tmp_path / "out", unbroken)


@pytest.mark.parametrize("killed", ["planning", "two parts", "all parts"])
def test_a_killed_run_is_resumed(models: Path, data: Path, unbroken: Path, tmp_path: Path, killed: str) -> None:
    """SIGKILL while the table is prepared, between parts, and at the end: the output is that of an unbroken run."""
    output = tmp_path / "out"
    enough: dict[str, Callable[[], bool]] = {
        "planning": (output / "_prepared").exists,
        "two parts": lambda: len(list(output.glob("part-*"))) >= 2,
        "all parts": lambda: len(list(output.glob("part-*"))) >= N // 100,
    }
    process = subprocess.Popen(command(models, data, output, "--workers", "1"), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not enough[killed]() and process.poll() is None and time.monotonic() < deadline:
        os.sched_yield()
    process.kill()
    process.wait()
    assert enough[killed]()
    outcome = run(models, data, output, "--resume")
    assert outcome.returncode == 0, outcome.stderr
    assert_same(output, unbroken)


def test_finished_parts_are_not_scored_again(models: Path, data: Path, unbroken: Path, tmp_path: Path) -> None:
    """Only the missing part is written; the copy of the input is made again if it is gone."""
    output = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        score(_options(models, data, output), silent, _stopping)
    times = {path.name: path.stat().st_mtime_ns for path in output.glob("*.parquet")}
    assert len(times) == 2
    summary = scored(models, data, output, "long", chunk=100, resume=True)
    assert summary.scored == N - 200
    assert {name: (output / name).stat().st_mtime_ns for name in times} == times
    assert_same(output, unbroken)


def _options(models: Path, data: Path, output: Path, **options: Any) -> Options:
    return Options((str(data),), output, "long", artifacts=models, **({"chunk": 100} | options))


def _stopping(*arguments: Any) -> Iterator[Any]:
    units = here(*arguments)
    yield next(units)
    yield next(units)
    raise KeyboardInterrupt


@pytest.fixture
def begun(models: Path, data: Path, unbroken: Path, tmp_path: Path) -> Options:
    """The options that resume a run."""
    shutil.copytree(unbroken, tmp_path / "out")
    return _options(models, data, tmp_path / "out", resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention": "none"}, "expected the options of the run that began, .*'mean'.* got .*'none'"),
        ({"chunk": 50}, "expected the options"),
        ({"model": "wide"}, "expected --model of the run that began, long, got wide"),
        ({"version": 2}, r"--version: expected a version of long \(1\), got 2"),
    ],
)
def test_another_run_is_not_resumed(begun: Options, change: dict[str, Any], message: str) -> None:
    """The error says what differs."""
    with pytest.raises(ScoringError, match=message):
        score(replace(begun, **change), silent, here)


def test_a_changed_input_is_not_resumed(begun: Options) -> None:
    """Its size or its time of change says so."""
    manifest = json.loads((begun.output / MANIFEST).read_text())
    manifest["inputs"][0]["changed"] += 1
    (begun.output / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ScoringError, match="--resume: expected the input of the run that began"):
        score(begun, silent, here)


def test_an_output_in_the_folder_of_the_input(models: Path, tmp_path: Path) -> None:
    """Its parts are no input of the run that resumes."""
    pl.DataFrame({"id": 1, "t": range(4), "u": 1.0, "v": 1.0}).write_parquet(tmp_path / "data.parquet")
    for resume in (False, True):
        assert scored(models, tmp_path, tmp_path / "out", "long", resume=resume).sequences == 1


def test_an_output_with_files_is_refused(models: Path, data: Path, unbroken: Path) -> None:
    """Without --resume, nothing is overwritten."""
    before = sorted(unbroken.iterdir())
    with pytest.raises(ScoringError, match="expected an empty folder, got one with files; --resume continues a run"):
        score(_options(models, data, unbroken), silent, here)
    assert sorted(unbroken.iterdir()) == before


def test_a_second_run_on_the_same_output_is_refused(models: Path, data: Path, tmp_path: Path) -> None:
    """It ends with one line and changes nothing."""
    with claimed(tmp_path / "out", resume=False):
        outcome = run(models, data, tmp_path / "out", "--resume")
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert outcome.stderr == f"error: {tmp_path}/out: another run writes into this folder\n"


def test_a_refused_run_leaves_the_files_of_the_other_one(tmp_path: Path) -> None:
    """A file that the other run is writing among them."""
    output = tmp_path / "out"
    with claimed(output, resume=False):
        unfinished = output / "_unfinished-1"
        unfinished.touch()
        with pytest.raises(ScoringError, match="another run writes"), claimed(output, resume=True):
            pass
        assert unfinished.exists()
    assert not unfinished.exists()


def test_a_run_begins_after_the_workers_of_a_killed_one(
    models: Path, data: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is stopped does not end with its run; the next run is refused until it ends."""
    output = tmp_path / "out"
    process = subprocess.Popen(
        command(models, data, output, "--workers", "1", "--chunk", "4"), stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not list(output.glob("part-*")) and process.poll() is None and time.monotonic() < deadline:
        os.sched_yield()
    (worker,) = _workers_of(process.pid)
    os.kill(worker, signal.SIGSTOP)
    while not _is_stopped(worker):  # until it has written to the disk; its thread that waits for the run goes on
        assert time.monotonic() < deadline
    process.kill()
    process.wait()
    monkeypatch.setattr(of_output, "MOST_SECONDS", 0)
    message = "out: workers of a run that was killed still write into this folder"
    with pytest.raises(ScoringError, match=message):
        scored(models, data, output, "long", chunk=4, resume=True)
    monkeypatch.undo()
    os.kill(worker, signal.SIGCONT)
    scored(models, data, output, "long", chunk=4, resume=True)
    assert not _runs(worker)
    assert answers(output).equals(answers(unbroken))
    assert rejections(output) == rejections(unbroken)


@pytest.mark.parametrize("name", ["part-0000000.parquet", "notes.txt"])
def test_a_folder_of_something_else_is_not_resumed(models: Path, data: Path, tmp_path: Path, name: str) -> None:
    """A part of another run would be taken for one of this run."""
    (tmp_path / name).touch()
    with pytest.raises(ScoringError, match=r"expected the folder of a run, got one with files but without _manifest"):
        scored(models, data, tmp_path, "long", resume=True)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"program": "1.0', r"out/_manifest\.json: expected the manifest of a run: "),
        ("[1, 2]", r"out/_manifest\.json: expected the manifest of a run, got \[1, 2\]"),
        ('{"program": "999.0", "tasks": []}', r"--resume: expected the program of the run that began, 999\.0, got "),
    ],
)
def test_a_manifest_that_is_not_of_this_program(begun: Options, text: str, message: str) -> None:
    """One line says so."""
    (begun.output / MANIFEST).write_text(text)
    with pytest.raises(ScoringError, match=message):
        score(begun, silent, here)


@pytest.mark.parametrize("change", [{"units": None}, {"units": [{"number": 0}]}, {"sources": 3}, {"sources": [{}]}])
def test_a_manifest_without_its_plan(begun: Options, change: dict[str, Any]) -> None:
    """One line says so."""
    manifest = json.loads((begun.output / MANIFEST).read_text()) | change
    (begun.output / MANIFEST).write_text(json.dumps({name: one for name, one in manifest.items() if one is not None}))
    with pytest.raises(ScoringError, match=r"out/_manifest\.json: expected the sources and units of a run, got others"):
        score(begun, silent, here)


@pytest.mark.parametrize("damage", ["an empty part", "half a part", "a lost part", "lost rejections"])
def test_a_part_that_is_not_whole_is_written_again(begun: Options, unbroken: Path, damage: str) -> None:
    """So is the copy of the input, which was removed at the end of the run."""
    part = begun.output / "part-0000003.parquet"
    if damage == "a lost part":
        part.unlink()
    elif damage == "lost rejections":
        next((begun.output / REJECTED).iterdir()).unlink()
    else:
        part.write_bytes(b"" if damage == "an empty part" else part.read_bytes()[:2000])
    assert score(begun, silent, here).scored == 100
    assert_same(begun.output, unbroken)


def test_an_input_that_changes_while_it_is_scored(models: Path, data: Path, tmp_path: Path) -> None:
    """The run ends with an error, and cannot be resumed."""
    path = tmp_path / "data.parquet"
    shutil.copy(data, path)

    def changing(*arguments: Any) -> Iterator[Any]:
        yield from here(*arguments)
        path.touch()

    with pytest.raises(ScoringError, match="the input changed while the run was going on"):
        score(_options(models, path, tmp_path / "out"), silent, changing)
    with pytest.raises(ScoringError, match="--resume: expected the input of the run that began"):
        scored(models, path, tmp_path / "out", "long", chunk=100, resume=True)


def test_rows_of_an_input_that_was_mended_are_not_rejected(models: Path, tmp_path: Path) -> None:
    """Planning was killed before the manifest was written, after the rows without a key were."""
    path, output = tmp_path / "data.csv", tmp_path / "out"
    good = "id,t,u,v\n" + "".join(f"1,{t},1,2\n" for t in range(4))
    path.write_text(f"{good},1,1,2\n")
    assert scored(models, path, output, "long").rejected == 1
    for name in (MANIFEST, "part-0000000.parquet"):
        (output / name).unlink()
    path.write_text(good)
    assert scored(models, path, output, "long", resume=True).rejected == 0


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """Let files have at most some bytes, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_told_and_the_run_resumed(models: Path, unbroken: Path, data: Path, tmp_path: Path) -> None:
    """One line says what to do, and no half part is left."""
    output = tmp_path / "out"

    def full(*arguments: Any) -> Iterator[Any]:
        units = here(*arguments)
        yield next(units)
        with small_files(2**11):
            yield from units

    message = "out: cannot be written: File too large; --resume continues the run"
    with pytest.raises(ScoringError, match=message):
        score(_options(models, data, output), silent, full)
    assert [path.name for path in output.glob("*part*")] == ["part-0000000.parquet"]
    assert not list(output.glob("_unfinished*"))
    scored(models, data, output, "long", chunk=100, resume=True)
    assert_same(output, unbroken)


def test_a_full_disk_while_a_table_is_prepared(models: Path, unbroken: Path, data: Path, tmp_path: Path) -> None:
    """One line names the file, and --resume begins again."""
    message = r"_prepared/source-00000\.parquet: cannot be written: File too large; --resume begins again"
    with small_files(2**14), pytest.raises(ScoringError, match=message):
        score(_options(models, data, tmp_path / "out"), silent, here)
    scored(models, data, tmp_path / "out", "long", chunk=100, resume=True)
    assert_same(tmp_path / "out", unbroken)


def test_a_killed_worker_ends_the_run(models: Path, data: Path, tmp_path: Path) -> None:
    """The other processes end, too, and one line says what happened."""
    output = tmp_path / "out"
    process = subprocess.Popen(
        command(models, data, output, "--workers", "2", "--chunk", "1"), stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list(output.glob("part-*")) and process.poll() is None and time.monotonic() < deadline:
        os.sched_yield()
    workers = _workers_of(process.pid)
    os.kill(workers[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.startswith("error: a worker process ended before its work was done")
    assert len(errors.splitlines()) == 1
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]


def test_a_worker_that_raises_ends_the_run(models: Path, tmp_path: Path) -> None:
    """One line says which rows cannot be read, and why; the other processes end."""
    file, program = tmp_path / "damaged.parquet", [sys.executable, "-m", "service", "score"]
    names = [f"{feature}@{step}" for step in range(4) for feature in ("u", "v")]
    pl.DataFrame(dict.fromkeys(names, np.ones(1000))).write_parquet(file)
    content = file.read_bytes()
    file.write_bytes(content[:4] + b"\xff" * 100 + content[104:])  # the beginning of the first column
    options = ["--model", "wide", "--artifacts", str(models), "--workers", "2", "--chunk", "100"]
    outcome = subprocess.run(
        [*program, str(file), str(tmp_path / "out"), *options], capture_output=True, text=True, timeout=60, check=False
    )
    assert outcome.returncode == 1
    assert re.fullmatch(
        rf"error: {re.escape(str(file))}, rows [\d,]+ to [\d,]+: cannot be scored: .*\n", outcome.stderr
    )


def test_an_interrupted_run_writes_one_line(models: Path, data: Path, tmp_path: Path) -> None:
    """Ctrl-C reaches all processes of a terminal, some of which have just started."""
    process = subprocess.Popen(
        command(models, data, tmp_path / "out", "--workers", "2", "--chunk", "1"),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while len(_workers_of(process.pid)) < 2:
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=60)[1] == "stopped; --resume continues the run\n"
    assert process.returncode == 1


def test_workers_end_with_a_killed_run(models: Path, data: Path, tmp_path: Path) -> None:
    """No process of the run is left."""
    output = tmp_path / "out"
    process = subprocess.Popen(command(models, data, output, "--workers", "2", "--chunk", "1"))
    deadline = time.monotonic() + 60
    while not list(output.glob("part-*")) and process.poll() is None and time.monotonic() < deadline:
        os.sched_yield()
    workers = _workers_of(process.pid)
    assert len(workers) == 2
    process.kill()
    process.wait()
    while left := [worker for worker in workers if _runs(worker)]:
        assert time.monotonic() < deadline, left


def _workers_of(parent: int) -> list[int]:
    """Return the worker processes of a run: its children that are no helper of multiprocessing."""
    children = map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())
    return [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def _is_stopped(process: int) -> bool:
    """Return whether every thread of a process is stopped."""
    return all(_state(thread) == "T" for thread in Path(f"/proc/{process}/task").iterdir())


def _runs(process: int) -> bool:
    """Return whether a process runs, rather than waits for its parent to notice its end."""
    try:
        return _state(Path(f"/proc/{process}")) != "Z"
    except OSError:
        return False


def _state(place: Path) -> str:
    """Return the state of a process or thread, such as R for one that runs, by its folder in /proc."""
    return (place / "stat").read_text().rpartition(")")[2].split()[0]


def test_a_model_without_baseline_has_no_importance(models: Path, data: Path, tmp_path: Path) -> None:
    """The error says what to do."""
    options = Options((str(data),), tmp_path / "out", "words", artifacts=models, importance=True)
    with pytest.raises(ScoringError, match="--importance: words has no baseline on its card: train it again"):
        score(options, silent, here)


def test_a_model_that_does_not_exist(models: Path, data: Path, tmp_path: Path) -> None:
    """One line, and the status 1."""
    arguments = ["--model", "none", "--artifacts", str(models)]
    program = [sys.executable, "-m", "service", "score", str(data), str(tmp_path / "out"), *arguments]
    outcome = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert outcome.returncode == 1
    assert outcome.stderr == f"error: --model: expected a model in {models}, got 'none'\n"


def test_processes_do_not_import_pandas(models: Path, data: Path, tmp_path: Path) -> None:
    """It takes a second where it is installed."""
    program = (
        "import sys; from pathlib import Path; from tests.scoring import scored; "
        f"scored(*map(Path, {[str(models), str(data), str(tmp_path / 'out')]!r}), 'long', chunk=50); "
        "print({'pandas', 'fastapi'} & set(sys.modules))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    outcome = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment, timeout=60
    )
    assert outcome.stdout == "set()\n"
    assert answers(tmp_path / "out").height + len(rejections(tmp_path / "out")) == N


@pytest.mark.parametrize("mistake", [{"model": "none"}, {"artifacts": Path("nowhere")}, {"importance": True}])
def test_a_mistake_does_not_take_the_folder(models: Path, data: Path, tmp_path: Path, mistake: dict[str, Any]) -> None:
    """The right command runs afterwards, without --resume, as nothing was scored."""
    mistaken = replace(_options(models, data, tmp_path / "out"), **({"model": "words"} | mistake))
    with pytest.raises(ScoringError, match=r"--model|--importance"):
        score(mistaken, silent, here)
    assert scored(models, data, tmp_path / "out", "long", chunk=100).scored == N


def test_names_of_parts_have_the_order_of_parts(tmp_path: Path) -> None:
    """A part has one sequence or more, so a hundred thousand parts are not too many."""
    output = Output(tmp_path)
    for place in (output.part, output.rejected):
        assert place(20_000).name < place(100_000).name < place(9_999_999).name
