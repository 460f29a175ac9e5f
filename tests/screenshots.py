"""`python -m tests.screenshots`: take the screenshots in `docs/`, of the models of `make serve` and real-data.md."""

import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, expect

from service.artifact.layout import versions_of
from service.artifact.version import Artifact
from service.charts.card_charts import CARD_CHARTS
from tests.browser import launched
from tests.server import ROOT, get, post, serving

DOCS = ROOT / "docs"
NORMAL, NARROW, WIDE = ({"width": width, "height": 900} for width in (1280, 360, 1920))


def open_page(browser: Browser, url: str, **options: Any) -> Page:
    """Open the page, and wait until the live profile is drawn."""
    page = browser.new_page(base_url=url, reduced_motion="reduce", **options)
    page.goto(url)
    expect(page.locator("#live-plot rect").first).to_be_attached()
    return page


def ask(page: Page, button: str) -> None:
    """Fill in examples by the button with an id, and ask with all importance and with faithfulness."""
    page.locator(f"#{button}").click()
    expect(page.locator("#text")).not_to_have_value("")
    page.locator("#importance").select_option("both")
    page.locator("#faithful").check()
    page.locator("#ask").click()
    expect(page.locator("#sequence-plot .series path").first).to_be_attached()


def traffic(url: str, model: str) -> None:
    """Send the examples of a model, and shifted copies of them."""
    sequences = get(f"{url}/model/example", params={"model": model}).json()["sequences"]
    shifted = [[[value + 0.3 for value in step] for step in sequence] for sequence in sequences]
    for posted in (sequences, shifted):
        post(f"{url}/predict", params={"model": model}, json={"sequences": posted}).raise_for_status()


def shoot(page: Page, path: Path, part: str = "html") -> None:
    """Save a screenshot of a part of the page in 256 colors, once the live profile shows the traffic."""
    expect(page.locator("#live-plot .peak text")).to_be_attached()
    page.locator("h1").click()
    box = page.locator(part).bounding_box()
    assert box is not None
    page.screenshot(path=path, full_page=True, clip={**box, "x": 0, "width": page.evaluate("innerWidth")})
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def draw(artifacts: Path, folder: Path) -> None:
    """Draw attention and importance of both models."""
    for model in ("after-lstm", "italy-power"):
        card = Artifact(artifacts / model / str(versions_of(artifacts / model)[-1])).read().card()
        chart = CARD_CHARTS["training"].draw(card, model)
        assert chart is not None
        chart.save(folder / f"attention-{model}.svg")


def main(artifacts: str, folder: Path) -> None:
    """Draw all charts, and take all screenshots."""
    draw(Path(artifacts), folder)
    with serving("--artifacts", artifacts, "--model", "after-lstm") as (url, _), launched() as browser:
        for model in ("after-lstm", "italy-power"):
            traffic(url, model)
        options: dict[str, Any] = {"viewport": NORMAL, "color_scheme": "light"}
        page = open_page(browser, url, **options)
        ask(page, "example")
        shoot(page, folder / "page-light.png")
        page.emulate_media(media="print")
        shoot(page, folder / "page-print.png")
        page = open_page(browser, url, **{**options, "color_scheme": "dark"})
        ask(page, "several")
        shoot(page, folder / "page-dark.png")
        page = open_page(browser, url, **{**options, "viewport": NARROW}, device_scale_factor=2)
        ask(page, "example")
        shoot(page, folder / "page-narrow.png", "#try")
        page = open_page(browser, f"{url}/?language=ko", **options)
        ask(page, "several")
        shoot(page, folder / "page-korean.png")
        page = open_page(browser, url, **{**options, "viewport": WIDE})
        ask(page, "several")
        shoot(page, folder / "page-wide.png")
        page = open_page(browser, f"{url}/?model=italy-power", **options)
        ask(page, "several")
        shoot(page, folder / "page-italy-power.png")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(arguments[0] if arguments else "artifacts", Path(arguments[1]) if arguments[1:] else DOCS)
