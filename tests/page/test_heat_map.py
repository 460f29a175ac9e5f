"""The heat map of several sequences."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.page.actions import ask, predicted, reds, rows_of, take, values
from tests.server import get


def test_keyboard_and_mouse_select_a_row(page: Page, served: str) -> None:
    """The selected sequence is drawn below."""
    sequences = json.loads(take(page, "Several"))
    assert sequences == get(f"{served}/model/example").json()["sequences"]
    ask(page)
    expected = predicted(served, sequences=sequences)
    rows = rows_of(page)
    expect(rows).to_have_count(len(sequences))
    expect(page.locator("#heat-map image")).to_have_attribute("href", re.compile("^data:image/png;base64,"))
    for i in (0, 31):
        label = f"Sequence {i + 1}: {expected[i]['label']}, "
        expect(rows.nth(i)).to_have_attribute("aria-label", re.compile(f"^{label}.*timestep 1[0-2]$"))
    page.get_by_role("listbox").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    expect(page.get_by_role("listbox")).to_have_attribute("aria-activedescendant", "row-1")
    expect(rows.nth(1)).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("heading", name="Sequence 2")).to_be_visible()
    assert [float(row[1]) for row in values(page, "sequence-plot")] == pytest.approx(expected[1]["attention"], rel=1e-3)
    rows.nth(5).click()
    expect(page.get_by_role("heading", name="Sequence 6")).to_be_visible()
    expect(page.locator("#summary")).to_contain_text("32 sequences answered by after-lstm, version 1. Sequence 6")
    rows.nth(5).hover()
    expect(page.locator("#heat-map .tooltip")).to_contain_text("sequence 6, timestep")


def test_the_shades_of_the_heat_map_are_attention(page: Page) -> None:
    """Each pixel is one weight; the darkest is the highest."""
    take(page, "Several")
    ask(page)
    darkest = [row.index(min(row)) for row in reds(page.locator("#heat-map image"))]
    attention = page.evaluate(
        """async () => {
          const headers = { "Content-Type": "application/json" };
          const body = `{"sequences": ${document.querySelector("#text").value}}`;
          const answer = await (await fetch("predict", { method: "POST", headers, body })).json();
          return answer.predictions.map((prediction) => prediction.attention);
        }"""
    )
    assert darkest == [weights.index(max(weights)) for weights in attention]
