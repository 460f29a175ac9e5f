"""JSON objects whose names matter: named features, and rows of tables."""

import json
from collections.abc import Collection, Iterable
from typing import Any, Final

#: Longest integer that is read exactly, in characters. A longer one becomes a float.
LONGEST_INTEGER: Final = 40
#: Most names that a message lists.
MOST_NAMES: Final = 5


class Record(dict[str, Any]):
    """A JSON object that keeps which of its names is repeated.

    Attributes:
        repeated: the first name that it has again; None if there is none.
    """

    __slots__ = ("repeated",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.repeated = first_repeated(name for name, _ in pairs) if len(self) < len(pairs) else None


def loads_records(body: bytes) -> Any:
    """Parse JSON; its objects become records. NaN and infinity, which Python's encoder writes, become numbers.

    It takes several times as long as `array_reader.loads`.

    Raises:
        json.JSONDecodeError: the body is not JSON in UTF-8, or too deep.
    """
    try:
        return json.loads(body.decode("utf-8-sig"), object_pairs_hook=Record, parse_int=_integer)
    except UnicodeDecodeError as error:
        raise json.JSONDecodeError("expected UTF-8", "", error.start) from error
    except RecursionError as error:
        raise json.JSONDecodeError("expected fewer lists and objects in each other", "", 0) from error


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= LONGEST_INTEGER else float(text)


def first_repeated(names: Iterable[str]) -> str | None:
    """Return the first name that was there before; None if each is there once."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def name_problem(
    noun: str, names: Collection[str], expected: Collection[str], others: Collection[str] = ()
) -> str | None:
    """Return how names differ from the expected ones, in any order; None if they do not.

    Args:
        noun: the kind of thing that is named, in singular: `feature`.
        names: the names, each once.
        expected: the names that must be there.
        others: the names that may be there.
    """
    there, known = set(names), {*expected, *others}
    missing = [name for name in expected if name not in there]
    unknown = [name for name in names if name not in known]
    found = [
        f"{kind} {noun}{'s' if len(wrong) > 1 else ''} {_listed(wrong)}"
        for kind, wrong in (("missing", missing), ("unknown", unknown))
        if wrong
    ]
    return "; ".join(found) or None


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name[:80]) for name in names[:MOST_NAMES])
    return f"{shown}, … ({len(names)} in all)" if len(names) > MOST_NAMES else shown
