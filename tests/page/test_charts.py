"""Charts of cards with many kinds of labels, as a browser lays them out."""

from itertools import combinations

import pytest
from playwright.sync_api import Browser

from service.charts.chart import Chart
from tests.charts import LABELS, gallery

#: Left, top, right and bottom of the picture, and of each text with its words.
BOXES = """() => [document.querySelector("svg"), ...document.querySelectorAll("text")].map((element) => {
  const { left, top, right, bottom } = element.getBoundingClientRect();
  return [left, top, right, bottom, element.lastChild.nodeValue ?? ""];
})"""
#: Pixels that boxes may share: they are a little higher than what is written in them.
SHARED = 1

Box = tuple[float, float, float, float, str]


@pytest.fixture(scope="module")
def charts() -> dict[str, Chart]:
    return gallery()


def overlap(one: Box, other: Box) -> bool:
    """Whether two boxes share more than a few pixels of width and height."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width > SHARED and height > SHARED


@pytest.mark.parametrize("labels", LABELS)
def test_no_two_texts_overlap(browser: Browser, charts: dict[str, Chart], labels: str) -> None:
    """All texts of each chart are inside the picture and apart from each other."""
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    for name, chart in charts.items():
        if not name.endswith(f"-{labels}"):
            continue
        page.set_content(f"<body style='margin:0'>{chart.svg}</body>")
        picture, *texts = page.evaluate(BOXES)
        assert len(texts) > 3, name
        for box in texts:
            assert picture[0] <= box[0] <= box[2] <= picture[2], (name, box)
            assert picture[1] <= box[1] <= box[3] <= picture[3], (name, box)
        assert [(name, a, b) for a, b in combinations(texts, 2) if overlap(a, b)] == []
    page.close()
