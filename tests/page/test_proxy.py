"""The page behind a reverse proxy."""

from playwright.sync_api import Page, expect

from tests.page.actions import PREFIX, TEXT, OpenPage, ask, behind_a_prefix, button, take, text


def test_it_works_behind_a_prefix(open_page: OpenPage, served: str) -> None:
    """No address of the page begins at the root of the host."""
    page = open_page(f"{PREFIX}/", prepare=behind_a_prefix)
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    take(page, "Example")
    ask(page)
    expect(page.locator("#curl-line")).to_contain_text(f"{served}{PREFIX}/predict?")
    assert all(url.startswith((f"{served}{PREFIX}/", "data:")) for url in requested)


def test_an_error_page_of_the_proxy_is_reported(page: Page) -> None:
    """The page shows its status."""
    page.route("**/predict*", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"))
    text(page).fill(TEXT)
    button(page, "Ask").click()
    expect(page.locator("#problem")).to_contain_text("The service answered with status 502.")
