"""Metrics and profile equal numbers computed by hand."""

import re

import numpy as np
import pytest

from service.artifact.card import Target
from tests.samples import BINARY, MULTICLASS, MULTILABEL, REGRESSION, TWO_NUMBERS, labels
from tests.server import ROOT
from training import TrainingError
from training.judgement import judged_metrics
from training.scores import MAIN_METRIC, ProfileSum, compute_metrics


def test_binary_metrics() -> None:
    """Two of three are right; the loss is the mean of -log 0.9, -log 0.8 and -log 0.4."""
    p = np.array([[0.9], [0.2], [0.4]], np.float32)
    result = compute_metrics(p, np.array([1, 0, 1]), BINARY)
    assert result["accuracy"] == pytest.approx(2 / 3)
    assert result["loss"] == pytest.approx(-np.log([0.9, 0.8, 0.4]).mean(), rel=1e-6)


def test_multiclass_metrics() -> None:
    """One of two is right; the loss is the mean of -log 0.7 and -log 0.1."""
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]], np.float32)
    result = compute_metrics(p, np.array([0, 0]), MULTICLASS)
    assert result["accuracy"] == 0.5
    assert result["loss"] == pytest.approx(-np.log([0.7, 0.1]).mean(), rel=1e-6)


def test_metrics_of_several_labels() -> None:
    """Five of six labels and one of two sequences are right; the F1 of the labels are 1, 2/3 and 0."""
    p = np.array([[0.9, 0.5, 0.1], [0.2, 0.6, 0.4]], np.float32)
    result = compute_metrics(p, np.array([[1, 1, 0], [0, 0, 0]], np.float32), MULTILABEL)
    assert result["accuracy"] == pytest.approx(5 / 6)
    assert result["exact match"] == 0.5
    assert result["f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert result["loss"] == pytest.approx(-np.log([0.9, 0.5, 0.9, 0.8, 0.4, 0.6]).mean(), rel=1e-6)


def test_every_metric_is_in_the_reference() -> None:
    """docs/metrics.md has all names on a card, and no others."""
    names = {"attention on marked", "peak on marked"}
    for target in (BINARY, MULTICLASS, MULTILABEL, REGRESSION, TWO_NUMBERS):
        y = labels(8, target)
        p = np.full((8, target.outputs or 0), 0.4, np.float32)
        for metrics in (compute_metrics(p, y, target), judged_metrics(p, y, target)):
            names |= {name.partition(" of ")[0] for name in metrics}
    table = (ROOT / "docs/metrics.md").read_text().partition("\n## Of a model\n")[2]
    assert set(re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)) == names


def test_a_probability_of_zero_has_a_finite_loss() -> None:
    """A float32 softmax can be 0, and the JSON of the card has no infinity."""
    p = np.array([[1.0]], np.float32)
    assert np.isfinite(compute_metrics(p, np.array([0]), BINARY)["loss"])


def test_metrics_of_one_number() -> None:
    """Errors are 1, 0 and -2, and the numbers deviate by -1, 0 and 1 from their mean."""
    result = compute_metrics(np.array([[2.0], [2.0], [1.0]]), np.array([[1.0], [2.0], [3.0]]), REGRESSION)
    assert result == pytest.approx({"r2": 1 - 5 / 2, "mae": 1.0, "rmse": np.sqrt(5 / 3)})


def test_several_numbers_have_metrics_each() -> None:
    """The names contain the number; a constant number has an R² of 0."""
    y = np.array([[1.0, 7.0], [3.0, 7.0]], np.float32)
    result = compute_metrics(np.array([[1.0, 7.5], [2.0, 7.5]], np.float32), y, TWO_NUMBERS)
    assert result == pytest.approx(
        {
            "r2": 0.25,
            "r2 of one": 0.5,
            "r2 of two": 0.0,
            "mae of one": 0.5,
            "mae of two": 0.5,
            "rmse of one": np.sqrt(0.5),
            "rmse of two": 0.5,
        }
    )


def test_a_single_sequence_has_finite_metrics() -> None:
    """Its numbers have no variance."""
    assert compute_metrics(np.array([[3.0]]), np.array([[1.0]]), REGRESSION) == {"r2": 0.0, "mae": 2.0, "rmse": 2.0}


@pytest.mark.parametrize("target", [BINARY, REGRESSION])
def test_predictions_that_are_not_finite_are_refused(target: Target) -> None:
    """The message says what to do."""
    with pytest.raises(TrainingError, match=r"training diverged: .* try a smaller --learning-rate"):
        compute_metrics(np.array([[np.nan]], np.float32), np.zeros((1, 1), int), target)


def test_metrics_of_large_numbers_are_exact() -> None:
    """Their squares exceed float32."""
    y = np.array([[1e20], [3e20]], np.float32)
    assert compute_metrics(y, y, REGRESSION)["r2"] == 1.0


@pytest.mark.parametrize("target", [BINARY, MULTICLASS, MULTILABEL, REGRESSION, TWO_NUMBERS])
def test_every_task_has_its_main_metric(target: Target) -> None:
    """Importance is measured by it."""
    outputs = target.outputs or 0
    y = np.zeros((3, outputs), np.float32) if target.task in ("multilabel", "regression") else np.array([0, 1, 0])
    assert MAIN_METRIC[target.task] in compute_metrics(np.full((3, outputs), 0.5, np.float32), y, target)


def test_the_profile_of_two_sequences() -> None:
    """The profile has mean, standard deviation, peak and the largest error of a sum."""
    profile = ProfileSum(3)
    profile.add(np.array([[0.5, 0.3, 0.2], [0.1, 0.7, 0.21]], np.float32))
    result = profile.result()
    assert result.mean == pytest.approx([0.3, 0.5, 0.205])
    assert result.spread == pytest.approx([0.2, 0.2, 0.005])
    assert (result.peak, result.sequences) == (1, 2)
    assert result.sum_error == pytest.approx(0.01, abs=1e-6)


def test_a_profile_in_batches_is_the_profile_of_all() -> None:
    """The result does not depend on the batches."""
    attention = np.random.default_rng(0).dirichlet(np.ones(5), 100).astype(np.float32)
    whole, batches = ProfileSum(5), ProfileSum(5)
    whole.add(attention)
    for start in range(0, 100, 7):
        batches.add(attention[start : start + 7])
    one, other = whole.result(), batches.result()
    assert one.mean == pytest.approx(other.mean, abs=1e-12)
    assert one.spread == pytest.approx(other.spread, abs=1e-9)
    assert one.mean == pytest.approx(attention.mean(axis=0), abs=1e-6)
    assert one.spread == pytest.approx(attention.std(axis=0), abs=1e-6)
    assert (one.peak, one.sequences, one.sum_error) == (other.peak, other.sequences, other.sum_error)
