"""Attention is counted soon, a part at a time, whatever the traffic."""

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
#: So many are counted at a time.
ROOM = PENDING_WEIGHTS // 2


def counted(folder: Path) -> int:
    """What other processes see of it."""
    return Tally(2, 0, folder, "m@1").seen(time.monotonic())["start"].sequences


async def test_what_was_asked_is_seen_at_once() -> None:
    """By the process that was asked."""
    profile = LiveProfile(2, None, "m@1")
    assert (await profile.seen())["start"].sequences == 0
    profile.add(ROW)
    profile.add(np.repeat(ROW, 3, axis=0))
    seen = (await profile.seen())["1m"]
    assert (seen.sequences, seen.mass.tolist()) == (4, [1, 3])


async def test_others_see_it_after_a_moment(tmp_path: Path) -> None:
    """One request is counted with those that come soon after it, and does not wait for them for ever."""
    profile = LiveProfile(2, tmp_path, "m@1")
    for _ in range(2):  # the timer begins anew
        before = counted(tmp_path)
        profile.add(ROW)
        assert counted(tmp_path) == before
        async with asyncio.timeout(100 * PENDING_SECONDS):
            while counted(tmp_path) == before:
                await asyncio.sleep(PENDING_SECONDS / 10)
        assert counted(tmp_path) == before + 1


async def test_much_is_counted_without_waiting(tmp_path: Path) -> None:
    """There is room for so many; what comes after them makes more."""
    profile = LiveProfile(2, tmp_path, "m@1")
    for _ in range(ROOM):
        profile.add(ROW)
    assert counted(tmp_path) == 0
    profile.add(np.repeat(ROW, 3, axis=0))
    assert counted(tmp_path) == ROOM
    assert (await profile.seen())["start"].sequences == ROOM + 3


async def test_more_than_a_turn_has_time_for_is_counted_in_the_next(tmp_path: Path) -> None:
    """So that others are answered in between; none is lost."""
    profile = LiveProfile(2, tmp_path, "m@1")
    many = np.repeat(ROW, 4 * ROOM + 1, axis=0)
    profile.add(many)
    seen = [counted(tmp_path)]
    while seen[-1] < 4 * ROOM:
        await asyncio.sleep(0)
        seen.append(counted(tmp_path))
    assert seen == [turn * ROOM for turn in range(5)]
    assert (await profile.seen())["start"].sequences == len(many)


async def test_closed_it_counts_what_is_left(tmp_path: Path) -> None:
    """For whoever takes the process' place."""
    profile = LiveProfile(2, tmp_path, "m@1")
    profile.add(ROW)
    assert counted(tmp_path) == 0
    profile.close()
    assert counted(tmp_path) == 1


async def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The process then counts for itself."""
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        profile = LiveProfile(2, tmp_path / "file", "m@1")
    assert "m@1: the live profile is that of each process alone: " in caplog.text
    profile.add(ROW)
    assert (await profile.seen())["start"].sequences == 1
