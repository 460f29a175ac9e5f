"""A service that needs a key."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.page.actions import ask, button, take
from tests.server import serving

KEY = "a-key-for-reading-and-predicting"
READER = "a-key-for-reading"


@pytest.fixture(scope="module")
def protected(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a service with two keys."""
    path = tmp_path_factory.mktemp("keys") / "keys"
    rights = {KEY: "read,predict", READER: "read"}
    path.write_text("".join(f"a {may} sha256:{hashlib.sha256(k.encode()).hexdigest()}\n" for k, may in rights.items()))
    with serving("--artifacts", str(artifacts), "--model", "after-lstm", "--keys", str(path)) as (url, _):
        yield url


@pytest.fixture
def page(browser: Browser, protected: str) -> Iterator[Page]:
    """The page in a context of its own."""
    context = browser.new_context(base_url=protected)
    page = context.new_page()
    page.goto("/")
    yield page
    context.close()


def use(page: Page, key: str) -> None:
    """Type a key."""
    page.get_by_label("Key", exact=True).fill(key)
    button(page, "Use this key").click()


def test_the_page_asks_for_a_key_and_uses_it(page: Page) -> None:
    """It is in no address, and the curl command names a variable. The tab keeps it."""
    expect(page.locator("#unavailable")).to_contain_text("The service needs a key.")
    use(page, "wrong")
    expect(page.locator("#unavailable")).to_contain_text("The service does not accept this key.")
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    use(page, f" {KEY}\u200b")
    take(page, "Example")
    ask(page)
    line = page.locator("#curl-line").text_content() or ""
    assert ' -H "Authorization: Bearer $KEY" ' in line
    page.reload()
    expect(page.locator("#content")).to_be_visible()
    assert KEY not in page.content() + " ".join(addresses)
    page.get_by_role("link", name="Documentation").click()
    expect(page.locator("#operations-predict-predict")).to_be_visible(timeout=30_000)
    assert KEY not in page.content()


def test_a_key_of_lesser_right_is_refused_in_words(page: Page) -> None:
    """The message names the right."""
    use(page, READER)
    take(page, "Example")
    button(page, "Ask").click()
    expect(page.locator("#problem")).to_contain_text("expected a key with the right predict, got one with read")


def test_the_documentation_says_that_it_needs_a_key(page: Page) -> None:
    """Its document does; its files do not."""
    page.goto("/docs")
    expect(page.locator("#swagger-ui")).to_contain_text("The service needs a key.")


def test_a_chart_has_an_origin_of_its_own(browser: Browser, artifacts: Path) -> None:
    """A script in it could not read the key. The chart is drawn."""
    with serving("--artifacts", str(artifacts), "--model", "after-lstm") as (url, _):
        page = browser.new_page()
        asks = {"Accept": "image/svg+xml"}
        page.route("**/attention", lambda route: route.continue_(headers={**route.request.headers, **asks}))
        page.goto(f"{url}/attention")
        assert page.evaluate("document.documentElement.getBBox().width") > 100
        assert page.evaluate("origin") == "null"
        page.close()
