"""Tests of the tally: totals by window, over several processes, complete at any time."""

import functools
import itertools
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.serving import tally as tally_module
from service.serving.shared_table import file_name
from service.serving.tally import SECONDS, SLICES, WINDOWS, Tally, Totals, Window
from tests.samples import card
from tests.server import ROOT

FIRST = np.array([[1, 0, 0], [0.5, 0.5, 0]], np.float32)
SECOND = np.array([[0, 0, 1]], np.float32)
ONES = np.ones((1, 3), np.float32)


def sequences(totals: Mapping[Window, Totals]) -> dict[Window, int]:
    return {window: one.sequences for window, one in totals.items()}


def call_with_pauses(function: Callable[[], object], pause: Callable[[], object]) -> None:
    """Call a function, and `pause` before each line of the tally's code that it runs."""

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != tally_module.__file__:
            return None
        if event == "line":
            pause()
        return trace

    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(None)


def count_lines(function: Callable[[], object]) -> int:
    """Count the lines of the tally's code that a function runs."""
    lines: list[None] = []
    call_with_pauses(function, lambda: lines.append(None))
    return len(lines)


def add_until(tally: Tally, line: int) -> bool:
    """Add a sequence, but stop before a line, counted from 0; return whether it was added completely."""
    lines = iter(range(line))
    try:
        call_with_pauses(lambda: tally.add(ONES, 1), lambda: next(lines))
    except StopIteration:
        return False
    return True


def test_without_traffic_the_totals_are_zero() -> None:
    """Each window still has its length."""
    totals = Tally(3, began=100).totals(107)
    assert sequences(totals) == dict.fromkeys(WINDOWS, 0)
    assert {one.seconds for one in totals.values()} == {7}


def test_mean_and_spread_are_those_of_the_sequences() -> None:
    """They cover the sequences of all calls of `add`."""
    tally = Tally(3, began=0)
    tally.add(FIRST, 1)
    tally.add(SECOND, 2)
    everything = np.concatenate([FIRST, SECOND])
    for one in tally.totals(3).values():
        assert one.sequences == 3
        np.testing.assert_allclose(one.mean, everything.mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(one.spread, everything.std(axis=0), atol=1e-12)


def test_attention_that_is_not_finite_is_not_counted() -> None:
    """The other sequences of the same request are counted."""
    tally = Tally(3, began=0)
    tally.add(np.array([[np.nan] * 3, [1, 0, 0], [np.inf, 0, 0]], np.float32), 1)
    totals = tally.totals(1)["start"]
    assert (totals.sequences, totals.mass.tolist()) == (1, [1, 0, 0])


@given(st.lists(st.tuples(st.floats(0, 4000), st.integers(1, 3)), max_size=30))
def test_a_window_covers_the_sequences_that_arrived_in_it(arrivals: list[tuple[float, int]]) -> None:
    """It is exact to one slice, with any pauses between arrivals."""
    tally, began = Tally(3, began=1000), 1000.0
    now = began
    arrived: list[tuple[float, int]] = []
    for pause, n in arrivals:
        now += pause
        tally.add(np.repeat(SECOND, n, axis=0), now)
        arrived.append((now, n))
        counted = sequences(tally.totals(now))
        assert counted["start"] == sum(n for _, n in arrived)
        for window, seconds in SECONDS.items():
            fewest = sum(n for time, n in arrived if time > now - seconds * (SLICES - 1) / SLICES)
            most = sum(n for time, n in arrived if time >= now - seconds)
            assert fewest <= counted[window] <= most


def test_windows_are_at_most_as_long_as_their_names() -> None:
    """They are shorter after the start, and up to one slice shorter as they move on."""
    tally = Tally(3, began=1)
    assert {window: one.seconds for window, one in tally.totals(7201).items()} == {
        "1m": 56,
        "10m": 551,
        "1h": 3301,
        "start": 7200,
    }
    assert tally.totals(700)["1h"].seconds == 699


def test_a_slice_is_left_out_once_it_is_too_old() -> None:
    """It is left out at once, before another slice overwrites it."""
    tally = Tally(3, began=0)
    tally.add(SECOND, 4)
    assert tally.totals(59.9)["1m"].sequences == 1
    assert tally.totals(60)["1m"].sequences == 0


def test_processes_add_up_their_counts(tmp_path: Path) -> None:
    """The totals are those of the same version, since the first process began."""
    one, two = (Tally(3, began, tmp_path / "live", "m@1@now") for began in (10, 20))
    other = Tally(3, 0, tmp_path / "live", "m@2@now")
    one.add(FIRST, 21)
    two.add(SECOND, 90)
    for tally in (one, two):
        totals = tally.totals(91)
        assert sequences(totals) == {"1m": 1, "10m": 3, "1h": 3, "start": 3}
        assert totals["start"].mass.tolist() == [1.5, 0.5, 1]
        assert totals["start"].seconds == 81
    assert other.totals(91)["start"].sequences == 0


#: A program that counts two sequences and then ends by a signal.
COUNTER = """
import os, sys
from pathlib import Path
import numpy as np
from service.serving.tally import Tally

tally = Tally(3, 1, Path(sys.argv[1]), "m@1")
tally.add(np.eye(3, dtype=np.float32)[:2], 1)
os.kill(os.getpid(), int(sys.argv[2]))
"""


def test_counts_outlive_their_process(tmp_path: Path) -> None:
    """Counters never fall. The next process takes the file over."""
    tally = Tally(3, 5, tmp_path, "m@1")
    for ended, number in enumerate((signal.SIGKILL, signal.SIGTERM), 1):
        command = [sys.executable, "-c", COUNTER, str(tmp_path), str(number.value)]
        assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == -number
        totals = tally.totals(6)["start"]
        assert (totals.sequences, totals.seconds) == (2 * ended, 5)
        assert len(list(tmp_path.iterdir())) == 2


def test_the_last_process_to_retire_a_version_deletes_its_counts(tmp_path: Path) -> None:
    """Until then they remain in the totals."""
    one, two, dead = (Tally(3, 1, tmp_path, "m@1") for _ in range(3))
    for tally in (one, two, dead):
        tally.add(SECOND, 2)
    del dead, tally
    other = Tally(3, 1, tmp_path, "m@2")
    one.retire()
    assert two.totals(2)["start"].sequences == 3
    two.retire()
    assert len(list(tmp_path.iterdir())) == 1
    other.add(SECOND, 3)
    assert other.totals(3)["start"].sequences == 1


def test_a_version_that_is_served_again_continues_its_counts(tmp_path: Path) -> None:
    """It uses a new file, as requests may still finish on the retired model and be counted in the old one."""
    one, two = (Tally(3, 1, tmp_path, "m@1") for _ in range(2))
    one.add(SECOND, 2)
    one.retire()
    again = Tally(3, 3, tmp_path, "m@1")
    again.add(SECOND, 4)
    one.add(SECOND, 4)
    assert two.totals(4)["start"].sequences == again.totals(4)["start"].sequences == 3


def test_totals_are_complete_if_the_writer_runs_at_any_line_of_the_reader(tmp_path: Path) -> None:
    """The writer gets as far as some line of its own, so that it may be writing the copy that is being read."""
    writer_lines = count_lines(lambda: Tally(3, 0).add(ONES, 1))
    reader_lines = count_lines(functools.partial(Tally(3, 0).totals, 1))
    for line, position in itertools.product(range(writer_lines // 2, writer_lines, 11), range(reader_lines)):
        reader, writer = (Tally(3, 0, tmp_path / f"{line}-{position}", "m@1") for _ in range(2))
        positions = itertools.count()

        def write() -> None:
            if next(positions) == position:  # noqa: B023
                thread = threading.Thread(target=add_until, args=(writer, line))  # noqa: B023
                thread.start()
                thread.join()

        found: list[Totals] = []
        call_with_pauses(lambda: found.extend(reader.totals(1).values()), write)  # noqa: B023
        for totals in found:
            assert set(totals.mass.tolist()) == set(totals.squares.tolist()) == {totals.sequences}


def test_totals_are_complete_at_every_line_of_the_writer(tmp_path: Path) -> None:
    """A reader finds the counts of before the call of `add`, and from some line on those of after it."""
    writer, reader = (Tally(3, 0, tmp_path, "m@1") for _ in range(2))
    for count in (1, 2, 3):
        found: list[Totals] = []
        call_with_pauses(lambda: writer.add(ONES, 1), lambda: found.extend(reader.totals(1).values()))  # noqa: B023
        for totals in found:
            assert set(totals.mass.tolist()) == set(totals.squares.tolist()) == {totals.sequences}
        counts = [totals.sequences for totals in found]
        assert counts == sorted(counts)
        assert set(counts) == {count - 1, count}


def test_a_process_may_end_at_every_line_of_the_writer(tmp_path: Path) -> None:
    """Its successor continues with complete counts, with or without those that were being written."""
    for line in itertools.count():
        folder = tmp_path / str(line)
        ended = Tally(3, 0, folder, "m@1")
        ended.add(ONES, 1)
        completed = add_until(ended, line)
        del ended
        successor = Tally(3, 0, folder, "m@1")
        assert len(list(folder.iterdir())) == 1, "the successor takes the file over"
        for _ in range(2):
            successor.add(ONES, 1)
            for totals in successor.totals(1).values():
                assert set(totals.mass.tolist()) == set(totals.squares.tolist()) == {totals.sequences}
        assert totals.sequences in (3, 4)
        if completed:
            break
    assert totals.sequences == 4
    assert line > 2 * len(WINDOWS)


def test_a_key_may_be_longer_than_a_file_name(tmp_path: Path) -> None:
    """The key has the name of the model, which may be as long as that of a directory."""
    keys = [f"{'m' * 255}@{version}" for version in (1, 2)]
    tallies = [Tally(3, 0, tmp_path, key) for key in (keys[0], *keys)]
    tallies[0].add(SECOND, 1)
    assert [tally.totals(2)["start"].sequences for tally in tallies] == [1, 1, 0]


def test_incomplete_files_are_ignored(tmp_path: Path) -> None:
    """Another process may just be creating its file."""
    tally = Tally(3, 0, tmp_path, "m@1")
    tally.add(SECOND, 1)
    (tmp_path / f"{file_name('m@1')}@empty").touch()
    assert tally.totals(2)["start"].sequences == 1


def test_distance_is_that_of_the_mean_from_the_profile() -> None:
    """Half of the attention has moved from the first timestep to the third."""
    trained = card(timesteps=3).attention
    assert trained is not None
    profile = trained.model_copy(update={"sequences": 300, "mean": (1.0, 0.0, 0.0), "spread": (0.0, 0.0, 0.0)})
    tally = Tally(3, began=0)
    tally.add(np.array([[1, 0, 0], [0, 0, 1]] * 50, np.float32), 1)
    distance = tally.totals(1)["start"].distance_from(profile)
    assert distance.total_variation == 0.5
    assert distance.jensen_shannon == pytest.approx(
        np.sqrt((0.5 * np.log2(2 / 3) + 0.5 + np.log2(4 / 3)) / 2), abs=1e-6
    )
    assert distance.by_chance == 0


@pytest.mark.parametrize(("held_out", "posted"), [(5_000, 50), (50, 5_000), (300, 300)])
def test_by_chance_is_the_mean_distance_of_unchanged_traffic(held_out: int, posted: int) -> None:
    """The number of held-out sequences may be larger or smaller than that of posted ones."""
    rng = np.random.default_rng(0)
    distances, by_chance = [], []
    for _ in range(200):
        attention = rng.dirichlet((1, 2, 6, 3), held_out)
        mean, spread = tuple(attention.mean(axis=0).tolist()), tuple(attention.std(axis=0).tolist())
        trained = card(timesteps=4).attention
        assert trained is not None
        profile = trained.model_copy(update={"sequences": held_out, "mean": mean, "spread": spread})
        tally = Tally(4, began=0)
        tally.add(rng.dirichlet((1, 2, 6, 3), posted).astype(np.float32), 1)
        found = tally.totals(1)["start"].distance_from(profile)
        distances.append(found.total_variation)
        by_chance.append(found.by_chance)
    assert np.mean(by_chance) == pytest.approx(np.mean(distances), rel=0.1)
