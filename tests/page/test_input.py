"""The input: typed text, random sequences and files."""

import json

import pytest
from playwright.sync_api import Page, expect

from tests.page.actions import CSV, SEQUENCE, TEXT, OpenPage, ask, take, text


@pytest.mark.parametrize(
    ("typed", "count"),
    [
        (TEXT, 1),
        (f"  [{TEXT}, {TEXT}]\n", 2),
        (json.dumps({"sequence": SEQUENCE}), 1),
        (json.dumps({"sequences": [SEQUENCE] * 3}), 3),
        (json.dumps({"sequence": SEQUENCE, "attention": "none"}), 1),
        (json.dumps({"sequences": [SEQUENCE] * 2, "attention": "full"}), 2),
        (CSV, 1),
        ("first,second\n" + CSV + "\n", 1),
        (CSV.replace("\n", "\r\n"), 1),
        (CSV.replace(",", ";"), 1),
        (CSV.replace(",", " \t "), 1),
        (CSV.replace("0.5,", '"0.5" , '), 1),
        (f"{CSV}\n\n{CSV}\n  \n\n{CSV}", 3),
        (f"\ufeff{CSV}", 1),
        (f"\ufeff{TEXT}", 1),
    ],
)
def test_typed_text_is_read(page: Page, typed: str, count: int) -> None:
    """Every form of JSON works, and CSV with any separator, line end and quotes."""
    page.get_by_label("Importance of", exact=True).select_option("timesteps")
    with page.expect_request("**/predict?*") as request:
        ask(page, typed)
    posted = json.loads(request.value.post_data or "")
    assert posted["importance"] == "timesteps"
    sequences = posted.get("sequences") or [posted["sequence"]]
    assert len(sequences) == count
    assert sequences == [SEQUENCE] * count
    expect(page.locator("#sequence-plot .series path")).to_have_count(2)


def test_a_header_is_reported(page: Page) -> None:
    """A first line that looks like names is not part of the request."""
    ask(page, f"first,second\n{CSV}")
    expect(page.locator("#summary")).to_contain_text("The first line, first,second, was read as a header.")
    ask(page, CSV)
    expect(page.locator("#summary")).not_to_contain_text("header")


def test_control_and_enter_ask(page: Page) -> None:
    """The shortcut works in the text."""
    text(page).fill(TEXT)
    text(page).press("Control+Enter")
    expect(page.locator("#result")).to_be_visible()


def test_random_sequences_are_like_the_examples(open_page: OpenPage) -> None:
    """They have the model's units, and each one differs."""
    page = open_page("/?model=three")
    first, second = json.loads(take(page, "Random")), json.loads(take(page, "Random"))
    assert first != second
    assert [len(step) for step in first] == [3] * 6
    assert 700 < sum(map(sum, first)) / 18 < 1400  # the data are 1000 and more
    ask(page)


@pytest.mark.parametrize("place", ["#text", "h1"])
@pytest.mark.parametrize(("name", "content"), [("sequence.csv", CSV), ("sequence.json", TEXT)])
def test_a_file_can_be_dropped(page: Page, name: str, content: str, place: str) -> None:
    """It may be dropped beside the text too, where browsers would leave the page."""
    transfer = page.evaluate_handle(
        """([name, content]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([content], name));
          return transfer;
        }""",
        [name, content],
    )
    area, target = page.locator("#drop"), page.locator(place)
    target.dispatch_event("dragover", {"dataTransfer": transfer})
    expect(area).to_have_class("over")
    target.dispatch_event("drop", {"dataTransfer": transfer})
    expect(area).not_to_have_class("over")
    expect(text(page)).to_have_value(content)
    ask(page)


def test_a_file_can_be_chosen(page: Page) -> None:
    """The same file can be chosen twice."""
    for _ in range(2):
        text(page).fill("")
        page.get_by_label("File…").set_input_files(
            {"name": "sequence.csv", "mimeType": "text/csv", "buffer": CSV.encode()}
        )
        expect(text(page)).to_have_value(CSV)
    ask(page)
