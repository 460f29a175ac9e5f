"""Attention is added up over windows of time, whichever process counts it, and read as it was at one time."""

import gc
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.serving.tally import SECONDS, SLICES, WINDOWS, Seen, Tally, Window, _order_of_writing, _read
from tests.samples import card
from tests.server import ROOT

FIRST = np.array([[1, 0, 0], [0.5, 0.5, 0]], np.float32)
SECOND = np.array([[0, 0, 1]], np.float32)


def sequences(seen: Mapping[Window, Seen]) -> dict[Window, int]:
    return {window: one.sequences for window, one in seen.items()}


def test_nothing_is_seen_before_there_is_traffic() -> None:
    """In no window; the time runs."""
    seen = Tally(3, began=100).seen(107)
    assert sequences(seen) == dict.fromkeys(WINDOWS, 0)
    assert {one.seconds for one in seen.values()} == {7}


def test_mean_and_spread_are_those_of_the_sequences() -> None:
    """Over several counts."""
    tally = Tally(3, began=0)
    tally.add(FIRST, 1)
    tally.add(SECOND, 2)
    everything = np.concatenate([FIRST, SECOND])
    for one in tally.seen(3).values():
        assert one.sequences == 3
        np.testing.assert_allclose(one.mean, everything.mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(one.spread, everything.std(axis=0), atol=1e-12)


def test_what_is_not_finite_is_not_counted() -> None:
    """The other sequences of the same request are."""
    tally = Tally(3, began=0)
    tally.add(np.array([[np.nan] * 3, [1, 0, 0], [np.inf, 0, 0]], np.float32), 1)
    seen = tally.seen(1)["start"]
    assert (seen.sequences, seen.mass.tolist()) == (1, [1, 0, 0])


@given(st.lists(st.tuples(st.floats(0, 4000), st.integers(1, 3)), max_size=30))
@settings(deadline=None)
def test_a_window_has_what_came_within_it(arrivals: list[tuple[float, int]]) -> None:
    """To a slice of it; whatever came before, in whatever pauses."""
    tally, began = Tally(3, began=1000), 1000.0
    now = began
    came: list[tuple[float, int]] = []
    for pause, n in arrivals:
        now += pause
        tally.add(np.repeat(SECOND, n, axis=0), now)
        came.append((now, n))
        seen = sequences(tally.seen(now))
        assert seen["start"] == sum(n for _, n in came)
        for window, seconds in SECONDS.items():
            surely = sum(n for time, n in came if time > now - seconds * (SLICES - 1) / SLICES)
            perhaps = sum(n for time, n in came if time >= now - seconds)
            assert surely <= seen[window] <= perhaps


def test_windows_are_as_long_as_there_was_time() -> None:
    """And no longer than they are named, a slice less as they move on."""
    tally = Tally(3, began=1)
    assert {window: one.seconds for window, one in tally.seen(7201).items()} == {
        "1m": 56,
        "10m": 551,
        "1h": 3301,
        "start": 7200,
    }
    assert tally.seen(700)["1h"].seconds == 699


def test_a_slice_is_left_out_once_it_is_too_old() -> None:
    """At once, not only when the next one takes its place."""
    tally = Tally(3, began=0)
    tally.add(SECOND, 4)
    assert tally.seen(59.9)["1m"].sequences == 1
    assert tally.seen(60)["1m"].sequences == 0


def test_processes_see_what_all_have_counted(tmp_path: Path) -> None:
    """Of the same version; since the first of them began."""
    one, two = (Tally(3, began, tmp_path / "live", "m@1@now") for began in (10, 20))
    other = Tally(3, 0, tmp_path / "live", "m@2@now")
    one.add(FIRST, 21)
    two.add(SECOND, 90)
    for tally in (one, two):
        seen = tally.seen(91)
        assert sequences(seen) == {"1m": 1, "10m": 3, "1h": 3, "start": 3}
        assert seen["start"].mass.tolist() == [1.5, 0.5, 1]
        assert seen["start"].seconds == 81
    assert other.seen(91)["start"].sequences == 0


#: Counts two sequences, then ends by the signal given.
COUNTER = """
import os, sys
from pathlib import Path
import numpy as np
from service.serving.tally import Tally

tally = Tally(3, 1, Path(sys.argv[1]), "m@1")
tally.add(np.eye(3, dtype=np.float32)[:2], 1)
os.kill(os.getpid(), int(sys.argv[2]))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_process_counted_before_it_ended_stays(tmp_path: Path, number: signal.Signals) -> None:
    """So that counters never fall; whoever takes its place goes on with its file."""
    tally = Tally(3, 5, tmp_path, "m@1")
    for ended in (1, 2, 3):
        command = [sys.executable, "-c", COUNTER, str(tmp_path), str(number.value)]
        assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == -number
        seen = tally.seen(6)["start"]
        assert (seen.sequences, seen.seconds) == (2 * ended, 5)
        assert len(list(tmp_path.iterdir())) == 2


def test_a_retired_version_takes_its_counts_along(tmp_path: Path) -> None:
    """With the last process that serves it: until then they count."""
    one, two, dead = (Tally(3, 1, tmp_path, "m@1") for _ in range(3))
    for tally in (one, two, dead):
        tally.add(SECOND, 2)
    del dead, tally
    gc.collect()
    other = Tally(3, 1, tmp_path, "m@2")
    one.retire()
    assert two.seen(2)["start"].sequences == 3
    two.retire()
    assert len(list(tmp_path.iterdir())) == 1
    other.add(SECOND, 3)
    assert other.seen(3)["start"].sequences == 1


def test_a_version_that_is_served_again_counts_on(tmp_path: Path) -> None:
    """Where another process has served it all the time; in a file of its own, as it may still finish on the old one."""
    one, two = (Tally(3, 1, tmp_path, "m@1") for _ in range(2))
    one.add(SECOND, 2)
    one.retire()
    again = Tally(3, 3, tmp_path, "m@1")
    again.add(SECOND, 4)
    one.add(SECOND, 4)
    assert two.seen(4)["start"].sequences == again.seen(4)["start"].sequences == 3


def test_a_table_is_never_seen_half_written(tmp_path: Path) -> None:
    """While another writes all the time, mass and sequences agree."""
    writer, reader = (Tally(2000, 0, tmp_path, "m@1") for _ in range(2))
    ones = np.full((1, 2000), 1, np.float32)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            writer.add(ones, 1)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        counts = []
        for _ in range(300):
            seen = reader.seen(1)["start"]
            assert set(seen.mass.tolist()) == {seen.sequences}
            counts.append(seen.sequences)
        assert counts == sorted(counts)
    finally:
        stop.set()
        thread.join()


def test_who_reads_meanwhile_reads_the_copy_that_is_not_written() -> None:
    """The old one, then the new one, also if the writer should end in between."""
    tally = Tally(3, began=0)
    for expected in (1, 2, 3):
        for copy in _order_of_writing(tally._table[0]):
            assert _read(tally._table)["sequences"][0] in (expected - 1, expected)
            before = _read(tally._table)["sequences"][0]
            copy["sequences"][0] = expected
            assert _read(tally._table)["sequences"][0] == before
        assert _read(tally._table)["sequences"][0] == expected


def test_files_that_are_no_tables_yet_are_passed_over(tmp_path: Path) -> None:
    """One that another process is only just making."""
    tally = Tally(3, 0, tmp_path, "m@1")
    tally.add(SECOND, 1)
    (tmp_path / "m@1@empty").touch()
    assert tally.seen(2)["start"].sequences == 1


def test_distance_is_that_of_the_mean_from_the_profile() -> None:
    """Half of the attention has moved from the first timestep to the third."""
    profile = card(timesteps=3).attention.model_copy(
        update={"sequences": 300, "mean": (1.0, 0.0, 0.0), "spread": (0.1, 0.1, 0.2)}
    )
    tally = Tally(3, began=0)
    tally.add(np.array([[1, 0, 0], [0, 0, 1]] * 50, np.float32), 1)
    distance = tally.seen(1)["start"].distance_from(profile)
    assert distance.total_variation == 0.5
    assert distance.jensen_shannon == pytest.approx(
        np.sqrt((0.5 * np.log2(2 / 3) + 0.5 + np.log2(4 / 3)) / 2), abs=1e-6
    )
    assert distance.by_chance == pytest.approx(0.5 * 0.4 * np.sqrt(2 / np.pi) * np.sqrt(1 / 100 + 1 / 300))


@pytest.mark.parametrize(("held_out", "posted"), [(100_000, 200), (50, 20_000), (300, 300)])
def test_chance_is_what_unchanged_traffic_shows(held_out: int, posted: int) -> None:
    """On average, however many sequences were held out, and however many were posted."""
    rng = np.random.default_rng(0)
    distances, by_chance = [], []
    for _ in range(200):
        attention = rng.dirichlet((1, 2, 6, 3), held_out)
        mean, spread = tuple(attention.mean(axis=0).tolist()), tuple(attention.std(axis=0).tolist())
        profile = card(timesteps=4).attention.model_copy(update={"sequences": held_out, "mean": mean, "spread": spread})
        tally = Tally(4, began=0)
        tally.add(rng.dirichlet((1, 2, 6, 3), posted).astype(np.float32), 1)
        found = tally.seen(1)["start"].distance_from(profile)
        distances.append(found.total_variation)
        by_chance.append(found.by_chance)
    assert np.mean(by_chance) == pytest.approx(np.mean(distances), rel=0.1)
