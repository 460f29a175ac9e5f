"""The summary of a published version for people."""

from collections.abc import Callable, Mapping
from pathlib import Path
from shlex import quote
from statistics import mean, pstdev
from typing import Final, Literal

from service.artifact.card import ModelCard
from service.artifact.version import Artifact
from service.charts.card_charts import area_of, order_of

#: Largest number of timesteps in the summary.
MOST_SHOWN: Final = 5
#: Shares below the first have a decimal; features below the second are left out.
SMALL_SHARE, LEAST_SHARE = 0.095, 0.0005
#: The measures of faithfulness, in words.
MEASURES: Final[Mapping[Literal["comprehensiveness", "sufficiency"], str]] = {
    "comprehensiveness": "without the top timesteps",
    "sufficiency": "with these alone",
}
#: The address of the service without options.
ADDRESS: Final = "http://127.0.0.1:8000"
#: The folder that the service reads without options.
FOLDER: Final = Path("artifacts")


def summary(published: Path) -> str:
    """Return the summary of a published version, which ends with the commands that serve it and that score files."""
    card = ModelCard.model_validate_json(Artifact(published).card_path.read_bytes())  # export verified the version
    rows = {topic: text(card) for topic, text in ROWS.items()}
    if card.training is None:  # what it was trained on is not known
        rows = {{"held out": "examples"}.get(topic, topic): text for topic, text in rows.items()}
    if card.attention is not None:
        rows["chart"] = str(Artifact(published).chart_path("svg"))
    lines = [
        f"  {'' if number else topic:<11} {line}"
        for topic, text in rows.items()
        for number, line in enumerate(text.splitlines())
    ]
    return "\n".join([f"{card.name} version {published.name}: {published}", *lines, "", *_next(card, published)])


def _next(card: ModelCard, published: Path) -> list[str]:
    """Return what to do next."""
    folder = published.parent.parent
    where = "" if folder.resolve() == FOLDER.resolve() else f" --artifacts {quote(str(folder))}"
    return [
        f"serve it:     attention-service --model {card.name}{where}",
        f"then open     {ADDRESS}",
        f"score files:  attention-service score FILE OUTPUT --model {card.name}{where}",
    ]


def _trained_on(card: ModelCard) -> str:
    record = card.training
    shape = f"{'up to ' if card.variable_length else ''}{card.timesteps} × {card.features}"
    if record is None:
        file = f" from {card.origin.file}" if card.origin else ""
        return f"imported{file}, for sequences of {shape}{' tokens' if card.tokens else ''}"
    epochs = "" if record.epochs is None else f", epoch {record.best_epoch} of {record.epochs}"
    continued = f", continued from {record.continued_from}" if record.continued_from else ""
    return (
        f"{record.sequences:,} sequences of {shape} in {record.seconds:.1f} s "
        f"({card.architecture}, {record.parameters:,} weights{epochs}{continued})"
    )


def _trials(card: ModelCard) -> str:
    """Return a table of the architectures that were tried, a line each."""
    lines = []
    for trial in card.trials:
        spread = "" if trial.spread is None else f" ± {trial.spread:.4f}"
        score = "" if trial.mean is None else f"{trial.metric} {trial.mean:.4f}{spread}"
        lines.append(f"{trial.architecture:<14} {score:<24} {trial.seconds:5.1f} s  {trial.outcome}")
    return "\n".join(lines)


def _judgement(card: ModelCard) -> str:
    return card.judgement.verdict if card.judgement else ""


def _held_out(card: ModelCard) -> str:
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in card.metrics.items())
    counted = [f"{card.attention.sequences:,} sequences"] if card.attention else []
    if card.cross_validation:
        counted.append(f"cross-validated in {card.cross_validation.folds} folds")
    if card.training is None and not metrics:
        metrics = "labels (y) would give metrics and importance"
    return ": ".join(filter(None, (", ".join(counted), metrics)))


def _attention(card: ModelCard) -> str:
    profile = card.attention
    if profile is None:
        return "none"
    units = ", ".join(
        f"{source.tensor} ({', '.join(f'{name} {size}' for name, size in source.axes.items()) or 'one unit'})"
        for source in card.attention_from
    )
    return (f"from {units}\n" if units else "") + (
        f"highest at timestep {card.timestep_labels[profile.peak]} "
        f"({profile.mean[profile.peak]:.3f} of 1); every sequence sums to 1 within {profile.sum_error:.0e}"
    )


def _importance(card: ModelCard) -> str:
    importance, agreement = card.importance, card.agreement
    if importance is None:
        return ""
    if importance.mass is None:
        return f"none: {importance.metric} never drops when a timestep's values are exchanged between sequences"
    most = (
        f"{importance.metric} drops by up to {max(importance.drop):.2g} when the values of a timestep are exchanged "
        f"between {importance.sequences:,} sequences"
    )
    if agreement is None or agreement.importance is None:  # a model without attention
        return f"{most}: most at timestep {card.timestep_labels[importance.drop.index(max(importance.drop))]}"
    labels = [card.timestep_labels[t] for t in agreement.top]
    top = ", ".join(labels[:MOST_SHOWN]) + (f" and {len(labels) - MOST_SHOWN} more" if len(labels) > MOST_SHOWN else "")
    order = ""
    if agreement.rank_correlation is not None:
        order = f"; their orders of the timesteps agree by {agreement.rank_correlation:.2f} (1: the same, 0: unrelated)"
    have = f"timesteps {top} have" if len(labels) > 1 else f"timestep {top} has"
    return (
        f"{most}; {have} {_percent(agreement.importance)} of importance and "
        f"{_percent(agreement.attention)} of attention{order}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= SMALL_SHARE else f"{100 * share:.1f} %"


def _features(card: ModelCard) -> str:
    """Return the features with the largest share of importance; none for a single feature."""
    found = card.feature_importance
    if found is None or found.mass is None or card.features == 1:
        return ""
    shares = sorted(zip(found.mass, card.feature_labels, strict=True), key=lambda one: -one[0])
    return "share of importance: " + ", ".join(
        f"{label} {_percent(share)}" for share, label in shares[:MOST_SHOWN] if share >= LEAST_SHARE
    )


def _faithfulness(card: ModelCard) -> str:
    """Return the verdict, and the numbers that it comes from."""
    found = card.faithfulness
    if found is None:
        return ""
    lines = [found.verdict]
    if found.removals:
        lines.append("how far predictions move, with 95 % intervals:")
    for measure, words in MEASURES.items():
        areas = ", ".join(f"{area_of(one, measure)} {order_of(one)}" for one in found.removals)
        lines += [f"{words}: {areas}"] if areas else []
    if found.uniform is not None and found.permuted is not None:
        lines.append(f"{found.metric} {found.uniform:.4f} with uniform attention, {found.permuted:.4f} with permuted")
    return "\n".join(lines)


def _seeds(card: ModelCard) -> str:
    if card.repeats is None:
        return ""
    metrics = ", ".join(
        f"{name} {mean(values):.4f} ± {pstdev(values):.4f}" for name, values in card.repeats.metrics.items()
    )
    return f"{len(card.repeats.seeds)}: {metrics}; attention differs by up to ±{max(card.repeats.attention_spread):.3f}"


def _hints(card: ModelCard) -> str:
    return "\n".join(card.hints)


def _lowering(card: ModelCard) -> str:
    if card.lowering is None:
        return ""
    source = "SavedModel" if card.lowering.source_digest else "original program"
    return f"ONNX opset {card.lowering.opset}, within {card.lowering.error:.0e} of the {source}"


#: Each topic with its text: a row a line, none for an empty text.
ROWS: Final[Mapping[str, Callable[[ModelCard], str]]] = {
    "trained on": _trained_on,
    "tried": _trials,
    "held out": _held_out,
    "judgement": _judgement,
    "attention": _attention,
    "importance": _importance,
    "features": _features,
    "faithful": _faithfulness,
    "seeds": _seeds,
    "lowering": _lowering,
    "hints": _hints,
}
