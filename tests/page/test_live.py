"""The live profile."""

import pytest
from playwright.sync_api import Page, Route, expect

from tests.page.actions import PROFILES, SEQUENCE, TEXT, OpenPage, ask, values
from tests.server import get, post

#: Time between polls, in milliseconds.
POLL = 2000


def test_the_live_profile_moves_with_the_traffic(open_page: OpenPage, served: str) -> None:
    """Its bars stay the same elements, and the cursor stays at its timestep."""
    page = open_page("/?model=before-lstm", prepare=lambda page: page.clock.install())
    live = page.locator("#live-plot")
    expect(page.locator("#live-text")).to_contain_text("No sequence arrived in the last minute")
    expect(live.locator(".outline path")).to_have_count(1)
    cursor = live.get_by_role("slider")
    cursor.focus()
    page.keyboard.press("End")
    bar = live.locator(".attention rect").nth(10).element_handle()
    assert bar is not None
    empty = "bar => bar.isConnected && bar.height.baseVal.value"
    assert bar.evaluate(empty) == 0
    for sequences in (3, 5):
        post(f"{served}/predict?model=before-lstm", json={"sequences": [SEQUENCE] * sequences}).raise_for_status()
        page.clock.fast_forward(POLL)
        total = {3: 3, 5: 8}[sequences]
        expect(page.locator("#live-text")).to_contain_text(f"{total} sequences in the last minute")
    expect(page.locator("#live-text")).to_contain_text("chance alone would give about")
    assert bar.evaluate(empty) > 0
    expect(cursor).to_be_focused()
    expect(cursor).to_have_attribute("aria-valuenow", "19")
    expect(live.locator(".tooltip")).to_contain_text("timestep 19")
    profile = get(f"{served}/attention?model=before-lstm").json()
    rows = values(page, "live-plot")
    assert [float(row[1]) for row in rows] == pytest.approx(profile["live"]["1m"]["mean"], rel=1e-2, abs=1e-5)
    assert [float(row[3]) for row in rows] == pytest.approx(profile["mean"], rel=1e-2, abs=1e-5)
    for label, name in (
        ("last 10 minutes", "the last 10 minutes"),
        ("last hour", "the last hour"),
        ("since the start", "started"),
    ):
        page.get_by_role("radio", name=label, exact=True).check()
        expect(page.locator("#live-text")).to_contain_text(name)


def test_requests_of_the_page_count_as_traffic(page: Page, served: str) -> None:
    """The live profile includes them."""
    page.get_by_role("radio", name="since the start").check()
    before = get(f"{served}/attention").json()["live"]["start"]["sequences"]
    ask(page, TEXT)
    expect(page.locator("#live-text")).to_contain_text(f"{before + 1:,} sequence")


def test_a_hidden_page_does_not_poll(open_page: OpenPage) -> None:
    """It polls again when it becomes visible."""
    page = open_page(prepare=lambda page: page.clock.install())
    polls: list[str] = []
    page.on("request", lambda request: polls.append(request.url) if "/attention" in request.url else None)
    with page.expect_response("**/attention*"):
        page.clock.run_for(POLL)
    page.evaluate(
        """() => {
          Object.defineProperty(document, "hidden", { get: () => window.unseen, configurable: true });
          window.unseen = true;
          document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    seen = len(polls)
    page.clock.run_for(60_000)
    assert len(polls) == seen
    with page.expect_response("**/attention*"):
        page.evaluate("window.unseen = false; document.dispatchEvent(new Event('visibilitychange'))")


def test_polling_survives_a_lost_service(open_page: OpenPage) -> None:
    """The error disappears with the next answer."""
    page = open_page(prepare=lambda page: page.clock.install())
    page.route("**/attention*", lambda route: route.abort())
    page.clock.fast_forward(POLL)
    expect(page.locator("#live-text")).to_contain_text("cannot be reached")
    page.unroute("**/attention*")
    page.clock.fast_forward(POLL)
    expect(page.locator("#live-text")).not_to_contain_text("cannot be reached")


def test_no_distance_is_above_one(open_page: OpenPage) -> None:
    """Total variation is at most 1, and so is what the page writes, also of an estimate above it."""

    def distant(route: Route) -> None:
        answer = route.fetch().json()
        distances = {"sequences": 2, "peak": 0, "total_variation": 1.0000001, "by_chance": 1.203}
        answer["live"]["1m"] |= {**distances, "mean": answer["mean"], "spread": answer["spread"]}
        route.fulfill(json=answer)

    page = open_page(prepare=lambda page: page.route(PROFILES, distant))
    expect(page.locator("#live-text")).to_contain_text("(total variation): 1; chance alone would give about 1 for")
