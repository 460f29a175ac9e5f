"""A killed fit resumes from its checkpoint and ends with the same weights."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from service.artifact import publishing
from service.artifact.layout import versions_of
from service.artifact.version import Artifact
from tests.samples import dataset
from tests.server import ROOT
from training import checkpoints
from training.checkpoints import PREFIX, Checkpoint, Checkpoints, Progress
from training.data import Dataset, LabelledSequences
from training.options import Options
from training.plan import Plan

X = np.random.default_rng(0).standard_normal((20, 4, 2)).astype(np.float32)


class Variable:
    """A variable with the methods that a checkpoint uses."""

    def __init__(self, value: Any) -> None:
        self.value = np.asarray(value)

    def assign(self, value: Any) -> None:
        self.value = value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:  # noqa: FBT001 - numpy's name
        return self.value


def saved(path: Path, value: float) -> Checkpoint:
    """Save a checkpoint of one variable."""
    checkpoint = Checkpoint(path)
    checkpoint.save(Progress(epoch=1), [Variable(value)])
    return checkpoint


def test_a_saved_checkpoint_is_restored(tmp_path: Path) -> None:
    """Variables of all types and the progress are restored exactly."""
    checkpoint = Checkpoint(tmp_path / "c" / "0.npz")
    rng = np.random.default_rng(0)
    values = [rng.standard_normal((3, 4)).astype(np.float32), np.int64(2**60 + 1), np.float32(1e-45)]
    progress = Progress(epoch=3, step=7, best_epoch=2, best_loss=1 / 3, seconds=0.1 + 0.2)
    checkpoint.save(progress, [tf.Variable(value) for value in values])
    restored = [tf.Variable(tf.zeros_like(value)) for value in values]
    assert checkpoint.restore(restored) == progress
    for one, value in zip(restored, values, strict=True):
        np.testing.assert_array_equal(one.numpy(), value)


def test_without_a_file_nothing_is_restored(tmp_path: Path) -> None:
    """The progress is zero, variables keep their values, and an infinite loss can be saved."""
    variable = Variable(7.0)
    assert Checkpoint(tmp_path / "0.npz").restore([variable]) == Progress()
    assert variable.value == 7
    saved(tmp_path / "0.npz", 1).save(Progress(), [variable])
    assert Checkpoint(tmp_path / "0.npz").restore([variable]).best_loss == float("inf")


def test_a_save_that_fails_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old file stays complete, and no temporary file remains."""
    checkpoint = saved(tmp_path / "0.npz", 1)

    def half(file: Any, **_: Any) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", half)
        with pytest.raises(OSError, match="No space left"):
            checkpoint.save(Progress(epoch=2), [Variable(2.0)])
    variable = Variable(0.0)
    assert checkpoint.restore([variable]) == Progress(epoch=1)
    assert variable.value == 1
    assert [path.name for path in tmp_path.iterdir()] == ["0.npz"]


#: For each line of its input, saves a larger number in a new process, which is killed at that line of code. Prints the
#: number of executed lines, or nothing after a kill.
SAVER = """
import os, sys
from functools import partial
from pathlib import Path
from tests.killing import run_until
from training import checkpoints


def traced(code):
    return code.co_filename == checkpoints.__file__ or "numpy" in code.co_filename


checkpoint = checkpoints.Checkpoint(Path(sys.argv[1]) / "c" / "0.npz")
number = 0
for line in sys.stdin:
    number += 1
    reader, writer = os.pipe()
    if child := os.fork():
        os.close(writer)
        os.waitpid(child, 0)
        with open(reader) as answers:
            print(answers.read(), flush=True)
    else:
        os.close(reader)
        save = partial(checkpoint.save, checkpoints.Progress(epoch=number), [number])
        os.write(writer, str(run_until(int(line), save, traced)).encode())
        os._exit(0)
"""


def test_after_a_kill_at_any_line_a_complete_checkpoint_remains(tmp_path: Path) -> None:
    """The file is either the old checkpoint or the new one."""
    command = [sys.executable, "-c", SAVER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def killed_at(line: int) -> str:
            assert process.stdin is not None
            assert process.stdout is not None
            print(line, file=process.stdin, flush=True)
            return process.stdout.readline().strip()

        lines = int(killed_at(0))
        assert lines > 40
        previous, kept = 1, set()
        for number, line in enumerate(range(1, lines + 1), start=2):
            assert not killed_at(line)
            variable = Variable(0)
            progress = Checkpoint(tmp_path / "c" / "0.npz").restore([variable])
            assert progress.epoch == variable.value
            assert progress.epoch in {previous, number}
            kept.add(progress.epoch == number)
            previous = progress.epoch
        assert kept == {False, True}
        process.stdin.close()


def test_saving_costs_only_a_small_part_of_the_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save that is not due is left out."""
    path = tmp_path / "0.npz"
    checkpoint = Checkpoint(path)
    checkpoint.save_if_due(Progress(epoch=1), [])
    checkpoint.save_if_due(Progress(epoch=2), [])
    assert checkpoint.restore([]).epoch == 1
    monkeypatch.setattr(checkpoints, "SHORTEST", 0)
    monkeypatch.setattr(checkpoints, "MULTIPLE", 0)
    checkpoint.save(Progress(epoch=3), [])
    checkpoint.save_if_due(Progress(epoch=4), [])
    assert checkpoint.restore([]).epoch == 4


@pytest.mark.parametrize(
    ("progress", "over"),
    [
        (Progress(epoch=9, best_epoch=8), False),
        (Progress(epoch=9, best_epoch=7), True),
        (Progress(epoch=10, best_epoch=10), True),
        (Progress(epoch=5), False),
    ],
)
def test_a_fit_is_over_after_all_epochs_or_stale_ones(progress: Progress, over: bool) -> None:  # noqa: FBT001
    """A fit ends after ten epochs, or after two without a lower loss."""
    assert progress.is_over(Plan.of(Options(epochs=10, patience=2), 100)) is over
    assert progress.is_over(Plan.of(Options(epochs=10), 100)) is (progress.epoch == 10)


def test_the_best_epoch_is_the_first_with_the_lowest_loss() -> None:
    """Without validation data there is no best epoch."""
    progress, losses = Progress(step=4), [0.5, 0.4, 0.4, 0.6, 0.3]
    bests = [(progress := progress.after_epoch({"validation loss": loss}, 1.0)).best_epoch for loss in losses]
    assert bests == [1, 2, 2, 2, 5]
    assert (progress.epoch, progress.step, progress.best_loss) == (5, 0, 0.3)
    assert progress.history == {"validation loss": losses}
    assert Progress().after_epoch({"loss": 0.5}, 1.0).best_epoch == 0


def directory(home: Path, data: Dataset, **options: Any) -> str:
    """Return the name of the directory of the checkpoints of some options and data."""
    kept = Checkpoints(home, Options(**options), data)
    kept.discard()
    assert not kept
    saved(home / "probe" / "0.npz", 0)
    kept.of(3).save(Progress(), [])
    assert kept
    (found,) = home.glob(f"{PREFIX}*")
    kept.discard()
    assert not list(home.glob(f"{PREFIX}*"))
    return found.name


def test_checkpoints_belong_to_their_options_and_data(tmp_path: Path) -> None:
    """Any changed value has other checkpoints; the folders of versions and logs do not matter."""
    data = dataset(X, held_out=4)
    x = X.copy()
    x[0, 0, 0] = np.nextafter(x[0, 0, 0], 1, dtype=np.float32)
    same = directory(tmp_path, data)
    assert directory(tmp_path, dataset(X.copy(), held_out=4), resume=True, tensorboard=tmp_path) == same
    assert directory(tmp_path, data, artifacts=tmp_path) == same
    others = [
        directory(tmp_path, data, epochs=2),
        directory(tmp_path, data, repeats=2),
        directory(tmp_path, data, class_weight={"0": 2}),
        directory(tmp_path, dataset(x, held_out=4)),
        directory(tmp_path, dataset(X, 1 - data.train.y.repeat(2)[:20], held_out=4)),
        directory(tmp_path, dataset(X, held_out=5)),
        directory(tmp_path, replace(data, test=LabelledSequences(data.test.x, 1 - data.test.y))),
        directory(tmp_path, dataset(X.reshape(20, 2, 4), held_out=4)),
    ]
    assert len({same, *others}) == 1 + len(others)


def test_checkpoints_are_no_version(tmp_path: Path) -> None:
    """Readers of versions and the removal of leftovers ignore checkpoints."""
    kept = Checkpoints(tmp_path, Options(), dataset(X))
    kept.of(0).save(Progress(), [])
    assert versions_of(tmp_path) == []
    publishing.remove_leftovers(tmp_path)
    assert kept


#: For each line of its input, trains with these options in a new process. Prints its exit code.
TRAINER = """
import json, os, sys
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import signal
from training import batches, checkpoints
from tests.samples import trained

batches.MOST_STEPS = 5
checkpoints.SHORTEST = checkpoints.MULTIPLE = 0


def kill_after(saves):
    save = checkpoints.Checkpoint.save

    def counting(*arguments):
        nonlocal saves
        save(*arguments)
        saves -= 1
        if saves == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoints.Checkpoint.save = counting


for line in sys.stdin:
    options = json.loads(line)
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    else:
        kill_after(options.pop("saves"))
        trained(**options)
        os._exit(0)
"""


@contextmanager
def trainer(compiled: Path) -> Iterator[Any]:
    """Yield a function that trains in a process, kills it after some saves, and returns its exit code.

    The processes share compiled programs in a folder, as compiling takes most of their time. The first training, which
    is not killed, fills it.
    """
    env = {**os.environ, "TF_XLA_FLAGS": f"--tf_xla_persistent_cache_directory={compiled}"}
    with subprocess.Popen(
        [sys.executable, "-c", TRAINER], cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip

        def trained(saves: int, **options: Any) -> int:
            assert process.stdin is not None
            assert process.stdout is not None
            print(json.dumps({"saves": saves, **options}), file=process.stdin, flush=True)
            return int(process.stdout.readline())

        yield trained
        assert process.stdin is not None
        process.stdin.close()


def published(version: Path) -> tuple[dict[str, Any], list[Any]]:
    """Return the card without dates, times and `resume`, and the weights.

    The SavedModel's digest is left out, too: names of functions in a graph depend on all functions of the process.
    """
    card = json.loads(Artifact(version).card_path.read_text())
    del card["created"], card["training"]["seconds"], card["training"]["options"]["resume"]
    del card["lowering"]["source_digest"]
    reader = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    names = [name for name in sorted(reader.get_variable_to_shape_map()) if "VARIABLE_VALUE" in name]
    return card, [reader.get_tensor(name) for name in names]


def test_a_training_that_is_killed_again_and_again_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    """Weights and card are the same, over several seeds and with an early end; no checkpoint remains."""
    rng = np.random.default_rng(0)  # random labels: the validation loss rises soon
    np.savez(tmp_path / "noise.npz", x=rng.standard_normal((400, 5, 2)), y=rng.integers(0, 2, 400))
    options = {"data": str(tmp_path / "noise.npz"), "architecture": "after_lstm", "epochs": 20, "batch_size": 16,
            "learning_rate": 0.05, "units": 4, "patience": 2, "repeats": 2, "validation_split": 0.2}  # fmt: skip
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    with trainer(tmp_path / "compiled") as trained:
        assert trained(-1, **options, artifacts=str(whole)) == 0
        kills = 0
        for saves in (2, 9, 1, 13):
            status = trained(saves, **options, artifacts=str(broken), resume=True)
            if status == 0:
                break
            assert status == -9
            kills += 1
            home = broken / "after-lstm"
            assert versions_of(home) == []
            assert list(home.glob(f"{PREFIX}*/0.npz"))
        else:
            assert trained(-1, **options, artifacts=str(broken), resume=True) == 0
    assert kills >= 3
    card, weights = published(whole / "after-lstm" / "1")
    again, same_weights = published(broken / "after-lstm" / "1")
    assert card == again
    assert card["training"]["best_epoch"] < card["training"]["epochs"] < 20
    for weight, same in zip(weights, same_weights, strict=True):
        np.testing.assert_array_equal(weight, same)
    assert [path.name for path in (broken / "after-lstm").iterdir()] == ["1"]


def test_resuming_without_a_checkpoint_warns(tmp_path: Path) -> None:
    """The training then starts from the beginning."""
    outcome = subprocess.run(
        [sys.executable, "-m", "training", "--resume", "--artifacts", str(tmp_path), "--sequences", "100",
         "--publish-anyway"],
        cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    assert f"nothing to resume: {tmp_path / 'after-lstm'} has no checkpoint of these options and data" in outcome.stderr
    assert versions_of(tmp_path / "after-lstm") == [1]
