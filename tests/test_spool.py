"""Sequences on disk are read like an array."""

import errno
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.artifact.tensors import Array
from training import TrainingError
from training.data import LabelledSequences
from training.tables.spool import Spool, SpoolWriter


def spooled(lengths: Any, features: int = 2, parts: int = 1) -> tuple[Spool, Array]:
    """Write sequences of given lengths in some parts. Return the spool and the same sequences as an array."""
    lengths = np.array(lengths, dtype=np.int64)
    rng = np.random.default_rng(0)
    timesteps = int(lengths.max(initial=0))
    x = rng.random((len(lengths), timesteps, features), dtype=np.float32)
    inside = np.arange(timesteps) < lengths[:, np.newaxis]
    x[~inside] = np.nan
    with SpoolWriter(features) as writer:
        for rows in np.array_split(np.arange(len(lengths)), parts):
            writer.append(x[rows][inside[rows]], lengths[rows])
        return writer.spool(), x


@given(st.lists(st.integers(1, 7), min_size=1, max_size=20), st.integers(1, 4), st.integers(1, 3), st.data())
def test_it_reads_as_an_array_does(lengths: list[int], parts: int, features: int, more: st.DataObject) -> None:
    """Slices with steps, repeated and unordered indices, and subsets of subsets work."""
    spool, x = spooled(lengths, features, parts)
    assert spool.shape == x.shape
    assert len(spool) == len(x)
    n = len(lengths)
    indices = st.lists(st.integers(-n, n - 1)).map(lambda rows: np.array(rows, dtype=np.int64))
    rows = more.draw(st.one_of(st.slices(n), indices))
    np.testing.assert_array_equal(spool[rows], x[rows])
    part = LabelledSequences(spool, np.arange(n)).take(rows)
    again = more.draw(st.slices(len(part)))
    np.testing.assert_array_equal(part.take(again).x[:], x[rows][again])


def test_neighbours_come_in_one_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other sequences take one read each."""
    reads = []
    preadv = os.preadv

    def counted(file: int, buffers: Any, offset: int) -> int:
        reads.append(offset)
        return preadv(file, buffers, offset)

    monkeypatch.setattr(os, "preadv", counted)
    spool, x = spooled([3, 1, 2, 3, 2])
    np.testing.assert_array_equal(spool[1:4], x[1:4])
    assert reads == [3 * 8]
    reads.clear()
    np.testing.assert_array_equal(spool[np.array([3, 4, 0, 2])], x[[3, 4, 0, 2]])
    assert reads == [6 * 8, 0, 4 * 8]


def test_a_partial_read_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system reads 2 GB at most."""
    preadv, reads = os.preadv, []

    def halting(file: int, buffers: Any, offset: int) -> int:
        reads.append(offset)
        return preadv(file, [buffers[0][:5]], offset)

    monkeypatch.setattr(os, "preadv", halting)
    spool, x = spooled([3, 1, 2])
    np.testing.assert_array_equal(spool[:], x)
    assert reads == list(range(0, 6 * 8, 5))


def test_threads_may_share_it() -> None:
    """Reads are positioned."""
    spool, x = spooled(np.arange(500) % 7 + 1)
    rows = [np.random.default_rng(seed).integers(0, 500, 100) for seed in range(40)]
    with ThreadPoolExecutor(4) as pool:
        for order, read in zip(rows, pool.map(spool.__getitem__, rows), strict=True):
            np.testing.assert_array_equal(read, x[order])


def test_a_full_disk_ends_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the folder and the variable that changes it."""

    class Full:
        def write(self, data: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            pass

    monkeypatch.setattr("tempfile.TemporaryFile", Full)
    with (
        SpoolWriter(1) as writer,
        pytest.raises(TrainingError, match=r"expected room for the sequences, got: .*No space left"),
    ):
        writer.append(np.zeros((1, 1), dtype=np.float32), np.ones(1, dtype=np.int64))


def test_another_process_gets_a_copy() -> None:
    """The copy of a part is read as the part is, after the spool has gone."""
    spool, x = spooled([3, 1, 2, 3, 2])
    part = pickle.dumps(LabelledSequences(spool, np.arange(5)).take(slice(1, 4)))
    del spool
    np.testing.assert_array_equal(pickle.loads(part).x[:], x[1:4])  # noqa: S301 - our own
