"""A training from the command line: its output, its version, and its reproducibility."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from service.artifact.version import Artifact
from tests.samples import trained
from tests.server import ROOT
from training import __main__ as program

#: `python -m training` without saves that depend on time. TensorFlow numbers the names of functions, and a save shifts
#: the numbers, so a slow run would write the same SavedModel with another digest.
TRAINING = "from training import __main__, checkpoints; checkpoints.SHORTEST = float('inf'); __main__.main()"
SMALL = ("--sequences", "640", "--epochs", "2", "--batch-size", "32")


def train(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", TRAINING, *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


def error(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """Run the command line in this process. Return its error."""
    monkeypatch.setattr(sys, "argv", ["training", *arguments])
    with pytest.raises(SystemExit) as caught:
        program.main()
    return str(caught.value)


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Train in a process of its own. Return the version and the output."""
    folder = tmp_path_factory.mktemp("mine")
    outcome = train("--artifacts", str(folder), "--name", "mine", *SMALL)
    assert outcome.returncode == 0, outcome.stderr
    return folder / "mine" / "1", outcome


def test_the_card_records_the_training(artifacts: Path) -> None:
    """The card has shape, target, metrics, profile, options and versions of libraries."""
    card = Artifact(artifacts / "three" / "1").read().card()
    assert (card.timesteps, card.features, card.architecture) == (6, 3, "after_lstm")
    assert (card.target.task, card.target.classes) == ("multiclass", ("high", "low", "middle"))
    assert card.metrics["accuracy"] > 0.9
    assert card.attention is not None
    assert card.attention.sequences == 48
    assert sum(card.attention.mean) == pytest.approx(1, abs=1e-5)
    assert card.attention.sum_error < 1e-5
    assert card.training is not None
    assert card.training.options["epochs"] == 20
    assert card.training.sequences == 192 - 19
    assert card.training.libraries["tensorflow"] == tf.__version__
    assert card.lowering is not None
    assert card.lowering.error < 1e-5
    assert sum(layer.weights for layer in card.layers) == card.training.parameters
    assert (card.layers[0].kind, card.layers[0].shape) == ("InputLayer", (None, 6, 3))


def test_the_card_has_the_mean_of_the_fitted_sequences(artifacts: Path) -> None:
    """The baseline of occlusion is in the units of requests."""
    card = Artifact(artifacts / "three" / "1").read().card()
    expected = np.full((6, 3), 1000.0)
    expected[2] += 400 / 3  # one class of three has higher values there
    np.testing.assert_allclose(np.array(card.baseline), expected, atol=60)


def test_two_runs_with_one_seed_are_equal(mine: tuple[Path, object], tmp_path: Path) -> None:
    """Weights and card are the same except for dates and times; another seed gives another model."""

    def published(version: Path) -> tuple[dict[str, Any], list[Any]]:
        card = json.loads(Artifact(version).card_path.read_text())
        del card["created"], card["training"]["seconds"]
        reader = tf.train.load_checkpoint(str(version / "variables" / "variables"))
        names = [name for name in sorted(reader.get_variable_to_shape_map()) if "VARIABLE_VALUE" in name]
        return card, [reader.get_tensor(name) for name in names]

    outcome = train("--artifacts", str(tmp_path), "--name", "mine", *SMALL)
    assert outcome.returncode == 0, outcome.stderr
    card, weights = published(mine[0])
    again, same_weights = published(tmp_path / "mine" / "1")
    other, other_weights = published(trained(sequences=640, epochs=2, batch_size=32, seed=1, artifacts=tmp_path))
    assert card == again
    assert sum(weight.size for weight in weights) == 5541
    for weight, same in zip(weights, same_weights, strict=True):
        np.testing.assert_array_equal(weight, same)
    assert card["metrics"] != other["metrics"]
    assert any((weight != another).any() for weight, another in zip(weights, other_weights, strict=True))


def test_the_card_compares_seeds(tmp_path: Path) -> None:
    """The first seed gives the published model; the card has the results of all, and their spread."""
    options = {"sequences": 300, "timesteps": 11, "batch_size": 32, "learning_rate": 0.01, "units": 4}
    alone, again = (
        Artifact(trained(**options, **more, artifacts=tmp_path)).read()
        for more in ({"name": "alone"}, {"name": "again", "repeats": 2})
    )
    card, repeats = again.card(), again.card().repeats
    assert alone.card().repeats is None
    assert repeats is not None
    assert repeats.seeds == (0, 1)
    assert {name: values[0] for name, values in repeats.metrics.items()} == card.metrics == alone.card().metrics
    assert all(len(values) == 2 for values in repeats.metrics.values())
    assert repeats.metrics["loss"][0] != repeats.metrics["loss"][1]
    np.testing.assert_array_equal(alone.golden().prediction, again.golden().prediction)
    assert card.attention is not None
    assert repeats.profiles[0] == card.attention.mean
    np.testing.assert_allclose(np.mean(repeats.profiles, axis=0), repeats.attention, rtol=0, atol=1e-12)
    second = 2 * np.array(repeats.attention) - card.attention.mean
    assert second.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(repeats.attention_spread, np.abs(second - card.attention.mean) / 2, rtol=0, atol=1e-12)
    assert card.importance is not None
    second = 2 * np.array(repeats.importance) - card.importance.drop
    np.testing.assert_allclose(repeats.importance_spread, np.abs(second - card.importance.drop) / 2, rtol=0, atol=1e-12)


def test_a_run_ends_in_a_summary(mine: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """The summary has metrics, peak and path of the version; a bar shows the progress."""
    version, outcome = mine
    card = Artifact(version).read().card()
    assert f"mine version 1: {version}" in outcome.stdout
    assert f"64 sequences: accuracy {card.metrics['accuracy']:.4f}" in outcome.stdout
    assert card.attention is not None
    assert f"highest at timestep {card.attention.peak} " in outcome.stdout
    assert "576 sequences of 20 × 2" in outcome.stdout
    assert "36/36" in outcome.stderr
    options = f"--model mine --artifacts {version.parents[1]}"
    assert outcome.stdout.endswith(
        f"serve it:     attention-service {options}\nthen open     http://127.0.0.1:8000\n"
        f"score files:  attention-service score FILE OUTPUT {options}\n"
    )


def test_only_the_progress_is_on_stderr(mine: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """TensorFlow, oneDNN and tf2onnx write nothing; other lines would be theirs."""
    lines = [line for line in mine[1].stderr.splitlines() if line.strip()]
    assert lines
    bars = ("training: ", "evaluating: ", "importance: ", "features: ", "cells: ")  # those of a second or longer
    assert [line for line in lines if not line.startswith(bars)] == []


def test_data_that_cannot_be_used_ends_in_one_line(tmp_path: Path) -> None:
    """The exit code is 1, and nothing is published."""
    outcome = train("--artifacts", str(tmp_path), "--data", "missing.npz")
    assert outcome.returncode == 1
    assert "error: --data missing.npz: no such file" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert outcome.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_fit_that_diverges_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a version nor a checkpoint remains."""
    message = error(monkeypatch, "--artifacts", str(tmp_path), "--learning-rate", "1e38", *SMALL)
    assert message.startswith("error: training diverged: the loss is not finite")
    assert list((tmp_path / "after-lstm").iterdir()) == []


def test_a_model_that_does_not_fit_into_memory_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights alone take more memory than an address has bits for."""
    message = error(monkeypatch, "--artifacts", str(tmp_path), "--units", "5000000", *SMALL)
    assert message == "error: the fit needs more memory than there is: expected smaller --units or --batch-size"
    assert list((tmp_path / "after-lstm").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused_before_the_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The progress bar does not appear."""
    (tmp_path / "file").touch()
    message = error(monkeypatch, "--artifacts", str(tmp_path / "file"), *SMALL)
    assert message.startswith("error: [Errno 20] Not a directory")
    assert "training:" not in capsys.readouterr().err


def test_an_interrupt_ends_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says how to continue."""

    def interrupted(_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "trained", interrupted)
    assert error(monkeypatch) == "stopped; --resume continues the training"


@pytest.fixture
def noise(tmp_path: Path) -> tuple[str, ...]:
    """Options of a quick training on sequences that are all the same, so that no model predicts their labels."""
    np.savez(tmp_path / "noise.npz", x=np.ones((80, 3, 1)), y=np.repeat(["bad", "good"], [20, 60]))
    arguments = {"--data": tmp_path / "noise.npz", "--artifacts": tmp_path, "--units": 2, "--name": "noise"}
    return tuple(str(one) for pair in arguments.items() for one in pair)


def test_a_model_that_does_not_beat_its_baseline_is_not_published(
    noise: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has the metric, the baseline and the option that publishes the model."""
    message = error(monkeypatch, *noise)
    assert re.match(r"error: nothing is published: accuracy 0\.\d+ \(95 % interval .* does not beat 0\.\d+, ", message)
    assert "the accuracy of always predicting the most frequent class" in message
    assert "--publish-anyway" in message
    assert not (tmp_path / "noise" / "1").exists()


def test_a_model_that_does_not_beat_its_baseline_is_published_on_request(
    noise: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Summary and card say that it does not; the fit is not repeated."""
    first = error(monkeypatch, *noise)
    monkeypatch.setattr(sys, "argv", ["training", *noise, "--publish-anyway", "--resume"])
    program.main()
    judgement = Artifact(tmp_path / "noise" / "1").read().card().judgement
    assert judgement is not None
    assert judgement.beats_baseline is False
    printed = capsys.readouterr()
    assert judgement.verdict in printed.out
    assert judgement.verdict in first
    assert "nothing to resume" not in printed.err
