"""Wrong values in plain words, Pydantic's errors among them: the place, the expected value and the received one."""

import json
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

import numpy as np

#: A model's name is a directory's name and a part of URLs.
NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
#: The same in words.
NAME_IN_WORDS: Final = "letters a to z, digits, `.`, `_` and `-`, starting with a letter or digit"
#: The expected value of each type of error, with the fields of its context.
EXPECTED: Final[Mapping[str, str]] = {
    "missing": "a value",
    "string_type": "a string",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_parsing_size": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "json_invalid": "JSON",
    "path_type": "a path",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "list_type": "a list",
    "literal_error": "{expected}",
    "string_pattern_mismatch": "text that matches {pattern}",
    "too_short": "at least {min_length} entries",
    "too_long": "at most {max_length} entries",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
}

#: Most bits of an integer that a message shows.
LONGEST_INTEGER: Final = 64


def in_plain_words(problem: Mapping[str, Any], where: str) -> str:
    """Return the message for one of Pydantic's errors, such as `attention: expected 'mean' or 'full', got "x"`.

    Args:
        problem: the error.
        where: the part of the input that has it, named where nothing more is known.
    """
    kind, context, place = problem["type"], problem.get("ctx", {}), _place(problem["loc"])
    if kind == "value_error":  # of a validator of our own, which gives all but the place
        return f"{place}: {context['error']}" if place else str(context["error"])
    expected = NAME_IN_WORDS if context.get("pattern") == NAME_PATTERN else EXPECTED.get(kind)
    expected = expected.format_map(context) if expected else problem["msg"].removeprefix("Input should be ")
    return f"{place or where}: expected {expected}, got {_received(kind, context, problem.get('input'))}"


def _place(parts: Sequence[str | int]) -> str:
    """Return a place as in `inputs[0].shape`."""
    names = (f"[{part}]" if isinstance(part, int) else f".{part[:80]}" for part in parts)
    return "".join(names).removeprefix(".")


def _received(kind: str, context: Mapping[str, Any], value: object) -> str:
    if kind == "missing":
        return "none"
    if kind == "json_invalid":
        return str(context["error"])
    if "actual_length" in context:
        return str(context["actual_length"])
    if isinstance(value, np.generic):
        value = value.item()
    # An array is a list to the client.
    return shown(value) if isinstance(value, str | int | float | dict | None) else "a list"


def shown(value: object) -> str:
    """Return a parsed value as messages show it: short JSON, or the kind of a list or an object.

    Text of any script is shown as it came; only what cannot be printed is escaped.
    """
    if isinstance(value, list | dict):
        return kind_of(value)
    if isinstance(value, int) and value.bit_length() > LONGEST_INTEGER:
        return f"an integer of {value.bit_length()} bits"
    text = json.dumps(value[:80] if isinstance(value, str) else value, ensure_ascii=False)
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def kind_of(value: object) -> str:
    """Return the kind of a parsed value, as messages name it."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return "a number"


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return the end of a message about an unknown word: `; did you mean 'epochs'?`, or "" if no choice is close.

    Upper and lower case are alike.
    """
    close = _closest(word, choices)
    return "" if close is None else f"; did you mean {close!r}?"


def _closest(word: str, choices: Iterable[str]) -> str | None:
    by_lower = {choice.lower(): choice for choice in choices}
    close = get_close_matches(word.lower(), by_lower, n=1)
    return by_lower[close[0]] if close else None


def listed(names: Sequence[str]) -> str:
    """Return the first names of columns, for messages."""
    return ", ".join(names[:20]) + (", …" if len(names) > 20 else "")


def missing_column(name: str, names: Sequence[str]) -> str:
    """Return the message about a column that a table with the columns `names` must have."""
    close = _closest(name, names)  # the table has it: nobody meant it instead
    return f"expected a column {name!r}, got {listed(names)}" + ("" if close is None else f"; {close!r} is the closest")
