"""The answer to a request: prediction, attention, importance and the curl command."""

import json
import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.page.actions import SEQUENCE, TEXT, OpenPage, ask, button, predicted, rows_of, take, text, values
from tests.server import get, post


def test_an_example_is_answered_with_its_attention(page: Page, served: str) -> None:
    """Each click takes the next example. Prediction, probabilities, lines, bars and table agree with the service."""
    examples = get(f"{served}/model/example").json()["sequences"]
    assert json.loads(take(page, "Example")) == examples[0]
    assert json.loads(take(page, "Example")) == examples[1]
    ask(page)
    (expected,) = predicted(served, sequences=examples[1:2])
    expect(page.locator("#prediction .label")).to_have_text(expected["label"])
    expect(page.locator("#prediction li")).to_have_count(2)
    expect(page.locator("#prediction li").nth(1)).to_contain_text(f"{expected['prediction']:.4f}")
    expect(page.locator("#summary")).to_contain_text(f"after-lstm, version 1: {expected['label']}")
    chart = page.locator("#sequence-plot")
    expect(chart.locator(".series path")).to_have_count(2)
    expect(chart.locator(".importance rect")).to_have_count(0)
    rows = values(page, "sequence-plot")
    assert [float(row[1]) for row in rows] == pytest.approx(expected["attention"], rel=1e-3)
    assert [float(row[2].replace("−", "-")) for row in rows] == pytest.approx(
        [step[0] for step in examples[1]], rel=1e-3, abs=1e-9
    )
    looks = chart.locator(".series path").evaluate_all(
        "lines => lines.map(line => [line.getAttribute('stroke-dasharray'), getComputedStyle(line).stroke])"
    )
    assert looks[0][0] != looks[1][0]
    assert looks[0][1] != looks[1][1]


def test_the_legend_hides_and_shows_features(page: Page) -> None:
    """Both mouse and keyboard work. Each feature can also have its own scale."""
    ask(page, TEXT)
    lines = page.locator("#sequence-plot .series path")
    feature = page.get_by_role("group", name="Features shown").get_by_role("button", name="1")
    feature.click()
    expect(feature).to_have_attribute("aria-pressed", "false")
    expect(lines).to_have_count(1)
    page.keyboard.press("Enter")
    expect(feature).to_have_attribute("aria-pressed", "true")
    expect(lines).to_have_count(2)
    before = lines.first.get_attribute("d")
    page.get_by_label("each feature on its own scale").check()
    expect(lines.first).not_to_have_attribute("d", before or "")


def test_importance_is_shown_on_request(page: Page, served: str) -> None:
    """It is a strip of bars, a table column and a correlation."""
    text(page).fill(TEXT)
    page.get_by_label("Importance of", exact=True).select_option("timesteps")
    ask(page)
    (expected,) = predicted(served, sequence=SEQUENCE, importance=True)
    expect(page.locator("#sequence-plot .importance rect")).to_have_count(20)
    rows = values(page, "sequence-plot")
    shown = [float(row[2].replace("×10", "e").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))) for row in rows]
    assert shown == pytest.approx(expected["importance"], rel=1e-2, abs=1e-9)
    expect(page.locator("#correlation")).to_contain_text(f"correlation of {expected['rank_correlation']:.2g}"[:-2])
    expect(page.locator("#curl-line")).to_contain_text('{"importance":"timesteps","inputs":true,"sequence":')
    page.get_by_label("Importance of", exact=True).select_option("")
    button(page, "Ask").click()
    expect(page.locator("#sequence-plot .importance rect")).to_have_count(0)


def test_importance_needs_the_mean_of_the_training_data(open_page: OpenPage) -> None:
    """Without it, the checkbox is disabled and the page says why."""

    def forget(route: Route) -> None:
        route.fulfill(json={**route.fetch().json(), "baseline": None})

    page = open_page(prepare=lambda page: page.route("**/model?*", forget))
    expect(page.locator("#no-importance")).to_be_visible()
    expect(page.get_by_label("Importance of", exact=True)).to_be_disabled()


def test_shorter_sequences_and_missing_values_are_gaps(open_page: OpenPage, served: str) -> None:
    """An empty cell is a missing value and breaks the line of its feature."""
    page = open_page("/?model=both")
    ask(page, "1,2\n,2\n3,\n4,5\n")
    (expected,) = post(
        f"{served}/predict?model=both", json={"sequence": [[1, 2], [None, 2], [3, None], [4, 5]]}
    ).json()["predictions"]
    rows = values(page, "sequence-plot")
    assert [row[0] for row in rows] == ["Mon", "Tue", "Wed", "Thu"]
    assert [float(row[1]) for row in rows] == pytest.approx(expected["attention"], rel=1e-3)
    assert [row[2] for row in rows] == ["1", "–", "3", "4"]
    paths = page.locator("#sequence-plot .series path").evaluate_all(
        "lines => lines.map(line => line.getAttribute('d'))"
    )
    assert [path.count("M") for path in paths] == [2, 2]
    page.get_by_role("slider").nth(1).focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#sequence-plot .tooltip")).to_contain_text("missing")
    take(page, "Several")
    ask(page)
    expect(rows_of(page)).to_have_count(32)


def test_numbers_are_shown_with_their_names(open_page: OpenPage, served: str) -> None:
    """A regression has no probabilities."""
    page = open_page("/?model=sums")
    take(page, "Example")
    ask(page)
    card = get(f"{served}/model?model=sums").json()
    expect(page.locator("#prediction dt")).to_have_text(card["target"]["names"] or ["number 1"])
    expect(page.locator("#prediction li")).to_have_count(0)


def test_the_curl_command_sends_the_same_request(open_page: OpenPage) -> None:
    """It is shown in short and copied in full."""
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    take(page, "Several")
    ask(page)
    expect(page.locator("#curl-rest")).to_contain_text("more characters")
    shown = page.locator("#curl-line").text_content() or ""
    assert len(shown) <= 400
    button(page, "Copy").click()
    expect(page.locator("#copied")).to_have_text("Copied.")
    line: str = page.evaluate("navigator.clipboard.readText()")
    assert line.startswith(shown)
    parts = re.fullmatch(r"curl -s '(\S+)' -H 'Content-Type: application/json' --data-binary '(.*)'", line, re.DOTALL)
    assert parts is not None
    answer = post(parts[1], content=parts[2], headers={"Content-Type": "application/json"})
    assert len(answer.json()["predictions"]) == 32
