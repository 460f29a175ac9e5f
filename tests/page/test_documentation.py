"""The documentation of all routes, in Swagger UI."""

from playwright.sync_api import expect

from tests.page.actions import PREFIX, OpenPage, behind_a_prefix, button
from tests.server import get


def test_a_request_can_be_tried(open_page: OpenPage, served: str) -> None:
    """The page links to it. It shows every operation, and `POST /predict` answers; all of it below a prefix."""
    page = open_page(f"{PREFIX}/", prepare=behind_a_prefix)
    page.get_by_role("link", name="Documentation").click()
    expect(page).to_have_url(f"{served}{PREFIX}/docs")
    operation = page.locator("#operations-predict-predict")
    expect(operation).to_be_visible(timeout=30_000)  # Swagger UI is large
    paths = get(f"{served}/openapi.json").json()["paths"]
    expect(page.locator(".opblock")).to_have_count(sum(map(len, paths.values())))
    operation.get_by_role("button", name="/predict").first.click()
    button(page, "Try it out").click()
    button(page, "Execute").click()
    answer = page.locator(".live-responses-table")
    expect(answer).to_contain_text("200")
    expect(answer).to_contain_text('"prediction"')
    expect(page.locator(".request-url")).to_contain_text(f"{served}{PREFIX}/predict")
