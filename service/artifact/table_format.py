"""How the table of a version's training was read."""

from typing import Any, Final

from service.artifact.card import ModelCard, TableFormat

#: Text that means a missing value in a column of numbers.
MISSING: Final = ("", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "None", "none", "?", "-", ".")
#: Characters that are no part of a key at its ends: those that `str.strip` removes.
BLANKS: Final = "".join(filter(str.isspace, map(chr, range(2**14))))
#: Characters that may stand between the cells of a row, the most usual first.
DELIMITERS: Final = (",", ";", "\t", "|")


def format_of(card: ModelCard) -> TableFormat:
    """Return how training read its table; of earlier versions, as its options say."""
    if card.table is not None:
        return card.table
    options = card.training_options
    sequence, timestep = (options.get(f"{noun}_column") for noun in ("sequence", "timestep"))
    targets, others = (_listed(options.get(option)) for option in ("target_column", "drop_columns"))
    return TableFormat(
        sequence_column=str(sequence) if sequence else None,
        timestep_column=str(timestep) if timestep else None,
        target_columns=targets,
        other_columns=others,
    )


def _listed(names: Any) -> tuple[str, ...]:
    return tuple(map(str, names if isinstance(names, list | tuple) else [names] if names else []))
