"""Names from models as text."""

from playwright.sync_api import Page, Route, expect

from tests.page.actions import PROFILES, OpenPage, ask, button, take, values

HOSTILE = '<img src=x onerror="window.hurt=1"><b>'


def test_markup_in_names_is_text(open_page: OpenPage) -> None:
    """Labels, classes, options and messages never become elements."""

    def hostile(route: Route) -> None:
        answer = route.fetch().json()
        answer["timestep_labels"] = [HOSTILE + label for label in answer["timestep_labels"]]
        if "feature_labels" in answer:
            answer["feature_labels"] = [HOSTILE + label for label in answer["feature_labels"]]
            answer["target"]["classes"] = [HOSTILE + name for name in answer["target"]["classes"]]
            answer["training"]["options"] = {HOSTILE: HOSTILE}
            answer["rejected"] = [{"version": 9, "reason": HOSTILE}]
        route.fulfill(json=answer)

    def hostile_prediction(route: Route) -> None:
        answer = route.fetch().json()
        for prediction in answer["predictions"]:
            prediction["label"] = HOSTILE + prediction["label"]
        route.fulfill(json=answer)

    def prepare(page: Page) -> None:
        page.route("**/model?*", hostile)
        page.route(PROFILES, hostile)
        page.route("**/predict?*", hostile_prediction)

    page = open_page(prepare=prepare)
    take(page, "Several")
    ask(page)
    expect(page.locator("#prediction .label")).to_contain_text(HOSTILE)
    for chart in ("profile-plot", "sequence-plot", "live-plot"):
        assert HOSTILE in values(page, chart)[0][0]
        page.locator(f"#{chart}").get_by_role("slider").hover()
        expect(page.locator(f"#{chart} .tooltip")).to_contain_text(HOSTILE)
    page.route("**/predict?*", lambda route: route.fulfill(status=422, json={"detail": HOSTILE}))
    button(page, "Ask").click()
    expect(page.locator("#problem")).to_contain_text(HOSTILE)
    assert page.evaluate("[window.hurt, document.querySelectorAll('body img:not(#diagram img)').length]") == [None, 0]
