"""Attention added up, over all time and over windows of it, in a table that other processes may read."""

import math
import os
import tempfile
import weakref
from collections.abc import Iterator, Mapping
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
#: Length of the windows that move with time, in seconds; the other one is all time since the start.
SECONDS: Final[Mapping[Window, int]] = {"1m": 60, "10m": 600, "1h": 3600}
#: Parts of such a window: it moves on by one of them at a time, so that it is that much shorter at times.
SLICES: Final = 12
#: How often to read what another process counts, should it count once more each time.
ATTEMPTS: Final = 100

Sums = NDArray[np.float64]
#: What `_layout` describes.
Table = NDArray[Any]


@dataclass(frozen=True)
class Distance:
    """How far attention lies from a profile.

    Attributes:
        total_variation: the share of it that lies elsewhere, from 0 to 1.
        jensen_shannon: Jensen–Shannon distance, from 0 to 1.
        by_chance: the total variation to expect of as many sequences that look where those of the profile do.
    """

    total_variation: float
    jensen_shannon: float
    by_chance: float


@dataclass(frozen=True)
class Seen:
    """Attention of the sequences of some time.

    Attributes:
        seconds: how long that was.
        sequences: how many there were.
        mass: `(timesteps,)`, the sum of their attention.
        squares: `(timesteps,)`, the sum of its squares.
    """

    seconds: float
    sequences: int
    mass: Sums
    squares: Sums

    @property
    def mean(self) -> Sums:
        """`(timesteps,)`, where there were any sequences."""
        mean: Sums = self.mass / self.sequences
        return mean

    @property
    def spread(self) -> Sums:
        """`(timesteps,)`, standard deviation over the sequences, where there were any."""
        spread: Sums = np.sqrt(np.maximum(self.squares / self.sequences - self.mean**2, 0))
        return spread

    def distance_from(self, profile: AttentionProfile) -> Distance:
        """How far the mean lies from a profile's, where there were any sequences.

        Args:
            profile: of the same timesteps.
        """
        mean, expected = self.mean, np.array(profile.mean)
        # The mean of n is √(2/π) · deviation / √n from what it should be, on average, if n is not small; the profile's
        # is that of a sample, too.
        counted = 1 / self.sequences + 1 / profile.sequences
        by_chance = sum(profile.spread) / 2 * math.sqrt(2 / math.pi * counted)
        return Distance(float(total_variation(mean, expected)), float(jensen_shannon(mean, expected)), by_chance)


class Tally:
    """What one process has counted.

    Args:
        timesteps: timesteps of the model.
        began: when counting began, by `time.monotonic`, which all processes of a machine share.
        folder: where other processes can read it; none where nobody does.
        key: what files of the same model and version there begin with.

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
            self._file = self._left_by_the_dead() or self._made()
            weakref.finalize(self, self._file.close)
            self._table = np.memmap(self._file.name, self._layout, "r+")
        if not self._table["began"][0]:
            self._table["began"] = began

    def add(self, attention: Array, now: float) -> None:
        """Count sequences in; those whose attention is not finite are not.

        Args:
            attention: `(n, timesteps)`, each row summing to 1, 0 where a timestep is absent.
            now: the time, by `time.monotonic`.
        """
        weights = attention.astype(np.float64)
        weights = weights[np.isfinite(weights).all(axis=1)]
        mass, squares = weights.sum(axis=0), np.square(weights).sum(axis=0)
        table = self._table[0]
        # Who reads meanwhile reads the copy that is not being written, also if this process should die here.
        for copy in _order_of_writing(table):
            for rows, number, _ in _windows(now).values():
                one = copy[rows][number % SLICES]
                if one["number"] != number:
                    one["number"], one["sequences"], one["mass"], one["squares"] = number, 0, 0, 0
                one["sequences"] += len(weights)
                one["mass"] += mass
                one["squares"] += squares

    def seen(self, now: float) -> dict[Window, Seen]:
        """What all processes have counted, by window.

        Args:
            now: the time, by `time.monotonic`.
        """
        tables = [self._table, *self._others()]
        began = min(float(table["began"][0]) for table in tables)
        counted = np.stack([_read(table) for table in tables])
        seen = {}
        for window, (rows, number, since) in _windows(now).items():
            slices = counted[:, rows]
            recent = slices[slices["number"] > number - SLICES]
            seen[window] = Seen(
                seconds=now - max(began, since),
                sequences=int(recent["sequences"].sum()),
                mass=recent["mass"].sum(axis=0),
                squares=recent["squares"].sum(axis=0),
            )
        return seen

    def retire(self) -> None:
        """The version is not served any more by this process; what was counted goes with the last one that does."""
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
                        return  # somebody serves it
            for path in paths:
                path.unlink(missing_ok=True)

    def _left_by_the_dead(self) -> IO[bytes] | None:
        """The file of a process that ended while it served the version: it is gone on with."""
        for path in self._paths():
            file = path.open("r+b")
            table = _open(path, self._layout)
            if table is not None and not table["retired"][0] and _lock(file):
                return file
            file.close()
        return None

    def _made(self) -> IO[bytes]:
        """A file of this process' own, which it holds as long as it lives."""
        assert self._folder is not None
        handle, name = tempfile.mkstemp(prefix=f"{self._key}@", dir=self._folder)
        os.close(handle)
        file = Path(name).open("r+b")  # noqa: SIM115 - it stays open
        _lock(file)
        # No hole, so that a full disk shows now rather than when something is counted.
        file.write(bytes(self._layout.itemsize))
        file.flush()
        return file

    def _paths(self) -> list[Path]:
        """The files of all processes."""
        return list(self._folder.glob(f"{self._key}@*")) if self._folder is not None else []

    def _others(self) -> list[Table]:
        """The tables of the other processes."""
        paths = [path for path in self._paths() if self._file is None or path != Path(self._file.name)]
        return [table for path in paths if (table := _open(path, self._layout)) is not None]


def _layout(timesteps: int) -> np.dtype[Any]:
    """A table: how often it was written, when counting began, whether its process has retired the version, and in two
    copies a row for each slice of each window.

    The copy to read is the first where `generation` is even, and the second where it is odd.
    """
    row = [("number", "i8"), ("sequences", "i8"), ("mass", "f8", timesteps), ("squares", "f8", timesteps)]
    fields = [("generation", "i8"), ("began", "f8"), ("retired", "i8")]
    return np.dtype([*fields, ("copies", row, (2, 1 + len(SECONDS) * SLICES))])


def _windows(now: float) -> dict[Window, tuple[slice, int, float]]:
    """Of each window the rows of its slices, the number of the latest, and when the oldest began."""
    windows: dict[Window, tuple[slice, int, float]] = {"start": (slice(0, 1), 0, -math.inf)}
    for index, (window, seconds) in enumerate(SECONDS.items()):
        first, number = 1 + index * SLICES, int(now * SLICES / seconds)
        windows[window] = (slice(first, first + SLICES), number, (number - SLICES + 1) * seconds / SLICES)
    return windows


def _order_of_writing(table: Any) -> Iterator[Table]:
    """Both copies of a table's slices: the one that nobody reads, then, once that is the one to read, the other."""
    generation = int(table["generation"])
    yield table["copies"][(generation + 1) % 2]
    table["generation"] = generation + 1
    yield table["copies"][generation % 2]


def _open(path: Path, layout: np.dtype[Any]) -> Table | None:
    """The table of another process; none if it is gone, or only just being made."""
    try:
        return np.memmap(path, layout, "r", shape=1)
    except (OSError, ValueError):
        return None


def _lock(file: IO[bytes]) -> bool:
    """Hold a file until it is closed, as it is when the process ends; False where another does."""
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _read(table: Table) -> Table:
    """A table's slices as they were between two counts."""
    for _ in range(ATTEMPTS):
        generation = int(table["generation"][0])
        slices: Table = np.array(table["copies"][0, generation % 2])
        if generation == table["generation"][0]:
            break
    return slices
