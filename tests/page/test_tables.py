"""Tables: the service reads them, and the page draws what it read."""

import csv
import re
import shlex
from io import StringIO
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.page.actions import OpenPage, ask, button, refused, rows_of, values
from tests.page.test_saving import saved
from tests.server import post
from tests.tables import OPTIONS


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("order", [1, -1])
def test_the_table_of_the_training_is_read(
    open_page: OpenPage, served: str, tabular: Path, name: str, order: int
) -> None:
    """The answers are those of the service to the same file, whatever the order of the columns."""
    text = (tabular / f"{name}.csv").read_text()
    rows = [row[::order] for row in csv.reader(text.splitlines())]
    typed = "\n".join(",".join(f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row) for row in rows)
    url = f"{served}/predict?model={name}"
    expected = post(url, content=text, headers={"Content-Type": "text/csv"}).json()["predictions"]
    page = open_page(f"/?model={name}")
    with page.expect_response("**/predict?*") as response:
        ask(page, typed)
    predictions = response.value.json()["predictions"]
    assert len(predictions) == 40
    for prediction, row in zip(predictions, expected, strict=True):
        assert prediction["prediction"] == pytest.approx(row["prediction"], abs=1e-6)
        assert prediction["attention"] == pytest.approx(row["attention"], abs=1e-6)
        assert (prediction.get("label"), prediction.get("key")) == (row.get("label"), row.get("key"))
    expect(page.locator("#summary")).to_contain_text(f"40 sequences answered by {name}")


def test_sequences_have_the_names_of_the_table(open_page: OpenPage) -> None:
    """They are grouped and ordered by the service; the answer, the heat map and its file say which is which."""
    page = open_page("/?model=visits")
    ask(page, "day;temperature [C];pulse;patient\n10;36;70;b\n9;37;;b\n1;38;71;a\n2;39;72;a\n3;;NA;a\n")
    expect(page.locator("#summary")).to_contain_text("Sequence 1 (b): ")
    rows_of(page).nth(1).click()
    expect(page.locator("#result-name")).to_have_text("Sequence 2 (a)")
    expect(rows_of(page).nth(1)).to_have_accessible_name(re.compile(r"^Sequence 2 \(a\): "))
    assert [row[2:] for row in values(page, "sequence-plot")] == [["–", "–"], ["71", "38"], ["72", "39"]]
    _, *saved_rows = csv.reader(StringIO(saved(page, "heat-map", "CSV").read_text("utf-8-sig")))
    assert [row[0] for row in saved_rows] == ["b", "a"]


@pytest.mark.parametrize(
    ("name", "typed", "message", "marked"),
    [
        (
            "visits",
            "pulse,warmth\n70,36\n",
            "missing column 'temperature [C]'; unknown column 'warmth'",
            "pulse,warmth",
        ),
        ("visits", "pulse,temperature [C],pulse\n70,36,70\n", "repeated column", "pulse,temperature [C],pulse"),
        ("visits", "pulse,temperature [C]\n70,36\n71\n", "line 3: expected 2 cells, got 1", "71"),
        ("meter", "0:00,1:00,2:00,3:00,4:00\n1,2,3,4,5\n", "missing column '5:00'", "0:00,1:00,2:00,3:00,4:00"),
        ("visits", "temperature [C],pulse\n36,70\n37,x\n", "line 3, column 'pulse': expected a number", "37,x"),
        ("meter", "5:00,4:00,3:00,2:00,1:00,0:00\n6,5,4,3,2,x\n", "line 2, column '0:00'", "6,5,4,3,2,x"),
        (
            "visits",
            "day,temperature [C],pulse\n18.01.2026,36,70\nsoon,37,71\n",
            "line 2, column 'day'",
            "18.01.2026,36,70",
        ),
    ],
)
def test_a_wrong_table_is_refused(open_page: OpenPage, name: str, typed: str, message: str, marked: str) -> None:
    """The message is that of the service, and its line is marked."""
    page = open_page(f"/?model={name}")
    found, _ = refused(page, typed, message)
    assert found == marked
    expect(page.locator("#problem p")).to_have_count(1)  # it has the line


def test_the_curl_command_posts_the_table(open_page: OpenPage) -> None:
    """It is the request that the page sent, with its query parameters and its quotes."""
    page = open_page("/?model=visits", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_label("Importance of", exact=True).select_option("features")
    with page.expect_response("**/predict?*") as response:
        ask(page, "patient,pulse,temperature [C]\nO'Neill,70,36\nO'Neill,71,37\n")
    button(page, "Copy").click()
    expect(page.locator("#copied")).to_have_text("Copied.")
    _, _, url, _, header, _, body = shlex.split(page.evaluate("navigator.clipboard.readText()"))
    name, _, value = header.partition(": ")
    assert post(url, content=body, headers={name: value}).json() == response.value.json()
