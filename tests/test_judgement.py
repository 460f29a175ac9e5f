"""A judgement has scikit-learn's metrics beside a baseline, and says whether the model is better."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss, mean_absolute_error, r2_score

from service.artifact.card import JudgedMetric, Judgement, Target
from tests.samples import BINARY, MULTICLASS, REGRESSION, TWO_NUMBERS, dataset, labels
from training.judgement import judge, judged_metrics, weighted_metrics


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def data(y: Any, target: Target = BINARY, **fields: Any) -> Any:
    """Return a dataset that is held out as a whole, with the same labels to fit."""
    made = dataset(np.zeros((len(y), 3, 2)), y, target)
    return replace(made, test=made.train, **fields)


def confident(y: Any, classes: int = 2) -> Any:
    """Return probabilities of a model that is always right and nearly certain."""
    p = np.full((len(y), classes), 0.1 / (classes - 1), np.float32)
    p[np.arange(len(y)), y] = 0.9
    return p[:, 1:] if classes == 2 else p


def metric(judgement: Judgement, name: str) -> JudgedMetric:
    return next(one for one in judgement.metrics if one.name == name)


def test_a_good_classifier_beats_the_most_frequent_class() -> None:
    """The verdict names both metrics; each class has its scores, and the matrix its counts."""
    y = np.arange(60) % 3
    found = judge(confident(y, 3), data(y, MULTICLASS), 0)
    assert found.beats_baseline is True
    assert found.main == JudgedMetric(name="accuracy", value=1, baseline=1 / 3, low=1, high=1, better=1)
    assert found.verdict == (
        "accuracy 1 (95 % interval 1 to 1) beats 0.333, the accuracy of always predicting the most frequent class"
    )
    assert found.confusion == ((20, 0, 0), (0, 20, 0), (0, 0, 20))
    assert metric(found, "roc auc").value == 1
    assert metric(found, "calibration error").value == pytest.approx(0.1, abs=1e-6)


def test_the_example_of_the_card_is_a_verdict() -> None:
    """The reference shows a sentence that training writes, but for its numbers."""
    y = np.arange(60) % 2
    verdict = judge(confident(y), data(y), 0).verdict
    numbers = r"\d+\.?\d*"
    examples = Judgement.model_fields["verdict"].examples
    assert examples is not None
    assert [re.sub(numbers, "0", one) for one in examples] == [re.sub(numbers, "0", verdict)]


def test_what_comes_from_rounding_is_zero() -> None:
    """The baseline predicts the frequencies of the held-out data exactly; floats would say 8e-17."""
    y = np.repeat([0, 0, 1, 0, 0], 7)
    assert metric(judge(confident(y), data(y), 0), "calibration error").baseline == 0


def test_a_small_error_of_small_numbers_is_not_zero() -> None:
    """It has the unit of the target."""
    y = np.linspace(1, 2, 20, dtype=np.float32)[:, np.newaxis] * np.float32(1e-14)
    assert 0 < metric(judge(y * np.float32(1.1), data(y, REGRESSION), 0), "mae").value < 1e-12


def test_scores_of_classes_are_worked_out() -> None:
    """Of three sequences of class 0 two are found, of two of class 1 one; rows are true classes."""
    p = np.array([[0.1], [0.2], [0.8], [0.9], [0.3]], np.float32)
    found = judge(p, data(np.array([0, 0, 0, 1, 1])), 0)
    assert found.confusion == ((2, 1), (1, 1))
    assert found.classes is not None
    assert [(one.name, one.support) for one in found.classes] == [("0", 3), ("1", 2)]
    assert [one.precision for one in found.classes] == pytest.approx([2 / 3, 1 / 2])
    assert [one.recall for one in found.classes] == pytest.approx([2 / 3, 1 / 2])
    assert metric(found, "balanced accuracy").value == pytest.approx(7 / 12)
    assert metric(found, "roc auc").value == pytest.approx(5 / 6)


@pytest.mark.parametrize("seed", range(3))
def test_a_classifier_of_noise_does_not_beat_the_most_frequent_class(seed: int) -> None:
    """Neither accuracy nor balanced accuracy is better, with equal classes and with a rare one."""
    rng = np.random.default_rng(seed)
    for share in (0.5, 0.9):
        y = (rng.random(400) > share).astype(np.int64)
        found = judge(rng.random((400, 1)).astype(np.float32), data(y), 0)
        assert found.beats_baseline is not True
    always_the_same = judge(np.full((400, 1), 0.2, np.float32), data(y), 0)
    assert always_the_same.beats_baseline is False
    assert "does not beat" in always_the_same.verdict


def test_a_rare_class_that_is_found_beats_the_baseline_in_balanced_accuracy() -> None:
    """Half of what the model finds is wrong, so that accuracy is no better than with no model."""
    y = np.repeat([0, 1], [380, 20])
    p = np.zeros((400, 1), np.float32)
    p[360:] = 0.9
    found = judge(p, data(y), 0)
    assert found.metric == "balanced accuracy"
    assert metric(found, "accuracy").value == metric(found, "accuracy").baseline == 0.95
    assert found.beats_baseline is True


def test_few_sequences_are_not_certain() -> None:
    """A model that is right in four of five cannot be told from one that always predicts the same."""
    found = judge(confident(np.array([0, 0, 1, 1, 0])), data(np.array([0, 0, 1, 0, 0])[[0, 1, 2, 4, 3]]), 0)
    assert found.beats_baseline is not True
    found = judge(confident(np.array([0, 0, 0, 1, 1])), data(np.array([0, 0, 0, 1, 1])), 0)
    assert found.beats_baseline is None
    assert "too few to be certain" in found.verdict


def test_numbers_are_compared_with_the_mean(rng: np.random.Generator) -> None:
    """Each number has its metrics; noise does not beat the mean."""
    y = labels(200, TWO_NUMBERS)
    found = judge(y + np.float32(0.1), data(y, TWO_NUMBERS), 0)
    assert (found.baseline, found.metric, found.beats_baseline) == ("mean", "r2", True)
    assert metric(found, "mae of two").value == pytest.approx(0.1, abs=1e-6)
    assert metric(found, "mae of two").baseline == pytest.approx(np.abs(y[:, 1] - y[:, 1].mean()).mean())
    assert metric(found, "mae of two").better == 1
    assert found.classes is None
    assert found.confusion is None
    noise = judge(rng.standard_normal((200, 2)).astype(np.float32), data(y, TWO_NUMBERS), 0)
    assert noise.beats_baseline is False


def test_forecasts_are_compared_with_the_last_value(rng: np.random.Generator) -> None:
    """A random walk is hardly better predicted than by its last value, which may be followed by a gap."""
    walk = np.cumsum(rng.standard_normal(300)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(walk, 5)
    x, y = windows[:, :4, np.newaxis].copy(), windows[:, 4:].copy()
    last = x[:, 3].copy()
    x[10, 3], x[11] = np.nan, np.nan
    made = dataset(x, y, Target(task="regression", names=("load+1",)))
    made = replace(made, test=made.train, ordered=True, past=(0,))
    found = judge(last + 0.5, made, 0)
    assert (found.baseline, found.beats_baseline) == ("last value", False)
    assert found.main.baseline > 0.8
    for past in ((), (None,)):
        assert judge(last, replace(made, past=past), 0).baseline == "mean"


def test_sequences_of_a_group_are_drawn_together(rng: np.random.Generator) -> None:
    """Ten copies of each sequence do not make the interval narrower."""
    y, right = rng.integers(0, 2, 40), rng.random(40) < 0.7
    p = confident(np.where(right, y, 1 - y))
    once = judge(p, data(y), 0).main
    made = data(np.repeat(y, 10))
    copied = judge(np.repeat(p, 10, axis=0), made, 0).main
    grouped = judge(
        np.repeat(p, 10, axis=0), replace(made, test=replace(made.test, groups=np.repeat(np.arange(40) + 7, 10))), 0
    ).main
    assert once.low is not None
    assert grouped.low == pytest.approx(once.low)
    assert copied.low is not None
    assert copied.low > once.low + 0.05


def test_the_interval_is_about_that_of_the_binomial_distribution() -> None:
    """75 of 100 are right: 0.75 ± 1.96 · sqrt(0.75 · 0.25 / 100)."""
    y = np.arange(100) % 2
    found = judge(confident(np.where(np.arange(100) < 75, y, 1 - y)), data(y), 0).main
    assert (found.low, found.high) == pytest.approx((0.665, 0.835), abs=0.02)


def test_the_seed_decides_the_interval(rng: np.random.Generator) -> None:
    """The same seed gives the same judgement."""
    y = labels(50, REGRESSION)
    predictions = y + rng.standard_normal((50, 1)).astype(np.float32)
    assert judge(predictions, data(y, REGRESSION), 1) == judge(predictions, data(y, REGRESSION), 1)
    assert judge(predictions, data(y, REGRESSION), 1) != judge(predictions, data(y, REGRESSION), 2)


@pytest.mark.parametrize("target", [BINARY, MULTICLASS, REGRESSION, TWO_NUMBERS])
def test_weighted_metrics_are_those_of_scikit_learn(target: Target, rng: np.random.Generator) -> None:
    """With weights of 1 they are the judged metrics; with others, scikit-learn's with these weights."""
    y = labels(30, target)
    predictions = rng.dirichlet(np.ones(3), 30)[:, : target.outputs].astype(np.float32)
    metrics, weighted = judged_metrics(predictions, y, target), weighted_metrics(predictions, y, target)
    ones = weighted(np.ones(30))
    assert ones == pytest.approx({name: metrics[name] for name in ones})
    weights = rng.integers(0, 4, 30).astype(np.float64)
    found = weighted(weights)
    if target.task == "regression":
        assert found["r2"] == pytest.approx(r2_score(y, predictions, sample_weight=weights))
        if target is REGRESSION:
            assert found["mae"] == pytest.approx(mean_absolute_error(y, predictions, sample_weight=weights))
        return
    p = np.hstack([1 - predictions, predictions]) if target is BINARY else predictions
    chosen = p.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(accuracy_score(y, chosen, sample_weight=weights))
    assert found["balanced accuracy"] == pytest.approx(balanced_accuracy_score(y, chosen, sample_weight=weights))
    assert found["log loss"] == pytest.approx(log_loss(y, p, sample_weight=weights), rel=1e-5)


def test_several_labels_of_a_sequence_are_judged_one_by_one(rng: np.random.Generator) -> None:
    """Accuracy is the fraction of labels that are right; there is no confusion matrix."""
    y = rng.integers(0, 2, (100, 3))
    target = MULTICLASS.model_copy(update={"task": "multilabel"})
    found = judge(np.where(y == 1, 0.8, 0.2).astype(np.float32), data(y, target), 0)
    assert (found.metric, found.main.value, found.beats_baseline) == ("accuracy", 1, True)
    assert found.confusion is None
    assert found.classes is not None
    assert [one.support for one in found.classes] == y.sum(axis=0).tolist()


def test_held_out_data_of_one_class_or_one_sequence_are_judged() -> None:
    """The area under the ROC curve is not defined then."""
    found = judge(confident(np.zeros(5, int)), data(np.zeros(5, int)), 0)
    assert "roc auc" not in {one.name for one in found.metrics}
    assert found.beats_baseline is False
    assert judge(np.array([[2.0]]), data(np.array([[1.0]], np.float32), REGRESSION), 0).main.value == 0


def test_many_classes_have_no_matrix() -> None:
    """A card of 200 classes would hold 40,000 counts."""
    y = np.arange(200)
    target = Target(task="multiclass", classes=tuple(map(str, range(200))))
    found = judge(confident(y, 200), data(y, target), 0)
    assert found.confusion is None
    assert len(found.classes or ()) == 200
