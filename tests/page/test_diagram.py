"""The layers of a model."""

from playwright.sync_api import Page, Route, expect

from tests.page.actions import OpenPage, with_card

LAYERS = [
    {"name": "sequence", "kind": "InputLayer", "shape": [None, 20, 2], "inputs": [], "weights": 0},
    {"name": "lstm", "kind": "LSTM", "shape": [None, 20, 32], "inputs": ["sequence"], "weights": 4480},
]
PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="120" height="40"><rect width="120" height="40"/></svg>'


def opened(open_page: OpenPage, status: int) -> Page:
    """Open the page about a model of two layers, whose diagram is answered with a status."""

    def draw(route: Route) -> None:
        route.fulfill(status=status, body=PICTURE, content_type="image/svg+xml")

    def prepare(page: Page) -> None:
        with_card(layers=LAYERS)(page)
        page.route("**/attention?*chart=diagram*", draw)

    page = open_page(prepare=prepare)
    page.get_by_text("How it was trained").click()
    rows = page.get_by_role("region", name="Layers").locator("tbody tr")
    expect(rows).to_have_text(["sequenceInputLayerany × 20 × 20", "lstmLSTMany × 20 × 32sequence4,480"])
    return page


def test_the_layers_are_a_picture_and_a_table(open_page: OpenPage) -> None:
    """The service draws the picture, which can be saved."""
    page = opened(open_page, 200)
    picture = page.get_by_role("img", name="Diagram of 2 layers")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") == 120
    with page.expect_download() as download:
        page.locator("#diagram").get_by_role("link", name="SVG").click()
    assert download.value.suggested_filename == "after-lstm-1-diagram.svg"


def test_without_a_picture_the_table_stays(open_page: OpenPage) -> None:
    """A service may refuse to draw."""
    page = opened(open_page, 422)
    expect(page.locator("#diagram img")).to_have_count(0)
