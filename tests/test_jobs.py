"""Tasks side by side: their order, their end, and the same results as one after the other."""

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import training
from service.artifact.version import Artifact
from tests.sensors import sensors
from tests.server import ROOT
from tests.tasks import end, process_of, quotient, side_by_side
from training import TrainingError
from training.choice import CANDIDATES
from training.jobs import SideBySide, in_turn, runner
from training.options import Options


def pipe(folder: Path) -> Path:
    """Return a new named pipe. A process that reads from it waits for a writer."""
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def has_readers(path: Path) -> bool:
    """Return whether a process reads from a named pipe, or waits for a writer."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def test_the_outcomes_have_the_order_of_the_tasks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The second task ends first. Each has a process of its own, which writes nothing: one bar counts both."""
    outcomes = list(side_by_side(process_of, pipe(tmp_path), ["wait", "go"]))
    assert [task for task, _ in outcomes] == ["wait", "go"]
    assert len({os.getpid(), *(process for _, process in outcomes)}) == 3
    printed = capfd.readouterr().err
    assert "2/2" in printed
    assert "a bar" not in printed


def test_a_single_task_runs_in_this_process(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It shows its own progress."""
    assert list(side_by_side(process_of, tmp_path, ["alone"])) == [("alone", os.getpid())]
    assert capfd.readouterr().err == "a bar"


def test_in_turn_a_task_waits_until_it_is_asked_for() -> None:
    """The third task, which would fail, does not run."""
    with closing(in_turn(lambda data, task: data / task, 6, [2, 3, 0])) as outcomes:
        assert (next(outcomes), next(outcomes)) == (3, 2)


def test_one_job_is_none_but_this_process() -> None:
    """The tasks of a training run in turn by default."""
    assert runner(Options()) is in_turn
    assert isinstance(runner(Options(jobs=2)), SideBySide)


@pytest.mark.parametrize(
    ("task", "error", "message"),
    [("raise", TrainingError, "the fit diverges"), ("die", ChildProcessError, "a process of --jobs ended before")],
)
def test_an_error_ends_the_other_tasks(tmp_path: Path, task: str, error: type[Exception], message: str) -> None:
    """The first task would wait for ever; its process is gone when the error of the second is raised."""
    path = pipe(tmp_path)
    with pytest.raises(error, match=message):
        list(side_by_side(end, path, ["wait", task]))
    assert not has_readers(path)


def test_closing_ends_the_tasks_that_are_left(tmp_path: Path) -> None:
    """The outcome of the first task is enough; the second would wait for ever."""
    path = pipe(tmp_path)
    with closing(side_by_side(end, path, ["return", "wait"])) as outcomes:
        assert next(outcomes) == "return"
    assert not has_readers(path)


#: Runs two tasks, of which one waits for ever.
PROGRAM = """
import sys
from pathlib import Path
from tests.tasks import side_by_side, wait

if __name__ == "__main__":
    try:
        list(side_by_side(wait, Path(sys.argv[1]), ["one", "two"]))
    except KeyboardInterrupt:
        print("stopped")
"""


@pytest.fixture(params=[signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def ended(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], tuple[int, str, str]]]:
    """Yield a function that ends a program with two tasks, and returns its status and output.

    Ctrl-C in a terminal is a signal to all processes, and a kill one to the program alone.
    """
    (tmp_path / "program.py").write_text(PROGRAM)
    path = pipe(tmp_path)
    with subprocess.Popen(
        [sys.executable, tmp_path / "program.py", path], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip

        def end_both() -> tuple[int, str, str]:
            with os.fdopen(os.open(path, os.O_RDWR)) as begun:  # it never ends, so that no line gets lost
                assert sorted([begun.readline(), begun.readline()]) == ["one\n", "two\n"]
            (os.killpg if request.param is signal.SIGINT else os.kill)(process.pid, request.param)
            output, errors = process.communicate()  # until no process has the other end of the pipes
            return process.returncode, output, errors

        yield end_both
        process.kill()


def test_no_process_outlives_the_program(ended: Callable[[], tuple[int, str, str]]) -> None:
    """An interrupt is handled once, by the program; after a kill, its processes end by themselves."""
    status, output, errors = ended()
    assert (status, output) in {(0, "stopped\n"), (-signal.SIGKILL, "")}
    assert "Traceback" not in errors
    assert status == -signal.SIGKILL or "leaked" not in errors


#: Runs tasks on a new cluster of this machine.
ON_RAY = """
import os
from functools import partial
from tests.tasks import quotient
from training import TrainingError
from training.jobs import SideBySide, cluster

on_ray = SideBySide(partial(cluster, "local", os.getpid))
outcomes = list(on_ray(quotient, 12, [3, 2]))
print([outcome for outcome, _ in outcomes], os.getpid() in [process for _, process in outcomes])
try:
    list(on_ray(quotient, 12, [3, 0]))
except TrainingError as error:
    print(f"error: {error}")
"""


def test_tasks_run_on_a_ray_cluster() -> None:
    """Outcomes and errors are those of processes, and nothing but the bars is written."""
    outcome = subprocess.run(
        [sys.executable, "-c", ON_RAY], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)},
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout == "[4, 6] False\nerror: expected a number above 0, got 0\n"
    lines = [line for line in outcome.stderr.splitlines() if line.strip()]
    assert [line for line in lines if not line.startswith("fits side by side: ")] == []


def test_without_ray_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one line, before anything runs."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(TrainingError, match=r"pip install '\.\[ray\]'"):
        list(runner(Options(ray="auto"))(quotient, 12, [1, 2]))


def published(**options: Any) -> tuple[dict[str, Any], np.ndarray[Any, Any]]:
    """Train on the sensors. Return the card without times and names of functions, and the recorded predictions."""
    result = training.train(*sensors(), publish_anyway=True, **options)
    card = json.loads(result.card.model_dump_json())
    del card["created"], card["training"]["seconds"], card["lowering"]["source_digest"]
    return card, Artifact(result.directory).read().golden().prediction


@pytest.mark.parametrize(
    "options",
    [
        {"repeats": 2, "architecture": "additive", "epochs": 1, "units": 2},
        {"cross_validate": 2, "architecture": "minirocket"},
    ],
    ids=["repeats", "folds"],
)
def test_the_results_are_those_of_one_after_the_other(tmp_path: Path, options: dict[str, Any]) -> None:
    """Card and predictions are equal to the last bit."""
    (card, predictions), (same_card, same_predictions) = (
        published(**options, jobs=jobs, name="m", artifacts=tmp_path / str(jobs)) for jobs in (1, 2)
    )
    assert card == same_card
    np.testing.assert_array_equal(predictions, same_predictions)


def test_the_candidates_after_the_first_run_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One bar counts them. The time is over before they begin, and the card says so."""
    x, y = np.ones((40, 3, 1)), np.repeat(["bad", "good"], [10, 30])
    result = training.train(x, y, name="m", artifacts=tmp_path, publish_anyway=True, budget=1e-9, jobs=2)
    assert [trial.architecture for trial in result.card.trials] == list(CANDIDATES)
    assert {trial.outcome for trial in result.card.trials} == {"not tried: no time was left"}
    assert "3/3" in capsys.readouterr().err


def test_fits_side_by_side_leave_checkpoints_for_any_number_of_processes(tmp_path: Path) -> None:
    """A training in one process continues what two processes began."""
    learning: dict[str, Any] = {"architecture": "after_lstm", "units": 2, "epochs": 1, "cross_validate": 2}
    x, y = np.ones((40, 3, 1)), np.repeat(["bad", "good"], [10, 30])
    with pytest.raises(TrainingError, match="nothing is published"):
        training.train(x, y, name="m", artifacts=tmp_path, jobs=2, **learning)
    checkpoints = [path.name for path in tmp_path.glob("m/.checkpoint-*/*.npz")]
    assert sorted(checkpoints) == ["0-1.npz", "0-2.npz", "0.npz"]
    result = training.train(x, y, name="m", artifacts=tmp_path, publish_anyway=True, resume=True, **learning)
    assert result.card.cross_validation is not None
