"""One version on disk: where its files are, and how they are read so that they are what was published."""

import hashlib
import io
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from service.errors import ArtifactError
from service.inference.card import ModelCard

Array = NDArray[np.float32]

INPUT: Final = "sequence"
PREDICTION: Final = "prediction"
ATTENTION: Final = "attention"
ATTENTION_VEC: Final = "attention_vec"
#: What no graph computes, but `Model.explain` finds by running it again and again.
IMPORTANCE: Final = "importance"
RANK_CORRELATION: Final = "rank_correlation"
#: The SavedModel's signatures and the outputs that each names.
SIGNATURES: Final = {
    "serving_default": (PREDICTION,),
    "attention": (PREDICTION, ATTENTION, ATTENTION_VEC),
}
#: The tensors whose second axis is time.
OVER_TIME: Final = frozenset((INPUT, ATTENTION, ATTENTION_VEC, IMPORTANCE))

EXTRA: Final = "assets.extra"
SUMS: Final = f"{EXTRA}/SHA256SUMS"
CARD: Final = f"{EXTRA}/card.json"
GOLDEN: Final = f"{EXTRA}/golden.npz"
LOWERING: Final = f"{EXTRA}/model.onnx"
SAVED_MODEL: Final = "saved_model.pb"
VARIABLES: Final = "variables/"
#: The suffixes of the charts.
CHARTS: Final = ("svg", "png")

#: Most files and directories of a version, most bytes of all its files, of some, and of what is in the golden example:
#: what tells that something is wrong must not be what hurts.
MOST_FILES: Final = 1000
MOST_BYTES: Final = 2**30
MOST_BYTES_OF: Final = {SUMS: 2**20, CARD: 2**23}
MOST_GOLDEN_BYTES: Final = 2**26

_SUM = re.compile(r"([0-9a-f]{64})  (.+)")


@dataclass(frozen=True)
class Golden:
    """Inputs and outputs recorded at export.

    Attributes:
        sequence: `(n, timesteps, features)`, NaN where a value is missing.
        prediction: `(n, outputs)`.
        attention_vec: `(n, timesteps, units)`, 0 at timesteps without any value.
    """

    sequence: Array
    prediction: Array
    attention_vec: Array

    @property
    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """The shape of each tensor of the signatures, by name; the batch, which is open, is None."""
        return {
            INPUT: (None, *self.sequence.shape[1:]),
            PREDICTION: (None, *self.prediction.shape[1:]),
            ATTENTION: (None, *self.attention_vec.shape[1:2]),
            ATTENTION_VEC: (None, *self.attention_vec.shape[1:]),
        }


class Stamp(NamedTuple):
    """By what a version is known again.

    Attributes:
        directory: differs once it is another directory; none where it cannot be read.
        files: differs once any of the files does.
    """

    directory: object
    files: object


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
        """The profile as a bar chart; `suffix` is one of `CHARTS`."""
        return self.directory / chart_name(suffix)

    def digests(self) -> dict[str, str]:
        """The SHA-256 of each file as it is, by name.

        Raises:
            ArtifactError: a file cannot be read, is no plain file or lies elsewhere.
        """
        return {name: self._digest(name) for name in sorted(self._files())}

    def write_sums(self) -> None:
        """List the SHA-256 of each file, as `sha256sum --check` reads it: the last thing to do before publishing."""
        lines = (f"{digest}  {name}\n" for name, digest in self.digests().items() if name != SUMS)
        self.sums_path.write_text("".join(lines))

    def stamp(self) -> "Stamp":
        """What differs once any of the files does, found without reading them."""
        try:
            directory = self.directory.stat()
            statuses = {name: entry.stat() for name, entry in self._files().items()}
        except (ArtifactError, OSError) as error:
            return Stamp(None, str(error))
        files = frozenset(
            (name, one.st_ino, one.st_mode, one.st_size, one.st_mtime_ns, one.st_ctime_ns)
            for name, one in statuses.items()
        )
        return Stamp((directory.st_dev, directory.st_ino), files)

    def read(self) -> "Contents":
        """Read the files, and find that they are those that were published.

        Raises:
            ArtifactError: a file is missing, differs, is too large, is no plain file or lies elsewhere; and which.
        """
        files = self._files()
        published = self._sums(files)
        digests: dict[str, str] = {}
        contents: dict[str, bytes] = {}
        for name, expected in published.items():
            if name not in files:
                raise ArtifactError(f"{self.directory / name} is missing: {self.sums_path} lists it")
            if name.startswith(VARIABLES):  # only TensorFlow reads them, and they may be large
                digests[name] = self._digest(name)
            else:
                contents[name] = self._read(name)
                digests[name] = hashlib.sha256(contents[name]).hexdigest()
            if digests[name] != expected:
                raise ArtifactError(
                    f"{self.directory / name} is not what was published: {self.sums_path} expects SHA-256 "
                    f"{expected[:12]}…, got {digests[name][:12]}…"
                )
        # People may lay more into assets.extra, such as requests to warm TensorFlow Serving up with; elsewhere
        # TensorFlow might read it.
        unknown = next((name for name in files if name not in published and not name.startswith(f"{EXTRA}/")), None)
        if unknown is not None:
            raise ArtifactError(f"{self.directory / unknown} was not published: {self.sums_path} does not list it")
        return Contents(self.directory, contents, digests)

    def _sums(self, files: Mapping[str, object]) -> dict[str, str]:
        """The SHA-256 of each file as published, by name."""
        if SUMS not in files:
            raise ArtifactError(
                f"{self.sums_path} is missing: the version is not complete, or was not written by `python -m training`"
            )
        sums = {}
        for number, line in enumerate(self._read(SUMS).decode(errors="replace").removesuffix("\n").split("\n"), 1):
            match = _SUM.fullmatch(line)
            if match is None:
                raise ArtifactError(f"{self.sums_path} line {number}: expected '<SHA-256>  <file>', got {line[:80]!r}")
            sums[match[2]] = match[1]
        return sums

    def _files(self) -> "dict[str, os.DirEntry[str]]":
        """The files by name, that is by path within the version."""
        root = os.path.realpath(self.directory)
        files: dict[str, os.DirEntry[str]] = {}
        size = 0
        try:
            for number, entry in enumerate(_walk(self.directory)):
                if number == MOST_FILES:
                    raise ArtifactError(f"{self.directory} has more than {MOST_FILES} files and directories")
                if entry.is_dir(follow_symlinks=False):
                    continue
                name = Path(entry.path).relative_to(self.directory).as_posix()
                if entry.is_symlink() and not Path(os.path.realpath(entry.path)).is_relative_to(root):
                    raise ArtifactError(f"{entry.path} is a link that leads out of the version")
                if not entry.is_file():
                    raise ArtifactError(f"{entry.path} is not a file")
                files[name] = entry
                size += entry.stat().st_size
                if size > MOST_BYTES:
                    raise ArtifactError(f"{self.directory} is too large: expected at most {MOST_BYTES} bytes")
        except OSError as error:
            raise ArtifactError(f"{error.filename or self.directory} cannot be read: {error.strerror}") from error
        return files

    def _read(self, name: str) -> bytes:
        path, most = self.directory / name, MOST_BYTES_OF.get(name, MOST_BYTES)
        try:
            with path.open("rb") as file:
                content = file.read(most + 1)
        except OSError as error:
            raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error
        if len(content) > most:
            raise ArtifactError(f"{path} is too large: expected at most {most} bytes")
        return content

    def _digest(self, name: str) -> str:
        path = self.directory / name
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error


@dataclass(frozen=True)
class Contents:
    """What the files of one version hold, as they were published.

    Attributes:
        directory: where they were read.
        files: their bytes, by name; without the variables, which may be large.
        digests: the SHA-256 of each, the variables' too.
    """

    directory: Path
    files: Mapping[str, bytes]
    digests: Mapping[str, str]

    def card(self) -> ModelCard:
        """Parse the card.

        Raises:
            ArtifactError: there is none, it is no JSON, or it lacks or contradicts something.
        """
        try:
            return ModelCard.model_validate_json(self.file(CARD))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise ArtifactError(
                f"{self.directory / CARD} is not a valid card: {field or 'card'}: {first['msg']}"
            ) from error

    def golden(self) -> Golden:
        """Parse the golden example.

        Raises:
            ArtifactError: there is none, it is damaged, pickled or larger than it may be, or lacks an array.
        """
        path, content = self.directory / GOLDEN, self.file(GOLDEN)
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                size = sum(member.file_size for member in archive.infolist())
            if size > MOST_GOLDEN_BYTES:
                raise ValueError(f"expected at most {MOST_GOLDEN_BYTES} bytes in it, got {size}")
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                golden = Golden(*(arrays[name] for name in (INPUT, PREDICTION, ATTENTION_VEC)))
        except (
            AttributeError,
            RuntimeError,
            ValueError,
            KeyError,
            TypeError,
            EOFError,
            MemoryError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise ArtifactError(f"{path} is not a golden example: {error}") from error
        dtypes = {array.dtype.name for array in vars(golden).values()}
        if dtypes != {"float32"}:
            raise ArtifactError(f"{path} is not a golden example: expected float32, got {', '.join(sorted(dtypes))}")
        axes = (golden.sequence.ndim, golden.prediction.ndim, golden.attention_vec.ndim)
        if axes != (3, 2, 3):
            raise ArtifactError(f"{path} is not a golden example: expected arrays of 3, 2 and 3 axes, got {axes}")
        return golden

    def charts(self) -> dict[str, bytes]:
        """The attention profile as a bar chart, by file suffix.

        Raises:
            ArtifactError: one is missing.
        """
        return {suffix: self.file(chart_name(suffix)) for suffix in CHARTS}

    def write_saved_model(self, directory: Path) -> None:
        """Write the SavedModel, as it was published, where nobody else can change it.

        Raises:
            ArtifactError: the variables have changed since they were read.
            OSError: it cannot be written.
        """
        for name, digest in self.digests.items():
            if name.startswith(f"{EXTRA}/"):
                continue
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name in self.files:
                path.write_bytes(self.files[name])
                continue
            shutil.copyfile(self.directory / name, path)
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    raise ArtifactError(f"{self.directory / name} changed while it was read")

    def file(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            ArtifactError: it was not published.
        """
        if name not in self.files:
            raise ArtifactError(f"{self.directory / name} is missing")
        return self.files[name]


def saved_model_digest(digests: Mapping[str, str]) -> str:
    """SHA-256 over the files that decide what a SavedModel computes, their names included.

    `fingerprint.pb` is left out: it holds a random number.

    Args:
        digests: the SHA-256 of each file of the version, by name.
    """
    digest = hashlib.sha256()
    for name in (SAVED_MODEL, *sorted(name for name in digests if name.startswith(VARIABLES))):
        digest.update(f"{name}\0".encode())
        digest.update(bytes.fromhex(digests[name]))
    return digest.hexdigest()


def chart_name(suffix: str) -> str:
    """The chart's name within a version."""
    return f"{EXTRA}/attention.{suffix}"


def _walk(directory: Path) -> "Iterator[os.DirEntry[str]]":
    """Whatever lies in a directory and the directories in it; links to directories are not followed."""
    waiting = [str(directory)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                yield entry
