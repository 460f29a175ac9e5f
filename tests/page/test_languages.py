"""The page in English and in Korean."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.page.actions import PREFIX, TEXT, VIEWS, OpenPage, behind_a_prefix

#: Every text on the page that people see or hear, one a line, except what comes from the data or from the card.
ALL_TEXTS = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const texts = [];
  const data = "noscript, #text, pre, #card, #card-more, #diagram tbody";
  while (walker.nextNode()) if (!walker.currentNode.parentElement.closest(data)) {
    texts.push(walker.currentNode.data.trim());
  }
  for (const element of document.querySelectorAll("[aria-label]")) texts.push(element.ariaLabel);
  return texts.filter((text) => /[a-z]/i.test(text));
}"""
#: Names of models, metrics, fields, products and keys, and the English terms behind Korean ones.
NO_WORDS = re.compile(
    "after-lstm|before-lstm|three|both|visits|meter|machine|sums|balanced accuracy|accuracy|log loss|roc auc|F1|"
    "calibration error|validation loss|loss|comprehensiveness|sufficiency|"
    "baseline|English|OpenAPI|API|CSV|SVG|JSON|curl|Enter|/predict"
)


def ask(page: Page, name: str) -> None:
    """Ask for the example in Korean."""
    typed = page.get_by_role("textbox")
    before = typed.input_value()
    page.get_by_role("button", name=name, exact=True).click()
    expect(typed).not_to_have_value(before)
    page.get_by_role("button", name="예측하기").click()
    expect(page.locator("#result")).to_be_visible()


def test_the_browser_chooses_the_language(open_page: OpenPage) -> None:
    """Numbers and dates follow it. A link switches, and keeps the model, which then keeps the language."""
    page = open_page("/?model=three", locale="ko-KR")
    expect(page.locator("html")).to_have_attribute("lang", "ko")
    expect(page).to_have_title("three · 어텐션 서비스")
    expect(page.locator("#card time")).to_contain_text(re.compile("오전|오후"))
    page.get_by_role("link", name="English").click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(page.get_by_role("heading", name="three, version 1")).to_be_visible()
    expect(page.get_by_role("link", name="English")).to_have_attribute("aria-current", "true")
    page.get_by_label("Model", exact=True).select_option("after-lstm")
    expect(page).to_have_url(re.compile(r"/\?model=after-lstm&language=en$"))


def test_the_page_is_all_in_korean(open_page: OpenPage) -> None:
    """Only names of data and of products are in Latin letters, with one answer and with several."""
    page = open_page("/?language=ko")
    for name in ("예시", "예시 여러 개"):
        ask(page, name)
        texts = page.evaluate(ALL_TEXTS)
        assert len(texts) > 5
        assert [text for text in texts if re.search("[A-Za-z]", NO_WORDS.sub("", text))] == []


def test_errors_are_in_korean(open_page: OpenPage) -> None:
    """What the service says about the input is in English."""
    page = open_page("/?language=ko")
    page.get_by_role("textbox").fill(TEXT.replace("0.3,", "null,"))
    page.get_by_role("button", name="예측하기").click()
    expect(page.locator("#problem")).to_contain_text("sequence[3][0]: expected a finite number, got null")
    expect(page.locator("#problem")).to_contain_text("표시된 위치: 4행")


def test_the_way_around_the_header_keeps_the_address(open_page: OpenPage) -> None:
    """With a base, a plain link would load the page again, with another model."""
    page = open_page(f"{PREFIX}/?model=three", prepare=behind_a_prefix)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#try")).to_be_focused()
    expect(page).to_have_url(re.compile(r"\?model=three$"))


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_no_violation(open_page: OpenPage, view: str) -> None:
    """The page also fits the width of the screen."""
    page = open_page("/?language=ko", bypass_csp=True, reduced_motion="reduce", **VIEWS[view])
    ask(page, "예시 여러 개")
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
