"""The folder of a run: its lock, its manifest, its parts, and what was rejected."""

import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet

from service.bulk.source import Unit
from service.errors import ScoringError

#: Readers of a folder of Parquet pass over names that begin with `_`.
MANIFEST, PREPARED, REJECTED, UNFINISHED = "_manifest.json", "_prepared", "_rejected", "_unfinished-"
#: The file that a run has locked.
LOCK: Final = "_lock"
#: Names that begin so are in the folder before the manifest is.
BEFORE: Final = (PREPARED, REJECTED, UNFINISHED, ".")
#: Columns of few different values.
REPEATING: Final = ("label", "file", "reason")
#: Seconds in which the workers of a run that was killed end.
MOST_SECONDS: Final = 10.0


class Output:
    """The folder of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def part(self, number: int) -> Path:
        """Return the path of a unit's part."""
        return self.folder / _name(number)

    def rejected(self, number: int) -> Path:
        """Return the path of what was rejected of a unit."""
        return self.folder / REJECTED / _name(number)

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
        unfinished = self.folder / f"{UNFINISHED}{secrets.token_hex(8)}"  # other nodes have the same process ids
        names = table.schema.names
        repeating = [name for name in names if name in REPEATING]
        ordered = [name for name in names if not pyarrow.types.is_nested(table.schema.field(name).type)]
        with self.writing():
            with unfinished.open("wb") as file:
                pyarrow.parquet.write_table(table, file, use_dictionary=repeating, write_statistics=ordered)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)

    def has(self, unit: Unit) -> bool:
        """Return whether each sequence of a unit is in its part, or in what was rejected of it."""
        rejected = self.rejected(unit.number)
        try:
            found = pyarrow.parquet.read_metadata(self.part(unit.number)).num_rows
            found += pyarrow.parquet.read_metadata(rejected).num_rows if rejected.exists() else 0
        except (FileNotFoundError, pa.ArrowInvalid):
            return False
        return bool(found == unit.sequences)

    def hold(self) -> None:
        """Let no other run begin in the folder while this process lives."""
        fcntl.flock(_opened(self.prepared / LOCK), fcntl.LOCK_SH)

    def wait_for_workers(self) -> None:
        """Wait until no worker of a run before holds the folder.

        Raises:
            ScoringError: one does not end.
        """
        descriptor = _opened(self.prepared / LOCK)
        deadline = time.monotonic() + MOST_SECONDS
        try:
            while not _locked(descriptor):
                if time.monotonic() > deadline:
                    raise ScoringError(f"{self.folder}: workers of a run that was killed still write into this folder")
                time.sleep(0.05)
        finally:
            os.close(descriptor)

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
        if not isinstance(found, dict):
            raise ScoringError(f"{path}: expected the manifest of a run, got {str(found)[:60]}")
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

    def remove_unfinished(self) -> None:
        """Remove files that were not written to their end."""
        for path in self.folder.glob(f"{UNFINISHED}*"):
            path.unlink(missing_ok=True)

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
        if not (folder / LOCK).exists():
            _require_place(folder, resume=resume)  # before a file is written into a folder of something else
        descriptor = _opened(folder / LOCK)
    try:
        if not _locked(descriptor):
            raise ScoringError(f"{folder}: another run writes into this folder")
        _require_place(folder, resume=resume)
        with output.writing():
            if not (folder / MANIFEST).exists():  # of a run that ended while it was planned
                shutil.rmtree(folder / REJECTED, ignore_errors=True)
            for name in (PREPARED, REJECTED):
                (folder / name).mkdir(exist_ok=True)
            output.wait_for_workers()
            output.remove_unfinished()  # of a run that was killed
        try:
            yield output
        finally:
            output.remove_unfinished()
    finally:
        os.close(descriptor)


def _require_place(folder: Path, *, resume: bool) -> None:
    names = {path.name for path in folder.iterdir()} - {LOCK}
    if MANIFEST not in names and all(name.startswith(BEFORE) for name in names):
        return  # nothing was scored
    if not resume:
        raise ScoringError(f"{folder}: expected an empty folder, got one with files; --resume continues a run")
    if MANIFEST not in names:
        raise ScoringError(f"{folder}: expected the folder of a run, got one with files but without {MANIFEST}")


def _name(number: int) -> str:
    """Return the name of the part of a unit. The order of names is that of numbers, of up to ten million."""
    return f"part-{number:07}.parquet"


def _opened(path: Path) -> int:
    """Return the descriptor of a file to lock. It is open for writing, which NFS demands."""
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)


def _locked(descriptor: int) -> bool:
    """Lock what a descriptor is of. Return whether no other process has a lock on it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
