"""`python -m tests.screenshots`: take the screenshots in `docs/`, of the models that README.md trains."""

import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.browser import launched
from tests.server import ROOT, get, post, serving

DOCS = ROOT / "docs"
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 360, "height": 780}


def open_page(browser: Browser, url: str, **options: Any) -> Page:
    """Open the page, and wait until the live profile is drawn."""
    page = browser.new_page(base_url=url, reduced_motion="reduce", **options)
    page.goto(url)
    expect(page.locator("#live-plot rect").first).to_be_attached()
    return page


def ask(page: Page, button: str) -> None:
    """Fill in examples, and ask with importance."""
    page.get_by_role("button", name=button, exact=True).click()
    expect(page.get_by_label("Sequences", exact=True)).not_to_have_value("")
    page.get_by_label("Importance of").select_option("timesteps")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("#sequence-plot .series path").first).to_be_attached()


def traffic(url: str, model: str) -> None:
    """Send the examples of a model, and shifted copies of them."""
    sequences = get(f"{url}/model/example", params={"model": model}).json()["sequences"]
    shifted = [[[value + 0.3 for value in step] for step in sequence] for sequence in sequences]
    for posted in (sequences, shifted):
        post(f"{url}/predict", params={"model": model}, json={"sequences": posted}).raise_for_status()


def shoot(page: Page, path: Path, part: str = "html") -> None:
    """Save a screenshot of a part of the page in 256 colors, once the live profile shows the traffic."""
    expect(page.locator("#live-text")).to_contain_text("sequences in")
    page.locator("h1").click()
    box = page.locator(part).bounding_box()
    assert box is not None
    page.screenshot(path=path, full_page=True, clip={**box, "x": 0, "width": page.evaluate("innerWidth")})
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def main(artifacts: str, folder: Path) -> None:
    """Take all screenshots."""
    with serving("--artifacts", artifacts, "--model", "after-lstm") as (url, _), launched() as browser:
        for model in ("after-lstm", "italy-power"):
            traffic(url, model)
        for name, scheme in (("light", "light"), ("dark", "dark")):
            page = open_page(browser, url, viewport=WIDE, color_scheme=scheme)
            ask(page, "Example" if scheme == "light" else "Several")
            shoot(page, folder / f"page-{name}.png")
        page = open_page(browser, url, viewport=NARROW, color_scheme="light", device_scale_factor=2)
        ask(page, "Example")
        shoot(page, folder / "page-narrow.png", "#try")
        page = open_page(browser, f"{url}/?model=italy-power", viewport=WIDE, color_scheme="light")
        ask(page, "Several")
        shoot(page, folder / "page-italy-power.png")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(arguments[0] if arguments else "artifacts", Path(arguments[1]) if arguments[1:] else DOCS)
