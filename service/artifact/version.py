"""The directory of one version: its files, their checksums, and reading them."""

import errno
import hashlib
import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import ValidationError

from service.artifact import golden
from service.artifact.card import ModelCard
from service.artifact.golden import Golden
from service.artifact.layout import (
    CARD,
    CHARTS,
    CONFUSIONS,
    EXTRA,
    GOLDEN,
    LOWERING,
    SAVED_MODEL,
    SUMS,
    VARIABLES,
    open_beneath,
)
from service.errors import ArtifactError
from service.problems import in_plain_words

#: Limits that keep a hostile version from exhausting memory: the number of files and directories, the bytes of all
#: files, and the bytes of certain files.
MOST_FILES: Final = 1000
MOST_BYTES: Final = 2**30
MOST_BYTES_OF: Final = {SUMS: 2**20, CARD: 2**23, GOLDEN: golden.MOST_BYTES + 2**16}
#: Most values in a card. Each takes up to 200 bytes once it is parsed.
MOST_VALUES: Final = 2**19

#: Bytes of a file that are read at a time.
CHUNK: Final = 2**20

#: Kubernetes' volumes keep their files in directories of such names; the others are links to these files.
HIDDEN: Final = ".."

_SUM = re.compile(r"([0-9a-f]{64})  (.+)")


class Stamp(NamedTuple):
    """Metadata of a version's files. It changes when a file changes.

    Attributes:
        directory: identity of the directory; None if it cannot be read.
        files: metadata of all files; the error if they cannot be read.
    """

    directory: object
    files: object


class _Entry(NamedTuple):
    """A file or directory of a version.

    Attributes:
        folder: the folder of all models, without links.
        path: its path, which begins with the folder, without links.
        status: its metadata.
    """

    folder: str
    path: str
    status: os.stat_result

    def chunks(self) -> Iterator[bytes]:
        """Yield the content of the file, which is at most as long as its metadata says.

        Raises:
            OSError: the file cannot be read, or another entry has replaced it.
        """
        left = self.status.st_size
        with open(self.path, "rb", opener=lambda path, flags: open_beneath(self.folder, path, flags)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size != left:
                raise OSError(errno.ESTALE, "it was changed while the version was read")
            while left and (chunk := file.read(min(left, CHUNK))):
                left -= len(chunk)
                yield chunk


@dataclass(frozen=True)
class Contents:
    """The files of one version, checked against their published checksums.

    Attributes:
        directory: the directory of the version.
        files: the bytes of each file by name, without the variables, which may be large.
        digests: the SHA-256 of each file by name, including the variables.
        entries: each file by name.
    """

    directory: Path
    files: Mapping[str, bytes]
    digests: Mapping[str, str]
    entries: Mapping[str, _Entry] = field(default_factory=dict, compare=False)

    @property
    def has_saved_model(self) -> bool:
        """Whether the version has a SavedModel. An imported version has a lowering alone."""
        return SAVED_MODEL in self.files

    def card(self) -> ModelCard:
        """Parse the card.

        Raises:
            ArtifactError: the card is missing or invalid.
        """
        content = self.file(CARD)
        if sum(map(content.count, (b",", b"[", b"{"))) > MOST_VALUES:
            raise ArtifactError(f"{self.directory / CARD} has too many values: expected at most {MOST_VALUES}")
        try:
            return ModelCard.model_validate_json(content)
        except ValidationError as error:
            problem = in_plain_words(error.errors()[0], "card")
            raise ArtifactError(f"{self.directory / CARD} is not a valid card: {problem}") from error

    def golden(self) -> Golden:
        """Parse the golden example.

        Raises:
            ArtifactError: the example is missing or invalid.
        """
        return Golden.parse(self.file(GOLDEN), self.directory / GOLDEN)

    def write_saved_model(self, directory: Path) -> None:
        """Copy the SavedModel to a private directory, so that it cannot change after this check.

        Raises:
            ArtifactError: the variables have changed since they were read.
            OSError: the copy cannot be written.
        """
        for name, digest in self.digests.items():
            if name.startswith(f"{EXTRA}/"):
                continue
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name in self.files:
                path.write_bytes(self.files[name])
                continue
            copied = hashlib.sha256()
            with path.open("wb") as file:
                for chunk in _chunks(self.directory / name, self.entries[name]):
                    file.write(chunk)
                    copied.update(chunk)
            if copied.hexdigest() != digest:
                raise ArtifactError(f"{self.directory / name} changed while it was read")

    def file(self, name: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            ArtifactError: no such file was published.
        """
        if name not in self.files:
            raise ArtifactError(f"{self.directory / name} is missing")
        return self.files[name]


@dataclass(frozen=True)
class Artifact:
    """The directory of one version."""

    directory: Path

    @property
    def card_path(self) -> Path:
        return self.directory / CARD

    @property
    def golden_path(self) -> Path:
        return self.directory / GOLDEN

    @property
    def lowering_path(self) -> Path:
        return self.directory / LOWERING

    @property
    def sums_path(self) -> Path:
        return self.directory / SUMS

    def chart_path(self, suffix: str) -> Path:
        """Return the path of the attention profile as a bar chart; `suffix` is one of `CHARTS`."""
        return self.directory / CHARTS[suffix]

    def confusion_path(self, suffix: str) -> Path:
        """Return the path of the confusion matrix as a chart; `suffix` is one of `CONFUSIONS`."""
        return self.directory / CONFUSIONS[suffix]

    def read(self) -> Contents:
        """Read the files, and check them against the published checksums.

        Raises:
            ArtifactError: a file is missing, differs, is too large, is not a plain file or lies outside the version.
        """
        files = self._files()
        published = self._sums(files)
        digests: dict[str, str] = {}
        contents: dict[str, bytes] = {}
        for name, expected in published.items():
            if name not in files:
                raise ArtifactError(f"{self.directory / name} is missing: {self.sums_path} lists it")
            if name.startswith(VARIABLES):  # only TensorFlow reads them, and they may be large
                digests[name] = self._digest(name, files[name])
            else:
                contents[name] = self._read(name, files[name])
                digests[name] = hashlib.sha256(contents[name]).hexdigest()
            if digests[name] != expected:
                raise ArtifactError(
                    f"{self.directory / name} is not what was published: {self.sums_path} expects SHA-256 "
                    f"{expected}, got {digests[name]}"
                )
        # People may add files to assets.extra, such as TensorFlow Serving's warm-up requests. Elsewhere TensorFlow
        # might read them.
        unknown = files.keys() - published.keys() - self._targets(files, published)
        for name in sorted(unknown):
            if not name.startswith(f"{EXTRA}/"):
                raise ArtifactError(f"{self.directory / name} was not published: {self.sums_path} does not list it")
        return Contents(self.directory, contents, digests, files)

    def digests(self, known: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the SHA-256 of each file, by name. Files with a `known` digest are not read.

        Raises:
            ArtifactError: a file cannot be read, is not a plain file or lies elsewhere.
        """
        known = known or {}
        return {name: known.get(name) or self._digest(name, entry) for name, entry in sorted(self._files().items())}

    def write_sums(self, known: Mapping[str, str] | None = None) -> None:
        """List the SHA-256 of each file, as `sha256sum --check` reads it. This is the last step before publishing."""
        lines = (f"{digest}  {name}\n" for name, digest in self.digests(known).items() if name != SUMS)
        (self.sums_path).write_text("".join(lines))

    def stamp(self) -> Stamp:
        """Return a stamp of the files without reading them."""
        try:
            directory = self.directory.stat()
            statuses = {name: entry.status for name, entry in self._files().items()}
        except (ArtifactError, OSError) as error:
            return Stamp(None, str(error))
        files = frozenset(
            (name, one.st_ino, one.st_mode, one.st_size, one.st_mtime_ns, one.st_ctime_ns)
            for name, one in statuses.items()
        )
        return Stamp((directory.st_dev, directory.st_ino), files)

    def _sums(self, files: Mapping[str, _Entry]) -> dict[str, str]:
        """Return the published SHA-256 of each file, by name."""
        if SUMS not in files:
            raise ArtifactError(
                f"{self.sums_path} is missing: the version is not complete, or was not written by `python -m training`"
            )
        sums = {}
        text = self._read(SUMS, files[SUMS]).decode(errors="replace")
        for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
            match = _SUM.fullmatch(line)
            if match is None:
                raise ArtifactError(f"{self.sums_path} line {number}: expected '<SHA-256>  <file>', got {line[:80]!r}")
            sums[match[2]] = match[1]
        return sums

    def _files(self) -> dict[str, _Entry]:
        """Return the files by name. The name of a file is its path within the version, which may have links."""
        files: dict[str, _Entry] = {}
        size = 0
        try:
            for name, entry in self._walk():
                if stat.S_ISDIR(entry.status.st_mode):
                    continue
                if not stat.S_ISREG(entry.status.st_mode):
                    raise ArtifactError(f"{self.directory / name} is not a file")
                files[name] = entry
                size += entry.status.st_size
                if size > MOST_BYTES:
                    raise ArtifactError(f"{self.directory} is too large: expected at most {MOST_BYTES} bytes")
        except OSError as error:
            raise ArtifactError(f"{self.directory} cannot be read: {error.strerror}") from error
        return files

    def _walk(self) -> Iterator[tuple[str, _Entry]]:
        """Yield each file and directory with its name. A link has the name of the link and the path of its target."""
        folder, root = os.path.realpath(self.directory.parent.parent), os.path.realpath(self.directory)
        if not Path(root).is_relative_to(folder):
            raise ArtifactError(f"{self.directory} is a link that leads out of {self.directory.parent.parent}")
        number = 0
        # Directories: the start of their entries' names; their own path and those of the directories above.
        waiting: list[tuple[str, tuple[str, ...]]] = [("", (root,))]
        while waiting:
            start, above = waiting.pop()
            with _directory(folder, above[0]) as entries:
                for one in entries:
                    number += 1
                    if number > MOST_FILES:
                        raise ArtifactError(f"{self.directory} has more than {MOST_FILES} files and directories")
                    if one.name.startswith(HIDDEN):
                        continue
                    name = start + one.name
                    entry = self._resolved(folder, root, f"{above[0]}/{one.name}", name, one)
                    if stat.S_ISDIR(entry.status.st_mode):
                        if entry.path in above:
                            raise ArtifactError(f"{self.directory / name} is a link to a directory that it lies in")
                        waiting.append((f"{name}/", (entry.path, *above)))
                    yield name, entry

    def _resolved(self, folder: str, root: str, path: str, name: str, one: "os.DirEntry[str]") -> _Entry:
        if not one.is_symlink():
            return _Entry(folder, path, one.stat(follow_symlinks=False))
        target = os.path.realpath(path)
        if not Path(target).is_relative_to(root):
            raise ArtifactError(f"{self.directory / name} is a link that leads out of the version")
        try:
            return _Entry(folder, target, os.lstat(target))
        except FileNotFoundError as error:
            raise ArtifactError(f"{self.directory / name} is not a file: its link leads to nothing") from error

    def _targets(self, files: Mapping[str, _Entry], published: Collection[str]) -> set[str]:
        """Return the names of the files that lie in the version under another name than the published link to them."""
        paths = {files[name].path for name in published}
        root = os.path.realpath(self.directory)
        return {name for name, entry in files.items() if entry.path in paths and entry.path == f"{root}/{name}"}

    def _read(self, name: str, entry: _Entry) -> bytes:
        most = MOST_BYTES_OF.get(name, MOST_BYTES)
        if entry.status.st_size > most:
            raise ArtifactError(f"{self.directory / name} is too large: expected at most {most} bytes")
        return b"".join(_chunks(self.directory / name, entry))

    def _digest(self, name: str, entry: _Entry) -> str:
        digest = hashlib.sha256()
        for chunk in _chunks(self.directory / name, entry):
            digest.update(chunk)
        return digest.hexdigest()


def _chunks(path: Path, entry: _Entry) -> Iterator[bytes]:
    """Yield the content of a file; errors name it by a path that may have links."""
    try:
        yield from entry.chunks()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error


@contextmanager
def _directory(folder: str, path: str) -> Iterator[Iterator["os.DirEntry[str]"]]:
    """Open a directory below a folder, and yield its entries."""
    descriptor = open_beneath(folder, path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with os.scandir(descriptor) as entries:
            yield entries
    finally:
        os.close(descriptor)


def saved_model_digest(digests: Mapping[str, str]) -> str:
    """Return the SHA-256 over the names and contents of the files that determine the outputs of a SavedModel.

    `fingerprint.pb` is left out, as it holds a random number.

    Args:
        digests: the SHA-256 of each file of the version, by name.
    """
    digest = hashlib.sha256()
    for name in (SAVED_MODEL, *sorted(name for name in digests if name.startswith(VARIABLES))):
        digest.update(f"{name}\0".encode())
        digest.update(bytes.fromhex(digests[name]))
    return digest.hexdigest()
