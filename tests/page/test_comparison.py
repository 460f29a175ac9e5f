"""Two versions side by side."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.page.actions import CSV, SEQUENCE, TEXT, VIEWS, OpenPage, ask, predicted, take, values, with_card
from tests.server import get, serving


@pytest.fixture(scope="module")
def served(artifacts: Path) -> Iterator[str]:
    """The URL of a service of its own: other tests count the traffic of the models that are compared here."""
    with serving("--artifacts", str(artifacts), "--model", "after-lstm") as (url, _):
        yield url


def compare(page: Page, other: str) -> None:
    """Choose another version, and wait for it."""
    page.get_by_label("Compare with").select_option(other)
    expect(page.locator("#comparison")).to_be_visible()
    expect(page.locator("#compared-facts")).to_contain_text(other.replace("/", ", version "))


def test_two_versions_are_compared(page: Page, served: str) -> None:
    """Facts, metrics with their differences, and profiles are side by side. The address keeps the choice."""
    expect(page.locator("#comparison")).to_be_hidden()
    compare(page, "before-lstm/1")
    expect(page).to_have_url(re.compile(r"\?model=after-lstm&with=before-lstm/1$"))
    one, two = (get(f"{served}/model?model={name}").json() for name in ("after-lstm", "before-lstm"))
    facts = page.get_by_role("region", name="Facts of both versions")
    expect(facts.locator("tr", has_text="Architecture")).to_have_text("Architectureafter lstmbefore lstm")
    metrics = page.get_by_role("region", name="Metrics of both versions").locator("tbody tr")
    expect(metrics).to_have_count(len({*one["metrics"], *two["metrics"]}))
    peak = metrics.filter(has_text="attention on marked").locator("td").all_text_contents()
    shown = [float(cell.replace("−", "-")) for cell in peak]
    first, second = one["metrics"]["attention on marked"], two["metrics"]["attention on marked"]
    assert shown == pytest.approx([first, second, second - first], abs=1e-3)
    rows = values(page, "compared-plot")
    assert [float(row[3]) for row in rows] == pytest.approx(two["attention"]["mean"], rel=1e-2, abs=1e-4)
    page.reload()
    expect(page.locator("#comparison")).to_be_visible()
    page.get_by_label("Compare with").select_option("")
    expect(page.locator("#comparison")).to_be_hidden()


def test_both_answer_the_same_request(page: Page, served: str) -> None:
    """Their predictions and attention are side by side, for each sequence that is selected."""
    compare(page, "before-lstm/1")
    ask(page, TEXT)
    (expected,) = predicted(served, "before-lstm", sequence=SEQUENCE)
    answers = page.get_by_role("region", name="Answers of both versions").locator("tbody tr")
    expect(answers).to_have_count(1)
    expect(answers.locator("td").last).to_contain_text(f"{expected['label']}, ")
    rows = values(page, "compared-attention-plot")
    assert [float(row[3]) for row in rows] == pytest.approx(expected["attention"], rel=1e-2, abs=1e-4)
    take(page, "Several")
    ask(page)
    expect(answers).to_have_count(32)
    page.get_by_role("listbox").get_by_role("option").nth(4).click()
    title = "Attention of both versions on sequence 5"
    expect(page.locator("#compared-attention-plot").get_by_role("img")).to_have_accessible_name(title)


def test_both_answer_the_same_table(page: Page, served: str) -> None:
    """It is posted to both as it is, with the same query parameters."""
    compare(page, "before-lstm/1")
    url = re.compile(r"/predict\?model=before-lstm&version=1&inputs=true$")
    with page.expect_request(url) as request:
        ask(page, f"{CSV}\n\n{CSV}")
    assert request.value.post_data == f"{CSV}\n\n{CSV}"
    (expected,) = predicted(served, "before-lstm", sequence=SEQUENCE)
    answers = page.get_by_role("region", name="Answers of both versions").locator("tbody tr")
    expect(answers).to_have_count(2)
    expect(answers.first.locator("td").last).to_contain_text(f"{expected['label']}, ")


def test_charts_of_other_timesteps_are_not_drawn_together(open_page: OpenPage) -> None:
    """They would have the labels of one version. The predictions of both are side by side."""
    labels = [f"day {t}" for t in range(20)]
    page = open_page("/?model=after-lstm&with=before-lstm/1", prepare=with_card("before-lstm", timestep_labels=labels))
    expect(page.locator("#compared-facts")).to_contain_text("before-lstm, version 1")
    expect(page.locator("#compared-profiles")).to_be_hidden()
    ask(page, TEXT)
    expect(page.get_by_role("region", name="Answers of both versions").locator("tbody tr")).to_have_count(1)
    expect(page.locator("#compared-attention")).to_be_hidden()


def test_a_version_that_cannot_answer_says_why(page: Page) -> None:
    """Its sequences have another shape. The answer of the first version is shown."""
    compare(page, "three/1")
    expect(page.locator("#compared-profiles")).to_be_hidden()
    ask(page, TEXT)
    expect(page.locator("#compared-table")).to_contain_text("three, version 1 does not answer: sequence")
    expect(page.locator("#compared-attention")).to_be_hidden()


def test_a_version_that_does_not_exist_is_reported(open_page: OpenPage) -> None:
    """The other one is shown."""
    page = open_page("/?model=three&with=four/1")
    expect(page.locator("#compared-facts")).to_contain_text("no model 'four'")
    take(page, "Example")
    ask(page)
    expect(page.locator("#compared-answers")).to_be_hidden()


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("language", ["en", "ko"])
def test_axe_finds_no_violation(open_page: OpenPage, view: str, language: str) -> None:
    """The page also fits the width of the screen."""
    path = f"/?model=after-lstm&with=before-lstm/1&language={language}"
    page = open_page(path, bypass_csp=True, reduced_motion="reduce", **VIEWS[view])
    page.locator("#several").click()
    expect(page.locator("#text")).not_to_have_value("")
    page.locator("#importance").select_option("both")
    page.locator("#ask").click()
    expect(page.locator("#compared-attention")).to_be_visible()
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
