"""Publishing and removing versions so that readers see all of one or nothing, whatever happens meanwhile."""

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

#: What starts like this is being written or removed; readers pass over it.
PREFIX = ".staging-"


@contextmanager
def staging(home: Path) -> Iterator[Path]:
    """A directory beside the versions to write one in; gone afterwards if it was not published.

    What killed trainings left behind is removed first.

    Args:
        home: directory of the model's versions.
    """
    remove_leftovers(home)
    staged, lock = _claim(home)
    try:
        staged.chmod(0o755)  # mkdtemp's 0700 would hide a version from a service that runs as someone else
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        os.close(lock)


def publish(staged: Path, home: Path) -> Path:
    """Make what is staged the newest version, by one rename.

    Args:
        staged: the whole version, from `staging`.
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
            continue  # another training published that number first, or something else has that name
        _flush([home])
        return published


def prune(home: Path, keep: int) -> list[int]:
    """Remove all versions older than the newest whole ones, but not the one that the file `pin` names.

    Args:
        home: directory of the model's versions.
        keep: how many of the newest to keep, not counting those that are broken.

    Returns:
        The versions removed, oldest first.

    Raises:
        ArtifactError: the file `pin` holds something else than a version.
    """
    pinned = pinned_version(home)
    numbers = versions_of(home)
    kept = list(islice(filter(lambda number: _is_whole(home / str(number)), reversed(numbers)), keep))
    removed = [number for number in numbers if kept and number < kept[-1] and number != pinned]
    with staging(home) as bin_:
        for number in removed:
            (home / str(number)).rename(bin_ / str(number))  # gone at once, for readers
    return removed


def remove_leftovers(home: Path) -> None:
    """Remove what trainings that were killed left behind, and nothing of those that are still running."""
    for staged in home.glob(f"{PREFIX}*"):
        with suppress(OSError):  # it is someone else's, or gone
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
    """A new directory that `remove_leftovers` leaves alone as long as this process lives; and its lock."""
    while True:
        staged = Path(tempfile.mkdtemp(prefix=PREFIX, dir=home))
        with suppress(BlockingIOError, FileNotFoundError):  # taken for a leftover before it was locked: another, then
            lock = _lock(staged)
            if staged.exists():
                return staged, lock
            os.close(lock)


def _lock(directory: Path) -> int:
    """Lock a directory until its descriptor, which is returned, is closed or the process ends.

    Raises:
        BlockingIOError: another process has locked it.
        OSError: it cannot be locked.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _flush(paths: Iterable[Path]) -> None:
    """Force files and directory entries to disk, so that what is visible after a power cut is also whole."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
