"""`python -m tests.charts FOLDER`: draw cards with many kinds of labels, as SVG and PNG, for people to look at."""

import math
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from service.artifact.card import (
    AttentionProfile,
    CellImportance,
    Faithfulness,
    FeatureImportance,
    Importance,
    JudgedMetric,
    Judgement,
    Layer,
    ModelCard,
    Removal,
    Repeats,
    Target,
    TrainingRecord,
)
from service.charts.answer_charts import ANSWER_CHARTS, Answer
from service.charts.card_charts import CARD_CHARTS
from service.charts.chart import Chart
from service.charts.fonts import NoFont

LONG: Final = "temperature of the second sensor, "
#: Labels of timesteps, and names of features and classes.
LABELS: Final[Mapping[str, tuple[list[str], list[str]]]] = {
    "few": ([str(t) for t in range(12)], ["a", "b", "c"]),
    "one": (["0"], ["only one"]),
    "days": (
        [(date(2026, 1, 5) + timedelta(day)).isoformat() for day in range(42)],
        ["temperature", "vibration", "pressure", "current"],
    ),
    "hours": (
        [(datetime(2026, 3, 1, tzinfo=UTC) + timedelta(hours=hour)).isoformat() for hour in range(30)],
        [f"sensor {number}" for number in range(40)],
    ),
    "many": ([str(t) for t in range(2000)], [f"channel {number}" for number in range(300)]),
    "years": (
        [(date(2021, 1, 1) + timedelta(day)).isoformat() for day in range(2000)],
        ["open", "high", "low", "close"],
    ),
    "long": (
        [f"{LONG}{t:06}" for t in range(30)],
        [f"{LONG}{feature:06}" for feature in range(12)],
    ),
    "korean": (
        [f"2026년 {week}번째 주" for week in range(1, 25)],
        [f"온도 감지기 {number}호" for number in range(6)],
    ),
    "mixed": (
        ["월요일", "火曜日", "الأربعاء", "четверг", "Παρασκευή", "शनिवार", "<dimanche> & \x00"],
        ["温度センサー", "влажность", "पवन", "☃ snow"],
    ),
}


def described(timesteps: list[str], features: list[str]) -> ModelCard:
    """Return a card that has everything that a chart shows, with some labels."""
    n, width = len(timesteps), len(features)
    random = np.random.default_rng(0)
    peak = n // 3
    drop = random.normal(0, 0.002, n)
    drop[peak] += 0.4
    cells = random.normal(0, 0.002, (n, width))
    cells[peak, 0] += 0.4
    profiles = random.dirichlet(np.full(n, 4.0), 3)
    first, mean = profiles[0], profiles.mean(axis=0)  # the version is that of the first seed
    classes = tuple(features) if width > 2 else (*features, "another", "a third")
    counts = np.diag(random.integers(5, 2000, len(classes))) + random.integers(0, 9, (len(classes),) * 2)
    return ModelCard(
        name="m",
        created=datetime.now(UTC),
        architecture="after_lstm",
        timesteps=n,
        features=width,
        timestep_labels=tuple(timesteps),
        feature_labels=tuple(features),
        target=Target(task="multiclass", classes=classes),
        metrics={"accuracy": 0.9},
        attention=AttentionProfile(
            sequences=30000,
            mean=tuple(first.tolist()),
            spread=tuple((first / 2).tolist()),
            peak=int(first.argmax()),
            sum_error=0,
        ),
        importance=Importance(
            metric="accuracy", drop=tuple(drop.tolist()), spread=(0.002,) * n, sequences=5000, repetitions=3
        ),
        feature_importance=FeatureImportance(
            metric="accuracy",
            drop=tuple(random.normal(0, 0.004, width).tolist()),
            spread=(0.004,) * width,
            sequences=5000,
            repetitions=3,
        ),
        cell_importance=CellImportance(
            metric="accuracy", drop=tuple(map(tuple, cells.tolist())), sequences=1000, repetitions=1
        ),
        faithfulness=_faithfulness(),
        judgement=Judgement(
            metric="accuracy",
            baseline="most frequent class",
            beats_baseline=True,
            verdict="better",
            metrics=(JudgedMetric(name="accuracy", value=0.9, baseline=0.5),),
            confusion=tuple(map(tuple, counts.tolist())),
        ),
        repeats=Repeats(
            seeds=(0, 1, 2),
            metrics={},
            attention=tuple(mean.tolist()),
            attention_spread=tuple(profiles.std(axis=0).tolist()),
            importance=tuple(drop.tolist()),
            importance_spread=(0.0,) * n,
            profiles=tuple(map(tuple, profiles.tolist())),
        ),
        layers=branched(timesteps[0], features),
        training=TrainingRecord(
            options={},
            libraries={},
            sequences=1000,
            parameters=1,
            seconds=1,
            epochs=n,
            best_epoch=max(1, n // 2),
            history={
                "loss": tuple(math.exp(-3 * t / n) for t in range(n)),
                "validation loss": tuple(0.2 + math.exp(-3 * t / n) + 0.3 * t / n for t in range(n)),
                "accuracy": (0.5,) * n,
            },
        ),
    )


def answered(timesteps: list[str], features: list[str]) -> Answer:
    """Return an answer that has everything that its charts show, with some labels."""
    n, width = len(timesteps), len(features)
    random = np.random.default_rng(0)
    sequence = 50 + random.normal(0, 9, (n, width)).cumsum(axis=0).astype(np.float32)
    sequence[random.random((n, width)) < 0.05] = np.nan
    cells = random.exponential(0.002, (n, width)).astype(np.float32)
    cells[n // 3, width // 2] += 0.4
    return Answer(
        title="m version 3, sequence 0: fine",
        timesteps=timesteps,
        features=features,
        lines=range(width),
        sequence=sequence,
        attention=random.dirichlet(np.full(n, 4.0)).astype(np.float32),
        importance=cells.sum(axis=1),
        feature_importance=cells.sum(axis=0),
        cell_importance=cells,
    )


def _faithfulness() -> Faithfulness:
    def removal(order: str, high: float) -> Removal:
        return Removal.model_validate(
            {
                "order": order,
                "comprehensiveness": [high * share for share in (0.6, 0.7, 0.8, 0.9, 1)],
                "sufficiency": [(0.6 - high) * share for share in (1, 0.8, 0.6, 0.5, 0.4)],
                "comprehensiveness_area": high * 0.8,
                "sufficiency_area": (0.6 - high) * 0.66,
                "comprehensiveness_interval": [0, 1],
                "sufficiency_interval": [0, 1],
            }
        )

    return Faithfulness(
        sequences=200,
        fractions=(0.01, 0.05, 0.1, 0.2, 0.5),
        removals=(removal("attention", 0.3), removal("importance", 0.5), removal("random", 0.1)),
        attention_finds="part of it",
        verdict="Attention finds only a part of what matters here: read importance beside it.",
        metric="accuracy",
    )


def branched(first: str, names: list[str]) -> tuple[Layer, ...]:
    """Return the layers of a model: an input, up to five branches, and an output that also reads the input."""
    branches = [
        Layer(name=name, kind="Conv1D", shape=(None, len(names), 32), inputs=(first,), weights=1024)
        for name in names[:5]
    ]
    deep = Layer(name="relu", kind="ReLU", shape=(None, 32), inputs=(names[0],), weights=0)
    ends = ("relu", *(name for name in names[1:5]), first)
    return (
        Layer(name=first, kind="InputLayer", shape=(None, None, len(names)), inputs=(), weights=0),
        *branches,
        deep,
        Layer(name="prediction", kind="Dense", shape=(None, 1), inputs=ends, weights=33),
    )


def gallery() -> dict[str, Chart]:
    """Return a chart of each kind with each kind of labels, by name."""
    cards = {name: described(*labels) for name, labels in LABELS.items()}
    drawn = {
        f"{kind}-{name}": drawing.draw(card, f"{card.name} version 3")
        for name, card in cards.items()
        for kind, drawing in CARD_CHARTS.items()
    }
    return {name: chart for name, chart in drawn.items() if chart is not None}


def main(folder: Path) -> None:
    """Write the gallery, and the charts of answers. A chart without a font is written as SVG only."""
    folder.mkdir(parents=True, exist_ok=True)
    answers = {
        f"answer-{kind}-{name}": drawing.draw(answered(*labels))
        for name, labels in LABELS.items()
        for kind, drawing in ANSWER_CHARTS.items()
    }
    for name, chart in {**gallery(), **answers}.items():
        if chart is None:
            continue
        chart.save(folder / f"{name}.svg")
        try:
            chart.save(folder / f"{name}.png")
        except NoFont as error:
            sys.stderr.write(f"{name}: {error}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
