"""The layout of an artifacts folder: `<model>/<version>/` directories, the files of a version, and the pin."""

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from service.errors import ArtifactError
from service.problems import NAME_PATTERN

#: Each number has one spelling: neither "007" nor "٣" is a version.
VERSION_PATTERN: Final = re.compile("[1-9][0-9]{0,17}")
#: Ends of the names of directories that are being written.
UNFINISHED: Final = (".tmp", ".part")
#: Names that are probably meant as the number of a version.
_MEANT_AS_VERSION: Final = re.compile(r"(?:v|version)?[-_. ]?(\d+)", re.IGNORECASE)

EXTRA: Final = "assets.extra"
SUMS: Final = f"{EXTRA}/SHA256SUMS"
CARD: Final = f"{EXTRA}/card.json"
GOLDEN: Final = f"{EXTRA}/golden.npz"
LOWERING: Final = f"{EXTRA}/model.onnx"
SAVED_MODEL: Final = "saved_model.pb"
VARIABLES: Final = "variables/"
#: The attention profile as a bar chart, by file suffix.
CHARTS: Final[Mapping[str, str]] = {suffix: f"{EXTRA}/attention.{suffix}" for suffix in ("svg", "png")}
#: The confusion matrix as a chart, by file suffix. Numbers have none, and so have versions of earlier releases.
CONFUSIONS: Final[Mapping[str, str]] = {suffix: f"{EXTRA}/confusion.{suffix}" for suffix in CHARTS}

#: A file in a model's directory. It holds the number of the version that answers instead of the newest.
PIN: Final = "pin"
LONGEST_PIN: Final = 20
#: Flags to open a directory for opening files in it. On Linux, that needs no permission to list it.
SEARCH: Final = os.O_DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY)
#: Most entries in an error.
MOST_LISTED: Final = 5


class Folder(NamedTuple):
    """The contents of an artifacts folder.

    Attributes:
        models: the version numbers of each model, smallest first; models in alphabetical order.
        passed_over: the entries that were probably meant as models or versions, with the reason why they are not.
    """

    models: Mapping[str, list[int]]
    passed_over: Mapping[Path, str]


def discover(artifacts: Path) -> Folder:
    """Return the models in a folder; none if it is missing.

    Entries with other names are ignored, such as versions that are being written. So are directories such as
    lost+found, which have no model's name and cannot be read.

    Raises:
        OSError: the folder cannot be read.
    """
    models: dict[str, list[int]] = {}
    passed_over: dict[Path, str] = {}
    with suppress(FileNotFoundError, NotADirectoryError):
        for home in _directories(artifacts):
            named = re.fullmatch(NAME_PATTERN, home.name)
            try:
                numbers, others = _entries(home)
            except OSError as error:
                if named and not isinstance(error, FileNotFoundError):  # it may be deleted right now
                    passed_over[home] = f"it cannot be read: {error.strerror}"
                continue
            if not named:
                if numbers:
                    passed_over[home] = "a model's name has only letters, digits, '.', '_' and '-'"
                continue
            passed_over |= others
            if numbers:
                models[home.name] = numbers
    return Folder(models, passed_over)


def versions_of(home: Path) -> list[int]:
    """Return the version numbers in a model's directory, smallest first.

    Raises:
        OSError: the directory cannot be read.
    """
    return _entries(home)[0]


def why_no_model(artifacts: Path) -> str:
    """Return why a folder has no model, and what to do: the reason for each entry, or the folder that was meant.

    Raises:
        OSError: the folder cannot be read.
    """
    advice = f"train one with `python -m training --artifacts {artifacts}`, or point --artifacts elsewhere"
    if not artifacts.exists():
        return f"there is no such directory: {advice}"
    if meant := _folder_meant(artifacts.resolve()):
        return meant
    if not artifacts.is_dir():
        return f"it is no directory: {advice}"
    if passed_over := discover(artifacts).passed_over:
        return _listed(f"{path} is passed over: {reason}" for path, reason in passed_over.items())
    names = [one.name for one in _directories(artifacts)]
    if not names:
        return f"it has no directories: {advice}"
    return f"it has {_listed(map(repr, names))} without a version such as {artifacts / names[0] / '1'}: {advice}"


def _folder_meant(path: Path) -> str | None:
    """Return which folder was meant instead of a path, if that belongs to a version or a model, or holds the folder."""
    for part in (path, *path.parents):
        if _is_version(part):
            is_what = "itself a version" if part == path else "a part of a version"
            if _MEANT_AS_VERSION.fullmatch(part.name):
                return f"it is {is_what}: use --artifacts {part.parent.parent}"
            return f"it is {is_what}: move {part} to <model>/1 in a folder, and use --artifacts with that folder"
    if not path.is_dir():
        return None
    directories = _directories(path)
    if any(_MEANT_AS_VERSION.fullmatch(one.name) and _is_version(one) for one in directories):
        return f"it is itself the directory of a model: use --artifacts {path.parent}"
    for directory in directories:
        with suppress(OSError):
            if models := discover(directory).models:
                return f"{directory.name} in it has {_listed(models)}: use --artifacts {directory}"
    return None


def _directories(folder: Path) -> list[Path]:
    """Return the directories in a folder that are not hidden, in alphabetical order."""
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and path.is_dir()]


def _entries(home: Path) -> tuple[list[int], dict[Path, str]]:
    """Return the version numbers in a model's directory, and the reasons why other entries are not versions."""
    numbers, others = [], {}
    for path in home.iterdir():
        if VERSION_PATTERN.fullmatch(path.name):
            if path.is_dir():
                numbers.append(int(path.name))
            else:
                others[path] = "it is not a directory"
        elif path.name == SAVED_MODEL:
            others[path] = f"the files of a version belong in a directory such as {home / '1'}"
        elif not (path.name.startswith(".") or path.name.endswith(UNFINISHED)) and path.is_dir():
            meant = _MEANT_AS_VERSION.fullmatch(path.name)
            if meant is None and not _is_version(path):
                continue
            number = str(int(meant[1])) if meant else ""
            expected = number if VERSION_PATTERN.fullmatch(number) else "1, 2 and so on"
            others[path] = f"the name of a version is a number without leading zeros, expected {expected}"
    return sorted(numbers), others


def _is_version(path: Path) -> bool:
    return (path / SAVED_MODEL).exists() or (path / EXTRA).exists()


def _listed(texts: Iterable[str]) -> str:
    """Return the first texts as a list."""
    first = list(texts)
    more = len(first) - MOST_LISTED
    return ", ".join(first[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def pinned_version(home: Path) -> int | None:
    """Return the number in the file `pin` of a model's directory; None without such a file.

    Raises:
        ArtifactError: the file cannot be read, or it does not hold a number.
    """
    try:
        with open(home / PIN, opener=open_itself) as file:
            text = file.read(LONGEST_PIN).strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{home / PIN} cannot be read: {getattr(error, 'strerror', 'it is no text')}") from error
    if not text.isascii() or not text.isdecimal():
        raise ArtifactError(f"{home / PIN}: expected the number of a version, got {text!r}")
    return int(text)


def open_itself(path: str, flags: int) -> int:
    """Open a file, for `open`'s `opener`. A link could lead to any file, and a pipe could block for ever."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def open_beneath(folder: str, path: str, flags: int) -> int:
    """Open a file or a directory below a folder without following any link, and return its descriptor.

    Args:
        folder: the folder.
        path: a path that begins with the folder.
        flags: flags of `os.open`.

    Raises:
        OSError: it cannot be opened, or a part of the path below the folder is a link.
    """
    *directories, last = Path(path).relative_to(folder).parts
    above = os.open(folder, SEARCH)
    try:
        for directory in directories:
            below = os.open(directory, SEARCH | os.O_NOFOLLOW, dir_fd=above)
            os.close(above)
            above = below
        return os.open(last, flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=above)
    finally:
        os.close(above)
