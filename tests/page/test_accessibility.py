"""Accessibility: keyboard, axe, contrast and motion."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from tests.page.actions import TEXT, VIEWS, OpenPage, ask, button, refused, take, text, values, with_card
from tests.page.test_faithfulness import FAITHFULNESS
from tests.page.test_importance import CELLS, FEATURES


def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until an element has the focus, and check that it shows the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            outline = target.evaluate("e => getComputedStyle(e.id === 'file' ? e.nextElementSibling : e).outlineStyle")
            assert outline != "none"
            return
    raise AssertionError(f"no way to {target} by keyboard")


def test_everything_can_be_done_by_keyboard(page: Page) -> None:
    """Tab reaches every control, from the top of the page to the live profile."""
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to where you can try it")).to_be_focused()
    for target in (page.get_by_label("Model", exact=True), page.get_by_label("Version", exact=True)):
        tab_to(page, target)
    tab_to(page, page.locator("#profile-plot").get_by_role("slider"))
    tab_to(page, button(page, "Several"))
    page.keyboard.press("Enter")
    expect(text(page)).not_to_have_value("")
    tab_to(page, page.locator("#file"))
    tab_to(page, text(page))
    tab_to(page, button(page, "Ask"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("listbox")).to_be_visible()
    expect(button(page, "Ask")).to_be_focused()
    tab_to(page, page.get_by_role("listbox"))
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Sequence 2")).to_be_visible()
    tab_to(page, page.get_by_role("group", name="Features shown").get_by_role("button").first)
    page.keyboard.press("Space")
    expect(page.locator("#sequence-plot .series path")).to_have_count(1)
    tab_to(page, page.locator("#sequence-plot").get_by_role("slider"))
    page.keyboard.press("ArrowRight")
    expect(page.locator("#sequence-plot .tooltip")).to_be_visible()
    tab_to(page, button(page, "Copy"))
    tab_to(page, page.get_by_role("radio", name="last minute"))
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="last 10 minutes")).to_be_checked()
    tab_to(page, page.locator("#live-plot").get_by_role("slider"))


def empty(page: Page) -> None:
    """Leave the page as it is loaded."""


def one_result(page: Page) -> None:
    text(page).fill(TEXT)
    page.get_by_label("Importance of", exact=True).select_option("timesteps")
    ask(page)
    values(page, "sequence-plot")
    page.get_by_text("How it was trained").click()
    page.locator("#sequence-plot").get_by_role("slider").focus()
    page.keyboard.press("ArrowRight")


def heat_map(page: Page) -> None:
    take(page, "Several")
    ask(page)


def error(page: Page) -> None:
    refused(page, TEXT.replace("0.3,", "null,"), "sequence[3][0]")


@pytest.mark.parametrize("state", [empty, one_result, heat_map, error])
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_no_violation(open_page: OpenPage, view: str, state: Callable[[Page], None]) -> None:
    """The page also fits the width of the screen."""
    page = open_page(bypass_csp=True, reduced_motion="reduce", **VIEWS[view])
    state(page)
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_no_violation_in_explanations(open_page: OpenPage, view: str, language: str) -> None:
    """With all that a card can have and a request can ask for, and all details open."""
    layers = [{"name": "lstm", "kind": "LSTM", "shape": [None, 20, 32], "inputs": [], "weights": 4480}]
    card = with_card(feature_importance=FEATURES, cell_importance=CELLS, faithfulness=FAITHFULNESS, layers=layers)
    page = open_page(f"/?language={language}", card, bypass_csp=True, reduced_motion="reduce", **VIEWS[view])
    page.locator("#several").click()
    expect(page.locator("#text")).not_to_have_value("")
    page.locator("#importance").select_option("both")
    page.locator("#faithful").check()
    page.locator("#ask").click()
    expect(page.locator("#answer-faithfulness table")).to_be_visible()
    page.evaluate("document.querySelectorAll('details').forEach((details) => (details.open = true))")
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colors #rrggbb: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""

    def luminance(color: str) -> float:
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("view", ["light", "dark"])
def test_colors_have_contrast(open_page: OpenPage, view: str) -> None:
    """Contrast is at least 4.5 to 1 for text and 3 to 1 for graphics; axe does not check charts."""
    page = open_page(**VIEWS[view])

    def color(name: str) -> str:
        value: str = page.evaluate(f"getComputedStyle(document.body).getPropertyValue('--{name}').trim()")
        return value

    paper = color("paper")
    dark = contrast(paper, "#000000") < contrast(paper, "#ffffff")
    assert dark == (view == "dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        f"rgb({', '.join(str(int(paper[i : i + 2], 16)) for i in (1, 3, 5))})"
    )
    for ground in ("paper", "raised"):
        for name in ("ink", "soft", "link", "wrong"):
            assert contrast(color(name), color(ground)) >= 4.5, (name, ground)
        for name in ("attention-edge", "peak", "importance", "edge", *(f"line-{i}" for i in range(7))):
            assert contrast(color(name), color(ground)) >= 3, (name, ground)
    for name in ("ink", "wrong"):
        assert contrast(color(name), color("wrong-paper")) >= 4.5, name
    for i in range(7):
        assert contrast(color(f"line-{i}"), color("attention")) >= 3, i


def test_reduced_motion_stops_transitions(open_page: OpenPage) -> None:
    """Bars move otherwise."""
    moving = "getComputedStyle(document.querySelector('#live-plot .attention rect')).transitionDuration"
    assert open_page().evaluate(moving) != "0s"
    assert open_page(reduced_motion="reduce").evaluate(moving) == "0s"
