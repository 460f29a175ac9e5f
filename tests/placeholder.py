"""A whole version without a model: its graph is a placeholder, and everything else follows the contract.

A version can also be mounted as a volume of Kubernetes.
"""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from service.artifact.card import (
    Agreement,
    AttentionProfile,
    AttentionSource,
    CellImportance,
    ClassScores,
    CrossValidation,
    Faithfulness,
    FeatureImportance,
    Importance,
    JudgedMetric,
    Judgement,
    Lowering,
    ModelCard,
    Origin,
    Removal,
    Repeats,
    Scaling,
    Target,
    TokenRange,
    Tokens,
    TrainingRecord,
)
from service.artifact.layout import CHARTS
from service.artifact.version import Artifact

TIMESTEPS, FEATURES, UNITS = 4, 2, 3


def removal(order: Literal["attention", "importance", "random"], moved: float) -> Removal:
    """Return the results of one order at two fractions; all predictions move as far."""
    return Removal(
        order=order,
        comprehensiveness=(moved, moved),
        sufficiency=(moved, moved),
        comprehensiveness_area=moved,
        sufficiency_area=moved,
        comprehensiveness_interval=(moved, moved),
        sufficiency_interval=(moved, moved),
    )


def complete_card(**fields: Any) -> ModelCard:
    """Return a card on which each field has a value, but for the given ones."""
    mean, spread = (0.1, 0.2, 0.6, 0.1), (0.01,) * TIMESTEPS
    complete: dict[str, Any] = {
        "name": "m",
        "created": datetime(2026, 1, 1, tzinfo=UTC),
        "architecture": "after_lstm",
        "timesteps": TIMESTEPS,
        "features": FEATURES,
        "timestep_labels": ("0", "1", "2", "3"),
        "feature_labels": ("a", "b"),
        "baseline": ((0.0, 0.0),) * TIMESTEPS,
        "target": Target(task="binary", classes=("0", "1")),
        "metrics": {"accuracy": 1.0},
        "attention": AttentionProfile(sequences=9, mean=mean, spread=spread, peak=2, sum_error=1e-7),
        "importance": Importance(metric="accuracy", drop=mean, spread=spread, sequences=9, repetitions=1),
        "feature_importance": FeatureImportance(
            metric="accuracy", drop=(0.5, 0.0), spread=(0.01, 0.0), sequences=9, repetitions=1
        ),
        "cell_importance": CellImportance(
            metric="accuracy", drop=tuple((share / 2, 0.0) for share in mean), sequences=9, repetitions=1, groups=8
        ),
        "agreement": Agreement(rank_correlation=1.0, top=(2,), attention=0.6, importance=0.6),
        "faithfulness": Faithfulness(
            sequences=9,
            fractions=(0.2, 0.5),
            removals=(removal("attention", 0.4), removal("importance", 0.5), removal("random", 0.1)),
            attention_finds="part of it",
            verdict="Attention finds only a part of what matters here: read importance beside it.",
            metric="accuracy",
            uniform=0.9,
            permuted=0.5,
        ),
        "judgement": Judgement(
            metric="accuracy",
            baseline="most frequent class",
            beats_baseline=True,
            verdict="accuracy 1 beats 0.5",
            metrics=(JudgedMetric(name="accuracy", value=1.0, baseline=0.5, low=1.0, high=1.0, better=1.0),),
            classes=(
                ClassScores(name="0", precision=1.0, recall=1.0, f1=1.0, support=5),
                ClassScores(name="1", precision=1.0, recall=1.0, f1=1.0, support=4),
            ),
            confusion=((5, 0), (0, 4)),
        ),
        "cross_validation": CrossValidation(folds=2, metrics={"accuracy": (1.0, 1.0)}, epochs=(1, 1)),
        "repeats": Repeats(
            seeds=(0, 1),
            metrics={"accuracy": (1.0, 0.9)},
            attention=mean,
            attention_spread=spread,
            importance=mean,
            importance_spread=spread,
            profiles=(mean, mean),
        ),
        "training": TrainingRecord(
            options={"seed": 0},
            libraries={},
            sequences=90,
            parameters=9,
            epochs=1,
            best_epoch=1,
            seconds=0.1,
            scaling=Scaling(mean=(0.0, 0.0), deviation=(1.0, 1.0)),
            continued_from="m/1",
        ),
        "tokens": Tokens(
            least=0, most=9, pad=0, vocabulary={"[UNK]": 1, "the": 2}, ranges={"b": TokenRange(least=0, most=5)}
        ),
        "attention_from": (AttentionSource(tensor="attention", axes={"head": UNITS}),),
        "origin": Origin(format="onnx", file="theirs.onnx", digest="0" * 64, libraries={"onnx": "1.20.1"}),
        "lowering": Lowering(opset=18, error=0.0, source_digest="0" * 64),
    }
    return ModelCard(**{**complete, **fields})


def write_version(directory: Path) -> Artifact:
    """Write the version to a new directory."""
    artifact = Artifact(directory)
    for folder in ("assets", "assets.extra", "variables"):
        (directory / folder).mkdir(parents=True)
    for name in (
        "saved_model.pb",
        "fingerprint.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
        "assets.extra/model.onnx",
        *CHARTS.values(),
    ):
        (directory / name).write_text(f"placeholder of {name}")
    artifact.card_path.write_text(complete_card().model_dump_json())
    np.savez(
        artifact.golden_path,
        sequence=np.zeros((5, TIMESTEPS, FEATURES), np.float32),
        prediction=np.zeros((5, 1), np.float32),
        attention_vec=np.full((5, TIMESTEPS, UNITS), 1 / TIMESTEPS, np.float32),
    )
    artifact.write_sums()
    return artifact


def mount(directory: Path, name: str) -> None:
    """Turn a directory into what Kubernetes mounts: links to `..data`, which links to the directory with the files."""
    entries = [path.name for path in directory.iterdir()]
    (directory / name).mkdir()
    for entry in entries:
        (directory / entry).rename(directory / name / entry)
        (directory / entry).symlink_to(Path("..data", entry))
    (directory / "..data").symlink_to(name)


def remount(directory: Path, name: str) -> None:
    """Update the files as Kubernetes does: `..data` links to another directory at once."""
    shutil.copytree(directory / "..data", directory / name)
    (directory / "..data_tmp").symlink_to(name)
    (directory / "..data_tmp").rename(directory / "..data")
