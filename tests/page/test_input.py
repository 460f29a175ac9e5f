"""The input: typed text, random sequences and files."""

import json

import pytest
from playwright.sync_api import Page, expect

from tests.page.actions import CSV, SEQUENCE, TEXT, OpenPage, ask, take, text, values

#: The same sequence, the second feature first.
REVERSED = "\n".join(f"{b},{a}" for a, b in SEQUENCE)


@pytest.mark.parametrize(
    ("typed", "count"),
    [
        (TEXT, 1),
        (f"  [{TEXT}, {TEXT}]\n", 2),
        (json.dumps({"sequence": SEQUENCE}), 1),
        (json.dumps({"sequences": [SEQUENCE] * 3}), 3),
        (json.dumps({"sequence": SEQUENCE, "attention": "none"}), 1),
        (json.dumps({"sequences": [SEQUENCE] * 2, "attention": "full"}), 2),
        (f"\ufeff{TEXT}", 1),
    ],
)
def test_typed_json_is_read(page: Page, typed: str, count: int) -> None:
    """Every form of JSON works."""
    page.get_by_label("Importance of", exact=True).select_option("timesteps")
    with page.expect_request("**/predict?*") as request:
        ask(page, typed)
    posted = json.loads(request.value.post_data or "")
    assert posted["importance"] == "timesteps"
    assert posted["inputs"] is True
    sequences = posted.get("sequences") or [posted["sequence"]]
    assert len(sequences) == count
    assert sequences == [SEQUENCE] * count
    expect(page.locator("#sequence-plot .series path")).to_have_count(2)


@pytest.mark.parametrize(
    ("typed", "count"),
    [
        (CSV, 1),
        (f"1,0\n{REVERSED}\n", 1),
        (CSV.replace("\n", "\r\n"), 1),
        (CSV.replace(",", ";"), 1),
        (CSV.replace(",", " \t "), 1),
        (CSV.replace("0.5,", '"0.5",'), 1),
        (f"{CSV}\n\n{CSV}\n  \n\n{CSV}", 3),
        (f"\ufeff{CSV}", 1),
    ],
)
def test_a_typed_table_is_read_by_the_service(page: Page, typed: str, count: int) -> None:
    """The text is posted as it is, with the choices as query parameters, and the answer has the values to draw."""
    page.get_by_label("Importance of", exact=True).select_option("timesteps")
    with page.expect_response("**/predict?*") as response:
        ask(page, typed)
    request = response.value.request
    assert request.post_data == typed.removeprefix("\ufeff").replace("\r\n", "\n")
    assert request.headers["content-type"] == "text/csv"
    assert request.url.endswith("?model=after-lstm&importance=timesteps&inputs=true")
    predictions = response.value.json()["predictions"]
    assert [prediction["inputs"] for prediction in predictions] == [SEQUENCE] * count
    rows = values(page, "sequence-plot")
    shown = [[float(cell.replace("−", "-")) for cell in row[3:]] for row in rows]
    assert shown == SEQUENCE
    expect(page.locator("#sequence-plot .importance rect")).to_have_count(20)


def test_a_body_that_asks_for_no_inputs_is_answered(page: Page) -> None:
    """There is nothing to draw but the attention."""
    ask(page, json.dumps({"sequence": SEQUENCE, "inputs": False}))
    expect(page.locator("#sequence-plot .attention rect")).to_have_count(20)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "cp1252"])
def test_a_file_in_another_encoding_is_read(page: Page, encoding: str) -> None:
    """Spreadsheets write them; UTF-16 begins with a mark."""
    content = "Zürich;é\n".encode(encoding)
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    page.get_by_label("File…").set_input_files({"name": "table.csv", "mimeType": "text/csv", "buffer": mark + content})
    expect(text(page)).to_have_value("Zürich;é\n")


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
