"""API keys: the file that lists them, which is read again when it changes, and the command that makes one."""

import argparse
import hashlib
import hmac
import logging
import re
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args

logger = logging.getLogger(__name__)

Right = Literal["read", "predict", "control"]
RIGHTS: Final[tuple[Right, ...]] = get_args(Right)

#: The command that makes a key.
COMMAND: Final = "key"
#: Bytes of chance in a key.
KEY_BYTES: Final = 32
#: How often the file is looked at, in seconds.
LOOK_SECONDS: Final = 1.0
ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
# A key is 256 random bits, so nobody can try all keys against a hash. A slow hash with a salt, as passwords need it,
# would only cost time.
HASH: Final = re.compile(r"sha256:([0-9a-f]{64})")


class KeyFileError(Exception):
    """The file of keys cannot be read. The message names the place and the expected value, and no part of a key."""


class Key(NamedTuple):
    """A key of a client.

    Attributes:
        id: the name of the client, for the log.
        rights: what the client may do.
        digest: the SHA-256 of the key.
    """

    id: str
    rights: frozenset[Right]
    digest: bytes


class KeyFile:
    """The keys in a file. They follow the file: a change counts within `LOOK_SECONDS`.

    A file that cannot be read leaves the keys as they are, and is logged once.

    Args:
        path: the file.

    Raises:
        KeyFileError: the file cannot be read when the service starts.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = _state_of(path)
        self._keys = read_keys(path)
        self._next_look = time.monotonic() + LOOK_SECONDS

    def find(self, presented: bytes) -> Key | None:
        """Return the key that a client presents; None if it is not in the file."""
        if (now := time.monotonic()) >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            self._follow()
        # The time depends neither on the beginning of the presented key, because only digests are compared, nor on the
        # place of the key in the file, because all are compared.
        digest = hashlib.sha256(presented).digest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def _follow(self) -> None:
        state = _state_of(self._path)
        if state == self._state:
            return
        self._state = state
        try:
            self._keys = read_keys(self._path)
        except KeyFileError as error:
            logger.error("%s; the keys from before stay valid", error)
        else:
            logger.info("%s: read again, %d keys", self._path, len(self._keys))


def read_keys(path: Path) -> list[Key]:
    """Return the keys in a file, which has one line `ID RIGHTS sha256:HEX` for each; `#` begins a comment.

    Raises:
        KeyFileError: the file cannot be read, has a line of another form, or has no key.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise KeyFileError(f"keys: {path} cannot be read: {reason}") from None
    keys: dict[bytes, Key] = {}
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        key = _key_of(words)
        if key is None:
            raise KeyFileError(
                f"keys: {path} line {number}: expected ID RIGHTS sha256:HEX, with an id of at most 64 letters, digits, "
                f"'.', '_' and '-', and rights from {','.join(RIGHTS)}"
            )
        if key.digest in keys:
            raise KeyFileError(
                f"keys: {path} line {number}: expected each key once, got the one of {keys[key.digest].id} again"
            )
        keys[key.digest] = key
    if not keys:
        raise KeyFileError(f"keys: {path}: expected at least one key, got none")
    return list(keys.values())


def _key_of(words: Sequence[str]) -> Key | None:
    """Return the key in the words of a line; None if they have another form."""
    match words:
        case [name, rights, digest]:
            pass
        case _:
            return None
    named = [right for right in RIGHTS if right in rights.split(",")]
    found = HASH.fullmatch(digest)
    if not ID.fullmatch(name) or not found or len(named) != len(rights.split(",")):
        return None
    return Key(name, frozenset(named), bytes.fromhex(found[1]))


def _state_of(path: Path) -> tuple[int, ...] | None:
    """Return what changes with the content or the rights of a file; None if the file is missing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def make_key(arguments: Sequence[str]) -> None:
    """Make a key, print it, and print the line for the file of keys or append it to the file.

    Args:
        arguments: the command line after `key`.

    Raises:
        SystemExit: an argument is wrong, or the file cannot be written.
    """
    parser = argparse.ArgumentParser(
        prog=f"attention-service {COMMAND}",
        description="Make a key for a client. It is shown this once; the file of --keys holds only its hash.",
    )
    parser.add_argument("id", type=_id, help="name of the client, for the log; several keys may have the same")
    parser.add_argument(
        "--rights", type=_rights, required=True, help=f"what the client may do: {', '.join(RIGHTS)}, with commas"
    )
    parser.add_argument("--file", type=Path, help="file to append the line to, made with mode 0600 if it is absent")
    given = parser.parse_args(arguments)
    key = secrets.token_hex(KEY_BYTES)
    line = f"{given.id} {given.rights} sha256:{hashlib.sha256(key.encode()).hexdigest()}\n"
    if given.file is None:
        sys.stdout.write(f"{key}\n{line}")
        sys.stderr.write("The first line is the key, the second one belongs into the file of --keys.\n")
        return
    try:
        _append(given.file, line)
    except OSError as error:
        raise SystemExit(f"error: {given.file} cannot be written: {error.strerror}") from None
    sys.stdout.write(f"{key}\n")


def _append(path: Path, line: str) -> None:
    path.touch(mode=0o600)
    with path.open("a+b") as file:
        file.seek(0)
        ended = file.read()[-1:] in (b"", b"\n")
        file.write(("" if ended else "\n").encode() + line.encode())  # at once, as the service may be reading it


def _id(text: str) -> str:
    if not ID.fullmatch(text):
        raise argparse.ArgumentTypeError(f"expected at most 64 letters, digits, '.', '_' and '-', got {text!r}")
    return text


def _rights(text: str) -> str:
    if (named := set(text.split(","))) - set(RIGHTS):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(RIGHTS)}, got {text!r}")
    return ",".join(right for right in RIGHTS if right in named)
