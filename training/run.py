"""One training run, from options to a published version."""

import math
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import keras
import tensorflow as tf

from service.inference.card import ModelCard, TrainingRecord
from training import data, export, models, train
from training.evaluate import evaluate
from training.options import Options

LIBRARIES = ("tensorflow", "keras", "numpy", "tf2onnx", "onnx", "onnxruntime")


def run(options: Options) -> Path:
    """Train, evaluate and publish.

    Args:
        options: what to train, on what, and where to publish it.

    Returns:
        The directory of the published version.

    Raises:
        TrainingError: the data cannot be trained on, or what was exported is not what was trained.
        OSError: the version cannot be written.
    """
    dataset = data.load(options)
    home = options.artifacts / options.model_name
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=home):
        pass  # before the fit: hours of it should not end in a folder that is read-only
    keras.backend.clear_session()  # layer names count from 1 in every run of a process
    keras.utils.set_random_seed(options.seed)
    tf.config.experimental.enable_op_determinism()

    model = models.build(
        options.architecture,
        dataset.train.x[:],
        dataset.target,
        options.units,
        standardise=dataset.scale is not None,
    )
    start = time.perf_counter()
    fitted = train.fit(model, dataset.train, dataset.target.task, options)
    seconds = time.perf_counter() - start
    evaluation = evaluate(model, dataset.test, dataset.target.task)

    timesteps, features = dataset.train.x.shape[1:]
    card = ModelCard(
        name=options.model_name,
        created=datetime.now(UTC),
        architecture=options.architecture,
        timesteps=timesteps,
        features=features,
        timestep_labels=tuple(map(str, range(timesteps))),
        feature_labels=tuple(map(str, range(features))),
        target=dataset.target,
        metrics=evaluation.metrics,
        attention=evaluation.profile,
        training=TrainingRecord(
            options=options.model_dump(mode="json"),
            libraries={name: version(name) for name in LIBRARIES},
            sequences=fitted,
            parameters=sum(math.prod(weight.shape) for weight in model.trainable_weights),
            seconds=seconds,
        ),
    )
    return export.publish(model, card, dataset.test.x[:], home)
