"""Tests of bar charts."""

import io
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from PIL import Image

from service.api.bar_chart import BARS, HEIGHT, LEFT, RIGHT, SCALE, WHISKER, WIDTH, Series, bar_chart

SVG = "{http://www.w3.org/2000/svg}"
SERIES = [Series("live", [0.1, 0.6, 0.3], "#4c8bd6"), Series("training", [0.3, 0.3, 0.4], "#c3d2e6")]


def drawn(labels: list[str], series: list[Series], title: str = "t") -> ElementTree.Element:
    return ElementTree.fromstring(bar_chart("svg", title, labels, series, "attention"))  # noqa: S314 - our own


def number(element: ElementTree.Element, name: str) -> float:
    return float(element.get(name, "nan"))


def heights(chart: ElementTree.Element, colour: str, width: float) -> list[float]:
    """Return the heights of the bars of a colour, without the legend."""
    bars = [one for one in chart.iter(f"{SVG}rect") if one.get("fill") == colour]
    return [number(bar, "height") for bar in bars if number(bar, "width") == pytest.approx(width, abs=0.01)]


def test_bars_are_as_high_as_their_values() -> None:
    """Several series share the scale, side by side."""
    chart = drawn(["a", "b", "c"], SERIES)
    width = (WIDTH - LEFT - RIGHT) / 3 * BARS / 2
    found = [heights(chart, one.colour, width) for one in SERIES]
    scale = found[0][1] / SERIES[0].values[1]
    for series, drawn_heights in zip(SERIES, found, strict=True):
        assert drawn_heights == pytest.approx([scale * value for value in series.values], abs=0.02)


def test_bars_of_negative_values_hang_below_zero() -> None:
    """Whiskers are as long as the spread."""
    chart = drawn(["a", "b"], [Series("drop", [-0.5, 0.5], "#e2a35c", [0.25, 0.0])])
    below, above = (bar for bar in chart.iter(f"{SVG}rect") if bar.get("fill") == "#e2a35c")
    assert number(below, "y") == pytest.approx(number(above, "y") + number(above, "height"), abs=0.01)
    whisker = next(line for line in chart.iter(f"{SVG}line") if line.get("stroke") == WHISKER)
    assert number(whisker, "y1") - number(whisker, "y2") == pytest.approx(number(above, "height"), abs=0.02)


def test_labels_may_hold_any_text() -> None:
    """Long labels are cut, some of many are left out, and none becomes markup."""
    chart = drawn(["<script>alert(1)</script>", "b"], SERIES[:1], title="a < b")
    texts = [text.text for text in chart.iter(f"{SVG}text")]
    assert "<script>ale…" in texts
    assert chart.findtext(f"{SVG}title") == "a < b"
    many = drawn([f"t{t}" for t in range(1000)], [Series("live", [0.001] * 1000, "#4c8bd6")])
    assert sum(re.fullmatch(r"t\d+", text.text or "") is not None for text in many.iter(f"{SVG}text")) == 25


@pytest.mark.parametrize("values", [[0.0, 0.0], [1e-9, 2e-9], [1e9, -1e9], [5.0, 5.0]])
def test_values_of_any_size_fit(values: list[float]) -> None:
    """Bars stay within the picture, beside a few round numbers."""
    chart = drawn(["a", "b"], [Series("drop", values, "#e2a35c")])
    for bar in chart.iter(f"{SVG}rect"):
        assert 0 <= number(bar, "y") <= number(bar, "y") + number(bar, "height") <= HEIGHT
    ticks = [float(text.text or "") for text in chart.iter(f"{SVG}text") if text.get("text-anchor") == "end"]
    assert 2 <= len(ticks) <= 12
    assert min(ticks) <= min(values)
    assert max(ticks) >= max(values)


def test_a_png_has_the_same_colours() -> None:
    """It is twice as large as the SVG."""
    image = Image.open(io.BytesIO(bar_chart("png", "t", ["a", "b", "c"], SERIES, "attention")))
    assert image.size == (WIDTH * SCALE, HEIGHT * SCALE)
    assert image.info["Title"] == "t"
    colours = {colour for _, colour in image.getcolors(2**20) or []}
    assert {(0x4C, 0x8B, 0xD6), (0xC3, 0xD2, 0xE6), (255, 255, 255)} <= colours


def test_long_labels_differ_and_do_not_overlap() -> None:
    """Of the hours of a day the ends are shown, and of many days as many as there is room for."""
    hours = [f"2026-01-01T{hour:02}:00:00" for hour in range(3)]
    texts = [one.text for one in drawn(hours, SERIES).iter(f"{SVG}text")]
    assert {"…01T00:00:00", "…01T01:00:00", "…01T02:00:00"} <= set(texts)
    days = [f"2026-01-{day + 1:02}" for day in range(30)]
    chart = drawn(days, [Series("live", [0.1] * 30, "#4c8bd6")])
    places = [number(one, "x") for one in chart.iter(f"{SVG}text") if (one.text or "").startswith("2026")]
    assert len(places) > 5
    assert min(b - a for a, b in pairwise(places)) > 10 * 6
