"""One training, from options to a published version."""

import logging
import math
import tempfile
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from service.artifact.card import ModelCard, Repeats, TrainingRecord
from training import TrainingError, export, fitting, models
from training.checkpoints import Checkpoints
from training.data import Dataset, mean_sequence
from training.evaluate import Evaluation, evaluate
from training.options import Options

LIBRARIES = ("tensorflow", "keras", "numpy", "tf2onnx", "onnx", "onnxruntime")

logger = logging.getLogger(__name__)


class TrainedModel(NamedTuple):
    """A model, its fit and its evaluation."""

    model: keras.Model
    fitted: fitting.FitResult
    evaluation: Evaluation


def run(options: Options, dataset: Dataset) -> Path:
    """Train, evaluate and publish. Return the directory of the published version.

    Raises:
        TrainingError: the data or the options are unusable, the fit diverges, or the lowering differs from the model.
        OSError: the version cannot be written.
    """
    dataset = replace(dataset, robust=options.loss != "mean_squared_error")
    home = options.artifacts / options.model_name
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=home):
        pass  # fail before the fit, not after hours of it, if the folder is read-only
    checkpoints = Checkpoints(home, options, dataset)
    if not options.resume:
        checkpoints.discard()
    elif not checkpoints:
        logger.warning("nothing to resume: %s has no checkpoint of these options and data; starting over", home)
    try:
        trained = [_train(dataset, options, seed, checkpoints) for seed in options.seeds]
    except TrainingError:  # resuming would fail in the same way
        checkpoints.discard()
        raise
    card = _card(dataset, options, trained)
    published = export.publish(trained[0].model, card, dataset.test.x[: export.CHECKED_SEQUENCES], home)
    checkpoints.discard()
    return published


def _train(dataset: Dataset, options: Options, seed: int, checkpoints: Checkpoints) -> TrainedModel:
    keras.backend.clear_session()  # restart the numbers in layer names
    keras.utils.set_random_seed(seed)
    model = models.build(dataset, options)
    fitted = fitting.fit(model, dataset, options, seed, checkpoints.of(seed))
    return TrainedModel(model, fitted, evaluate(model, dataset.test, dataset.target, seed))


def _card(dataset: Dataset, options: Options, trained: list[TrainedModel]) -> ModelCard:
    model, fitted, evaluation = trained[0]
    _, timesteps, features = dataset.train.x.shape
    return ModelCard(
        name=options.model_name,
        created=datetime.now(UTC),
        architecture=options.architecture,
        timesteps=timesteps,
        features=features,
        timestep_labels=dataset.timestep_labels,
        feature_labels=dataset.feature_labels,
        categories=dict(dataset.categories),
        static_labels=dataset.static_labels,
        hints=dataset.hints,
        variable_length=dataset.variable_length,
        missing_values=dataset.missing_values,
        baseline=tuple(map(tuple, mean_sequence(dataset.train.x).tolist())),
        target=dataset.target,
        metrics=evaluation.metrics,
        attention=evaluation.profile,
        importance=evaluation.importance,
        agreement=evaluation.agreement,
        repeats=_repeats(options, [one.evaluation for one in trained]) if len(trained) > 1 else None,
        training=TrainingRecord(
            options=options.model_dump(mode="json"),
            plan=asdict(fitted.plan) if fitted.plan else {},
            libraries={name: version(name) for name in LIBRARIES},
            sequences=fitted.sequences,
            parameters=sum(math.prod(weight.shape) for weight in model.trainable_weights),
            epochs=fitted.epochs,
            best_epoch=fitted.epoch,
            seconds=fitted.seconds,
            history={name: tuple(values) for name, values in fitted.history.items()},
        ),
    )


def _repeats(options: Options, evaluations: list[Evaluation]) -> Repeats:
    attention = np.array([evaluation.profile.mean for evaluation in evaluations])
    importance = np.array([evaluation.importance.drop for evaluation in evaluations])
    return Repeats(
        seeds=tuple(options.seeds),
        metrics={name: tuple(one.metrics[name] for one in evaluations) for name in evaluations[0].metrics},
        attention=tuple(attention.mean(axis=0).tolist()),
        attention_spread=tuple(attention.std(axis=0).tolist()),
        importance=tuple(importance.mean(axis=0).tolist()),
        importance_spread=tuple(importance.std(axis=0).tolist()),
    )
