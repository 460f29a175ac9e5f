"""Sequences on disk, read on access, so that a table may be larger than memory."""

import os
import tempfile
import weakref
from typing import IO, Any, Self

import numpy as np

from service.artifact.tensors import Array
from training import TrainingError
from training.data import Indices


class Spool:
    """Sequences of different lengths in an anonymous file, which is removed with this object.

    Reads are positioned, so that threads may share a spool. The file is not mapped into memory, because pages that were
    read would count as memory of the process.
    """

    def __init__(self, file: IO[bytes], offsets: Indices, features: int) -> None:
        """Open the file of a `SpoolWriter`, float32 `(offsets[-1], features)`. It may be closed afterwards.

        `offsets (n + 1,)` are the start of each sequence and the end of the last one, in timesteps.
        """
        self._file = os.dup(file.fileno())
        self._starts, self._ends = offsets[:-1], offsets[1:]
        self.shape: tuple[int, ...] = (len(offsets) - 1, int(np.diff(offsets).max(initial=0)), features)
        weakref.finalize(self, os.close, self._file)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the sequences themselves, because the file has no name by which another process could open it."""
        lengths = self._ends - self._starts
        steps = np.empty((int(lengths.sum()), self.shape[2]), dtype=np.float32)
        self._read(self._starts, self._ends, steps)
        return _spooled, (steps, lengths)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Indices | slice, /) -> Array:
        """Read the sequences of some indices, in any order, padded with NaN: `(k, timesteps, features)`."""
        starts, ends = self._starts[rows], self._ends[rows]
        lengths = ends - starts
        _, timesteps, features = self.shape
        steps = np.empty((int(lengths.sum()), features), dtype=np.float32)
        self._read(starts, ends, steps)
        if (lengths == timesteps).all():
            return steps.reshape(len(starts), timesteps, features)
        x = np.full((len(starts), timesteps, features), np.nan, dtype=np.float32)
        x[np.arange(timesteps) < lengths[:, np.newaxis]] = steps
        return x

    def _read(self, starts: Indices, ends: Indices, steps: Array) -> None:
        """Fill `steps` with sequences one after the other. Neighbours on disk share one read."""
        if not len(starts):
            return
        width = steps.itemsize * self.shape[2]
        breaks = np.flatnonzero(starts[1:] != ends[:-1])
        begins = (starts[np.concatenate([[0], breaks + 1])] * width).tolist()
        sizes = (ends[np.concatenate([breaks, [len(ends) - 1]])] * width - begins).tolist()
        view, place = steps.data.cast("B"), 0
        for begin, size in zip(begins, sizes, strict=True):
            done = 0
            while done < size:  # one read returns 2 GB at most
                read = os.preadv(self._file, [view[place + done : place + size]], begin + done)
                if not read:
                    raise OSError("the file of sequences ends early")
                done += read
            place += size


class SpoolWriter:
    """Writes a spool, in the folder that TMPDIR names. A context manager, which closes the file."""

    def __init__(self, features: int) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by __exit__
        self._lengths: list[Indices] = []
        self._features = features

    def append(self, steps: Array, lengths: Indices) -> None:
        """Add sequences: all their timesteps `(sum of lengths, features)`, and the length of each `(k,)`."""
        if not len(lengths):
            return
        try:
            self._file.write(np.ascontiguousarray(steps, dtype=np.float32).data.cast("B"))
        except OSError as error:
            raise self._no_room(error) from error
        self._lengths.append(lengths)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def spool(self) -> Spool:
        """Return the spool. Nothing can be appended afterwards."""
        try:
            self._file.flush()
        except OSError as error:
            raise self._no_room(error) from error
        lengths = np.concatenate([np.zeros(1, dtype=np.int64), *self._lengths])
        return Spool(self._file, np.cumsum(lengths), self._features)

    @staticmethod
    def _no_room(error: OSError) -> TrainingError:
        return TrainingError(
            f"{tempfile.gettempdir()}: expected room for the sequences, got: {error} (TMPDIR names another folder)"
        )


def _spooled(steps: Array, lengths: Indices) -> Spool:
    """Return a spool of sequences: all their timesteps `(sum of lengths, features)`, and the length of each `(n,)`."""
    with SpoolWriter(steps.shape[1]) as writer:
        writer.append(steps, lengths)
        return writer.spool()
