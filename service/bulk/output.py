"""The folder of a run: its lock, its manifest, its parts, and what was rejected."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet

from service.errors import ScoringError

#: Readers of a folder of Parquet pass over names that begin with `_`.
MANIFEST, PREPARED, REJECTED, UNFINISHED = "_manifest.json", "_prepared", "_rejected", "_unfinished-"
#: Columns of few different values.
REPEATING: Final = ("label", "file", "reason")


class Output:
    """The folder of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def part(self, number: int) -> Path:
        """Return the path of a unit's part."""
        return self.folder / f"part-{number:05}.parquet"

    def rejected(self, number: int) -> Path:
        """Return the path of what was rejected of a unit."""
        return self.folder / REJECTED / f"part-{number:05}.parquet"

    @property
    def rejected_before(self) -> Path:
        """The path of the rows that belong to no sequence."""
        return self.folder / REJECTED / "rows.parquet"

    @property
    def prepared(self) -> Path:
        """The folder of tables and arrays in another form."""
        return self.folder / PREPARED

    def write(self, table: Any, path: Path) -> None:
        """Write a pyarrow table to a file, which is there as a whole or not at all.

        Raises:
            ScoringError: it cannot be written.
        """
        unfinished = self.folder / f"{UNFINISHED}{os.getpid()}"
        names = table.schema.names
        repeating = [name for name in names if name in REPEATING]
        ordered = [name for name in names if not pyarrow.types.is_nested(table.schema.field(name).type)]
        with self.writing():
            with unfinished.open("wb") as file:
                pyarrow.parquet.write_table(table, file, use_dictionary=repeating, write_statistics=ordered)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Raise the error of a file system, such as a full disk, as one of the run."""
        try:
            yield
        except OSError as error:
            problem = error.strerror or str(error)
            raise ScoringError(f"{self.folder}: cannot be written: {problem}; --resume continues the run") from error

    def manifest(self) -> Mapping[str, Any] | None:
        """Return the manifest; None if planning did not end.

        Raises:
            ScoringError: it is damaged.
        """
        path = self.folder / MANIFEST
        try:
            found: Mapping[str, Any] = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ScoringError(f"{path}: expected the manifest of a run: {error}") from error
        return found

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write the manifest. The run can be resumed from then on."""
        unfinished = self.folder / f"{UNFINISHED}manifest"
        with self.writing():
            with unfinished.open("w") as file:
                json.dump(manifest, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self.folder / MANIFEST)

    def count(self) -> tuple[int, int]:
        """Return how many sequences were scored, and how many sequences and rows were rejected."""
        scored, rejected = (
            sum(pyarrow.parquet.read_metadata(path).num_rows for path in folder.glob("*.parquet"))
            for folder in (self.folder, self.folder / REJECTED)
        )
        return scored, rejected

    def clean(self) -> None:
        """Remove the copies of tables that the run read."""
        shutil.rmtree(self.prepared, ignore_errors=True)


@contextmanager
def claimed(folder: Path, *, resume: bool) -> Iterator[Output]:
    """Yield the folder of a run, which no other run uses meanwhile.

    Raises:
        ScoringError: another run uses it; it has files, and the run is not resumed; or it cannot be written.
    """
    output = Output(folder)
    with output.writing():
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ScoringError(f"{folder}: another run writes into this folder") from None
        if not resume and any(folder.iterdir()):
            raise ScoringError(f"{folder}: expected an empty folder, got one with files; --resume continues a run")
        with output.writing():
            for path in folder.glob(f"{UNFINISHED}*"):  # of a run that was killed
                path.unlink()
            for name in (PREPARED, REJECTED):
                (folder / name).mkdir(exist_ok=True)
        yield output
    finally:
        for path in folder.glob(f"{UNFINISHED}*"):
            path.unlink(missing_ok=True)
        os.close(descriptor)
