"""The columns of a table by their roles, and their values as SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from service.tables.rows import Table, literal


@dataclass(frozen=True)
class Columns:
    """The roles of the columns.

    Attributes:
        targets: columns to predict.
        features: columns with the values of sequences.
        static: those of them that do not change with time.
        categories: the values of each feature that is text, by the column.
        sequence, timestep, group: columns of one row a timestep; None if there is none.
        hints: sentences on what was chosen.
        used: further columns with values of sequences: the timesteps of a wide table.
    """

    targets: tuple[str, ...]
    features: tuple[str, ...]
    static: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]
    sequence: str | None
    timestep: str | None
    group: str | None
    hints: tuple[str, ...]
    used: tuple[str, ...] = ()

    def with_features(self, names: Sequence[str]) -> "Columns":
        """Return the columns with further features."""
        return replace(self, features=tuple(dict.fromkeys([*self.features, *names])))

    def with_used(self, names: Sequence[str]) -> "Columns":
        """Return the columns with the names of further ones that hold values."""
        return replace(self, used=tuple(names))

    def with_categories(self, categories: Mapping[str, tuple[str, ...]]) -> "Columns":
        """Return the columns with other categories."""
        return replace(self, categories=categories)

    def value(self, table: Table, column: str) -> str:
        """Return the SQL of a feature's value: a number, or the index of a category; null if it is missing."""
        values = self.categories.get(column)
        if values is None:
            return table.float32(column)
        listed = ", ".join(map(literal, values))
        index = f"coalesce(list_position([{listed}], {table.word(column)}) - 1, {len(values)})"
        return f"(CASE WHEN {table.word(column)} IS NOT NULL THEN {index} END)::FLOAT"
