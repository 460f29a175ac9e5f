"""Untrained models of given shapes, published for `python -m benchmarks.models`."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from service.artifact.card import AttentionProfile, ModelCard, Target, TrainingRecord
from service.artifact.version import Artifact

#: Sequences of the golden example, as many as training records.
GOLDEN_SEQUENCES = 32


class Shape(NamedTuple):
    """The shape of an `after_lstm` model, whose sequences have so many timesteps, or at most so many."""

    timesteps: int
    features: int
    units: int
    variable_length: bool = False

    def __str__(self) -> str:
        return f"{self.timesteps:,} × {self.features}, {self.units} units"

    @property
    def name(self) -> str:
        """The first part of the names of models of this shape."""
        most = "most-" if self.variable_length else ""
        return f"shape-{most}{self.timesteps}x{self.features}-{self.units}"


SHAPES = (Shape(20, 2, 32), Shape(1460, 1, 32), Shape(500, 16, 128))


def publish_models(shape: Shape, count: int, folder: Path) -> Path:
    """Publish models of one shape that have the same graph, unless they are there already.

    Returns:
        The artifacts folder, which holds these models alone: `<shape>-1`, `<shape>-2` and so on.
    """
    original = folder / f"{shape.name}-x1" / f"{shape.name}-1"
    if not (original / "1").exists():
        original.mkdir(parents=True, exist_ok=True)
        _publish_untrained(shape, original)
    artifacts = folder / f"{shape.name}-x{count}"
    for number in range(1, count + 1):
        name = f"{shape.name}-{number}"
        if not (artifacts / name).exists():
            copy = Artifact(artifacts / name / "1")
            shutil.copytree(original / "1", copy.directory)
            card = ModelCard.model_validate_json(copy.card_path.read_text())
            copy.card_path.write_text(card.model_copy(update={"name": name}).model_dump_json(indent=2) + "\n")
            copy.write_sums()
    return artifacts


def _publish_untrained(shape: Shape, home: Path) -> None:
    # TensorFlow is imported here because a published model does not need it.
    from training import models
    from training.data import Dataset, LabelledSequences, numbered
    from training.export import publish
    from training.options import Options

    rng = np.random.default_rng(0)
    x = rng.standard_normal((GOLDEN_SEQUENCES, shape.timesteps, shape.features)).astype(np.float32)
    split = LabelledSequences(x, np.arange(len(x)) % 2)
    data = Dataset(
        train=split,
        test=split,
        target=Target(task="binary", classes=("0", "1")),
        timestep_labels=numbered(shape.timesteps),
        feature_labels=numbered(shape.features),
        variable_length=shape.variable_length,
        missing_values=False,
        scale=None,
    )
    card = ModelCard(
        name=home.name,
        created=datetime.now(UTC),
        architecture="after_lstm",
        timesteps=shape.timesteps,
        features=shape.features,
        timestep_labels=data.timestep_labels,
        feature_labels=data.feature_labels,
        variable_length=shape.variable_length,
        target=data.target,
        metrics={"accuracy": 0.5},
        attention=AttentionProfile(
            sequences=1,
            mean=(1 / shape.timesteps,) * shape.timesteps,
            spread=(0.0,) * shape.timesteps,
            peak=0,
            sum_error=0,
        ),
        training=TrainingRecord(options={}, libraries={}, sequences=1, parameters=1, epochs=1, best_epoch=1, seconds=0),
    )
    publish(models.build(data, Options(units=shape.units)), card, x, home)
