"""The charts of a card: what each of them shows, and which a card has."""

from collections.abc import Callable, Mapping, Sequence
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
#: A scale of importance reaches at least this far, so that chance looks small: a twentieth of a metric, which is 1 at
#: best, of probability, or of a standard deviation. The page has the same number.
LEAST_EFFECT: Final = 0.05
SCALE_OF_DROPS: Final = f"the scale reaches at least {LEAST_EFFECT:g}"


class Drawing(NamedTuple):
    """One chart of cards.

    Attributes:
        draw: draws it for a card and a title of the version; None if the card lacks what it shows.
        shows: what it shows, in words.
    """

    draw: Callable[[ModelCard, str], Chart | None]
    shows: str


def training_chart(card: ModelCard, name: str) -> Chart | None:
    """Return a chart of the attention profile, with a dot for each of several seeds, and of importance below it."""
    profile = card.attention
    if profile is None:
        return None
    title = f"{name}: mean over {profile.sequences:,} {_measured_on(card)}"
    drawn = [_attention(card, profile), *filter(None, [_importance(card)])]
    return panels(title, card.timestep_labels, drawn, "timestep")


def _measured_on(card: ModelCard) -> str:
    """Return what the model was measured on: only what no fit used was held out."""
    if card.training is None:
        return "examples"
    return "sequences" if card.cross_validation else "held-out sequences"


def _attention(card: ModelCard, profile: AttentionProfile) -> Panel:
    repeats = card.repeats
    mean, spread, over = profile.mean, profile.spread, "the sequences"
    if repeats is not None:
        mean, spread, over = repeats.attention, repeats.attention_spread, f"{len(repeats.seeds)} seeds"
    highlight = (int(np.argmax(mean)), PEAK_COLOUR)
    bars = Series("attention", mean, TRAINING_COLOUR, spread, floor=0, highlight=highlight)
    seeds = [Series("each seed", one, SEED_COLOUR, kind="dots") for one in (repeats.profiles if repeats else ())]
    return Panel(f"attention (sum over the timesteps: 1; {_whiskers(over)})", [bars, *seeds])


def _importance(card: ModelCard) -> Panel | None:
    found, repeats = card.importance, card.repeats
    if found is None:
        return None
    drop, spread, over = found.drop, found.spread, _repetitions(found.repetitions)
    if repeats is not None:
        drop, spread, over = repeats.importance, repeats.importance_spread, f"{len(repeats.seeds)} seeds"
    return _drops(f"importance: drop of {found.metric}", drop, spread, over)


def _drops(name: str, drop: Sequence[float], spread: Sequence[float], over: str) -> Panel:
    """Return a panel of drops of a metric. If `over` is empty, there are no whiskers."""
    whiskers = f"{_whiskers(over)}; " if over else ""
    series = Series("importance", drop, IMPORTANCE_COLOUR, spread if over else ())
    return Panel(f"{name} ({whiskers}{SCALE_OF_DROPS})", [series], LEAST_EFFECT)


def _repetitions(count: int) -> str:
    return f"{count:,} repetitions" if count > 1 else ""


def _whiskers(over: str) -> str:
    return f"whiskers ±1 standard deviation over {over}"


def importance_chart(card: ModelCard, name: str) -> Chart | None:
    """Return a chart of the importance of timesteps."""
    panel = _importance(card)
    if card.importance is None or panel is None:
        return None
    title = f"{name}: importance over {card.importance.sequences:,} {_measured_on(card)}"
    return panels(title, card.timestep_labels, [panel], "timestep")


def features_chart(card: ModelCard, name: str) -> Chart | None:
    """Return a chart of the importance of features."""
    found = card.feature_importance
    if found is None:
        return None
    title = f"{name}: importance of features over {found.sequences:,} {_measured_on(card)}"
    panel = _drops(f"drop of {found.metric}", found.drop, found.spread, _repetitions(found.repetitions))
    return panels(title, card.feature_labels, [panel], "feature")


def cells_chart(card: ModelCard, name: str) -> Chart | None:
    """Return a heat map of the importance of each feature at each timestep."""
    found = card.cell_importance
    if found is None:
        return None
    return heat_map(
        f"{name}: importance of features and timesteps over {found.sequences:,} {_measured_on(card)}",
        Axis("features", card.feature_labels),
        Axis("timestep", card.timestep_labels),
        np.array(found.drop, np.float64).T,
        Measure(f"drop of {found.metric} ({SCALE_OF_DROPS})", LEAST_EFFECT),
    )


def confusion_chart(card: ModelCard, name: str) -> Chart | None:
    """Return a chart of the confusion matrix."""
    if card.judgement is None or card.judgement.confusion is None or not card.target.classes:
        return None
    counts = np.array(card.judgement.confusion, np.int64)
    title = f"{name}: {counts.sum():,} {'examples' if card.training is None else 'held-out sequences'}"
    classes = card.target.classes
    return counted(title, Axis("true class", classes), Axis("predicted class", classes), counts)


def order_of(removal: Removal) -> str:
    """Return the order in which timesteps are removed, in words."""
    return "at random" if removal.order == "random" else f"by {removal.order}"


def area_of(removal: Removal, measure: Literal["comprehensiveness", "sufficiency"]) -> str:
    """Return the mean of a measure over the fractions, with its interval."""
    low, high = getattr(removal, f"{measure}_interval")
    return f"{getattr(removal, f'{measure}_area'):.3g} ({low:.3g} to {high:.3g})"


def faithfulness_chart(card: ModelCard, name: str) -> Chart | None:
    """Return curves of comprehensiveness and sufficiency, a line for each order."""
    found = card.faithfulness
    if found is None or not found.removals:
        return None

    def lines(measure: Literal["comprehensiveness", "sufficiency"]) -> list[Series]:
        return [
            Series(f"{order_of(one)}: {area_of(one, measure)}", getattr(one, measure), colour, kind="line", dash=dash)
            for one in found.removals
            for colour, dash in [ORDERS[one.order]]
        ]

    taken = Panel(
        "top timesteps taken away: how far the prediction moves (comprehensiveness, high is good; mean and its 95 % "
        "interval)",
        lines("comprehensiveness"),
    )
    kept = Panel(
        "only top timesteps kept: how far the prediction moves (sufficiency, low is good; mean and its 95 % interval)",
        lines("sufficiency"),
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
    trained = card.training.parameters if card.training else weights
    of_them = f", {trained:,} of them trained" if trained != weights else ""
    return diagram(f"{name}: {len(card.layers):,} layers, {weights:,} weights{of_them}", card.layers)


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
