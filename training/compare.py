"""The table that compares versions of a model."""

from collections.abc import Callable, Mapping
from statistics import mean, pstdev

from service.artifact.card import ModelCard
from service.artifact.layout import versions_of
from service.artifact.version import Artifact
from service.errors import ArtifactError
from training import TrainingError
from training.options import Compare

#: The lines that every version has, and how each is read from the card.
FACTS: Mapping[str, Callable[[ModelCard], str]] = {
    "created": lambda card: f"{card.created:%Y-%m-%d %H:%M}",
    "architecture": lambda card: card.architecture,
    "shape": lambda card: f"{'up to ' if card.variable_length else ''}{card.timesteps} × {card.features}",
    "weights": lambda card: f"{card.training.parameters:,}" if card.training else ABSENT,
    "sequences": lambda card: f"{card.training.sequences:,}" if card.training else ABSENT,
    "seconds": lambda card: f"{card.training.seconds:.1f}" if card.training else ABSENT,
    "attention, most": lambda card: _most(card, card.attention.mean if card.attention else None),
    "importance, most": lambda card: _most(card, card.importance.mass if card.importance else None),
    "rank correlation": lambda card: _number(card.agreement.rank_correlation if card.agreement else None),
    "attention on top": lambda card: _number(card.agreement.attention if card.agreement else None),
}
ABSENT = "-"


def compare(options: Compare) -> str:
    """Return a table of some versions: a line for each fact and for each option that differs between them.

    Damaged versions are listed below the table.

    Raises:
        TrainingError: the model or a version does not exist, or all versions are damaged.
    """
    home = options.artifacts / options.name
    numbers = versions_of(home) if home.is_dir() else []
    if not numbers:
        raise TrainingError(f"no versions of a model {options.name!r} in {options.artifacts}")
    chosen = options.versions or tuple(numbers[-options.last :])
    if missing := set(chosen) - set(numbers):
        raise TrainingError(
            f"no version {min(missing)} of model {options.name!r}: there are {', '.join(map(str, numbers))}"
        )
    cards, damaged = {}, []
    for number in chosen:
        try:
            cards[str(number)] = Artifact(home / str(number)).read().card()
        except ArtifactError as error:
            damaged.append(f"version {number} is damaged: {error}")
    if not cards:
        raise TrainingError("; ".join(damaged))
    return "\n".join([table(home.name, cards), *damaged])


def table(name: str, cards: Mapping[str, ModelCard]) -> str:
    """Return the table of some cards by version. Each card is a column."""
    rows = [[name, *(f"version {version}" for version in cards)]]
    rows += [[fact, *map(show, cards.values())] for fact, show in FACTS.items()]
    for metric in dict.fromkeys(metric for card in cards.values() for metric in card.metrics):
        rows.append([metric, *(_metric(card, metric) for card in cards.values())])
    options = {option for card in cards.values() for option in card.training_options}
    for option in sorted(options):
        values = [str(card.training_options.get(option, ABSENT)) for card in cards.values()]
        if len(set(values)) > 1:
            rows.append([f"--{option.replace('_', '-')}", *values])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _metric(card: ModelCard, name: str) -> str:
    """Return a metric, with mean and standard deviation over the seeds if there are several."""
    if name not in card.metrics:
        return ABSENT
    if card.repeats is None or name not in card.repeats.metrics:
        return _number(card.metrics[name])
    values = card.repeats.metrics[name]
    return f"{card.metrics[name]:.4f} ({mean(values):.4f} ± {pstdev(values):.4f})"


def _most(card: ModelCard, shares: tuple[float, ...] | None) -> str:
    if not shares:
        return ABSENT
    peak = shares.index(max(shares))
    return f"{card.timestep_labels[peak]} ({shares[peak]:.3f})"


def _number(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.4f}"
