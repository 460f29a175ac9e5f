"""Pages of other origins, which use the service with the browser's fetch."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.server import serving

PREDICT = """async url => {
    const response = await fetch(`${url}/predict`, {
        method: "POST",
        headers: {"Content-Type": "application/json"},
        body: JSON.stringify({sequence: Array(20).fill([0.1, -0.2])}),
    });
    return [response.status, response.headers.get("Server-Timing") !== null, (await response.json()).model];
}"""


def test_an_allowed_origin_is_answered(browser: Browser, artifacts: Path) -> None:
    """The browser sends a preflight first. Without the setting, it shows the page no answer."""
    arguments = ("--artifacts", str(artifacts), "--model", "after-lstm")
    with serving(*arguments) as (other, _), serving(*arguments, "--cors-origins", other) as (url, _):
        # The page's own policy would forbid the request, which a page of another server sends here.
        page = browser.new_page(bypass_csp=True)
        page.goto(f"{other}/docs")
        assert page.evaluate(PREDICT, url) == [200, True, "after-lstm"]
        page.goto(f"{url}/docs")
        with pytest.raises(Exception, match="Failed to fetch"):
            page.evaluate(PREDICT, other)
        page.close()
