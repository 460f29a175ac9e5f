"""Attention added up since the start and over windows of time, in a table that other processes can read."""

import math
import os
import tempfile
import weakref
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from service.artifact.card import AttentionProfile
from service.artifact.distances import jensen_shannon, total_variation
from service.artifact.tensors import Array

Window = Literal["1m", "10m", "1h", "start"]
WINDOWS: Final[tuple[Window, ...]] = get_args(Window)
#: Length of each moving window, in seconds. The remaining window is all time since the start.
SECONDS: Final[Mapping[Window, int]] = {"1m": 60, "10m": 600, "1h": 3600}
#: Slices of a moving window. It moves on by one slice at a time, so it is up to one slice shorter than its name says.
SLICES: Final = 12
#: How often to read a table again when its process writes at the same time.
ATTEMPTS: Final = 100

Sums = NDArray[np.float64]
#: A structured array; see `_layout`.
Table = NDArray[Any]


@dataclass(frozen=True)
class Distance:
    """The distance of attention from a profile.

    Attributes:
        total_variation: the share of attention that lies elsewhere, from 0 to 1.
        jensen_shannon: Jensen–Shannon distance, from 0 to 1.
        by_chance: the expected total variation of as many sequences whose attention is distributed like the profile's.
    """

    total_variation: float
    jensen_shannon: float
    by_chance: float


@dataclass(frozen=True)
class Totals:
    """The attention of the sequences in one window, added up. Mean, spread and distance need at least one sequence.

    Attributes:
        seconds: length of the window so far.
        sequences: number of sequences.
        mass: `(timesteps,)`, the sum of their attention.
        squares: `(timesteps,)`, the sum of its squares.
    """

    seconds: float
    sequences: int
    mass: Sums
    squares: Sums

    @property
    def mean(self) -> Sums:
        """`(timesteps,)`, mean attention."""
        mean: Sums = self.mass / self.sequences
        return mean

    @property
    def spread(self) -> Sums:
        """`(timesteps,)`, standard deviation of attention over the sequences."""
        spread: Sums = np.sqrt(np.maximum(self.squares / self.sequences - self.mean**2, 0))
        return spread

    def distance_from(self, profile: AttentionProfile) -> Distance:
        """Return the distance of the mean from that of a profile `(timesteps,)`."""
        mean, expected = self.mean, np.array(profile.mean)
        # The mean of n samples is off by √(2/π) · deviation / √n on average, for large n. The profile is a sample, too.
        counted = 1 / self.sequences + 1 / profile.sequences
        by_chance = sum(profile.spread) / 2 * math.sqrt(2 / math.pi * counted)
        return Distance(float(total_variation(mean, expected)), float(jensen_shannon(mean, expected)), by_chance)


class Tally:
    """Counts the attention of one version in this process.

    With several processes, each writes a file of its own in a shared folder and reads those of the others. A process
    holds a lock on its file. If it ends, its successor takes the file over.

    Args:
        timesteps: timesteps of the model.
        began: time when counting began, by `time.monotonic`, which all processes of a machine share.
        folder: the folder that the processes share; None with one process.
        key: start of the file names of this version.

    Raises:
        OSError: the folder cannot be written to.
    """

    def __init__(self, timesteps: int, began: float, folder: Path | None = None, key: str = "") -> None:
        self._layout = _layout(timesteps)
        self._folder, self._key = folder, key
        self._file: IO[bytes] | None = None
        if folder is None:
            self._table: Table = np.zeros(1, self._layout)
        else:
            folder.mkdir(exist_ok=True)
            self._file = self._take_over_file() or self._create_file(folder)
            weakref.finalize(self, self._file.close)
            self._table = np.memmap(self._file.name, self._layout, "r+")
            # The process before may have ended while it wrote the copy that is not being read.
            self._table["copies"] = _read(self._table)
        if not self._table["began"][0]:
            self._table["began"] = began

    def add(self, attention: Array, now: float) -> None:
        """Add sequences whose attention is finite, and ignore the others.

        Args:
            attention: `(n, timesteps)`, each row summing to 1, 0 where a timestep is absent.
            now: the time, by `time.monotonic`.
        """
        weights = attention.astype(np.float64)
        weights = weights[np.isfinite(weights).all(axis=1)]
        mass, squares = weights.sum(axis=0), np.square(weights).sum(axis=0)
        table = self._table[0]
        generation = int(table["generation"])
        # Write the copy that is not being read, let readers use it, then write the other. So a reader always finds a
        # complete copy, even if this process ends here.
        for copy in (table["copies"][(generation + 1) % 2], table["copies"][generation % 2]):
            for rows, number, _ in _windows(now).values():
                row = copy[rows][number % SLICES]
                if row["number"] != number:
                    row["number"], row["sequences"], row["mass"], row["squares"] = number, 0, 0, 0
                row["sequences"] += len(weights)
                row["mass"] += mass
                row["squares"] += squares
            table["generation"] = generation + 1

    def totals(self, now: float) -> dict[Window, Totals]:
        """Return the totals of all processes, by window.

        Args:
            now: the time, by `time.monotonic`.
        """
        tables = [self._table, *self._others()]
        began = min(float(table["began"][0]) for table in tables)
        counted = np.stack([_read(table) for table in tables])
        totals = {}
        for window, (rows, number, since) in _windows(now).items():
            slices = counted[:, rows]
            recent = slices[slices["number"] > number - SLICES]
            totals[window] = Totals(
                seconds=now - max(began, since),
                sequences=int(recent["sequences"].sum()),
                mass=recent["mass"].sum(axis=0),
                squares=recent["squares"].sum(axis=0),
            )
        return totals

    def retire(self) -> None:
        """Mark the version as no longer served by this process. The last process that serves it deletes all files."""
        if self._file is None:
            return
        self._table["retired"] = True
        with ExitStack() as stack:
            paths = self._paths()
            for path in paths:
                with suppress(FileNotFoundError):
                    file = stack.enter_context(path.open("r+b"))
                    table = _open(path, self._layout)
                    if not (table is not None and table["retired"][0]) and not _lock(file):
                        return  # another process serves the version
            for path in paths:
                path.unlink(missing_ok=True)

    def _take_over_file(self) -> IO[bytes] | None:
        """Open and lock the file of a process that ended while it served the version; None if there is none."""
        for path in self._paths():
            file = path.open("r+b")
            table = _open(path, self._layout)
            if table is not None and not table["retired"][0] and _lock(file):
                return file
            file.close()
        return None

    def _create_file(self, folder: Path) -> IO[bytes]:
        """Create and lock a file."""
        handle, name = tempfile.mkstemp(prefix=f"{self._key}@", dir=folder)
        os.close(handle)
        file = Path(name).open("r+b")  # noqa: SIM115 - it stays open to hold the lock
        _lock(file)
        # Write all of it rather than leave a hole, so that a full disk fails now and not when counting.
        file.write(bytes(self._layout.itemsize))
        file.flush()
        return file

    def _paths(self) -> list[Path]:
        """Return the files of all processes."""
        return list(self._folder.glob(f"{self._key}@*")) if self._folder is not None else []

    def _others(self) -> list[Table]:
        """Return the tables of the other processes."""
        paths = [path for path in self._paths() if self._file is None or path != Path(self._file.name)]
        return [table for path in paths if (table := _open(path, self._layout)) is not None]


def _layout(timesteps: int) -> np.dtype[Any]:
    """Return the type of a table.

    A table has two copies of its rows, one row for each slice of each window. Readers use the first copy if
    `generation`, the number of writes, is even, and the second if it is odd.
    """
    row = [("number", "i8"), ("sequences", "i8"), ("mass", "f8", timesteps), ("squares", "f8", timesteps)]
    fields = [("generation", "i8"), ("began", "f8"), ("retired", "i8")]
    return np.dtype([*fields, ("copies", row, (2, 1 + len(SECONDS) * SLICES))])


def _windows(now: float) -> dict[Window, tuple[slice, int, float]]:
    """Return of each window the rows of its slices, the number of the latest slice, and when the oldest began."""
    windows: dict[Window, tuple[slice, int, float]] = {"start": (slice(0, 1), 0, -math.inf)}
    for index, (window, seconds) in enumerate(SECONDS.items()):
        first, number = 1 + index * SLICES, int(now * SLICES / seconds)
        windows[window] = (slice(first, first + SLICES), number, (number - SLICES + 1) * seconds / SLICES)
    return windows


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


def _read(table: Table) -> Table:
    """Return the rows of a table, from one moment between two writes."""
    for _ in range(ATTEMPTS):
        generation = int(table["generation"][0])
        rows: Table = np.array(table["copies"][0, generation % 2])
        if generation == table["generation"][0]:
            break
    return rows
