"""Faithfulness: the verdict beside attention, the curves of the card, and the measures of an answer."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.page.actions import SEQUENCE, TEXT, OpenPage, ask, predicted, take, text, values, with_card
from training.faithfulness import NOTHING_MATTERS, VERDICTS, WITHOUT_ATTENTION

VERDICT = "Attention finds what matters no better than chance here: read importance."


def removal(order: str, moved: float) -> dict[str, object]:
    """Return the results of an order that moves predictions so far."""
    return {
        "order": order,
        "comprehensiveness": [moved, moved + 0.1],
        "sufficiency": [0.5 - moved, 0.4 - moved],
        "comprehensiveness_area": moved + 0.05,
        "sufficiency_area": 0.45 - moved,
        "comprehensiveness_interval": [moved, moved + 0.1],
        "sufficiency_interval": [0.3, 0.4],
    }


FAITHFULNESS = {
    "sequences": 200,
    "fractions": [0.01, 0.5],
    "removals": [removal("attention", 0.1), removal("importance", 0.3), removal("random", 0.1)],
    "attention_finds": "no more than chance",
    "verdict": VERDICT,
    "metric": "accuracy",
    "uniform": 0.71,
    "permuted": None,
}


def test_the_verdict_stands_wherever_attention_is_shown(open_page: OpenPage) -> None:
    """It is beside the profile, the curves, the answers and the live profile; another model takes it away."""

    def prepare(page: Page) -> None:
        with_card("after-lstm", faithfulness=FAITHFULNESS)(page)
        with_card("three", faithfulness=None)(page)

    page = open_page(prepare=prepare)
    take(page, "Several")
    ask(page)
    for place in ("#profile", "#faithfulness", "#many", "figure:has(#sequence-plot)", "#live"):
        expect(page.locator(place).locator(".verdict").first).to_have_text(VERDICT)
    page.get_by_label("Model", exact=True).select_option("three")
    expect(page.locator("#faithfulness-curves")).to_be_hidden()
    expect(page.locator("#profile .verdict")).to_be_empty()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"faithfulness": None}, "Not measured: long sequences and large models take too many runs"),
        ({"faithfulness": None, "timesteps": 1}, "Not measured: a sequence of one timestep has no order"),
        (
            {"faithfulness": {**FAITHFULNESS, "removals": []}},
            "take too many runs. With the same attention on all timesteps, accuracy",
        ),
    ],
)
def test_the_page_says_why_there_are_no_curves(open_page: OpenPage, fields: dict[str, Any], text: str) -> None:
    """The metric with other attention is shown if it was measured."""
    page = open_page(prepare=with_card(**fields))
    expect(page.locator("#faithfulness")).to_contain_text("How far to trust it Not measured: ")
    expect(page.locator("#faithfulness")).to_contain_text(text)
    expect(page.locator("#faithfulness-curves")).to_be_hidden()
    expect(page.locator("#profile .verdict")).to_be_empty()


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_verdict_is_in_the_language_of_the_page(open_page: OpenPage, language: str) -> None:
    """In English it is that of the card, for each verdict of training."""
    found: list[tuple[str | None, str]] = [*VERDICTS.items(), (None, NOTHING_MATTERS), (None, WITHOUT_ATTENTION)]
    page = open_page(f"/?language={language}")
    shown = set()
    for finds, verdict in found:
        with_card(faithfulness={**FAITHFULNESS, "attention_finds": finds, "verdict": verdict})(page)
        page.reload()
        place = page.locator("#faithfulness .verdict")
        expect(place).to_have_text(verdict if language == "en" else re.compile("^이 모델"))
        shown.add(place.text_content())
    assert len(shown) == len(found)


def test_the_curves_are_drawn(open_page: OpenPage) -> None:
    """Each order is a line, with a table of its areas and their intervals."""
    page = open_page(prepare=with_card(faithfulness=FAITHFULNESS))
    for chart in ("comprehensiveness-plot", "sufficiency-plot"):
        expect(page.locator(f"#{chart} .series path")).to_have_count(3)
        expect(page.locator(f"#{chart} .legend-key")).to_have_text(["attention", "importance", "at random"])
    assert values(page, "comprehensiveness-plot") == [["1 %", "0.1", "0.3", "0.1"], ["50 %", "0.2", "0.4", "0.2"]]
    expect(page.locator("#areas tbody tr").nth(1)).to_contain_text("importance0.35 (0.3 to 0.4)0.15 (0.3 to 0.4)")
    expect(page.locator("#faithfulness-caption")).to_contain_text(
        "With the same attention on all timesteps, accuracy is 0.71."
    )
    expect(page.locator("#faithfulness-caption")).not_to_contain_text("at random")


@pytest.mark.parametrize("importance", ["", "timesteps"])
def test_an_answer_has_its_own_measures(page: Page, served: str, importance: str) -> None:
    """They are those of the service, of importance only if that is asked for."""
    text(page).fill(TEXT)
    page.get_by_label("Importance of", exact=True).select_option(importance)
    page.get_by_label("with faithfulness").check()
    ask(page)
    body: dict[str, Any] = {"importance": importance} if importance else {}
    (expected,) = predicted(served, sequence=SEQUENCE, faithfulness=True, **body)
    rows = page.locator("#answer-faithfulness tbody tr")
    expect(rows).to_have_count(2 if importance else 1)
    expect(rows.first).to_contain_text("attention")
    shown = float(rows.first.locator("td").first.text_content() or "")
    assert shown == pytest.approx(expected["faithfulness"]["attention"]["comprehensiveness"], rel=1e-2)
    page.get_by_label("with faithfulness").uncheck()
    ask(page)
    expect(rows).to_have_count(0)
