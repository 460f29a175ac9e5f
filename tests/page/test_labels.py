"""Labels on charts: dates, long names, other scripts, and many timesteps."""

from datetime import date, timedelta
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.page.actions import PROFILES, VIEWS, OpenPage, ask

#: The pairs of texts in a chart whose boxes overlap. Boxes of slanted texts are slanted, too.
OVERLAPS = """(chart) => {
  const boxes = [...chart.querySelectorAll("text")].filter((text) => text.textContent).map((text) => {
    const { x, y, width, height } = text.getBBox();
    const matrix = text.getCTM();
    const corner = (dx, dy) => new DOMPoint(x + dx, y + dy).matrixTransform(matrix);
    const corners = [corner(0, 0), corner(width, 0), corner(width, height), corner(0, height)];
    return { text: text.textContent, corners };
  });
  // Two rectangles are apart if a side of one of them separates them.
  const axes = ({ corners: [a, b, , d] }) => [[b.x - a.x, b.y - a.y], [d.x - a.x, d.y - a.y]];
  const range = ({ corners }, [dx, dy]) => {
    const along = corners.map(({ x, y }) => (x * dx + y * dy) / Math.hypot(dx, dy));
    return [Math.min(...along), Math.max(...along)];
  };
  const apart = (one, other) => [...axes(one), ...axes(other)].some((axis) => {
    const [[low, high], [from, to]] = [range(one, axis), range(other, axis)];
    return high <= from + 0.5 || to <= low + 0.5;
  });
  const pairs = boxes.flatMap((one, i) => boxes.slice(i + 1).map((other) => [one, other]));
  return pairs.filter(([one, other]) => !apart(one, other)).map((pair) => pair.map(({ text }) => text));
}"""
LONG = "temperature of the left bearing, no. {:03}"
DATES = [f"{date(2026, 1, 1) + timedelta(days=day)}T00:00:00" for day in range(42)]
#: Labels of timesteps, and of features.
CASES: dict[str, tuple[list[str], list[str]]] = {
    "dates": (DATES, ["load", "voltage"]),
    "many": ([str(t) for t in range(2000)], ["0", "1", "2"]),
    "long": ([LONG.format(t) for t in range(24)], [f"{LONG[:-5]}{f:03}" for f in range(60)]),
    "korean": ([f"{week}주차 월요일 오전" for week in range(30)], [f"제{f}공장 냉각수 온도 센서" for f in range(12)]),
}


def answered(timesteps: int, features: int) -> dict[str, Any]:
    """Return the answer to one sequence, with all importance."""
    return {
        "prediction": 0.75,
        "label": "1",
        "attention": [1 / timesteps] * timesteps,
        "importance": [0.1] * timesteps,
        "feature_importance": [0.1] * features,
        "cell_importance": [[0.1] * features] * timesteps,
        "rank_correlation": 0.5,
    }


def opened(open_page: OpenPage, case: str, **options: Any) -> Page:
    """Open the page about a model with such labels."""
    steps, features = CASES[case]
    fields: dict[str, Any] = {
        "timesteps": len(steps),
        "features": len(features),
        "timestep_labels": steps,
        "feature_labels": features,
        "feature_importance": {"metric": "accuracy", "drop": [0.1] * len(features), "spread": [0.01] * len(features)},
        "cell_importance": {"metric": "accuracy", "drop": [[0.1] * len(features)] * len(steps), "sequences": 9},
    }
    fields["feature_importance"] |= {"sequences": 9, "repetitions": 1}
    profile = {"mean": [1 / len(steps)] * len(steps), "spread": [0.1 / len(steps)] * len(steps), "peak": len(steps) - 1}
    drop = {"metric": "accuracy", "drop": [0.1] * len(steps), "spread": [0.0] * len(steps)}
    live = {"timestep_labels": steps, "live": {}, "importance": drop, "agreement": None}

    def described(route: Route) -> None:
        route.fulfill(json=route.fetch().json() | fields)

    def profiled(route: Route) -> None:
        route.fulfill(json=route.fetch().json() | profile | live)

    def predicted(route: Route) -> None:
        posted: Any = route.request.post_data_json
        sequences = len(posted["sequences"])
        answer = {"model": "after-lstm", "version": 1, "predictions": [answered(len(steps), len(features))] * sequences}
        route.fulfill(json=answer)

    def prepare(page: Page) -> None:
        page.route("**/model?*", described)
        page.route(PROFILES, profiled)
        page.route("**/predict?*", predicted)

    return open_page(prepare=prepare, reduced_motion="reduce", **options)


def shown(page: Page, chart: str) -> list[str]:
    """Return the labels below a chart."""
    return page.locator(f"#{chart} .axis-below .numbers text").all_text_contents()


def charts(page: Page) -> list[Locator]:
    """Return the charts on the page."""
    return [chart for chart in page.locator(".plot > svg").all() if chart.is_visible()]


@pytest.mark.parametrize("view", ["light", "narrow"])
@pytest.mark.parametrize("case", CASES)
def test_no_two_labels_overlap(open_page: OpenPage, case: str, view: str) -> None:
    """Boxes around all texts of each chart are apart, and inside the picture."""
    page = opened(open_page, case, **VIEWS[view])
    steps, features = CASES[case]
    one = [[0.5 * f for f in range(len(features))]] * len(steps)
    ask(page, str([one, one]))
    found = charts(page)
    assert len(found) >= 8
    for chart in found:
        name = chart.locator("title").text_content()
        assert chart.evaluate(OVERLAPS) == [], name
        outside = """chart => [...chart.querySelectorAll("text")].filter((text) => {
          const { left, right } = text.getBoundingClientRect();
          return left < -1 || right > innerWidth + 1;
        }).map((text) => text.textContent)"""
        assert chart.evaluate(outside) == [], name


def test_dates_are_dates(open_page: OpenPage) -> None:
    """Midnight is left out. Tables have the whole label."""
    page = opened(open_page, "dates")
    labels = shown(page, "profile-plot")
    assert len(labels) > 4
    assert set(labels) < {label[:10] for label in DATES}
    expect(page.locator("#live-plot").get_by_role("slider")).to_have_attribute(
        "aria-valuetext", "timestep 2026-01-01T00:00:00: attention –, profile from training 0.02381"
    )


def test_long_names_are_cut_where_fewer_differ(open_page: OpenPage) -> None:
    """So labels stay different."""
    page = opened(open_page, "long")
    labels = shown(page, "features-plot")
    assert len(labels) > 10
    assert len(set(labels)) == len(labels)
    assert all(label.startswith("…") for label in labels)
