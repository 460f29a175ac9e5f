"""Tests of the live profile: attention is counted soon, and in parts that do not block the event loop."""

import asyncio
import logging
import time
from pathlib import Path

import numpy as np
import pytest

from service.serving.live_profile import PENDING_SECONDS, PENDING_WEIGHTS, LiveProfile
from service.serving.tally import Tally

pytestmark = pytest.mark.anyio

ROW = np.array([[0.25, 0.75]], np.float32)
#: Sequences that are counted at a time.
ROOM = PENDING_WEIGHTS // 2


def counted(folder: Path) -> int:
    """Return the number of sequences that other processes find."""
    return Tally(2, 0, folder, "m@1").totals(time.monotonic())["start"].sequences


async def test_the_own_process_counts_at_once() -> None:
    """Its totals include all sequences so far."""
    profile = LiveProfile(2, None, "m@1")
    assert (await profile.totals())["start"].sequences == 0
    profile.add(ROW)
    profile.add(np.repeat(ROW, 3, axis=0))
    totals = (await profile.totals())["1m"]
    assert (totals.sequences, totals.mass.tolist()) == (4, [1, 3])


async def test_other_processes_find_the_counts_after_a_moment(tmp_path: Path) -> None:
    """A request is counted together with others that follow soon, or after some time without them."""
    profile = LiveProfile(2, tmp_path, "m@1")
    for _ in range(2):  # the timer starts again
        before = counted(tmp_path)
        profile.add(ROW)
        assert counted(tmp_path) == before
        async with asyncio.timeout(100 * PENDING_SECONDS):
            while counted(tmp_path) == before:
                await asyncio.sleep(PENDING_SECONDS / 10)
        assert counted(tmp_path) == before + 1


async def test_many_sequences_are_counted_without_waiting(tmp_path: Path) -> None:
    """Full room is counted when the next sequences arrive."""
    profile = LiveProfile(2, tmp_path, "m@1")
    for _ in range(ROOM):
        profile.add(ROW)
    assert counted(tmp_path) == 0
    profile.add(np.repeat(ROW, 3, axis=0))
    assert counted(tmp_path) == ROOM
    assert (await profile.totals())["start"].sequences == ROOM + 3


async def test_each_turn_of_the_loop_counts_a_part_of_a_large_request(tmp_path: Path) -> None:
    """Other requests are answered in between, and no sequence is lost."""
    profile = LiveProfile(2, tmp_path, "m@1")
    many = np.repeat(ROW, 4 * ROOM + 1, axis=0)
    profile.add(many)
    counts = [counted(tmp_path)]
    while counts[-1] < 4 * ROOM:
        await asyncio.sleep(0)
        counts.append(counted(tmp_path))
    assert counts == [turn * ROOM for turn in range(5)]
    assert (await profile.totals())["start"].sequences == len(many)


async def test_close_counts_the_pending_attention(tmp_path: Path) -> None:
    """The successor of the process finds it."""
    profile = LiveProfile(2, tmp_path, "m@1")
    profile.add(ROW)
    assert counted(tmp_path) == 0
    profile.close()
    assert counted(tmp_path) == 1


async def test_a_folder_that_cannot_be_written_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The process then counts alone."""
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        profile = LiveProfile(2, tmp_path / "file", "m@1")
    assert "m@1: the counts are those of each process alone: " in caplog.text
    profile.add(ROW)
    assert (await profile.totals())["start"].sequences == 1
