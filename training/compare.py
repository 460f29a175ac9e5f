"""The comparison of versions, of one model or of several: a table for people, or JSON or CSV for programs."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, pstdev
from typing import Any, NamedTuple

from service.artifact.card import ModelCard
from service.artifact.layout import versions_of
from service.artifact.version import Artifact
from service.errors import ArtifactError
from training import TrainingError
from training.options import Compare

#: Cards by model and version.
Cards = Mapping[tuple[str, int], ModelCard]


class Most(NamedTuple):
    """The part that has the largest share of something."""

    label: str
    share: float


Fact = str | float | datetime | Most | None

ABSENT = "-"


def compare(options: Compare) -> str:
    """Return a comparison of some versions, in the format of the options.

    Damaged versions are listed below a table, and have an `error` in JSON and CSV.

    Raises:
        TrainingError: a model or a version does not exist, or all versions are damaged.
    """
    cards: dict[tuple[str, int], ModelCard] = {}
    damaged: dict[tuple[str, int], str] = {}
    for name, number in _chosen(options):
        try:
            cards[name, number] = Artifact(options.artifacts / name / str(number)).read().card()
        except ArtifactError as error:
            damaged[name, number] = str(error)
    several = len({name for name, _ in (*cards, *damaged)}) > 1
    lines = [
        f"{f'{name} ' if several else ''}version {number} is damaged: {error}"
        for (name, number), error in damaged.items()
    ]
    if not cards:
        raise TrainingError("; ".join(lines))
    if options.format == "table":
        return "\n".join([table(cards), *lines])
    errors = [{"model": name, "version": number, "error": error} for (name, number), error in damaged.items()]
    found = [*records(cards), *errors]
    return _csv(found) if options.format == "csv" else json.dumps(found, indent=2, ensure_ascii=False)


def _chosen(options: Compare) -> list[tuple[str, int]]:
    """Return the models and versions that the options name."""
    names = dict.fromkeys(options.names)
    if options.versions and (len(names) > 1 or "/" in options.names[0]):
        raise TrainingError(f"--versions: expected one model without a version, got {' '.join(names)}")
    chosen: dict[tuple[str, int], None] = {}
    for text in names:
        name, _, number = text.partition("/")
        there = _versions(options.artifacts, name)
        last = there[-options.last :] if len(names) == 1 else there[-1:]
        wanted = (int(number),) if number else options.versions or tuple(last)
        if missing := set(wanted) - set(there):
            raise TrainingError(f"no version {min(missing)} of model {name!r}: there are {', '.join(map(str, there))}")
        chosen |= dict.fromkeys((name, one) for one in wanted)
    return list(chosen)


def _versions(artifacts: Path, name: str) -> list[int]:
    home = artifacts / name
    numbers = versions_of(home) if home.is_dir() else []
    if not numbers:
        raise TrainingError(f"no versions of a model {name!r} in {artifacts}")
    return numbers


def facts(card: ModelCard) -> dict[str, Fact]:
    """Return the facts that every version may have, by name; None for those that it lacks."""
    training, agreement, faithfulness = card.training, card.agreement, card.faithfulness
    importance, by_feature = card.importance, card.feature_importance
    areas = {
        f"{area} by {one.order}": getattr(one, f"{area}_area")
        for area in ("comprehensiveness", "sufficiency")
        for one in (faithfulness.removals if faithfulness else ())
    }
    return {
        "created": card.created,
        "architecture": card.architecture,
        "shape": f"{'up to ' if card.variable_length else ''}{card.timesteps} × {card.features}",
        "weights": training.parameters if training else None,
        "sequences": training.sequences if training else None,
        "seconds": training.seconds if training else None,
        "attention, most": _most(card.timestep_labels, card.attention.mean if card.attention else None),
        "importance, most": _most(card.timestep_labels, importance.mass if importance else None),
        "feature, most": _most(card.feature_labels, by_feature.mass if by_feature else None),
        "rank correlation": agreement.rank_correlation if agreement else None,
        "attention on top": agreement.attention if agreement else None,
        "attention finds": faithfulness.attention_finds if faithfulness else None,
        **areas,
    }


def table(cards: Cards) -> str:
    """Return the table of some cards: a column for each version, a line for each fact and each differing option."""
    names = list(dict.fromkeys(name for name, _ in cards))
    if len(names) == 1:
        rows = [[names[0], *(f"version {number}" for _, number in cards)]]
    else:
        rows = [["version", *(f"{name}/{number}" for name, number in cards)]]
    found = [facts(card) for card in cards.values()]
    for fact in dict.fromkeys(name for one in found for name in one):
        rows.append([fact, *(_shown(one.get(fact), 1 if fact == "seconds" else 4) for one in found)])
    for metric in _metrics(cards):
        rows.append([metric, *(_metric(card, metric) for card in cards.values())])
    for option in _differing(cards):
        values = [_option(card, option) or ABSENT for card in cards.values()]
        rows.append([f"--{option.replace('_', '-')}", *map(str, values)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def records(cards: Cards) -> list[dict[str, Any]]:
    """Return one record a version: model, version, facts, metrics, importance of each feature, differing options.

    `metrics of seeds` has the metrics of each seed, if there are several.
    """
    return [
        {
            "model": name,
            "version": number,
            **{fact: _as_json(value) for fact, value in facts(card).items()},
            "metrics": {metric: card.metrics.get(metric) for metric in _metrics(cards)},
            "metrics of seeds": {} if card.repeats is None else dict(card.repeats.metrics),
            "importance of features": _by_feature(card),
            "options": {option: card.training_options.get(option) for option in _differing(cards)},
        }
        for (name, number), card in cards.items()
    ]


def _as_json(value: Fact) -> Any:
    """Return a fact as JSON has it: times in ISO 8601, a label beside its share."""
    if isinstance(value, datetime):
        return value.isoformat()
    return value._asdict() if isinstance(value, Most) else value


def _csv(found: Sequence[Mapping[str, Any]]) -> str:
    """Return a row for each record. The columns of inner records are `metrics: NAME` and so on; lists are JSON."""
    rows = []
    for record in found:
        row: dict[str, Any] = {}
        for key, value in record.items():
            row |= {f"{key}: {name}": one for name, one in value.items()} if isinstance(value, dict) else {key: value}
        rows.append(row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue().rstrip("\n")


def _cell(value: Any) -> Any:
    """Return a value for a cell: text and nothing as they are, others as JSON."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _by_feature(card: ModelCard) -> dict[str, float]:
    found = card.feature_importance
    return {} if found is None else dict(zip(card.feature_labels, found.drop, strict=True))


def _metrics(cards: Cards) -> list[str]:
    """Return the names of all metrics."""
    return list(dict.fromkeys(metric for card in cards.values() for metric in card.metrics))


def _metric(card: ModelCard, name: str) -> str:
    """Return a metric, with mean and standard deviation over the seeds if there are several."""
    if name not in card.metrics:
        return ABSENT
    if card.repeats is None or name not in card.repeats.metrics:
        return f"{card.metrics[name]:.4f}"
    values = card.repeats.metrics[name]
    return f"{card.metrics[name]:.4f} ({mean(values):.4f} ± {pstdev(values):.4f})"


def _most(labels: Sequence[str], shares: tuple[float, ...] | None) -> Most | None:
    if not shares:
        return None
    peak = shares.index(max(shares))
    return Most(labels[peak], shares[peak])


def _differing(cards: Cards) -> list[str]:
    """Return the options whose values differ. An option that one version lacks is not set."""
    options = sorted({option for card in cards.values() for option in card.training_options})
    return [name for name in options if len({_option(card, name) for card in cards.values()}) > 1]


def _option(card: ModelCard, name: str) -> str | None:
    """Return the value of an option as a cell has it; None if it is not set."""
    value = _cell(card.training_options.get(name))
    return value if value is None else str(value)


def _shown(value: Fact, digits: int) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if isinstance(value, Most):
        return f"{value.label} ({value.share:.3f})"
    return ABSENT if value is None else value
