"""An evaluation does not depend on the batch size, and agrees with results by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.artifact.tensors import ATTENTION_VEC, PREDICTION
from tests.samples import BINARY, dataset
from training import TrainingError, faithfulness
from training import evaluate as module
from training.evaluate import attending, evaluate, forward, marked_attention, predict
from training.models import build
from training.options import Options
from training.scores import compute_metrics

X = np.random.default_rng(0).standard_normal((50, 4, 2)).astype(np.float32)
BASELINE = np.zeros((4, 2), np.float32)


def test_attention_on_marked_timesteps_is_worked_out() -> None:
    """The result is the attention on marked timesteps, and whether the peak is marked."""
    attention = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], np.float32)
    marked = np.array([[True, False, True], [True, True, False]])
    np.testing.assert_allclose(marked_attention(attention, marked), [[0.7, 1], [0.3, 0]], rtol=1e-6)


@pytest.mark.parametrize("batch_size", [7, 50, 1024])
def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch, batch_size: int) -> None:
    """Metrics, profile and marked attention equal those of one batch."""
    monkeypatch.setattr(module, "BATCH_SIZE", batch_size)
    data = dataset(X)
    marked = np.zeros((50, 4), np.bool_)
    marked[:, 2] = True
    model = build(data, Options(units=4))
    outputs = model.predict(X, verbose=0)
    attention = outputs[ATTENTION_VEC].mean(axis=-1)
    found = evaluate(forward(model), replace(data.train, marked=marked), BINARY, BASELINE, seed=0)
    for name, value in compute_metrics(outputs[PREDICTION], data.train.y, BINARY).items():
        assert found.metrics[name] == pytest.approx(value, abs=1e-6)
    assert found.metrics["attention on marked"] == pytest.approx(attention[:, 2].mean(), abs=1e-6)
    assert found.metrics["peak on marked"] == (attention.argmax(axis=1) == 2).mean()
    np.testing.assert_allclose(found.profile.mean, attention.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(predict(forward(model), X), outputs[PREDICTION], atol=1e-6)


def test_a_model_with_outputs_that_are_not_finite_is_refused() -> None:
    """The evaluation fails before the export."""
    model = build(dataset(X), Options(units=4))
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    with pytest.raises(TrainingError, match="training diverged"):
        evaluate(forward(model), dataset(X).train, BINARY, BASELINE, seed=0)


@pytest.mark.parametrize("architecture", ["after_lstm", "before_lstm", "additive", "inception"])
def test_given_attention_takes_the_place_of_the_models_own(architecture: Any) -> None:
    """A model's own attention gives its own predictions, and other attention gives others; timesteps may be absent."""
    x = X.copy()
    x[::2, 3] = np.nan
    model = build(dataset(x, variable_length=True), Options(architecture=architecture, units=4))
    attend, outputs = attending(model), forward(model)(x, (PREDICTION, ATTENTION_VEC))
    own = outputs[ATTENTION_VEC]
    np.testing.assert_allclose(attend(x, own), outputs[PREDICTION], atol=1e-6)
    assert np.abs(attend(x, own[:, ::-1]) - outputs[PREDICTION]).max() > 1e-6


def test_other_attention_is_tried_where_removals_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two more predictions take little time, however long the sequences are."""
    monkeypatch.setattr(faithfulness, "MOST_TIMESTEPS", 0)
    monkeypatch.setattr(faithfulness, "TIMESTEPS_AT_A_TIME", 2 * X.shape[1])
    data = dataset(X)
    model = build(data, Options(units=4))
    found = evaluate(forward(model), data.train, BINARY, BASELINE, seed=0, attend=attending(model)).faithfulness
    assert found is not None
    assert found.removals == ()
    assert found.verdict.startswith("Not measured: ")
    assert found.uniform is not None
    assert found.permuted is not None
