"""The export of a trained model as a version that the service can serve."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from service.artifact import publishing
from service.artifact.card import Lowering, ModelCard
from service.artifact.gate import open_verified
from service.artifact.tensors import ATTENTION, ATTENTION_VEC, PREDICTION, SEQUENCE, SIGNATURES, Array
from service.artifact.version import Artifact, saved_model_digest
from service.charts.card_charts import confusion_chart, training_chart
from service.charts.fonts import NoFont
from service.engines import opener
from training import TrainingError
from training.lowering import OPSET, write_lowering

#: Number of held-out sequences in the golden example, and largest number that the lowering is checked on.
GOLDEN_SEQUENCES, CHECKED_SEQUENCES = 32, 1000

logger = logging.getLogger(__name__)


def publish(model: keras.Model, card: ModelCard, sample: Array, home: Path) -> Path:
    """Write a version to a staging directory, verify it as the service does, and publish it by one rename.

    The held-out `sample (n, timesteps, features)` gives the golden example, and more to check the lowering on.
    This function adds the lowering to the card. Return the directory of the published version.

    Raises:
        TrainingError: the lowering's outputs differ from the SavedModel's, or TensorFlow cannot write.
        ArtifactError: the service's loader refuses the version.
        OSError: the version cannot be written.
    """
    with publishing.staging(home) as staged:
        artifact = Artifact(staged)
        attend = _write_saved_model(model, staged)
        digests = artifact.digests()
        golden = sample[:GOLDEN_SEQUENCES]
        outputs = {name: value.numpy() for name, value in attend(tf.constant(golden)).items()}
        recorded: dict[str, Any] = {SEQUENCE: golden, **{name: outputs[name] for name in (PREDICTION, ATTENTION_VEC)}}
        write_golden(artifact, recorded)
        error = write_lowering(attend, artifact.lowering_path, sample[:CHECKED_SEQUENCES], card.target)
        lowering = Lowering(opset=OPSET, error=error, source_digest=saved_model_digest(digests))
        write_card(artifact, card.model_copy(update={"lowering": lowering}))
        artifact.write_sums(known=digests)
        contents = artifact.read()
        for engine in ("onnx", "tensorflow"):
            open_verified(contents, opener(engine, threads=1))
        return publishing.publish(staged, home)


def write_golden(artifact: Artifact, recorded: Mapping[str, Array]) -> None:
    """Write the golden example, the first file of `assets.extra`: arrays by the names of the contract."""
    artifact.golden_path.parent.mkdir()
    arrays: dict[str, Any] = dict(recorded)
    np.savez(artifact.golden_path, **arrays)


def write_card(artifact: Artifact, card: ModelCard) -> None:
    """Write the card, and its charts of attention and of the confusion matrix for people who open the folder."""
    charts = {
        artifact.chart_path: training_chart(card, card.name),
        artifact.confusion_path: confusion_chart(card, card.name),
    }
    for path, chart in charts.items():
        if chart is None:
            continue
        chart.save(path("svg"))
        try:
            chart.save(path("png"))
        except NoFont as error:
            logger.warning("%s is not written: %s", path("png").name, error)
    artifact.card_path.write_text(card.model_dump_json(indent=2) + "\n")


def _write_saved_model(model: keras.Model, directory: Path) -> tf.types.experimental.GenericFunction:
    """Write the SavedModel. Return the function of its `attention` signature."""
    specification = tf.TensorSpec((None, *model.input.shape[1:]), tf.float32, name=SEQUENCE)

    @tf.function(input_signature=[specification], autograph=False)
    def attend(sequence: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model(sequence, training=False)
        attention_vec = outputs[ATTENTION_VEC]
        return {
            PREDICTION: outputs[PREDICTION],
            ATTENTION: tf.reduce_mean(attention_vec, axis=-1),  # (batch, timesteps)
            ATTENTION_VEC: attention_vec,
        }

    @tf.function(input_signature=[specification], autograph=False)
    def predict(sequence: tf.Tensor) -> dict[str, tf.Tensor]:
        return {PREDICTION: model(sequence, training=False)[PREDICTION]}

    # Not keras.export.ExportArchive: it collects variables in the order of a set, so that the same weights would have
    # another digest in every run.
    module = tf.Module()
    module.weights = [weight.value for weight in model.weights]
    functions = dict(zip(SIGNATURES, (predict, attend), strict=True))
    try:
        tf.saved_model.save(module, str(directory), signatures=functions)
    except tf.errors.OpError as error:  # TensorFlow does not raise OSError, for a full disk for example
        raise TrainingError(f"TensorFlow cannot write to {directory}: {error.message}") from error
    return attend
