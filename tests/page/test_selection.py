"""The selection of a model and a version."""

from playwright.sync_api import Page, Route, expect

from tests.page.actions import PROFILES, OpenPage, ask, button, take


def test_a_selected_model_is_kept_in_the_address(page: Page, served: str) -> None:
    """The browser's back button returns to the model before."""
    page.get_by_label("Model", exact=True).select_option("three")
    expect(page.get_by_role("heading", name="three, version 1")).to_be_visible()
    expect(page).to_have_url(f"{served}/?model=three")
    expect(page.locator("#card")).to_contain_text("one of 3 classes: high, low, middle")
    expect(page.locator("#profile-plot .attention rect")).to_have_count(6)
    page.get_by_label("Version", exact=True).select_option("1")
    expect(page).to_have_url(f"{served}/?model=three&version=1")
    page.go_back()
    page.go_back()
    expect(page.get_by_role("heading", name="after-lstm, version 1")).to_be_visible()
    expect(page.get_by_label("Model", exact=True)).to_have_value("after-lstm")
    page.goto("/?model=three")
    take(page, "Example")
    ask(page)
    expect(page.locator("#prediction li")).to_have_count(3)
    expect(page.locator("#curl-line")).to_contain_text(f"{served}/predict?model=three")


def test_an_unknown_model_is_reported(open_page: OpenPage) -> None:
    """Another model can then be selected."""
    page = open_page()
    page.goto("/?model=four")
    expect(page.get_by_role("alert").filter(has_text="no model 'four'")).to_be_visible()
    expect(page.locator("#content")).to_be_hidden()
    page.get_by_label("Model", exact=True).select_option("three")
    expect(page.get_by_role("heading", name="three, version 1")).to_be_visible()
    expect(page.locator("#unavailable")).to_be_empty()


def test_a_service_without_a_model_can_be_tried_again(open_page: OpenPage) -> None:
    """The page shows the error, and a button loads the model later."""
    page = open_page()
    page.route("**/model?*", lambda route: route.fulfill(status=503, json={"detail": "none loaded"}))
    page.reload()
    expect(page.get_by_role("alert").filter(has_text="No model can answer now: none loaded")).to_be_visible()
    page.unroute("**/model?*")
    button(page, "Try again").click()
    expect(page.get_by_role("heading", name="after-lstm, version 1")).to_be_visible()


def test_a_newer_version_takes_over_the_page(page: Page) -> None:
    """The page shows a new current version without a reload."""

    def newer(route: Route) -> None:
        route.fulfill(json={**route.fetch().json(), "version": 2})

    page.route(PROFILES, newer)
    page.route("**/model?*", newer)
    expect(page.get_by_role("heading", name="after-lstm, version 2")).to_be_visible()
