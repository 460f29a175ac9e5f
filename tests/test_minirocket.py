"""MiniRocket's kernels and regression, and attention as the share of the evidence."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

from service.artifact.card import Target
from service.artifact.tensors import ATTENTION_VEC, PREDICTION
from service.artifact.version import Artifact
from tests.samples import BINARY, MULTICLASS, REGRESSION, TWO_NUMBERS, dataset, trained
from training import TrainingError
from training.data import Dataset
from training.evaluate import forward
from training.minirocket import EVIDENCE, KERNELS, dilations, fit, kernels
from training.options import Options

#: The values from timestep 20 to 24 in a sequence of class 1.
MARK = np.array([3, -3, 3, -3, 3])


def marked(n: int = 80, **kind: Any) -> Dataset:
    """Return noise of 40 × 2 in two classes; a pattern marks class 1."""
    x = np.random.default_rng(0).standard_normal((n, 40, 2)) * 0.5
    x[1::2, 20:25, 0] += MARK
    return dataset(x * 10 + 1000, held_out=n // 4, scaled=True, **kind)


def outputs_of(model: keras.Model, x: Any) -> dict[str, Any]:
    """Return the outputs for sequences, and the evidence of each timestep."""
    evidence = model.get_layer(EVIDENCE).output
    named = {**model.output, EVIDENCE: evidence}
    return dict(forward(keras.Model(model.input, named))(x, named))


def test_the_kernels_are_those_of_minirocket() -> None:
    """There are 84 of length 9 and sum 0, with three weights of 2."""
    assert KERNELS.shape == (84, 9)
    assert len(np.unique(KERNELS, axis=0)) == 84
    assert not KERNELS.sum(axis=1).any()
    assert ((KERNELS == 2).sum(axis=1) == 3).all()


def test_kernels_read_some_features_and_never_more_than_nine() -> None:
    """The features of a kernel are drawn without repetition, and all their weights are the kernel's."""
    weights = kernels(168, 30, np.random.default_rng(0))
    read = (weights != 0).all(axis=0)  # (features, kernels)
    np.testing.assert_array_equal(read, (weights != 0).any(axis=0))
    assert read.sum(axis=0).min() >= 1
    assert 2 < read.sum(axis=0).max() <= 9
    np.testing.assert_array_equal(weights.max(axis=1)[:, :84].T + weights.min(axis=1)[:, :84].T, KERNELS)


@pytest.mark.parametrize(
    ("timesteps", "expected"),
    [(1, [1]), (9, [1]), (17, [1, 2]), (33, [1, 2, 3, 4]), (1000, [1, 3, 7, 15, 31, 62, 124])],
)
def test_the_widest_kernel_fits_into_a_sequence(timesteps: int, expected: list[int]) -> None:
    """Dilations grow by equal factors from 1."""
    assert dilations(timesteps) == expected


@pytest.mark.parametrize("target", [BINARY, MULTICLASS, REGRESSION, TWO_NUMBERS], ids=lambda target: target.task)
@pytest.mark.parametrize("gaps", [False, True])
def test_prediction_and_attention_follow_from_the_evidence(target: Target, gaps: bool) -> None:  # noqa: FBT001
    """Scores are the mean evidence of the present timesteps; attention is each timestep's share of its absolute sum."""
    x = np.random.default_rng(0).standard_normal((60, 12, 3))
    if gaps:
        x[::3, 8:] = np.nan
        x[1::3, 4] = np.nan
        x[2::3, 5, 1] = np.nan
    data = dataset(x, target=target, variable_length=gaps, missing_values=gaps, scaled=True)
    model, fitted = fit(data, Options(), 0)
    outputs = outputs_of(model, data.train.x[:])
    there = ~np.isnan(x).all(axis=-1, keepdims=True)  # (n, timesteps, 1)
    amount = np.abs(outputs[EVIDENCE]).sum(axis=-1, keepdims=True) * there
    np.testing.assert_allclose(outputs[ATTENTION_VEC], amount / amount.sum(axis=1, keepdims=True), rtol=0, atol=1e-5)
    assert (outputs[ATTENTION_VEC][~there] == 0).all()
    scores = (outputs[EVIDENCE] * there).sum(axis=1) / there.sum(axis=1)
    weights, bias = next(layer for layer in reversed(model.layers) if isinstance(layer, layers.Dense)).get_weights()
    expected = scores @ weights + bias
    match target.task:
        case "binary":
            expected = 1 / (1 + np.exp(-expected))
        case "multiclass":
            expected = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
        case "regression":
            expected = expected * data.train.y.std(axis=0) + data.train.y.mean(axis=0)
    np.testing.assert_allclose(outputs[PREDICTION], expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(weights, weights[0, 0] * np.eye(len(weights), dtype=np.float32))
    assert (fitted.sequences, fitted.epochs) == (60, None)


def test_a_pattern_is_found_and_gets_the_most_attention() -> None:
    """Accuracy on held-out sequences is 1; attention is highest near the pattern that marks a class."""
    data = marked()
    outputs = outputs_of(fit(data, Options(), 0)[0], data.test.x[:])
    np.testing.assert_array_equal(outputs[PREDICTION][:, 0] > 0.5, data.test.y)
    attention = outputs[ATTENTION_VEC][data.test.y == 1, :, 0].mean(axis=0)
    assert 18 <= attention.argmax() <= 26
    assert attention[16:29].sum() > 0.45  # on 13 of 40 timesteps, of which kernels reach the pattern


def test_levels_are_found_although_kernels_do_not_see_them() -> None:
    """A constant that differs between the classes decides."""
    x = np.random.default_rng(0).uniform(-1, 1, (80, 1, 1)) * np.ones((1, 10, 1))
    data = dataset(x, (x[:, 0, 0] > 0.2).astype(np.int64), held_out=30, scaled=True)
    outputs = outputs_of(fit(data, Options(), 0)[0], data.test.x[:])
    assert ((outputs[PREDICTION][:, 0] > 0.5) == data.test.y).mean() > 0.9


@pytest.mark.parametrize("timesteps", [1, 2, 9])
def test_very_short_sequences_are_possible(timesteps: int) -> None:
    """Kernels then read beyond both ends, where values are 0."""
    x = np.random.default_rng(0).standard_normal((40, timesteps, 2))
    data = dataset(x, (x[:, 0, 0] > 0).astype(np.int64), scaled=True)
    outputs = outputs_of(fit(data, Options(), 0)[0], data.train.x[:])
    np.testing.assert_allclose(outputs[ATTENTION_VEC].sum(axis=1), 1, rtol=0, atol=1e-5)
    assert ((outputs[PREDICTION][:, 0] > 0.5) == data.train.y).mean() > 0.9


def test_constant_sequences_have_equal_attention_everywhere() -> None:
    """Without evidence, all timesteps count alike, and the majority is predicted."""
    data = dataset(np.full((20, 5, 1), 7.0), (np.arange(20) < 15).astype(np.int64), scaled=True)
    outputs = outputs_of(fit(data, Options(), 0)[0], data.train.x[:])
    np.testing.assert_allclose(outputs[ATTENTION_VEC], 0.2, rtol=1e-5)
    assert (outputs[PREDICTION] > 0.5).all()


def test_probabilities_are_as_sure_as_left_out_sequences_are_right() -> None:
    """Random labels have probabilities near the classes' frequencies; a clear pattern has almost 0 or 1."""
    noise = dataset(np.random.default_rng(0).standard_normal((100, 10, 1)), held_out=20, scaled=True)
    unsure, sure = (outputs_of(fit(data, Options(), 0)[0], data.test.x[:])[PREDICTION] for data in (noise, marked()))
    assert np.abs(unsure - 0.5).mean() < 0.2
    assert np.abs(sure - 0.5).mean() > 0.45


def test_a_weight_of_a_class_moves_the_predictions_towards_it() -> None:
    """`--class-weight` counts as in the other architectures, and its errors are the same."""
    data = dataset(np.random.default_rng(0).standard_normal((60, 10, 1)), scaled=True)
    plain, weighted = (
        outputs_of(fit(data, Options(class_weight=weight), 0)[0], data.train.x[:])[PREDICTION].mean()
        for weight in ({}, {"1": 10.0})
    )
    assert weighted > plain + 0.01
    with pytest.raises(TrainingError, match="--class-weight: expected classes of 0, 1, got 7"):
        fit(data, Options(class_weight={"7": 2.0}), 0)


def test_the_seed_decides_the_weights() -> None:
    """The same seed gives the same weights; another seed gives kernels other features."""
    first, again, other = (fit(marked(), Options(), seed)[0].get_weights() for seed in (0, 0, 1))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert any((one != three).any() for one, three in zip(first, other, strict=True))


def test_only_some_of_many_sequences_are_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fit of a large data set takes no more memory than that of a smaller one."""
    monkeypatch.setattr("training.minirocket.MOST_SEQUENCES", 30)
    model, fitted = fit(data := marked(), Options(), 0)
    assert fitted.sequences == 30
    assert outputs_of(model, data.test.x[:])[PREDICTION].shape == (20, 1)


def test_columns_of_other_magnitudes_are_published(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Small columns have large weights; their sum is so exact that engines agree. No warning is shown."""
    rng = np.random.default_rng(0)
    machine, load = np.arange(300) // 20, rng.uniform(0, 2, 300)
    columns = {"machine": 100 + machine, "serial": 1000 + machine * 7, "load": load, "temp": rng.normal(20, 5, 300)}
    frame = pd.DataFrame({**columns, "state": np.where(load > 1, "alarm", "ok")})
    frame.round(3).to_csv(tmp_path / "table.csv", index=False)
    options = {"target_column": ("state",), "architecture": "minirocket", "artifacts": tmp_path}
    lowering = Artifact(trained(data=str(tmp_path / "table.csv"), name="m", **options)).read().card().lowering
    assert lowering is not None
    assert lowering.error < 1e-5
    assert caplog.text == ""


def test_a_training_publishes_a_version_without_epochs(three_classes: Path, tmp_path: Path) -> None:
    """Both engines replay it; its lowering is as close as that of other architectures."""
    version = trained(data=str(three_classes), name="three", architecture="minirocket", artifacts=tmp_path)
    card = Artifact(version).read().card()
    assert card.training is not None
    assert (card.architecture, card.training.epochs, card.training.sequences) == ("minirocket", None, 192)
    assert card.metrics["accuracy"] > 0.9
    assert card.lowering is not None
    assert card.lowering.error < 1e-5
