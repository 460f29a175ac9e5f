"""A browser: the system's Chromium."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable() -> str:
    """Where it is.

    Raises:
        FileNotFoundError: there is none.
    """
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise FileNotFoundError(f"expected one of {', '.join(NAMES)}: apt-get install chromium")
    return found


@contextmanager
def launched() -> Iterator[Browser]:
    """Run it, without a window, until the block ends."""
    with sync_playwright() as playwright:
        # A sandbox needs more rights than a container gives root, whom CI runs as.
        browser = playwright.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        yield browser
        browser.close()
