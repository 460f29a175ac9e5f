"""`python -m tests.moving_picture`: make the moving picture of the page in README, of the model that README serves."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import Locator, Page

from tests.browser import launched
from tests.screenshots import DOCS, ask, open_page, traffic
from tests.server import serving

VIEWPORT: Final = {"width": 1000, "height": 620}
#: Colors of a frame. Charts and text need few.
COLORS: Final = 64
#: Steps in which the page moves from one part to another, and the time of each in milliseconds.
STEPS: Final = 4
STEP_MS: Final = 90
#: Time of a frame that people read, in milliseconds.
READ_MS: Final = 2200


def frames(page: Page) -> Iterator[tuple[bytes, int]]:
    """Yield each picture of the page with its time in milliseconds."""
    yield page.screenshot(), READ_MS
    ask(page, "example")
    yield from moved(page, page.locator("#sequence-plot"))
    yield page.screenshot(), 2 * READ_MS
    yield from moved(page, page.locator("#live-plot"))
    yield page.screenshot(), READ_MS


def moved(page: Page, part: Locator) -> Iterator[tuple[bytes, int]]:
    """Scroll to a part in steps, and yield a picture of each."""
    box = part.bounding_box()
    assert box is not None
    # The middle of the part moves to the middle of the window.
    distance = box["y"] + box["height"] / 2 - VIEWPORT["height"] / 2
    start = page.evaluate("scrollY")
    for step in range(1, STEPS + 1):
        page.evaluate("top => scrollTo({top, behavior: 'instant'})", start + distance * step / STEPS)
        yield page.screenshot(), STEP_MS


def main(artifacts: str, model: str, path: Path) -> None:
    """Make the moving picture."""
    with serving("--artifacts", artifacts, "--model", model) as (url, _), launched() as browser:
        traffic(url, model)
        page = open_page(browser, url, viewport=VIEWPORT, color_scheme="light")
        taken = list(frames(page))
    pictures = [
        Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
        for picture, _ in taken
    ]
    times = [time for _, time in taken]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=times, loop=0, lossless=True)


if __name__ == "__main__":
    given = dict(enumerate(sys.argv[1:]))
    main(given.get(0, "artifacts"), given.get(1, "pumps"), Path(given.get(2, DOCS / "page.webp")))
