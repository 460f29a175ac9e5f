"""Tables: the file that trained a model is read by the names of its columns."""

import csv
import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.page.actions import OpenPage, ask, refused
from tests.server import post
from tests.tables import OPTIONS

LEFT_OUT = {"visits": "note, outcome", "meter": "id, season", "machine": "wear"}


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
    assert response.value.json()["predictions"] == [
        {
            "prediction": pytest.approx(row["prediction"], abs=1e-6),
            "attention": pytest.approx(row["attention"], abs=1e-6),
        }
        | ({"label": row["label"]} if "label" in row else {})
        for row in expected
    ]
    left_out = ", ".join(LEFT_OUT[name].split(", ")[::order])
    expect(page.locator("#summary")).to_contain_text(f"40 sequences answered by {name}")
    expect(page.locator("#summary")).to_contain_text(f"Columns left out: {left_out}.")


def test_rows_are_grouped_and_ordered(open_page: OpenPage) -> None:
    """The rows of a sequence need not stand together. A sequence ends with its last value."""
    page = open_page("/?model=visits")
    with page.expect_request("**/predict?*") as request:
        ask(page, "day;temperature [C];pulse;patient\n10;36;70;b\n9;37;;b\n1;38;71;a\n2;39;72;a\n3;;NA;a\n")
    assert json.loads(request.value.post_data or "") == {"sequences": [[[None, 37], [70, 36]], [[71, 38], [72, 39]]]}


@pytest.mark.parametrize(
    ("name", "typed", "message", "marked"),
    [
        ("visits", "pulse,warmth\n70,36\n", "missing “temperature [C]”; unknown “warmth”", "pulse,warmth"),
        ("visits", "a,b\n70,36\n", "missing “pulse”, “temperature [C]”; unknown “a”, “b”", "a,b"),
        ("visits", "pulse,temperature [C],pulse\n70,36,70\n", "repeated “pulse”", "pulse,temperature [C],pulse"),
        ("visits", "pulse,temperature [C]\n70,36\n71\n", "Expected 2 cells in a row, got 1.", "71"),
        ("meter", "0:00,1:00,2:00,3:00,4:00\n1,2,3,4,5\n", "missing “5:00”", "0:00,1:00,2:00,3:00,4:00"),
        ("machine", "torque@t0\n1\n", "missing “speed@t0”, “torque@t1”, “speed@t1”", "torque@t0"),
        # The service finds these.
        ("visits", "temperature [C],pulse\n36,70\n37,x\n", "sequence[1][0]: expected a finite number", "x"),
        ("meter", "5:00,4:00,3:00,2:00,1:00,0:00\n6,5,4,3,2,x\n", "sequence[0][0]: expected a finite number", "x"),
    ],
)
def test_a_wrong_table_is_refused(open_page: OpenPage, name: str, typed: str, message: str, marked: str) -> None:
    """The message names the columns, and the mark is at the first line or at the cell."""
    found, _ = refused(open_page(f"/?model={name}"), typed, message)
    assert found == marked


@pytest.mark.parametrize("first", ["18.01.2026", "05.01.2026"])
def test_times_that_the_page_cannot_order_are_refused(open_page: OpenPage, first: str) -> None:
    """In the order of the file, the model would answer for another sequence. Browsers guess the month of a date."""
    page = open_page("/?model=visits")
    typed = f"day;temperature [C];pulse;patient\n{first};36;70;b\n04.02.2026;37;;b\n"
    assert refused(page, typed, "This page orders rows by numbers, or by dates such as 2026-01-31")[0] == first


def test_rows_of_numbers_have_no_names(open_page: OpenPage) -> None:
    """The first line of a model's features may be its timesteps' names, which are numbers."""
    page = open_page("/?model=after-lstm")
    with page.expect_request("**/predict?*") as request:
        ask(page, "0,1\n" * 20)
    assert json.loads(request.value.post_data or "") == {"sequence": [[0, 1]] * 20}
