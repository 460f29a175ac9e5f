"""Axes have round numbers, and labels that are thinned, turned or dates."""

from datetime import date, timedelta

import pytest

from service.charts.axes import Labels, Scale, labels_below

WIDTH = 700


def days(count: int, step: int = 1) -> list[str]:
    return [(date(2026, 1, 5) + timedelta(step * day)).isoformat() for day in range(count)]


def written(labels: Labels) -> list[str]:
    return [one.text for one in labels.written]


@pytest.mark.parametrize("values", [[0.0, 0.0], [1e-9, 2e-9], [1e9, -1e9], [5.0, 5.0], [-0.3, -0.1]])
def test_values_of_any_size_fit(values: list[float]) -> None:
    """They are between the ends of the scale, beside a few round numbers."""
    scale = Scale.of(values)
    assert all(-1e-9 <= scale.share(value) <= 1 + 1e-9 for value in (*values, 0))
    assert 1 <= len(scale.ticks) <= 12
    assert all(float(text.replace(",", "")) == pytest.approx(value) for value, text in scale.ticks)


def test_a_scale_reaches_at_least_its_least_value() -> None:
    """Noise of a hundredth of it is drawn as a hundredth."""
    assert Scale.of([0.0005, -0.0001], least=0.05).share(0.0005) < 0.02
    assert Scale.of([0.4], least=0.05).high == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("high", "last"), [(1200, "1,500"), (0.3, "0.3"), (40, "40"), (250_000, "250,000"), (3e7, "3e+07")]
)
def test_ticks_are_written_as_people_write_numbers(high: float, last: str) -> None:
    """Powers of ten begin at a million."""
    assert Scale.of([0, high]).ticks[-1][1] == last


def test_short_labels_are_thinned_to_round_numbers() -> None:
    """Twelve fit, a thousand do not."""
    assert written(labels_below([str(t) for t in range(12)], WIDTH)) == [str(t) for t in range(12)]
    assert written(labels_below([str(t + 1) for t in range(1000)], WIDTH))[:3] == ["100", "200", "300"]


def test_long_labels_are_turned() -> None:
    """Those that fit stay level."""
    names = [f"sensor number {number}" for number in range(20)]
    assert labels_below(names, WIDTH).turned
    assert not labels_below(names[:3], WIDTH).turned
    assert written(labels_below(names, WIDTH)) == names


def test_days_are_written_without_the_year_that_they_share() -> None:
    """Of many days there are some, and of years of days the beginnings of the years."""
    few = labels_below(days(5), WIDTH)
    assert written(few) == ["Jan 05", "Jan 06", "Jan 07", "Jan 08", "Jan 09"]
    assert few.common == "2026"
    some = labels_below(days(42), WIDTH)
    assert some.common == "2026"
    assert 5 < len(some.written) < 20
    assert not some.turned
    years = labels_below(days(2000), WIDTH)
    assert written(years) == ["2027", "2028", "2029", "2030", "2031"]
    assert years.common == ""
    assert written(labels_below(days(100), WIDTH)) == ["Feb", "Mar", "Apr"]


def test_hours_of_a_day_are_times_of_the_clock() -> None:
    """The day is written once, and a zone is left out."""
    hours = labels_below([f"2026-03-01T{hour:02}:00:00+01:00" for hour in range(12)], WIDTH)
    assert written(hours)[:2] == ["00:00", "01:00"]
    assert hours.common == "2026-03-01"
    months = labels_below([f"2026-{month:02}" for month in range(1, 13)], WIDTH)
    assert written(months)[:2] == ["Jan", "Feb"]


@pytest.mark.parametrize("labels", [["2026-02-30", "2026-03-01"], ["2026-01-02", "2026-01-01"], ["2026-01-01", "x"]])
def test_labels_that_are_no_dates_in_order_are_texts(labels: list[str]) -> None:
    """They are written as they are."""
    assert written(labels_below(labels, WIDTH)) == labels
