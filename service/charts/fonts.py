"""Fonts for charts as PNG: those that are installed in the usual folders."""

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final

from PIL import ImageFont, features

#: Folders with fonts on Linux, macOS and Windows.
FOLDERS: Final = (
    Path("/usr/share/fonts"),
    Path("/usr/local/share/fonts"),
    Path("/System/Library/Fonts"),
    Path("/Library/Fonts"),
    Path("C:/Windows/Fonts"),
)
#: Names of files with fonts of many characters, most preferred first. Names that begin with `NotoSans` follow.
NAMES: Final = (
    "DejaVuSans", "LiberationSans-Regular", "NotoSans-Regular", "arial", "Arial", "Helvetica",
    "NotoSansCJK-Regular", "NotoSansKR-Regular", "NotoSansJP-Regular", "NotoSansSC-Regular", "NanumGothic",
    "NanumBarunGothic", "malgun", "AppleSDGothicNeo", "msyh", "YuGothM", "PingFang", "wqy-zenhei", "wqy-microhei",
    "Arial Unicode", "unifont",
)  # fmt: skip
SUFFIXES: Final = frozenset((".ttf", ".ttc", ".otf"))
#: A character that no font has. Fonts draw it as they draw any character that they lack.
NO_CHARACTER: Final = "\U0010ffff"
#: Size in which characters are looked at.
LOOKED_AT: Final = 24

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class NoFont(ValueError):
    """No installed font has all characters of a text, so that it cannot be drawn as PNG."""


def font_for(text: str, size: int) -> Font:
    """Return the first font that has all characters of a text: Pillow's own, or an installed one.

    Args:
        text: the text.
        size: size of the font in pixels.

    Raises:
        NoFont: there is none, or scripts that join or reorder their characters cannot be laid out here.
    """
    file = _file_for("".join(sorted(set(text))), FOLDERS)
    return ImageFont.load_default(size) if file is None else ImageFont.truetype(file, size)


@lru_cache(1024)
def _file_for(characters: str, folders: tuple[Path, ...]) -> Path | None:
    """Return the file of a font with all characters; None for Pillow's own."""
    if any(map(_needs_layout, characters)) and not features.check("raqm"):
        raise NoFont(f"a text with {_first(characters)!r} cannot be laid out in a PNG here: use SVG")
    for file in (None, *_installed(folders)):
        font = ImageFont.load_default(LOOKED_AT) if file is None else ImageFont.truetype(file, LOOKED_AT)
        if all(_has(font, character) for character in characters):
            return file
    lacking = _first(characters)
    raise NoFont(
        f"no installed font has all characters of a text with {lacking!r}, so that it cannot be drawn as PNG: use SVG, "
        "or install a font such as Noto Sans CJK"
    )


def _first(characters: str) -> str:
    """Return a character that shows the script: the last in the order of Unicode."""
    return max(characters)


@lru_cache(1)
def _installed(folders: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return the files of known fonts, most preferred first."""
    return tuple(sorted(_known(folders), key=lambda file: (_rank(file), str(file))))


def _known(folders: tuple[Path, ...]) -> Iterator[Path]:
    for folder in folders:
        for file in folder.rglob("*"):
            if file.suffix.lower() in SUFFIXES and _rank(file) <= len(NAMES):
                yield file


def _rank(file: Path) -> int:
    if file.stem in NAMES:
        return NAMES.index(file.stem)
    return len(NAMES) if file.stem.startswith("NotoSans") and file.stem.endswith("-Regular") else len(NAMES) + 1


def _has(font: Font, character: str) -> bool:
    """Return whether a font has a character, or the character leaves no ink."""
    if character.isspace() or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return True
    return _ink(font, character) != _ink(font, NO_CHARACTER)


def _ink(font: Font, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character)
    return mask.size, bytes(mask)


def _needs_layout(character: str) -> bool:
    """Return whether a character belongs to a script whose characters join or change their order."""
    return unicodedata.bidirectional(character) in ("R", "AL") or unicodedata.category(character) in ("Mn", "Mc")
