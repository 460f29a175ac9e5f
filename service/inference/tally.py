"""Attention added up, over all time and over windows of it, in a table that other processes may read."""

import math
import os
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from service.inference.artifact import Array
from service.inference.card import AttentionProfile
from service.inference.distances import jensen_shannon, total_variation

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
        self._path: Path | None = None
        if folder is None:
            self._table: Table = np.zeros(1, self._layout)
        else:
            folder.mkdir(exist_ok=True)
            file, name = tempfile.mkstemp(prefix=f"{key}@", dir=folder)
            with os.fdopen(file, "wb") as empty:
                # No hole, so that a full disk shows now rather than when something is counted.
                empty.write(bytes(self._layout.itemsize))
            self._path = Path(name)
            self._table = np.memmap(name, self._layout, "r+")
            # What was counted of a version goes with it; what a process that died has counted stays.
            weakref.finalize(self, self._path.unlink, missing_ok=True).atexit = False
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
            for rows, number in _windows(now).values():
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
        age = now - min(float(table["began"][0]) for table in tables)
        counted = np.stack([_read(table) for table in tables])
        seen = {}
        for window, (rows, number) in _windows(now).items():
            slices = counted[:, rows]
            recent = slices[slices["number"] > number - SLICES]
            seen[window] = Seen(
                seconds=min(age, SECONDS.get(window, math.inf)),
                sequences=int(recent["sequences"].sum()),
                mass=recent["mass"].sum(axis=0),
                squares=recent["squares"].sum(axis=0),
            )
        return seen

    def _others(self) -> list[Table]:
        """The tables of the other processes."""
        if self._folder is None:
            return []
        paths = [path for path in self._folder.glob(f"{self._key}@*") if path != self._path]
        return [table for path in paths if (table := _open(path, self._layout)) is not None]


def _layout(timesteps: int) -> np.dtype[Any]:
    """A table: how often it was written, when counting began, and in two copies a row for each slice of each window.

    The copy to read is the first where `generation` is even, and the second where it is odd.
    """
    row = [("number", "i8"), ("sequences", "i8"), ("mass", "f8", timesteps), ("squares", "f8", timesteps)]
    return np.dtype([("generation", "i8"), ("began", "f8"), ("copies", row, (2, 1 + len(SECONDS) * SLICES))])


def _windows(now: float) -> dict[Window, tuple[slice, int]]:
    """Of each window the rows of its slices, and the number of the latest; since the start there is but one."""
    windows: dict[Window, tuple[slice, int]] = {"start": (slice(0, 1), 0)}
    for index, (window, seconds) in enumerate(SECONDS.items()):
        first = 1 + index * SLICES
        windows[window] = (slice(first, first + SLICES), int(now * SLICES / seconds))
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


def _read(table: Table) -> Table:
    """A table's slices as they were between two counts."""
    for _ in range(ATTEMPTS):
        generation = int(table["generation"][0])
        slices: Table = np.array(table["copies"][0, generation % 2])
        if generation == table["generation"][0]:
            break
    return slices
