"""Addresses of files, such as `s3://bucket/folder`, as pyarrow opens them, by its own file systems or by fsspec's."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Final
from urllib.parse import quote, urlsplit

from pyarrow import fs

from service.bulk.output import Output
from service.errors import ScoringError

#: Schemes that pyarrow has file systems for. It takes others with this word before them, if fsspec is installed.
OWN: Final = frozenset({"file", "s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs", "hf"})
OF_FSSPEC: Final = "fsspec+"
#: Characters by which an address names several files.
WILDCARDS: Final = frozenset("*[")
#: Bytes of a file that are copied at a time.
BLOCK: Final = 2**20


def is_address(name: str) -> bool:
    """Return whether a name is an address, not a path."""
    return "://" in name


def path_of(file: str) -> str:
    """Return the path or the address by which pyarrow finds a file in any working directory."""
    if not is_address(file):
        return str(Path(file).absolute())
    scheme = urlsplit(file).scheme
    return file if scheme in OWN or scheme.startswith(OF_FSSPEC) else f"{OF_FSSPEC}{file}"


def name_of(file: str) -> str:
    """Return the last part of a path or of an address, without a query."""
    return PurePosixPath(urlsplit(file).path if is_address(file) else file).name


def is_read(inside: PurePath, suffixes: Collection[str]) -> bool:
    """Return whether a file in a folder is read: it has a suffix, and no part of its path begins with `_` or `.`."""
    return inside.suffix in suffixes and not any(part.startswith(("_", ".")) for part in inside.parts)


def files_at(address: str, suffixes: Collection[str]) -> list[str]:
    """Return the addresses of the files that an address names, in the order of their names.

    Args:
        address: of a file, of a folder for the files in it and in its folders, or with `*` and `[…]` in its last parts
            for the files of such names.
        suffixes: the ends of the names of files to read from a folder.

    Raises:
        ScoringError: there are none, the address has a password, or its place cannot be read.
    """
    given = urlsplit(address)
    if given.password is not None:
        raise ScoringError(
            f"{given.scheme}://…: expected an address without a password, as the output names it; the program takes "
            "passwords from the environment, such as AWS_SECRET_ACCESS_KEY"
        )
    parts = given.path.split("/")
    first = next((at for at, part in enumerate(parts) if WILDCARDS & {*part}), len(parts))
    pattern, folder = parts[first:], "/".join(parts[:first]).rstrip("/")
    with _reading(address):
        system, base = _file_system(given._replace(path=folder).geturl())
        of_type = system.get_file_info(base).type
        if not pattern and of_type == fs.FileType.File:
            return [address]
        if not pattern and of_type == fs.FileType.NotFound:
            raise ScoringError(f"{address}: no such file or folder")
        found = system.get_file_info(fs.FileSelector(base, recursive=len(pattern) != 1))
    inside = (PurePosixPath(one.path).relative_to(base) for one in found if one.type == fs.FileType.File)
    names = sorted(one for one in inside if is_read(one, suffixes) and (not pattern or _matches(one, pattern)))
    if not names:
        raise ScoringError(f"{address}: expected files with names that end in {', '.join(suffixes)}, got none")
    return [given._replace(path=f"{folder}/{quote(str(name))}").geturl() for name in names]


def _matches(path: PurePosixPath, pattern: Sequence[str]) -> bool:
    return len(path.parts) == len(pattern) and path.match("/".join(pattern))


def size_and_time(file: str) -> tuple[int, int]:
    """Return the size of a file in bytes, and the time of its last change in nanoseconds, 0 if it is not known.

    Raises:
        ScoringError: there is no such file, or it cannot be read.
    """
    with _reading(file):
        system, path = _file_system(file)
        found = system.get_file_info(path)
    if found.type != fs.FileType.File:
        raise ScoringError(f"{file}: no such file")
    return found.size, found.mtime_ns or 0


def near(file: str, copy: Path, output: Output) -> Path:
    """Return the path of a file on this machine: itself, or a copy of one at an address.

    Args:
        file: a path or an address.
        copy: the path of the copy.
        output: the folder of the run, which has the copy.

    Raises:
        ScoringError: the file cannot be read, or the copy cannot be written.
    """
    if not is_address(file):
        return Path(file)
    with output.writing(), copy.open("wb") as local:
        for block in _blocks(file):
            local.write(block)
    return copy


def _blocks(address: str) -> Iterator[bytes]:
    with _reading(address):
        system, path = _file_system(address)
        with system.open_input_stream(path, compression=None) as stream:
            while block := stream.read(BLOCK):
                yield block


def _file_system(file: str) -> tuple[Any, str]:
    """Return the file system that has a file, and the file's path there."""
    path = path_of(file)
    if path.startswith(OF_FSSPEC):
        import_module("fsspec")  # pyarrow's own error does not say how to install it
    system, inside = fs.FileSystem.from_uri(path)
    return system, inside


@contextmanager
def _reading(address: str) -> Iterator[None]:
    """Raise the error of a file system as one of the run, with the address.

    Raises:
        ScoringError: it has one line.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ScoringError(f"{address}: expected the module {error.name!r}: pip install {error.name}") from error
    except (OSError, ValueError, ImportError) as error:
        problem = str(error).strip().partition("\n")[0]
        raise ScoringError(f"{address}: cannot be read: {problem}") from error
