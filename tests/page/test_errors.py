"""Errors in the input and errors of the service."""

import pytest
from playwright.sync_api import Page, Route, expect

from tests.page.actions import CSV, TEXT, ask, button, refused, text


@pytest.mark.parametrize(
    ("typed", "message", "marked", "line"),
    [
        # At a path in JSON, in each of its forms.
        (TEXT.replace("0.3,", "null,"), "sequence[3][0]: expected a finite number, got null", "null", 4),
        (TEXT.replace("[0.3, -1.5]", '[0.3, "a, ]\\" b"]'), "sequence[3][1]", '"a, ]\\" b"', 4),
        (TEXT.replace("[0.3, -1.5]", "[0.3]"), "sequence[3]: expected 2 features, got 1", "[0.3]", 4),
        (f"[{TEXT},\n{TEXT.replace('0.3,', '[[1], 2],')}]", "sequences[1][3][0]", "[[1], 2]", 24),
        (f'{{"attention": "mean", "sequence":\n{TEXT.replace("0.3,", "1e99,")}}}', "sequence[3][0]", "1e99", 5),
        (f'{{"sequences": [{TEXT}, [[1]]]}}', "sequences[1]: expected 20 timesteps, got 1", "[[1]]", 20),
        # Where the service stopped to read JSON.
        (TEXT.replace("0.3,", "0.3"), "expected JSON", "-", 4),
        (TEXT.replace("0.3,", "NaN,"), "expected JSON", "N", 4),
        (TEXT[:-1], "expected JSON", "]", 20),
        ('{"sequence": "\N{GRINNING FACE}" x}', "expected JSON", "x", 1),
        # In a line of a table.
        (CSV.replace("0.3,-1.5", "0.3,abc"), "line 4, column '1': expected a number, got \"abc\"", "0.3,abc", 4),
        ("0,1\n" + CSV.replace("0.3,", '"x, y",'), "line 5, column '0'", '"x, y",-1.5', 5),
        (CSV.replace("0.3,-1.5", "0.3,-1.5,7"), "line 4: expected 2 cells, got 3", "0.3,-1.5,7", 4),
        (f"{CSV}\n\n{CSV.replace('0.3,', ' 1e99 ,')}", "line 25, column '0'", " 1e99 ,-1.5", 25),
        (CSV.replace("0.3,", ","), "line 4, column '0': expected a number, got no value", ",-1.5", 4),
        # In a first line that is no line of names.
        (CSV.replace(CSV.split("\n")[0], "?,-", 1), "line 1: missing columns", "?,-", 1),
        (CSV.replace(CSV.split("\n")[0], "inf,-inf", 1), "line 1, column '0'", "inf,-inf", 1),
        (
            CSV.replace(CSV.split("\n")[0], "1,5,2.5", 1),
            "line 1: expected the names of columns, or a value of each feature (2)",
            "1,5,2.5",
            1,
        ),
    ],
)
def test_an_error_is_shown_and_marked(page: Page, typed: str, message: str, marked: str, line: int) -> None:
    """The message is the service's; the mark covers the element in the text."""
    found, before = refused(page, typed, message)
    assert found == marked
    assert before.count("\n") + 1 == line
    expect(page.locator("#problem")).to_contain_text(f"line {line}")
    assert page.locator("#problem").get_attribute("role") == "alert"
    text(page).press("End")
    page.keyboard.type(" ")
    expect(page.locator("#problem")).to_be_empty()
    expect(page.locator("#mark")).to_be_empty()
    ask(page, TEXT)


def test_the_mark_is_scrolled_into_view(page: Page) -> None:
    """The mark moves with the text."""
    refused(page, "[" + ",\n".join(["[0.1, -1.5]"] * 500) + ",\n[0.1, null]]", "expected 20 timesteps, got 501")
    steps = [" " * 300 + "[0.1, -1.5]"] * 20
    steps[19] = " " * 300 + "[0.1, null]"
    refused(page, "[" + ",\n".join(steps) + "]", "sequence[19][1]")
    inside = page.evaluate(
        """() => {
          const [mark, text] = [document.querySelector("#mark mark"), document.querySelector("#text")]
            .map((element) => element.getBoundingClientRect());
          const across = mark.left >= text.left && mark.right <= text.right;
          return across && mark.top >= text.top && mark.bottom <= text.bottom;
        }"""
    )
    assert inside


def test_an_error_without_a_place_has_no_mark(page: Page) -> None:
    """The message alone is shown."""
    text(page).fill('{"sequence": [[1]], "sequences": []}')
    button(page, "Ask").click()
    expect(page.locator("#problem")).to_contain_text("expected either 'sequence' or 'sequences', got both")
    expect(page.locator("#mark mark")).to_have_count(0)
    text(page).fill(" \n")
    button(page, "Ask").click()
    expect(page.locator("#problem")).to_contain_text("nothing to ask")


@pytest.mark.parametrize(
    ("status", "headers", "message"),
    [
        (429, {"Retry-After": "7"}, "Try again in 7 s: busy"),
        (503, {}, "No model can answer now: busy"),
        (504, {}, "The answer took too long: busy"),
        (413, {}, "busy"),
        (500, {}, "busy"),
        (None, {}, "The service cannot be reached"),
    ],
)
def test_a_failed_request_can_be_repeated(
    page: Page, status: int | None, headers: dict[str, str], message: str
) -> None:
    """The page shows why it failed, and the button works again."""

    def fail(route: Route) -> None:
        route.fulfill(status=status, headers=headers, json={"detail": "busy"}) if status else route.abort()

    page.route("**/predict?*", fail)
    text(page).fill(TEXT)
    button(page, "Ask").click()
    expect(page.locator("#problem")).to_contain_text(message)
    expect(button(page, "Ask")).to_have_attribute("aria-disabled", "false")
    page.unroute("**/predict?*")
    ask(page)
    expect(page.locator("#problem")).to_be_empty()
