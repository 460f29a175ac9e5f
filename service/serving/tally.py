"""Attention added up since the start and over windows of time, in a table that other processes can read."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from service.artifact.card import AttentionProfile
from service.artifact.distances import by_chance, jensen_shannon, total_variation
from service.artifact.tensors import Array
from service.serving.shared_table import SharedTable, Table

Window = Literal["1m", "10m", "1h", "start"]
WINDOWS: Final[tuple[Window, ...]] = get_args(Window)
#: Length of each moving window, in seconds. The remaining window is all time since the start.
SECONDS: Final[Mapping[Window, int]] = {"1m": 60, "10m": 600, "1h": 3600}
#: Slices of a moving window. It moves on by one slice at a time, so it is up to one slice shorter than its name says.
SLICES: Final = 12
#: How often to read a table again when its process writes at the same time.
ATTEMPTS: Final = 100

Sums = NDArray[np.float64]


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
        counted = 1 / self.sequences + 1 / profile.sequences  # the profile is a sample, too
        expected_by_chance = by_chance(expected, np.array(profile.spread), counted)
        return Distance(
            float(total_variation(mean, expected)), float(jensen_shannon(mean, expected)), expected_by_chance
        )


class Tally:
    """Counts the attention of one version in this process.

    With several processes, each writes a table of its own in a shared folder and reads those of the others.

    Args:
        timesteps: timesteps of the model.
        began: time when counting began, by `time.monotonic`, which all processes of a machine share.
        folder: the folder that the processes share; None with one process.
        key: identifies the version within the folder.
    """

    def __init__(self, timesteps: int, began: float, folder: Path | None = None, key: str = "") -> None:
        self._shared = SharedTable(_layout(timesteps), folder, key)
        self._table = self._shared.own
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
        tables = self._shared.all()
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
        self._shared.retire()


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


def _read(table: Table) -> Table:
    """Return the rows of a table, from one moment between two writes."""
    for _ in range(ATTEMPTS):
        generation = int(table["generation"][0])
        rows: Table = np.array(table["copies"][0, generation % 2])
        if generation == table["generation"][0]:
            break
    return rows
