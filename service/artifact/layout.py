"""The layout of an artifacts folder: `<model>/<version>/` directories, the files of a version, and the pin."""

import logging
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from service.errors import ArtifactError

#: A model's name is a directory's name and a part of URLs.
NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
#: Each number has one spelling: neither "007" nor "٣" is a version.
VERSION_PATTERN: Final = re.compile("[1-9][0-9]{0,17}")

EXTRA: Final = "assets.extra"
SUMS: Final = f"{EXTRA}/SHA256SUMS"
CARD: Final = f"{EXTRA}/card.json"
GOLDEN: Final = f"{EXTRA}/golden.npz"
LOWERING: Final = f"{EXTRA}/model.onnx"
SAVED_MODEL: Final = "saved_model.pb"
VARIABLES: Final = "variables/"
#: The attention profile as a bar chart, by file suffix.
CHARTS: Final[Mapping[str, str]] = {suffix: f"{EXTRA}/attention.{suffix}" for suffix in ("svg", "png")}

#: A file in a model's directory. It holds the number of the version that answers instead of the newest.
PIN: Final = "pin"
LONGEST_PIN: Final = 20

logger = logging.getLogger(__name__)


def discover(artifacts: Path) -> Mapping[str, list[int]]:
    """Return the version numbers of each model in a folder, models in alphabetical order.

    Entries with other names are ignored, such as versions that are being written. So are directories that cannot be
    read, such as lost+found.
    """
    found = {}
    try:
        for model in sorted(artifacts.iterdir()):
            if re.fullmatch(NAME_PATTERN, model.name) and model.is_dir():
                with suppress(OSError):
                    if numbers := versions_of(model):
                        found[model.name] = numbers
    except OSError as error:
        logger.debug("%s cannot be read: %s", artifacts, error)
    return found


def versions_of(home: Path) -> list[int]:
    """Return the version numbers in a model's directory, smallest first.

    Raises:
        OSError: the directory cannot be read.
    """
    return sorted(int(path.name) for path in home.iterdir() if VERSION_PATTERN.fullmatch(path.name) and path.is_dir())


def pinned_version(home: Path) -> int | None:
    """Return the number in the file `pin` of a model's directory; None without such a file.

    Raises:
        ArtifactError: the file cannot be read, or it does not hold a number.
    """
    try:
        # A link could lead to any file, and a pipe could block for ever.
        with open(home / PIN, opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
            text = file.read(LONGEST_PIN).strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{home / PIN} cannot be read: {getattr(error, 'strerror', 'it is no text')}") from error
    if not text.isascii() or not text.isdecimal():
        raise ArtifactError(f"{home / PIN}: expected the number of a version, got {text!r}")
    return int(text)
