"""A command line that is built from the fields of a model: one flag a field, in groups."""

import csv
import inspect
import types
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, BooleanOptionalAction, HelpFormatter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NoReturn, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from service.problems import did_you_mean
from training import TrainingError

#: Width of the help in characters.
WIDTH: Final = 80
#: The word for a value of a field that is a mapping.
PAIR: Final = "CLASS=WEIGHT"


def read_arguments(
    model: type[BaseModel],
    arguments: Sequence[str],
    program: str,
    groups: Mapping[str, Sequence[str]],
    positional: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the given values by the names of their fields, as text. Fields without a value are left out.

    Args:
        model: its fields are the options.
        arguments: the command line without the program's name.
        program: the command, for the help.
        groups: the fields of each heading of the help. Other fields are under "options".
        positional: the fields that are given without a flag.

    Raises:
        TrainingError: a flag is unknown or lacks its value.
        SystemExit: the help was asked for, and printed.
    """
    parser = _parser(model, program, groups, positional)
    values, unknown = parser.parse_known_args(arguments)
    if unknown:
        flags = [flag_of(name) for name in model.model_fields]
        word = unknown[0].partition("=")[0]
        hint = did_you_mean(word, flags) if word.startswith("-") else ""
        raise TrainingError(f"expected an option, got {unknown[0]!r}{hint}")
    return {
        name: dict(value) if get_origin(_kind(model.model_fields[name])) is dict else value
        for name, value in vars(values).items()
    }


def is_tuple(model: type[BaseModel], name: str) -> bool:
    """Return whether the values of a field are tuples."""
    return get_origin(_kind(model.model_fields[name])) is tuple


def flag_of(name: str) -> str:
    """Return the flag of a field. A field whose name would be a keyword of Python ends with `_`."""
    return f"--{name.rstrip('_').replace('_', '-')}"


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise TrainingError(message.removeprefix("argument ").replace("one argument", "a value, got none"))


def _parser(
    model: type[BaseModel], program: str, groups: Mapping[str, Sequence[str]], positional: Sequence[str]
) -> ArgumentParser:
    description, _, more = inspect.cleandoc(model.__doc__ or "").partition("\n\n")
    usage = " ".join([program, *map(str.upper, positional), "[OPTION ...]"])
    parser = _Parser(
        usage=usage,
        description=description,
        epilog=more,
        allow_abbrev=False,
        add_help=False,
        argument_default=SUPPRESS,
        formatter_class=partial(HelpFormatter, width=WIDTH, max_help_position=26),
    )
    headings = {name: title for title, names in groups.items() for name in names}
    sections = {title: parser.add_argument_group(title) for title in groups}
    for name, field in model.model_fields.items():
        if name in positional:
            several: dict[str, Any] = {"nargs": "+"} if is_tuple(model, name) else {}
            parser.add_argument(name, metavar=name.upper(), help=_help(field), **several)
        else:
            sections.get(headings.get(name, ""), parser).add_argument(
                flag_of(name), dest=name, help=_help(field), **_reading(name, field)
            )
    parser.add_argument("-h", "--help", action="help", help="print this text")
    return parser


def _help(field: FieldInfo) -> str:
    text = field.description or ""
    if get_origin(_kind(field)) is Literal:
        text += f"; one of {', '.join(map(str, get_args(_kind(field))))}"
    if not (field.is_required() or field.default is False or field.default in (None, (), {})):
        text += f" (default: {field.default})"
    return text.replace("%", "%%")


def _reading(name: str, field: FieldInfo) -> dict[str, Any]:
    """Return how argparse reads a field, and the word for its value in the help."""
    kind = _kind(field)
    if kind is bool:
        return {"action": BooleanOptionalAction}
    if get_origin(kind) is tuple:
        word = _word(name, get_args(kind)[0])
        return {"action": "extend", "type": _cells, "metavar": f"{word}[,{word}]"}
    if get_origin(kind) is dict:
        return {"action": "append", "type": _pair, "metavar": PAIR}
    return {"metavar": field.title or _word(name, kind), "required": field.is_required()}


def _kind(field: FieldInfo) -> Any:
    """Return the type of a field's values other than None, the first of several."""
    annotation = field.annotation
    if get_origin(annotation) in (Union, types.UnionType):
        return next(one for one in get_args(annotation) if one is not types.NoneType)
    return annotation


def _word(name: str, kind: Any) -> str:
    """Return the word that stands for a value in the help."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if kind in (int, float):
        return "NUMBER"
    if kind is Path:
        return "FOLDER"
    if kind is str and name.endswith("data"):
        return "FILE"
    return "NAME" if name.endswith(("name", "column", "columns")) or get_origin(kind) is Literal else "TEXT"


def _cells(text: str) -> list[str]:
    """Return the values between commas. Quotes keep a comma: `a,"b,c"` has two values."""
    return next(csv.reader([text]), [])


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.rpartition("=")
    if not sign:
        raise ArgumentTypeError(f"expected {PAIR}, got {text!r}")
    return name, value
