"""How the text of a table is read, as far as it is known beforehand."""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Dialect:
    """How the text of a table is read. What is None is found in the file.

    Attributes:
        header: whether the first row of CSV has the names of the columns.
        delimiter: the character between cells of CSV.
        decimal, thousands: the characters within numbers; "" for no character between thousands.
        encoding: the encoding of CSV.
        missing: words for a missing value, beside those that are known.
        date_format: the format of times as text, as of strptime.
        used: the columns whose numbers may tell the decimal separator; None for all.
        left_out: those of them that may not.
    """

    header: bool = True
    delimiter: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    missing: tuple[str, ...] = ()
    date_format: str | None = None
    used: Collection[str] | None = None
    left_out: Collection[str] = ()
