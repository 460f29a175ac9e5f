"""Tables of numbers that the worker processes of one service share: each writes its own, and reads those of all."""

import hashlib
import itertools
import logging
import weakref
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

#: A structured array `(1,)`.
Table = NDArray[Any]

logger = logging.getLogger(__name__)


class SharedTable:
    """The table of this process, and those of the other processes.

    With several processes, each has a file of its own in a shared folder. A process holds a lock on its file. If it
    ends, its successor takes the file over. If the folder cannot be written to, the process counts alone.

    Args:
        layout: the type of the table. It must have an integer field `retired`.
        folder: the folder that the processes share; None with one process.
        key: identifies this table within the folder.

    Attributes:
        own: the table of this process, all 0 at first.
        number: number of its file, from 0. A process that takes a file over has the same number.
    """

    def __init__(self, layout: np.dtype[Any], folder: Path | None = None, key: str = "") -> None:
        self._layout = layout
        self._folder, self._name = folder, file_name(key)
        self._file: IO[bytes] | None = None
        self.number = 0
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)  # a clean-up of temporary folders may have removed it
                self._file = self._take_over_file() or self._create_file(folder)
                weakref.finalize(self, self._file.close)
            except (OSError, ImportError) as error:  # ImportError on systems that cannot lock files
                logger.warning("%s: the counts are those of each process alone: %s", key, error)
                self._folder = None
        if self._file is None:
            self.own: Table = np.zeros(1, layout)
        else:
            self.own = np.memmap(self._file.name, layout, "r+")
            self.number = int(self._file.name.rpartition("@")[2])

    def all(self) -> list[Table]:
        """Return the tables of all processes, this one's first."""
        paths = [path for path in self._paths() if self._file is None or path != Path(self._file.name)]
        return [self.own, *(table for path in paths if (table := _open(path, self._layout)) is not None)]

    def retire(self) -> None:
        """Mark the table as no longer written. The last process that does so deletes all files."""
        if self._file is None:
            return
        self.own["retired"] = True
        with ExitStack() as stack:
            paths = self._paths()
            for path in paths:
                with suppress(FileNotFoundError):
                    file = stack.enter_context(path.open("r+b"))
                    table = _open(path, self._layout)
                    if not (table is not None and table["retired"][0]) and not _lock(file):
                        return  # another process writes its table
            for path in paths:
                path.unlink(missing_ok=True)

    def _take_over_file(self) -> IO[bytes] | None:
        """Open and lock the file of a process that ended while it used the table; None if there is none."""
        for path in self._paths():
            file = path.open("r+b")
            table = _open(path, self._layout)
            if table is not None and not table["retired"][0] and _lock(file):
                return file
            file.close()
        return None

    def _create_file(self, folder: Path) -> IO[bytes]:
        """Create and lock a file."""
        for number in itertools.count():
            with suppress(FileExistsError):
                file = (folder / f"{self._name}@{number}").open("x+b")
                break
        _lock(file)
        # Write all of it rather than leave a hole, so that a full disk fails now and not when counting.
        file.write(bytes(self._layout.itemsize))
        file.flush()
        return file

    def _paths(self) -> list[Path]:
        """Return the files of all processes."""
        return list(self._folder.glob(f"{self._name}@*")) if self._folder is not None else []


def file_name(key: str) -> str:
    """Return a name for the files of a key. A key may be longer than a file name, or have characters that it must not.

    Names of models are part of keys, so each use of the shared folder has a folder of its own in it.
    """
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _open(path: Path, layout: np.dtype[Any]) -> Table | None:
    """Return the table in a file; None if the file is gone or incomplete."""
    try:
        return np.memmap(path, layout, "r", shape=1)
    except (OSError, ValueError):
        return None


def _lock(file: IO[bytes]) -> bool:
    """Lock a file until it is closed or the process ends; return False if another process holds the lock."""
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
