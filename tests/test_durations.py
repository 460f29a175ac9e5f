"""How long calls take is estimated from what they take to begin with and for each row."""

import pytest

from service.serving.durations import Durations


def test_rows_fit_into_what_beginning_leaves() -> None:
    """The last of them may take all that is left."""
    durations = Durations(begin=2.0, row=0.5)
    assert [durations.rows_within(seconds) for seconds in (1.0, 2.4, 2.5, 4.0)] == [0, 0, 1, 4]


def test_rows_break_even_with_beginning() -> None:
    assert Durations(begin=2.0, row=0.5).break_even_rows() == 4
    assert Durations(begin=2.1, row=0.5).break_even_rows() == 5
    assert Durations(begin=0.0, row=0.5).break_even_rows() == 0


@pytest.mark.parametrize(
    ("large", "within"),
    [
        ((64, 32.0), 20),  # each row adds as much as the first two
        ((64, 1.0 + 6.2), 92),  # a fifth of it
        ((64, 63.0), 10),  # more than they
        ((64, 0.5), 9e9),  # nothing, it seems
        ((2, 1.0), 20),  # measured for one size alone
    ],
)
def test_two_calls_tell_what_rows_add(large: tuple[int, float], within: float) -> None:
    assert Durations.through((2, 1.0), large).rows_within(10.0) == pytest.approx(within, rel=0.02)


def test_calls_that_take_longer_of_late_are_taken_to_go_on_so() -> None:
    """And shorter ones; once is not always."""
    durations = Durations(begin=1.0, row=1.0)
    durations.learn(rows=9, seconds=100.0)
    assert 9 > durations.rows_within(10.0) > 0
    for _ in range(50):
        durations.learn(rows=1, seconds=20.0)
    assert durations.rows_within(100.0) == 9
    for _ in range(50):
        durations.learn(rows=9, seconds=1.0)
    assert durations.rows_within(1.0) == pytest.approx(9, abs=1)


def test_calls_that_seem_to_take_no_time_are_short() -> None:
    """However many: a clock may be too coarse to see them."""
    durations = Durations(begin=1.0, row=1.0)
    for _ in range(5000):
        durations.learn(rows=1, seconds=0.0)
    assert durations.rows_within(1.0) > 1e6
