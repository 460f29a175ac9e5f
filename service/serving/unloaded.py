"""Which models somebody asked to unload."""

import os
from contextlib import suppress
from pathlib import Path

from service.errors import Unavailable


class Unloaded:
    """Names of the models that are not to be served until they are asked for again.

    Args:
        folder: where the processes of one service tell each other; none where there is one process.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._names: set[str] = set()

    def add(self, name: str) -> None:
        """From now on it is not to be served.

        Raises:
            Unavailable: the other processes cannot be told.
        """
        if self._folder is None:
            self._names.add(name)
        else:
            self._touch(self._folder, name)

    def discard(self, name: str) -> None:
        """From now on it is to be served."""
        if self._folder is None:
            self._names.discard(name)
        else:
            (self._folder / name).unlink(missing_ok=True)

    def __contains__(self, name: str) -> bool:
        return name in self._names if self._folder is None else (self._folder / name).exists()

    def note(self, name: str, *, unloaded: bool) -> None:
        """Tell the other processes what this one has done."""
        if self._folder is None:
            return
        mine = f"{name}@{os.getpid()}"
        if unloaded:
            with suppress(Unavailable):  # who asked for it was told, or will be
                self._touch(self._folder, mine)
        else:
            (self._folder / mine).unlink(missing_ok=True)

    def elsewhere(self, name: str) -> bool:
        """Whether another process has not loaded it again yet."""
        if self._folder is None:
            return False
        others = (int(path.name.rpartition("@")[2]) for path in self._folder.glob(f"{name}@*"))
        return any(other != os.getpid() and _runs(other) for other in others)

    @staticmethod
    def _touch(folder: Path, name: str) -> None:
        try:
            folder.mkdir(exist_ok=True)  # whoever cleans up temporary folders may have taken it away
            (folder / name).touch()
        except OSError as error:
            raise Unavailable(f"the other processes cannot be told: {error.strerror}") from error


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
