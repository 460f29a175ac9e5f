"""Actions of a user of the page, and sequences to type."""

import json
import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, Page, Route, expect

from tests.server import post

#: Opens a page; see the fixture `open_page`.
OpenPage = Callable[..., Page]

#: Context options of the supported views: light and dark, wide and narrow.
VIEWS: dict[str, Any] = {
    "light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "narrow": {"viewport": {"width": 360, "height": 740}, "color_scheme": "light", "has_touch": True},
}
#: A sequence for `after-lstm`, and the same as CSV and as JSON with one timestep per line.
SEQUENCE = [[round(0.1 * t, 1), -1.5] for t in range(20)]
CSV = "\n".join(f"{a},{b}" for a, b in SEQUENCE)
TEXT = "[" + ",\n".join(json.dumps(step) for step in SEQUENCE) + "]"


#: The address of the profiles, and not of a chart.
PROFILES = re.compile(r"/attention(\?(?!.*chart=).*)?$")
#: The prefix that `behind_a_prefix` puts before all addresses.
PREFIX = "/some/where"


def behind_a_prefix(page: Page) -> None:
    """Serve the page as a proxy does that takes a prefix away from each address."""
    page.route(f"**{PREFIX}/**", lambda route: route.continue_(url=route.request.url.replace(f"{PREFIX}/", "/", 1)))


def with_card(name: str = "", **fields: Any) -> Callable[[Page], object]:
    """Return a function that puts fields into the card that a page loads, of the model of this name or of all."""

    def answer(route: Route) -> None:
        card = route.fetch().json()
        if name in ("", card["name"]):
            route.fulfill(json=card | fields)
        else:
            route.fallback()

    return lambda page: page.route("**/model?*", answer)


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def text(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Sequences")


def take(page: Page, name: str) -> str:
    """Click a button that fills the text; return the new text."""
    before = text(page).input_value()
    button(page, name).click()
    expect(text(page)).not_to_have_value(before)
    return text(page).input_value()


def ask(page: Page, typed: str | None = None) -> Page:
    """Ask, and wait for the answer."""
    if typed is not None:
        text(page).fill(typed)
    button(page, "Ask").click()
    expect(page.locator("#summary")).to_contain_text("nswered by")
    expect(page.locator("#result")).to_be_visible()
    return page


def refused(page: Page, typed: str, message: str) -> tuple[str, str]:
    """Ask with invalid text; return the marked part and the text before it."""
    text(page).fill(typed)
    button(page, "Ask").click()
    expect(page.locator("#problem")).to_contain_text(message)
    expect(page.locator("#result")).to_be_hidden()
    expect(text(page)).to_have_attribute("aria-invalid", "true")
    expect(text(page)).to_be_focused()
    marked: str = page.locator("#mark mark").text_content() or ""
    before, selected = page.evaluate(
        """() => {
          const { value, selectionStart: start, selectionEnd: end } = document.activeElement;
          return [value.slice(0, start), value.slice(start, end)];
        }"""
    )
    assert selected == marked
    return marked, before


def rows_of(page: Page) -> Locator:
    """Return the rows of the heat map."""
    return page.get_by_role("listbox").get_by_role("option")


def values(page: Page, chart: str) -> list[list[str]]:
    """Return the rows of a chart's table."""
    details = page.locator(f"#{chart} details")
    if details.get_attribute("open") is None:
        details.locator("summary").click()
    rows = details.locator("tbody tr")
    expect(rows.first).to_be_visible()
    cells: list[list[str]] = rows.evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.textContent))")
    return cells


def predicted(url: str, model: str = "", **body: Any) -> Any:
    """Return the predictions of the service for a body, by default those of the default model."""
    return (
        post(f"{url}/predict{f'?model={model}' if model else ''}", json=body).raise_for_status().json()["predictions"]
    )


def reds(image: Locator) -> list[list[int]]:
    """Return the red channel of each pixel of an image in a chart, by rows."""
    rows: list[list[int]] = image.evaluate(
        """async (image) => {
          const picture = new Image();
          picture.src = image.getAttribute("href");
          await picture.decode();
          const { width, height } = picture;
          const context = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d");
          context.drawImage(picture, 0, 0);
          const { data } = context.getImageData(0, 0, width, height);
          const row = (y) => Array.from({ length: width }, (_, x) => data[4 * (y * width + x)]);
          return Array.from({ length: height }, (_, y) => row(y));
        }"""
    )
    return rows
