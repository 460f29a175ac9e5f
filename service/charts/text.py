"""Widths of text in pictures: estimates that are never too small, and texts that are cut or wrapped to fit."""

import unicodedata
from collections.abc import Mapping
from typing import Final

#: Size of labels and of titles, in the units of the picture.
FONT_SIZE, TITLE_SIZE = 12, 13
#: Height of a line of labels.
LINE: Final = 16
#: Categories of characters that are not drawn: controls, halves of characters, and ends of lines and paragraphs.
UNPRINTABLE: Final = ("Cc", "Cs", "Zl", "Zp")
#: Widths of some characters in DejaVu Sans as fractions of the size, rounded up.
WIDTHS: Final[Mapping[str, float]] = {
    character: width
    for width, characters in {
        0.3: "IJijl'",
        0.35: " ,./:;\\|",
        0.42: "!()-[]frt",
        0.54: '"*?_`sz',
        0.6: "FLckvxy",
        0.66: "EKPST",
        0.8: "&",
        0.85: "¬ŵ",
        1.0: "#%+<=>@MW^mw~©Ŵ",
        1.1: "ЉЊ",
    }.items()
    for character in characters
}

#: First characters of wide parts of Unicode, the last first, and their width: other scripts, Cyrillic letters of old
#: texts, other scripts, and Latin letters of which some are two in one.
WIDE_BLOCKS: Final = (("\u0530", 1.0), ("\u0460", 1.2), ("\u0250", 1.0), ("\u0180", 1.45))


def width_of(text: str, size: float = FONT_SIZE) -> float:
    """Return an estimate of the width of a line of text, which is at least that in DejaVu Sans, a wide font.

    Characters of East Asian scripts count double.
    """
    return size * sum(map(_width_of_character, text))


def _width_of_character(character: str) -> float:
    """Return the width of a character as a fraction of the size of the font."""
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0.0
    if unicodedata.east_asian_width(character) in "WFA":
        return 1.1
    if character in WIDTHS:
        return WIDTHS[character]
    for first, width in WIDE_BLOCKS:
        if character >= first:
            return width
    return 0.8 if character.isupper() else 0.66


def cut(text: str, room: float, size: float = FONT_SIZE) -> str:
    """Return a text that is at most as wide as the room: the middle of a longer one is replaced by an ellipsis."""
    if width_of(text, size) <= room:
        return text
    kept = len(text) - 1
    while kept > 2 and width_of(_without_middle(text, kept), size) > room:
        kept -= 1
    return _without_middle(text, kept)


def _without_middle(text: str, kept: int) -> str:
    return f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"


def printable(text: str) -> str:
    """Return a text with spaces for control characters and others that neither XML nor a font has.

    Characters without a width of their own stay: they join the letters of some scripts, and the parts of an emoji.
    """
    return "".join(" " if _is_unprintable(character) else character for character in text)


def _is_unprintable(character: str) -> bool:
    return unicodedata.category(character) in UNPRINTABLE or character in "\ufffe\uffff"


def wrapped(text: str, room: float, size: float = FONT_SIZE) -> list[str]:
    """Return the lines of a text, each at most as wide as the room. A single word that is wider is cut."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and width_of(longer, size) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return [cut(line, room, size) for line in lines]
