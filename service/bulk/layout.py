"""Which columns of a table hold which values of the sequences, by the card of the model."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from service.artifact.card import ModelCard
from service.artifact.table_format import format_of
from service.errors import ScoringError
from service.problems import did_you_mean

Form = Literal["array", "wide", "series", "long"]


@dataclass(frozen=True)
class Layout:
    """How the columns of a table are read.

    Attributes:
        form: wide for one row a sequence, series for one with lists of values, long for one row a timestep.
        columns: the columns of values, in the order of the features; of a wide table in that of timesteps and features,
            each static feature once, in the first timestep.
        labels: the feature of each column.
        key: the column that identifies the sequence of a row, of a long table with several sequences.
        time: the column that orders the rows of a sequence, if there is one.
    """

    form: Form
    columns: tuple[str, ...]
    labels: tuple[str, ...]
    key: str | None = None
    time: str | None = None


def layout_of(where: str, names: Collection[str], card: ModelCard, has_lists: Callable[[str], bool]) -> Layout:
    """Return the layout of a table. As in the service, it may be another one than that of the training.

    Args:
        where: the table's name in error messages.
        names: its columns. Columns that the model does not know are ignored.
        card: the card of the model.
        has_lists: returns whether a column holds lists.

    Raises:
        ScoringError: a column is missing.
    """
    told = format_of(card)
    varying = [label for label in card.feature_labels if label not in card.static_labels]
    layouts = [*([_wide(card, lambda _, step: step)] if len(varying) == 1 else [])]
    layouts.append(_wide(card, lambda feature, step: f"{feature}@{step}"))
    labels = tuple(label for label in card.feature_labels if label != told.time_feature)
    key, time = (name if name in names else None for name in (told.sequence_column, told.timestep_column))
    layouts.append(Layout("long", labels, labels, key, time))
    if told.sequence_column is not None:  # the model was trained with a long table
        layouts.reverse()
    found = max(layouts, key=lambda one: (_has(names, one), one.key is not None, len({*names} & {*one.columns})))
    if not _has(names, found):
        missing = next(name for name in found.columns if name not in names)
        shown = ", ".join(list(names)[:20]) + (", …" if len(names) > 20 else "")
        raise ScoringError(f"{where}: expected a column {missing!r}, got {shown}{did_you_mean(missing, names)}")
    if found.form == "long" and told.time_feature is not None and found.time is None:
        raise ScoringError(f"{where}: expected a column {told.timestep_column!r}, which is a feature")
    if found.form == "long" and found.key is found.time is None and any(map(has_lists, varying)):
        return Layout("series", labels, labels)
    return found


def _wide(card: ModelCard, named: Callable[[str, str], str]) -> Layout:
    columns: dict[str, str] = {}
    for step in card.timestep_labels:
        for label in card.feature_labels:
            columns.setdefault(label if label in card.static_labels else named(label, step), label)
    return Layout("wide", tuple(columns), tuple(columns.values()))


def _has(names: Collection[str], layout: Layout) -> bool:
    return {*names}.issuperset(layout.columns)
