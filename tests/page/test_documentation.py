"""The documentation of all routes, in Swagger UI."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.page.actions import PREFIX, OpenPage, behind_a_prefix, button
from tests.server import get


@pytest.mark.parametrize(("prefix", "prepare"), [("", None), (PREFIX, behind_a_prefix)])
def test_a_request_can_be_tried(
    open_page: OpenPage, served: str, prefix: str, prepare: Callable[[Page], None] | None
) -> None:
    """The page links to it. Each operation is shown, and `POST /predict` answers, below a prefix, too."""
    page = open_page(f"{prefix}/", prepare=prepare)
    page.get_by_role("link", name="Documentation").click()
    expect(page).to_have_url(f"{served}{prefix}/docs")
    expect(page.locator("#operations-predict-predict")).to_be_visible()
    paths = get(f"{served}/openapi.json").json()["paths"]
    assert page.locator(".opblock").count() == sum(map(len, paths.values()))
    page.locator("#operations-predict-predict").get_by_role("button", name="/predict").first.click()
    button(page, "Try it out").click()
    button(page, "Execute").click()
    answer = page.locator(".live-responses-table .response-col_description")
    expect(answer).to_contain_text('"prediction"')
    expect(page.locator(".live-responses-table .response-col_status").last).to_have_text("200")
    expect(page.locator(".request-url")).to_contain_text(f"{served}{prefix}/predict")
