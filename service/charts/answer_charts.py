"""The charts of one answer: the sequence, its attention and its importance."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np

from service.artifact.tensors import Array
from service.charts.card_charts import IMPORTANCE_COLOUR, LEAST_EFFECT, PEAK_COLOUR, TRAINING_COLOUR
from service.charts.chart import Chart
from service.charts.heat_map import Axis, Measure, heat_map
from service.charts.panels import Panel, Series, panels

AnswerChart = Literal["timesteps", "features", "cells"]
#: Colours of the features. No more of them are drawn as lines.
COLOURS: Final = ("#4c8bd6", "#c06a1a", "#4a7a4a", "#8a4fa0", "#b03a48", "#7a8494")
#: Most features without a line that a chart names.
MOST_NAMED: Final = 3


@dataclass(frozen=True)
class Answer:
    """What the charts of an answer show.

    Attributes:
        title: the model, the sequence and the prediction.
        timesteps: `(timesteps,)`, their labels.
        features: `(features,)`, their labels.
        lines: the indices of the features that are drawn as lines.
        sequence: `(timesteps, features)`; NaN where a value is missing.
        attention: `(timesteps,)`; None for a model without attention.
        importance: `(timesteps,)`; None if it is not measured, as the next two.
        feature_importance: `(features,)`.
        cell_importance: `(timesteps, features)`.
        least: a scale of importance reaches at least this value.
    """

    title: str
    timesteps: Sequence[str]
    features: Sequence[str]
    lines: Sequence[int]
    sequence: Array
    attention: Array | None
    importance: Array | None
    feature_importance: Array | None
    cell_importance: Array | None
    least: float = LEAST_EFFECT

    @property
    def measure(self) -> str:
        """What importance is."""
        scale = f" (the scale reaches at least {self.least:.2g})" if self.least else ""
        return f"importance: how far the prediction moves without it{scale}"


class Drawing(NamedTuple):
    """One chart of answers.

    Attributes:
        draw: draws it; None if the answer lacks what it shows.
        shows: what it shows, in words.
    """

    draw: Callable[[Answer], Chart | None]
    shows: str


def timesteps_chart(answer: Answer) -> Chart | None:
    """Return a chart of the sequence, with attention and importance of each timestep below it."""
    drawn = [] if (values := _values(answer)) is None else [values]
    if answer.attention is not None:
        highlight = (int(answer.attention.argmax()), PEAK_COLOUR)
        series = Series("attention", answer.attention.tolist(), TRAINING_COLOUR, highlight=highlight)
        drawn.append(Panel("attention (sum over the timesteps: 1)", [series]))
    if answer.importance is not None:
        drawn.append(_importance(answer, answer.importance))
    return panels(answer.title, answer.timesteps, drawn, "timestep") if drawn else None


def _values(answer: Answer) -> Panel | None:
    """Return a panel with a line for each of the features, those of most importance first."""
    lines = [feature for feature in answer.lines if not np.isnan(answer.sequence[:, feature]).all()]
    if answer.feature_importance is not None:
        lines.sort(key=answer.feature_importance.tolist().__getitem__, reverse=True)
    shown = lines[: len(COLOURS)]
    if not shown:
        return None
    series = [
        _of_feature(answer.features[feature], answer.sequence[:, feature].astype(np.float64), colour)
        for feature, colour in zip(shown, COLOURS, strict=False)
    ]
    without = [label for feature, label in enumerate(answer.features) if feature not in answer.lines]
    others = f"; not shown: {', '.join(without[:MOST_NAMED])}" if without else ""
    others += f" and {len(without) - MOST_NAMED} more" if len(without) > MOST_NAMED else ""
    if len(lines) == 1:  # one line has no legend
        name = f"the sequence: {series[0].name}, from its lowest value (0) to its highest (1)"
        return Panel(f"{name}{others}", series, 1)
    some = f"{len(shown)} of {len(lines)} features" if len(shown) < len(lines) else "features"
    return Panel(f"the sequence: {some}, each from its lowest value (0) to its highest (1){others}", series, 1)


def _of_feature(label: str, values: Array, colour: str) -> Series:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if high == low:  # NaN stays NaN
        return Series(f"{label}: {_plain(low)}", (values - low + 0.5).tolist(), colour, kind="line")
    shares = (values - low) / (high - low)
    return Series(f"{label}: {_plain(low)} to {_plain(high)}", shares.tolist(), colour, kind="line")


def _plain(value: float) -> str:
    """Return a number with four digits and without an exponent."""
    return np.format_float_positional(value, precision=4, unique=False, fractional=False, trim="-")


def features_chart(answer: Answer) -> Chart | None:
    """Return a chart of the importance of features."""
    if answer.feature_importance is None:
        return None
    return panels(answer.title, answer.features, [_importance(answer, answer.feature_importance)], "feature")


def _importance(answer: Answer, values: Array) -> Panel:
    series = Series("importance", values.tolist(), IMPORTANCE_COLOUR)
    return Panel(answer.measure, [series], answer.least)


def cells_chart(answer: Answer) -> Chart | None:
    """Return a heat map of the importance of each feature at each timestep."""
    if answer.cell_importance is None:
        return None
    rows, columns = Axis("features", answer.features), Axis("timestep", answer.timesteps)
    values = answer.cell_importance.T.astype(np.float64)
    return heat_map(answer.title, rows, columns, values, Measure(answer.measure, answer.least))


ANSWER_CHARTS: Final[Mapping[AnswerChart, Drawing]] = {
    "timesteps": Drawing(timesteps_chart, "attention or importance of timesteps"),
    "features": Drawing(features_chart, "importance of features"),
    "cells": Drawing(cells_chart, "importance of features at timesteps"),
}
