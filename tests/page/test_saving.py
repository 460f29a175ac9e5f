"""Charts as files."""

import csv
import re
from io import BytesIO, StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.page.actions import TEXT, OpenPage, ask, take, text, with_card
from tests.page.test_faithfulness import FAITHFULNESS
from tests.page.test_importance import CELLS, FEATURES
from tests.server import get

SVG = "{http://www.w3.org/2000/svg}"


def saved(page: Page, chart: str, kind: str) -> Path:
    """Click a button below a chart, and return the file."""
    group = page.locator(f"#{chart}, #{chart} + .under").get_by_role("group", name="Save the chart")
    with page.expect_download() as download:
        group.get_by_role("button", name=kind).click()
    assert download.value.suggested_filename.endswith(f".{kind.lower()}")
    return Path(download.value.path())


@pytest.fixture
def full(open_page: OpenPage) -> Page:
    """A dark page with all charts."""
    prepare = with_card(feature_importance=FEATURES, cell_importance=CELLS, faithfulness=FAITHFULNESS)
    page = open_page(prepare=prepare, color_scheme="dark", reduced_motion="reduce")
    take(page, "Several")
    page.get_by_label("Importance of", exact=True).select_option("both")
    ask(page)
    return page


def test_every_chart_can_be_saved_as_svg(full: Page, browser: Browser) -> None:
    """The file needs nothing else, has a title, and is on white though the page is dark. The page stays dark."""
    charts = [*full.locator("div[id$=-plot]:visible").evaluate_all("all => all.map(one => one.id)"), "heat-map"]
    assert len(charts) == 11
    shades = full.locator("#heat-map image").get_attribute("href")
    for chart in charts:
        content = saved(full, chart, "SVG").read_text()
        root = ElementTree.fromstring(content)  # noqa: S314 - our own
        assert root.tag == f"{SVG}svg"
        assert not re.search(r"var\(|class=|https?://(?!www\.w3\.org/)", content), chart
        texts = ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]
        inks = {element.get("fill", "") for element in root.iter(f"{SVG}text")}
        assert max(int(channel) for ink in inks for channel in re.findall(r"\d+", ink)) < 128, chart
        assert texts, chart
        assert root.findtext(f"{SVG}title") in texts, chart
        page = browser.new_page()
        page.set_content(content)
        with Image.open(BytesIO(page.locator("svg").screenshot())) as picture:
            colors = sorted(picture.convert("RGB").getcolors(1 << 24) or [])
            assert colors[-1][1] == (255, 255, 255), chart
            assert len(colors) > 10, chart
        page.close()
    expect(full.locator("body")).to_have_css("background-color", "rgb(21, 23, 26)")
    expect(full.locator("#heat-map image")).to_have_attribute("href", shades or "")
    expect(full.locator("#heat-map .texts text")).to_have_count(0)


def test_the_legend_of_a_saved_sequence_has_its_features(page: Page) -> None:
    """Buttons on the page stand for them; those that are hidden stay hidden."""
    ask(page, TEXT)
    page.get_by_role("group", name="Features shown").get_by_role("button", name="1").click()
    content = saved(page, "sequence-plot", "SVG").read_text()
    root = ElementTree.fromstring(content)  # noqa: S314 - our own
    keys = [text.text for text in root.iter(f"{SVG}text")]
    assert keys[:3] == ["Sequence 1, and the attention on its timesteps", "attention", "0"]
    expect(page.locator("#sequence-plot .legend-key")).to_have_text(["attention"])


def test_every_number_is_in_the_csv(full: Page, served: str) -> None:
    """It has all digits, and opens with Korean names in Excel."""
    content = saved(full, "profile-plot", "CSV").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    head, *rows = csv.reader(StringIO(content.decode("utf-8-sig")))
    profile = get(f"{served}/attention").json()
    assert head == ["timestep", "attention", "spread", "accuracy drops by"]
    assert [row[0] for row in rows] == profile["timestep_labels"]
    assert [float(row[1]) for row in rows] == profile["mean"]
    assert [float(row[3]) for row in rows] == profile["importance"]["drop"]
    head, *rows = csv.reader(StringIO(saved(full, "heat-map", "CSV").read_text("utf-8-sig")))
    assert head[:4] == ["", "Prediction", "probability", "0"]
    assert len(rows) == 32
    assert sum(float(cell) for cell in rows[0][3:]) == pytest.approx(1, abs=1e-5)


def test_rows_of_fewer_timesteps_have_all_columns(open_page: OpenPage) -> None:
    """Programs refuse a table whose rows differ in length."""
    page = open_page("/?model=both")
    ask(page, "1,2\n3,4\n\n1,2\n3,4\n5,6\n")
    head, *rows = csv.reader(StringIO(saved(page, "heat-map", "CSV").read_text("utf-8-sig")))
    assert [len(row) for row in (head, *rows)] == [6, 6, 6]
    assert rows[0][-1] == ""


def test_missing_values_are_empty_cells(open_page: OpenPage) -> None:
    """As training reads them."""
    page = open_page("/?model=both")
    text(page).fill("1,2\n,2\n3,\n4,5\n")
    ask(page)
    _, *rows = csv.reader(StringIO(saved(page, "sequence-plot", "CSV").read_text("utf-8-sig")))
    assert [row[2:] for row in rows] == [["1", "2"], ["", "2"], ["3", ""], ["4", "5"]]
