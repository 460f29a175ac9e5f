"""The progress bar of a fit, and TensorBoard's logs on request."""

from pathlib import Path
from typing import Any

import pytest

from tests.events import logged
from training.options import Options
from training.reports import Report


def report(done: int = 0, **options: Any) -> Report:
    return Report(Options(**options), seed=3, steps=40, done=done)


def test_the_bar_counts_the_steps_of_all_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    """The bar shows the loss of the last epoch."""
    with report() as shown:
        for epoch in range(1, 5):
            shown.add_steps(7, 0.5)
            shown.add_steps(3, 0.25)
            shown.end_epoch(epoch, {"loss": 0.4, "validation loss": 0.3})
    printed = capsys.readouterr().err
    assert "40/40" in printed
    assert "training:" in printed
    assert "loss 0.4000, validation loss 0.3000" in printed
    assert printed.count("training:") == 2, "outside a terminal, only the beginning and the end are written"


def test_the_bar_of_a_resumed_fit_starts_at_its_progress(capsys: pytest.CaptureFixture[str]) -> None:
    """The progress is two epochs and three steps."""
    with report(23) as shown:
        shown.add_steps(7, 0.5)
    printed = capsys.readouterr().err
    assert "23/40" in printed
    assert "30/40" in printed


def test_the_bar_of_one_of_several_fits_has_its_seed(capsys: pytest.CaptureFixture[str]) -> None:
    """The bar contains the seed."""
    with report(repeats=2):
        pass
    assert "training, seed 3:" in capsys.readouterr().err


def test_tensorboard_reads_the_metrics_of_each_epoch(tmp_path: Path) -> None:
    """Each model and seed has a directory; a resumed fit appends to it."""
    with report(name="mine", tensorboard=tmp_path) as shown:
        shown.end_epoch(1, {"loss": 0.5, "validation accuracy": 0.75})
    with report(10, name="mine", tensorboard=tmp_path) as shown:
        shown.end_epoch(2, {"loss": 0.25, "validation accuracy": 1.0})
    assert [path.name for path in tmp_path.iterdir()] == ["mine-seed-3"]
    assert logged(tmp_path / "mine-seed-3") == {"loss": {1: 0.5, 2: 0.25}, "validation accuracy": {1: 0.75, 2: 1.0}}


def test_logs_are_written_on_request_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --tensorboard no file is written."""
    monkeypatch.chdir(tmp_path)
    with report() as shown:
        shown.end_epoch(1, {"loss": 0.5})
    assert list(tmp_path.iterdir()) == []
