"""Which models somebody asked to unload."""

from pathlib import Path


class Unloaded:
    """Names of the models that are not to be served until they are asked for again.

    Args:
        folder: where the worker processes of one service tell each other; none where there is one process.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._names: set[str] = set()

    def add(self, name: str) -> None:
        if self._folder is None:
            self._names.add(name)
        else:
            (self._folder / name).touch()

    def discard(self, name: str) -> None:
        if self._folder is None:
            self._names.discard(name)
        else:
            (self._folder / name).unlink(missing_ok=True)

    def __contains__(self, name: str) -> bool:
        return name in self._names if self._folder is None else (self._folder / name).exists()
