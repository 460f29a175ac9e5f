"""A service with several models, and a browser that shows its page."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.browser import launched
from tests.page.actions import VIEWS, OpenPage
from tests.samples import trained
from tests.server import serving


@pytest.fixture(scope="session")
def served(artifacts: Path, masked: Path, tabular: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a service with models of each task, one for sequences of any length, and those of tables."""
    folder = tmp_path_factory.mktemp("served")
    for model in (*artifacts.iterdir(), masked / "both", *(tabular / "models").iterdir()):
        shutil.copytree(model, folder / model.name)
    trained(data="add-two-numbers", name="sums", sequences=200, timesteps=8, epochs=1, artifacts=folder)
    with serving("--artifacts", str(folder), "--model", "after-lstm") as (url, _):
        yield url


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One browser for these tests. It closes after them, since other tests need an event loop of their own."""
    with launched() as browser:
        yield browser


@pytest.fixture
def open_page(browser: Browser, served: str) -> Iterator[OpenPage]:
    """A function that opens a page in a context of its own.

    After the test, no page may have reported an error or contacted another host.
    """
    contexts, problems, requests = [], [], []

    def open_one(path: str = "/", prepare: Callable[[Page], object] | None = None, **options: Any) -> Page:
        context = browser.new_context(base_url=served, **{**VIEWS["light"], **options})
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(f"{error}\n{error.stack}"))
        page.on("console", lambda message: problems.append(message.text) if is_problem(message) else None)
        page.on("request", lambda request: requests.append(request.url))
        if prepare:
            prepare(page)
        page.goto(path)
        expect(page.locator("#content")).to_be_visible()
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert problems == []
    hosts = {urlsplit(url).netloc for url in requests if not url.startswith("data:")}
    assert hosts <= {urlsplit(served).netloc}


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    """A page about the default model."""
    return open_page()


def is_problem(message: ConsoleMessage) -> bool:
    """Whether a console message reports a defect. Failed requests do not: some tests provoke them."""
    return message.type in ("error", "warning") and not message.text.startswith("Failed to load resource")
