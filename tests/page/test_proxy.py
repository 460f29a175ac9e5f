"""The page behind a reverse proxy."""

from playwright.sync_api import Page, Route, expect

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
    page.route("**/predict?*", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"))
    text(page).fill(TEXT)
    button(page, "Ask").click()
    expect(page.locator("#problem")).to_contain_text("The service answered with status 502.")


def test_it_works_without_the_final_slash(open_page: OpenPage, served: str) -> None:
    """A proxy that says its prefix may serve the page at the prefix itself. Every link stays below it."""

    def behind(page: Page) -> None:
        def forward(route: Route) -> None:
            url = f"{served}/{route.request.url.removeprefix(f'{served}{PREFIX}').removeprefix('/')}"
            route.continue_(url=url, headers={**route.request.headers, "X-Forwarded-Prefix": PREFIX})

        page.route(f"**{PREFIX}**", forward)
        page.route(f"**{PREFIX}/**", forward)

    page = open_page(PREFIX, prepare=behind)
    expect(page).to_have_url(f"{served}{PREFIX}")
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    ask(page, TEXT)
    links = page.get_by_role("link").evaluate_all("links => links.map(link => link.href)")
    assert len(links) >= 5
    assert all(url.startswith(f"{served}{PREFIX}/") for url in links + requested)
    page.get_by_label("Model", exact=True).select_option("three")
    expect(page.get_by_role("heading", name="three, version 1")).to_be_visible()
    expect(page).to_have_url(f"{served}{PREFIX}/?model=three")
    page.get_by_role("link", name="OpenAPI document").click()
    expect(page).to_have_url(f"{served}{PREFIX}/openapi.json")
