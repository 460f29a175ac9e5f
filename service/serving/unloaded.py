"""The models that clients have unloaded, shared by the worker processes of one service."""

import os
from contextlib import suppress
from pathlib import Path

from service.errors import Unavailable


class Unloaded:
    """The names of unloaded models.

    With several processes, each name is a file in a shared folder. Each process adds a file `<name>@<process>` once it
    has unloaded the model, and removes it once it has loaded the model again.

    Args:
        folder: the folder that the worker processes share; None with one process.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._names: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._names if self._folder is None else (self._folder / name).exists()

    def add(self, name: str) -> None:
        """Mark a model as unloaded.

        Raises:
            Unavailable: the other processes cannot be notified.
        """
        if self._folder is None:
            self._names.add(name)
        else:
            _touch(self._folder, name)

    def discard(self, name: str) -> None:
        """Mark a model as not unloaded."""
        if self._folder is None:
            self._names.discard(name)
        else:
            (self._folder / name).unlink(missing_ok=True)

    def acknowledge(self, name: str, *, unloaded: bool) -> None:
        """Notify the other processes that this one has unloaded, or loaded, a model."""
        if self._folder is None:
            return
        own = f"{name}@{os.getpid()}"
        if unloaded:
            with suppress(Unavailable):  # `add` reports the same error to the client
                _touch(self._folder, own)
        else:
            (self._folder / own).unlink(missing_ok=True)

    def is_unloaded_elsewhere(self, name: str) -> bool:
        """Return whether another process has not loaded a model again yet."""
        if self._folder is None:
            return False
        others = (int(path.name.rpartition("@")[2]) for path in self._folder.glob(f"{name}@*"))
        return any(other != os.getpid() and _is_running(other) for other in others)


def _touch(folder: Path, name: str) -> None:
    try:
        folder.mkdir(exist_ok=True)  # a clean-up of temporary folders may have removed it
        (folder / name).touch()
    except OSError as error:
        raise Unavailable(f"the other processes cannot be notified: {error.strerror}") from error


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
