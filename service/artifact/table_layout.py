"""Which columns of a table hold which values of the sequences, by the card of the model."""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Literal

from service.artifact.card import ModelCard
from service.artifact.table_format import format_of
from service.errors import TableError

Form = Literal["wide", "series", "long"]


@dataclass(frozen=True)
class TableLayout:
    """How the columns of a table are read.

    Attributes:
        form: wide for one row a sequence, series for one with lists of values, long for one row a timestep.
        values: the column of each value: of a wide table in the order of the card's timesteps and the features of each,
            of others in that of the features. A static feature has one column.
        features: the feature of each value.
        needed: the columns that the table must have, each once.
        key: the column that identifies the sequence of a row, of a long table that has one.
        time: the column that orders the rows of a sequence, of a long table that has one.
    """

    form: Form
    values: tuple[str, ...]
    features: tuple[str, ...]
    needed: tuple[str, ...]
    key: str | None = None
    time: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of values, each once."""
        return tuple(dict.fromkeys(self.values))

    @property
    def labels(self) -> tuple[str, ...]:
        """The feature of each of these columns."""
        return tuple(dict(zip(self.values, self.features, strict=True)).values())

    @property
    def may_have_lists(self) -> bool:
        """Whether lists in the cells are series: nothing else says which rows belong to a sequence."""
        return self.form == "long" and self.key is self.time is None


def layout_of(
    names: Collection[str],
    card: ModelCard,
    *,
    key: str | None = None,
    has_lists: Callable[[str], bool] | None = None,
) -> TableLayout:
    """Return the layout that fits the columns of a table best; it may be another one than that of the training.

    Args:
        names: the columns. Some that the layout needs may be missing.
        card: the card of the model.
        key: the column that identifies sequences; if not given, that of the training.
        has_lists: returns whether a column holds lists. Without it, the form is never series.

    Raises:
        TableError: the labels of the card give two values of the layout one column.
    """
    there, static = {*names}, card.static_labels
    varying = [label for label in card.feature_labels if label not in static]
    layouts = [_wide(card, lambda feature, step: f"{feature}@{step}"), _long(there, card, key)]
    if len(varying) == 1:
        layouts.insert(0, _wide(card, lambda _, step: step))
    if format_of(card).sequence_column is not None:  # the model was trained with a long table
        layouts.reverse()
    found = max(
        layouts, key=lambda one: (there.issuperset(one.needed), one.key is not None, len(there & {*one.values}))
    )
    different = card.timesteps * len(varying) + len(static) if found.form == "wide" else len(found.values)
    if len(found.columns) < different:
        changing = (column for column, label in zip(found.values, found.features, strict=True) if label not in static)
        ((column, _),) = Counter([*changing, *static]).most_common(1)
        raise TableError(f"expected sequences, as two columns of a table would be named {column!r}")
    if has_lists is not None and found.may_have_lists and any(map(has_lists, there.intersection(varying))):
        return replace(found, form="series")
    return found


def _wide(card: ModelCard, named: Callable[[str, str], str]) -> TableLayout:
    static = {*card.static_labels}
    steps, labels = card.timestep_labels, card.feature_labels
    values = tuple([label if label in static else named(label, step) for step in steps for label in labels])
    return TableLayout("wide", values, labels * len(steps), tuple(dict.fromkeys(values)))


def _long(names: set[str], card: ModelCard, key: str | None) -> TableLayout:
    told = format_of(card)
    key, time = key or told.sequence_column, told.timestep_column
    values = tuple(label for label in card.feature_labels if label != told.time_feature)
    needed = values if told.time_feature is None else (*values, str(time))
    return TableLayout("long", values, values, needed, key if key in names else None, time if time in names else None)
