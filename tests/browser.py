"""The Chromium browser of the system."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable() -> str:
    """Return the path of the browser.

    Raises:
        FileNotFoundError: no browser is installed.
    """
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise FileNotFoundError(f"expected one of {', '.join(NAMES)}: apt-get install chromium")
    return found


@contextmanager
def launched() -> Iterator[Browser]:
    """Run the browser without a window until the block ends."""
    with sync_playwright() as playwright:
        # CI runs as root in a container, which has no rights to make Chromium's sandbox.
        browser = playwright.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        yield browser
        browser.close()
