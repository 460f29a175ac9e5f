"""The charts of a card: what each of them shows, and which a card has."""

from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple

import numpy as np

from service.artifact.card import AttentionProfile, ModelCard, Removal
from service.charts.chart import Chart
from service.charts.diagram import diagram
from service.charts.heat_map import Axis, Measure, counted, heat_map
from service.charts.panels import Panel, Series, panels

CardChart = Literal["training", "importance", "confusion", "features", "cells", "faithfulness", "learning", "diagram"]
TRAINING_COLOUR, PEAK_COLOUR, IMPORTANCE_COLOUR, SEED_COLOUR = "#c3d2e6", "#4c8bd6", "#e2a35c", "#8a94a6"
#: Colours and dashes of the orders in which timesteps are taken away, and of losses.
ORDERS: Final[Mapping[str, tuple[str, float]]] = {
    "attention": (PEAK_COLOUR, 0),
    "importance": ("#c06a1a", 7),
    "random": ("#7a8494", 3),
}
LOSSES: Final = (PEAK_COLOUR, "#c06a1a", "#4a7a4a", "#7a8494")
#: A scale of importance reaches at least this drop of the metric, which is 1 at best. Smaller drops look small.
LEAST_DROP: Final = 0.05
SCALE_OF_DROPS: Final = f"the scale reaches at least {LEAST_DROP:g}"


class Drawing(NamedTuple):
    """One chart of cards.

    Attributes:
        draw: draws it for a card and a title of the version; None if the card lacks what it shows.
        shows: what it shows, in words.
    """

    draw: Callable[[ModelCard, str], Chart | None]
    shows: str


def training_chart(card: ModelCard, name: str) -> Chart | None:
    """Return a chart of the attention profile, each seed's as a thin line, and of importance below it."""
    profile = card.attention
    if profile is None:
        return None
    kind = "" if card.cross_validation else "held-out "  # else the model is fitted on all sequences
    over = f"{len(card.repeats.seeds)} seeds" if card.repeats else "the sequences"
    title = f"{name}: mean over {profile.sequences:,} {kind}sequences, whiskers ±1 standard deviation over {over}"
    drawn = [Panel("attention (sum over the timesteps: 1)", _attention(card, profile))]
    if (importance := _importance(card)) is not None:
        drawn.append(importance)
    return panels(title, card.timestep_labels, drawn, "timestep")


def _attention(card: ModelCard, profile: AttentionProfile) -> list[Series]:
    spread = card.repeats.attention_spread if card.repeats else profile.spread
    highlight = (profile.peak, PEAK_COLOUR)
    mean = Series("attention", profile.mean, TRAINING_COLOUR, spread, floor=0, highlight=highlight)
    seeds = card.repeats.profiles if card.repeats else ()
    return [mean, *(Series("each seed", one, SEED_COLOUR, kind="dots") for one in seeds)]


def _importance(card: ModelCard) -> Panel | None:
    found = card.importance
    if found is None:
        return None
    name = f"importance: drop of {found.metric} ({SCALE_OF_DROPS})"
    return Panel(name, [Series("importance", found.drop, IMPORTANCE_COLOUR, found.spread)], LEAST_DROP)


def importance_chart(card: ModelCard, name: str) -> Chart | None:
    """Return a chart of the importance of timesteps."""
    panel = _importance(card)
    if card.importance is None or panel is None:
        return None
    title = f"{name}: importance over {card.importance.sequences:,} held-out sequences"
    return panels(title, card.timestep_labels, [panel], "timestep")


def features_chart(card: ModelCard, name: str) -> Chart | None:
    """Return a chart of the importance of features."""
    found = card.feature_importance
    if found is None:
        return None
    title = f"{name}: importance of features over {found.sequences:,} held-out sequences"
    series = Series("importance", found.drop, IMPORTANCE_COLOUR, found.spread)
    panel = Panel(f"drop of {found.metric} ({SCALE_OF_DROPS})", [series], LEAST_DROP)
    return panels(title, card.feature_labels, [panel], "feature")


def cells_chart(card: ModelCard, name: str) -> Chart | None:
    """Return a heat map of the importance of each feature at each timestep."""
    found = card.cell_importance
    if found is None:
        return None
    return heat_map(
        f"{name}: importance of features and timesteps over {found.sequences:,} held-out sequences",
        Axis("features", card.feature_labels),
        Axis("timestep", card.timestep_labels),
        np.array(found.drop, np.float64).T,
        Measure(f"drop of {found.metric} ({SCALE_OF_DROPS})", LEAST_DROP),
    )


def confusion_chart(card: ModelCard, name: str) -> Chart | None:
    """Return a chart of the confusion matrix."""
    if card.judgement is None or card.judgement.confusion is None or not card.target.classes:
        return None
    counts = np.array(card.judgement.confusion, np.int64)
    title = f"{name}: {counts.sum():,} held-out sequences"
    classes = card.target.classes
    return counted(title, Axis("true class", classes), Axis("predicted class", classes), counts)


def faithfulness_chart(card: ModelCard, name: str) -> Chart | None:
    """Return curves of comprehensiveness and sufficiency, a line for each order."""
    found = card.faithfulness
    if found is None or not found.removals:
        return None

    def lines(values: Callable[[Removal], tuple[float, ...]]) -> list[Series]:
        return [
            Series(
                f"by {one.order}" if one.order != "random" else "at random", values(one), colour, kind="line", dash=dash
            )
            for one in found.removals
            for colour, dash in [ORDERS[one.order]]
        ]

    taken = Panel(
        "top timesteps taken away: how far the prediction moves (comprehensiveness, high is good)",
        lines(lambda one: one.comprehensiveness),
    )
    kept = Panel(
        "only top timesteps kept: how far the prediction moves (sufficiency, low is good)",
        lines(lambda one: one.sufficiency),
    )
    labels = [f"{fraction:.3g}" for fraction in found.fractions]
    return panels(f"{name}: {found.verdict}", labels, [taken, kept], "top fraction of the timesteps")


def learning_chart(card: ModelCard, name: str) -> Chart | None:
    """Return curves of the losses after each epoch, with the best epoch marked."""
    record = card.training
    losses = {} if record is None else {key: values for key, values in record.history.items() if key.endswith("loss")}
    epochs = max(map(len, losses.values()), default=0)
    if record is None or not epochs:
        return None
    whole = {key: values for key, values in losses.items() if len(values) == epochs}
    series = [
        Series(key, values, LOSSES[index % len(LOSSES)], kind="line", dash=4 * (index % 2))
        for index, (key, values) in enumerate(whole.items())
    ]
    best = record.best_epoch if record.best_epoch is not None and record.best_epoch <= epochs else None
    panel = Panel("loss", series, mark=None if best is None else best - 1)
    title = f"{name}: losses of {epochs:,} epochs" + ("" if best is None else f"; the best one, {best:,}, is marked")
    return panels(title, [str(epoch + 1) for epoch in range(epochs)], [panel], "epoch")


def diagram_chart(card: ModelCard, name: str) -> Chart | None:
    """Return a diagram of the model's layers."""
    if not card.layers:
        return None
    weights = sum(layer.weights for layer in card.layers)
    return diagram(f"{name}: {len(card.layers):,} layers, {weights:,} weights", card.layers)


CARD_CHARTS: Final[Mapping[CardChart, Drawing]] = {
    "training": Drawing(training_chart, "attention"),
    "importance": Drawing(importance_chart, "importance of timesteps"),
    "confusion": Drawing(confusion_chart, "confusion matrix"),
    "features": Drawing(features_chart, "importance of features"),
    "cells": Drawing(cells_chart, "importance of features at timesteps"),
    "faithfulness": Drawing(faithfulness_chart, "measure of faithfulness"),
    "learning": Drawing(learning_chart, "losses of a training"),
    "diagram": Drawing(diagram_chart, "layers of a Keras model"),
}
