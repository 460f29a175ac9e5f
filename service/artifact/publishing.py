"""Publishing and removing versions. Readers see a whole version or none, even if the process is killed."""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from service.artifact.layout import pinned_version, versions_of
from service.artifact.version import Artifact
from service.errors import ArtifactError

#: Prefix of directories that are being written or removed. Readers ignore them.
PREFIX = ".staging-"


@contextmanager
def staging(home: Path) -> Iterator[Path]:
    """Yield a new directory beside the versions, to write a version in. It is removed unless it was published.

    Directories that killed processes left are removed first.

    Args:
        home: directory of the model's versions.
    """
    remove_leftovers(home)
    staged, lock = _claim(home)
    try:
        staged.chmod(0o755)  # mkdtemp's 0700 would hide the version from a service of another user
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        os.close(lock)


def publish(staged: Path, home: Path) -> Path:
    """Publish a staged version as the newest, by one rename.

    Args:
        staged: the directory from `staging`, with a whole version.
        home: directory of the model's versions.

    Returns:
        The directory of the published version.
    """
    _flush([*staged.rglob("*"), staged])
    number = max(versions_of(home), default=0)
    while True:
        number += 1
        published = home / str(number)
        try:
            staged.rename(published)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            continue  # another process published this number first, or another entry has this name
        _flush([home])
        return published


def prune(home: Path, keep: int) -> list[int]:
    """Remove the versions that are older than the newest whole ones, except the one that the file `pin` names.

    Args:
        home: directory of the model's versions.
        keep: number of whole versions to keep, at least 1. Newer broken versions are kept, too.

    Returns:
        The removed versions, oldest first.

    Raises:
        ArtifactError: the file `pin` does not hold a version.
    """
    pinned = pinned_version(home)
    numbers = versions_of(home)
    kept = list(islice(filter(lambda number: _is_whole(home / str(number)), reversed(numbers)), keep))
    removed = [number for number in numbers if kept and number < kept[-1] and number != pinned]
    with staging(home) as trash:
        for number in removed:
            (home / str(number)).rename(trash / str(number))  # readers never see half of it
    return removed


def remove_leftovers(home: Path) -> None:
    """Remove the staging directories of processes that were killed, and none that is in use."""
    for staged in home.glob(f"{PREFIX}*"):
        with suppress(OSError):  # it is locked, belongs to another user, or is gone
            lock = _lock(staged)
            shutil.rmtree(staged, ignore_errors=True)
            os.close(lock)


def _is_whole(version: Path) -> bool:
    try:
        Artifact(version).read()
    except ArtifactError:
        return False
    return True


def _claim(home: Path) -> tuple[Path, int]:
    """Return a new locked directory and the descriptor of its lock. `remove_leftovers` ignores locked directories."""
    while True:
        staged = Path(tempfile.mkdtemp(prefix=PREFIX, dir=home))
        with suppress(BlockingIOError, FileNotFoundError):  # removed as a leftover before it was locked: try again
            lock = _lock(staged)
            if staged.exists():
                return staged, lock
            os.close(lock)


def _lock(directory: Path) -> int:
    """Lock a directory and return a descriptor. Closing it, or the end of the process, releases the lock.

    Raises:
        BlockingIOError: another process has locked it.
        OSError: the directory cannot be locked.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _flush(paths: Iterable[Path]) -> None:
    """Force files and directory entries to disk, so that a version is whole after a power failure, too."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
