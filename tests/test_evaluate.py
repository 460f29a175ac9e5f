"""Metrics and profile, against numbers worked out by hand."""

import numpy as np
import pytest

from training.evaluate import metrics, profile


def test_binary_metrics() -> None:
    """Two of three right; the mean of -log 0.9, -log 0.8 and -log 0.4."""
    p = np.array([[0.9], [0.2], [0.4]], dtype=np.float32)
    result = metrics(p, np.array([1, 0, 1]), "binary")
    assert result["accuracy"] == pytest.approx(2 / 3)
    assert result["loss"] == pytest.approx(-np.log([0.9, 0.8, 0.4]).mean(), rel=1e-6)


def test_multiclass_metrics() -> None:
    """One of two right; the mean of -log 0.7 and -log 0.1."""
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]], dtype=np.float32)
    result = metrics(p, np.array([0, 0]), "multiclass")
    assert result["accuracy"] == 0.5
    assert result["loss"] == pytest.approx(-np.log([0.7, 0.1]).mean(), rel=1e-6)


def test_a_probability_of_zero_has_a_finite_loss() -> None:
    """A float32 softmax can round to 0; the card is JSON, which has no infinity."""
    p = np.array([[1.0]], dtype=np.float32)
    assert np.isfinite(metrics(p, np.array([0]), "binary")["loss"])


def test_the_profile_of_two_sequences() -> None:
    """Mean, standard deviation, peak and the largest distance of a sum from 1."""
    result = profile(np.array([[0.5, 0.3, 0.2], [0.1, 0.7, 0.21]], dtype=np.float32))
    assert result.mean == pytest.approx([0.3, 0.5, 0.205])
    assert result.spread == pytest.approx([0.2, 0.2, 0.005])
    assert (result.peak, result.sequences) == (1, 2)
    assert result.sum_error == pytest.approx(0.01, abs=1e-6)
