"""The estimate of how long calls take, from a fixed time and a time for each row."""

import pytest

from service.serving.durations import Durations


def test_rows_fit_into_the_time_after_beginning() -> None:
    """The last row may use all of the remaining time."""
    durations = Durations(begin=2.0, row=0.5)
    assert [durations.rows_within(seconds) for seconds in (1.0, 2.4, 2.5, 4.0)] == [0, 0, 1, 4]


def test_the_rows_that_take_as_long_as_beginning() -> None:
    assert Durations(begin=2.0, row=0.5).break_even_rows() == 4
    assert Durations(begin=2.1, row=0.5).break_even_rows() == 5
    assert Durations(begin=0.0, row=0.5).break_even_rows() == 0


@pytest.mark.parametrize(
    ("large", "within"),
    [
        ((64, 32.0), 20),  # each row adds as much as the first two
        ((64, 1.0 + 6.2), 92),  # each row adds a fifth of that
        ((64, 63.0), 10),  # each row adds more than the first two
        ((64, 0.5), 9e9),  # rows seem to add no time
        ((2, 1.0), 20),  # measured for one size alone
    ],
)
def test_two_calls_give_the_time_of_a_row(large: tuple[int, float], within: float) -> None:
    assert Durations.through((2, 1.0), large).rows_within(10.0) == pytest.approx(within, rel=0.02)


def test_the_estimate_follows_the_latest_calls() -> None:
    """The same holds for shorter calls. One call alone does not change the estimate by much."""
    durations = Durations(begin=1.0, row=1.0)
    durations.record(rows=9, seconds=100.0)
    assert 9 > durations.rows_within(10.0) > 0
    for _ in range(50):
        durations.record(rows=1, seconds=20.0)
    assert durations.rows_within(100.0) == 9
    for _ in range(50):
        durations.record(rows=9, seconds=1.0)
    assert durations.rows_within(1.0) == pytest.approx(9, abs=1)


def test_calls_measured_as_0_seconds_are_short() -> None:
    """A coarse clock may show 0, for any number of calls."""
    durations = Durations(begin=1.0, row=1.0)
    for _ in range(5000):
        durations.record(rows=1, seconds=0.0)
    assert durations.rows_within(1.0) > 1e6
