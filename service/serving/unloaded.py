"""The models that clients have unloaded, shared by the worker processes of one service."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from service.errors import Unavailable
from service.serving.shared_table import file_name


class Unloaded:
    """The names of unloaded models.

    With several processes, each model that a client has unloaded or loaded has a file in a shared folder: it holds
    `unloaded`, or nothing. A model without a file stays as the process last found it, because a clean-up of temporary
    folders may have removed the file. Each process adds a file `…@<process>` once it has unloaded the model, and
    removes it once it has loaded the model again.

    Args:
        folder: a folder that the worker processes share for this purpose alone; None with one process.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._names: set[str] = set()
        self._paths: dict[str, Path] = {}

    def __contains__(self, name: str) -> bool:
        if self._folder is not None:
            with suppress(OSError):  # without a file, the state stays
                self._remember(name, unloaded=self._path(self._folder, name).stat().st_size > 0)
        return name in self._names

    def add(self, name: str) -> None:
        """Mark a model as unloaded.

        Raises:
            Unavailable: the other processes cannot be notified.
        """
        self._mark(name, unloaded=True)

    def discard(self, name: str) -> None:
        """Mark a model as not unloaded.

        Raises:
            Unavailable: the other processes cannot be notified.
        """
        if name in self:
            self._mark(name, unloaded=False)

    def acknowledge(self, name: str, *, unloaded: bool) -> None:
        """Notify the other processes that this one has unloaded, or loaded, a model."""
        if self._folder is None:
            return
        own = Path(f"{self._path(self._folder, name)}@{os.getpid()}")
        with suppress(OSError):  # `add` and `discard` report the same error to the client
            if unloaded:
                self._restore(self._folder, name)
                own.touch()
            else:
                own.unlink(missing_ok=True)

    def is_unloaded_elsewhere(self, name: str) -> bool:
        """Return whether another process has not loaded a model again yet."""
        if self._folder is None:
            return False
        others = (int(path.name.rpartition("@")[2]) for path in self._folder.glob(f"{file_name(name)}@*"))
        return any(other != os.getpid() and _is_running(other) for other in others)

    def _mark(self, name: str, *, unloaded: bool) -> None:
        if self._folder is not None:
            try:
                _written(self._folder, unloaded=unloaded).replace(self._path(self._folder, name))
            except OSError as error:
                raise Unavailable(f"the other processes cannot be notified: {error.strerror}") from error
        self._remember(name, unloaded=unloaded)

    def _restore(self, folder: Path, name: str) -> None:
        """Write the file of an unloaded model again if a clean-up removed it: processes that start later need it."""
        if not self._path(folder, name).exists():
            written = _written(folder, unloaded=True)
            with suppress(FileExistsError):  # another process was faster
                self._path(folder, name).hardlink_to(written)
            written.unlink()

    def _remember(self, name: str, *, unloaded: bool) -> None:
        if unloaded:
            self._names.add(name)
        else:
            self._names.discard(name)

    def _path(self, folder: Path, name: str) -> Path:
        """Return the path of a model's file. It is kept, as each request needs it."""
        path = self._paths.get(name)
        if path is None:
            path = self._paths[name] = folder / file_name(name)
        return path


def _written(folder: Path, *, unloaded: bool) -> Path:
    """Return the path of a new file with a state, so that the file of the model appears with its content at once."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, path = tempfile.mkstemp(dir=folder)
    with os.fdopen(handle, "w") as file:
        file.write("unloaded" if unloaded else "")
    return Path(path)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
