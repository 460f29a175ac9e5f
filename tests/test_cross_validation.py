"""Cross-validation: the models that predict each sequence, and what the card says."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import training
from service.artifact.card import CrossValidation
from service.artifact.tensors import PREDICTION
from tests.samples import REGRESSION, dataset
from tests.sensors import FRAME_OPTIONS, long_frame, sensors
from training import TrainingError
from training.cross_validation import CrossValidated, cross_validate, fold_of
from training.data import Dataset
from training.fitting import FitResult
from training.folds import parts_of
from training.in_memory import load_arrays, load_frame
from training.options import Options


def numbers() -> Dataset:
    """Return ten sequences whose label is their index."""
    y = np.arange(10, dtype=np.float32)[:, np.newaxis]
    return dataset(y[:, :, np.newaxis], y, REGRESSION, scaled=True)


def mean_of(fold: Dataset, number: int) -> tuple[keras.Model, FitResult]:
    """Return a model that predicts the mean of the training labels of a fold; its best epoch is the fold's number."""
    x = keras.Input((1, 1))
    prediction = layers.Rescaling(0.0, float(fold.train.y.mean()))(x[:, 0])
    return keras.Model(x, {PREDICTION: prediction}), FitResult(len(fold.train), 9, number, 0.1)


def test_each_sequence_is_predicted_from_the_others() -> None:
    """The prediction of a part is the mean of the labels of all others; metrics are of all predictions together."""
    data = numbers()
    parts = parts_of(data, 5, 0)
    outcome = cross_validate(data, parts, mean_of)
    assert sorted(np.concatenate([part.held_out for part in parts]).tolist()) == list(range(10))
    for part in parts:
        others = np.setdiff1d(np.arange(10), part.held_out).mean()
        np.testing.assert_allclose(outcome.predictions[part.held_out, 0], others, rtol=1e-6)
    errors = np.abs(outcome.predictions - data.train.y)
    assert outcome.metrics["mae"] == pytest.approx(errors.mean(), rel=1e-6)
    assert outcome.record.folds == 5
    assert np.mean(outcome.record.metrics["mae"]) == pytest.approx(outcome.metrics["mae"])
    assert outcome.record.epochs == (1, 2, 3, 4, 5)


def test_a_fold_is_scaled_by_its_own_training_data() -> None:
    """The held-out values do not count."""
    data = numbers()
    part = parts_of(data, 5, 0)[0]
    fold = fold_of(data, part)
    assert fold.scale is not None
    assert data.scale is not None
    assert fold.scale.mean[0] == pytest.approx(part.fitted.mean())
    assert fold.scale.mean[0] != data.scale.mean[0]


def test_the_last_fit_has_the_median_of_the_best_epochs() -> None:
    """It has no validation data and ends after these epochs; a closed form keeps its options."""
    options = Options(data="a.csv", patience=3, validation_split=0.2, epochs=50)

    def last(*epochs: int) -> Options:
        record = CrossValidation(folds=3, metrics={"r2": (0.1, 0.2, 0.3)}, epochs=epochs)
        return CrossValidated(np.zeros((3, 1), np.float32), {}, record).last_options(options)

    chosen = last(40, 7, 9)
    assert (chosen.epochs, chosen.patience, chosen.validation_split) == (9, None, 0.0)
    assert last() == options


def test_metrics_and_judgement_come_from_all_folds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The model is fitted on all sequences; card and summary say where the metrics come from."""
    learning = {"architecture": "after_lstm", "units": 4, "epochs": 12, "batch_size": 8, "learning_rate": 0.02}
    result = training.train(
        *sensors(),
        name="m",
        artifacts=tmp_path,
        cross_validate=3,
        validation_split=0.2,
        publish_anyway=True,
        **learning,
    )
    card, record = result.card, result.card.cross_validation
    assert record is not None
    assert card.training is not None
    assert (record.folds, len(record.epochs), card.training.sequences) == (3, 3, 60)
    assert card.training.epochs == round(np.median(record.epochs))
    assert card.training.options["epochs"] == 12
    assert np.mean(record.metrics["accuracy"]) == pytest.approx(card.metrics["accuracy"])  # the folds have one size
    assert card.judgement is not None
    assert card.judgement.main.value == pytest.approx(card.metrics["accuracy"])
    assert sum(map(sum, card.judgement.confusion or ())) == 60
    assert "60 sequences, cross-validated in 3 folds: accuracy" in str(result)
    assert "fold 2 of 3\n" in capsys.readouterr().err


def test_auto_chooses_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The choice takes no part of the first fold that is held out; then each fold has the chosen architecture."""
    result = training.train(*sensors(), name="m", artifacts=tmp_path, cross_validate=2)
    assert [trial.outcome for trial in result.card.trials] == ["chosen"]
    assert result.card.architecture == "minirocket"
    assert result.card.cross_validation is not None
    assert (result.card.cross_validation.folds, result.card.cross_validation.epochs) == (2, ())
    printed = capsys.readouterr().err
    assert printed.count("trying minirocket") == 1
    assert printed.count("fold") == 2


def test_a_resumed_training_repeats_no_fold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The fits of all folds, and the last one, have checkpoints."""
    x, y = np.ones((40, 3, 1)), np.repeat(["bad", "good"], [10, 30])
    options: dict[str, Any] = {"name": "m", "artifacts": tmp_path, "architecture": "after_lstm", "units": 2}
    options |= {"epochs": 1, "cross_validate": 2}
    with pytest.raises(TrainingError, match="nothing is published"):
        training.train(x, y, **options)
    assert " 0/" in capsys.readouterr().err
    result = training.train(x, y, **options, publish_anyway=True, resume=True)
    printed = capsys.readouterr().err
    assert "fold 2 of 2" in printed
    assert " 0/" not in printed
    assert result.card.cross_validation is not None


@pytest.mark.parametrize("grouped", [False, True])
def test_there_must_be_enough_for_each_fold(grouped: bool) -> None:  # noqa: FBT001
    """A fold needs a sequence, or a group of them."""
    given: dict[str, Any] = {"cross_validate": 61, **FRAME_OPTIONS}
    if grouped:
        frame = long_frame().assign(hall=["north", "south"] * 150).sort_values(["hall", "machine"])
        frame["hall"] = frame.groupby("machine")["hall"].transform("first")
        frame.loc[frame["machine"] == "m3", "hall"] = "south"
        options = Options(**{**given, "data": "frame", "cross_validate": 3, "group_column": "hall"})
        with pytest.raises(TrainingError, match="--cross-validate 3: expected at least as many groups, got 2"):
            load_frame(options, frame)
    else:
        x, y = sensors()
        with pytest.raises(TrainingError, match="--cross-validate 61: expected at least as many sequences, got 60"):
            load_arrays(Options(data="arrays", cross_validate=61), x, y)
