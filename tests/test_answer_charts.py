"""The charts of an answer: laid out without overlaps for any labels, with gaps where values are missing."""

import re
from dataclasses import replace

import numpy as np
import pytest

from service.api.routes.page import assets
from service.charts.answer_charts import ANSWER_CHARTS, COLOURS, Answer, AnswerChart
from service.charts.card_charts import LEAST_EFFECT
from service.charts.chart import Area, Boxes, Chart, Line, Text
from tests.charts import LABELS, answered
from tests.test_charts import MOST_BYTES, box, overlapping, texts


def drawn(answer: Answer, chart: AnswerChart = "timesteps") -> Chart:
    found = ANSWER_CHARTS[chart].draw(answer)
    assert found is not None
    return found


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("chart", ANSWER_CHARTS)
def test_no_two_texts_overlap_and_none_leaves_the_picture(chart: AnswerChart, labels: str) -> None:
    """Dates, 2,000 timesteps, long names and Korean; the file is small."""
    found = drawn(answered(*LABELS[labels]), chart)
    assert list(overlapping(found)) == []
    for one in found.shapes:
        if isinstance(one, Text):
            left, top, right, bottom = box(one)
            assert min(left, top) >= 0, one
            assert right <= found.width, one
            assert bottom <= found.height, one
    assert len(found.svg) < MOST_BYTES


def test_dates_are_dates() -> None:
    """The labels are the beginnings of months and weeks, with the year once."""
    assert "timestep, 2026" in texts(drawn(answered(*LABELS["days"])))


def test_the_most_important_features_have_lines() -> None:
    """Others are left out if there are many, and the panel says so; each line has its range."""
    answer = answered(*LABELS["hours"])
    assert answer.feature_importance is not None
    found = drawn(answer)
    first = int(answer.feature_importance.argmax())
    low, high = np.nanmin(answer.sequence[:, first]), np.nanmax(answer.sequence[:, first])
    legend = [text for text in texts(found) if text.startswith("sensor ")]
    assert len(legend) == len(COLOURS)
    assert legend[0] == f"sensor {first}: {low:.4g} to {high:.4g}"
    one = replace(answer, features=answer.features[:1], lines=[0], timesteps=["0", "1"])
    large = replace(one, sequence=np.array([[0.00012], [99812]], np.float32), attention=None, importance=None)
    assert "the sequence: sensor 0: 0.00012 to 99810, from its lowest value (0) to its highest (1)" in texts(
        drawn(large)
    )
    assert "the sequence: 6 of 40 features, each from its lowest value (0) to its highest (1)" in texts(found)


def test_the_page_has_scales_of_the_same_length() -> None:
    """An importance looks as large on the page as in the pictures of the server."""
    found = re.search(rb"const LEAST_EFFECT = ([\d.]+);", assets()["charts.js"].content)
    assert found is not None
    assert float(found[1]) == LEAST_EFFECT


def test_missing_values_are_gaps() -> None:
    """A line ends before a gap and goes on after it; a value between two gaps is a mark."""
    values = np.arange(8, dtype=np.float32)
    values[[2, 4]] = np.nan
    answer = replace(answered(*LABELS["few"]), lines=[0], sequence=values[:, np.newaxis], timesteps=list("abcdefgh"))
    chart = drawn(replace(answer, attention=None, importance=None))
    lines = [one for one in chart.shapes if isinstance(one, Line) and one.colour == COLOURS[0] and len(one.points) > 1]
    marks = [one for one in chart.shapes if isinstance(one, Boxes) and one.colour == COLOURS[0]]
    assert [len(one.points) for one in lines] == [2, 3]
    assert sum(len(one.boxes) for one in marks) == 6


def test_a_long_line_has_gaps_too() -> None:
    """It is drawn as bands, one on each side of the gap."""
    values = np.sin(np.arange(1000, dtype=np.float32) / 50)
    values[400:600] = np.nan
    answer = replace(answered(*LABELS["few"]), lines=[0], sequence=values[:, np.newaxis], timesteps=["t"] * 1000)
    chart = drawn(replace(answer, attention=None, importance=None))
    left, right = (one for one in chart.shapes if isinstance(one, Area))
    assert max(x for x, _ in left.points) < 400 < min(x for x, _ in right.points)


def test_a_feature_that_does_not_change_is_a_line_in_the_middle() -> None:
    """It has no lowest and highest value to lie between."""
    answer = replace(answered(*LABELS["few"]), lines=[0], sequence=np.full((12, 1), 7, np.float32))
    chart = drawn(replace(answer, attention=None, importance=None))
    (line,) = (one for one in chart.shapes if isinstance(one, Line) and one.colour == COLOURS[0])
    assert len({y for _, y in line.points}) == 1
    assert any(text.startswith("the sequence: a: 7, from") for text in texts(chart))


@pytest.mark.parametrize("chart", ANSWER_CHARTS)
def test_an_answer_without_something_has_no_chart_of_it(chart: AnswerChart) -> None:
    """There is nothing to draw."""
    without = replace(answered(*LABELS["few"]), lines=(), attention=None, importance=None)
    assert ANSWER_CHARTS[chart].draw(replace(without, feature_importance=None, cell_importance=None)) is None
