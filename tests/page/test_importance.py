"""Importance of timesteps and features, on the card and in an answer."""

import json
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.page.actions import PROFILES, SEQUENCE, TEXT, OpenPage, ask, predicted, reds, take, text, values, with_card

FEATURES = {"metric": "accuracy", "drop": [0.4, -0.01], "spread": [0.02, 0.01], "sequences": 300, "repetitions": 3}
CELLS = {
    "metric": "accuracy",
    "drop": [[0.4 if t == 10 else 0.0, 0.001 * t] for t in range(20)],
    "sequences": 300,
    "repetitions": 1,
    "groups": None,
}


def read(cell: str) -> float:
    """Return the number that the page shows."""
    return float(cell.replace("×10", "e").translate(str.maketrans("−⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "--0123456789")))


def test_the_card_shows_what_matters(open_page: OpenPage) -> None:
    """Bars for features, and a heat map of features by timesteps, whose darkest cell is the most important."""
    page = open_page(prepare=with_card(feature_importance=FEATURES, cell_importance=CELLS))
    expect(page.locator("#features-plot .importance rect")).to_have_count(2)
    expect(page.locator("#features-plot").get_by_role("img")).to_have_accessible_description("Most important: 0.")
    expect(page.locator("#features-caption")).to_contain_text(
        "over 300 held-out sequences. Whiskers are ±1 standard deviation over 3 repetitions."
    )
    rows = values(page, "features-plot")
    assert [[row[0], read(row[1]), read(row[2])] for row in rows] == [["0", 0.4, 0.02], ["1", -0.01, 0.01]]
    first, second = reds(page.locator("#cells-plot .shades image"))
    assert first.index(min(first)) == 10
    assert min(first) < min(second)
    cells = page.locator("#cells-plot")
    expect(cells.get_by_role("img")).to_have_accessible_description("Most important: 0, timestep 10.")
    cells.get_by_role("slider").focus()
    page.keyboard.press("End")
    expect(cells.locator(".tooltip")).to_contain_text("timestep 19")
    expect(cells.locator(".tooltip .value").first).to_contain_text("0.019")


def test_bars_and_shades_begin_at_the_lowest_value(open_page: OpenPage) -> None:
    """A drop may be negative: its bar goes down from 0, and its shade is lighter than that of 0."""
    importance = {"metric": "accuracy", "drop": [-0.1] * 10 + [0.2] * 10, "spread": [0.0] * 20}
    features = {**FEATURES, "drop": [-0.1, 0.2], "spread": [0.0, 0.1]}
    cells = {**CELLS, "drop": [[-0.1, 0.0]] * 10 + [[0.2, 0.1]] * 10}

    def prepare(page: Page) -> None:
        with_card(feature_importance=features, cell_importance=cells)(page)
        change = lambda route: route.fulfill(json=route.fetch().json() | {"importance": importance})  # noqa: E731
        page.route(PROFILES, change)

    page = open_page(prepare=prepare)
    for chart, (down, up) in {"features-plot": (0, 1), "profile-plot": (0, 10)}.items():
        bars = page.locator(f"#{chart} .importance rect").evaluate_all(
            "all => all.map(({ y, height }) => [y.baseVal.value, height.baseVal.value])"
        )
        (top, height), (other_top, other_height) = bars[down], bars[up]
        assert other_height == pytest.approx(2 * height, rel=1e-3)
        assert height > 10
        assert top == pytest.approx(other_top + other_height, abs=1e-3)
    first, second = reds(page.locator("#cells-plot .shades image"))
    assert first[0] > second[0] > second[10] > first[10]
    expect(page.locator("#cells-plot .legend-key")).to_have_text("drop of accuracy, from −0.1 to 0.2")


def test_a_long_table_is_cut(open_page: OpenPage) -> None:
    """The browser would take seconds for more rows. The file has all of them."""
    labels, drop = [str(t) for t in range(1500)], [[0.0, 0.1]] * 1500
    names: dict[str, Any] = {"feature_labels": [str(f) for f in range(30)], "timestep_labels": labels}
    page = open_page(prepare=with_card(cell_importance={**CELLS, "drop": [one * 15 for one in drop]}, **names))
    rows = values(page, "cells-plot")
    assert len(rows) == 20_000 // 31
    expect(page.locator("#cells-plot")).to_contain_text(f"Rows shown: the first {len(rows)}. The CSV has all.")


def test_a_card_without_importance_of_features_has_no_such_charts(open_page: OpenPage) -> None:
    """Earlier versions have none."""
    page = open_page(prepare=with_card(feature_importance=None, cell_importance=None))
    expect(page.locator("#matters")).to_be_hidden()


@pytest.mark.parametrize(
    ("choice", "parts"),
    [("timesteps", {"steps"}), ("features", {"features"}), ("both", {"steps", "features", "cells"})],
)
def test_an_answer_has_the_importance_that_is_asked_for(page: Page, served: str, choice: str, parts: set[str]) -> None:
    """Its numbers are those of the service."""
    text(page).fill(TEXT)
    page.get_by_label("Importance of", exact=True).select_option(choice)
    ask(page)
    (expected,) = predicted(served, sequence=SEQUENCE, importance=choice)
    expect(page.locator("#sequence-plot .importance rect")).to_have_count(20 if "steps" in parts else 0)
    expect(page.locator("#answer-features")).to_be_visible(visible="features" in parts)
    expect(page.locator("#answer-cells")).to_be_visible(visible="cells" in parts)
    if "features" in parts:
        rows = values(page, "answer-features-plot")
        assert [read(row[1]) for row in rows] == pytest.approx(expected["feature_importance"], rel=1e-2, abs=1e-6)
    if "cells" in parts:
        shown = [[read(cell) for cell in row[1:]] for row in values(page, "answer-cells-plot")]
        assert shown == [pytest.approx(row, rel=1e-2, abs=1e-6) for row in expected["cell_importance"]]


def test_values_can_come_from_other_sequences(page: Page, served: str) -> None:
    """The caption says what replaces the values."""
    text(page).fill(TEXT)
    expect(page.get_by_label("Values replaced by")).to_be_hidden()
    page.get_by_label("Importance of", exact=True).select_option("features")
    page.get_by_label("Values replaced by").select_option("marginal")
    ask(page)
    (expected,) = predicted(served, sequence=SEQUENCE, importance="features", replacement="marginal")
    rows = values(page, "answer-features-plot")
    assert [read(row[1]) for row in rows] == pytest.approx(expected["feature_importance"], rel=1e-2, abs=1e-6)
    expect(page.locator("#answer-features")).to_contain_text("when values come from other sequences")


def test_the_caption_says_what_a_typed_body_replaces_values_by(page: Page) -> None:
    """The choices of the form do not count then."""
    body = {"sequence": SEQUENCE, "importance": "features", "replacement": "marginal"}
    ask(page, json.dumps(body))
    expect(page.locator("#answer-features")).to_contain_text("when values come from other sequences")


def test_several_sequences_are_explained_when_all_at_once_take_too_many_runs(page: Page, served: str) -> None:
    """All are answered, and each is explained when it is selected."""
    sequences = json.loads(take(page, "Several"))
    page.get_by_label("Importance of", exact=True).select_option("both")
    page.get_by_label("Values replaced by").select_option("marginal")
    page.get_by_label("with faithfulness").check()
    ask(page)
    expect(page.locator("#explained")).to_contain_text("each sequence is explained when it is selected")
    rows = page.get_by_role("listbox", name="Sequences answered").get_by_role("option")
    expect(rows).to_have_count(32)
    for index in (0, 4):
        rows.nth(index).click()
        expect(page.locator("#answer-features")).to_be_visible()
        title = f"Importance of each feature in sequence {index + 1}"
        expect(page.locator("#answer-features-plot").get_by_role("img")).to_have_accessible_name(title)
        asked: dict[str, Any] = {"importance": "both", "replacement": "marginal", "faithfulness": True}
        (expected,) = predicted(served, sequence=sequences[index], **asked)
        shown = [read(row[1]) for row in values(page, "answer-features-plot")]
        assert shown == pytest.approx(expected["feature_importance"], rel=1e-2, abs=1e-6)
        expect(page.locator("#answer-faithfulness tbody tr")).to_have_count(2)
    page.get_by_label("Importance of", exact=True).select_option("features")
    page.get_by_label("with faithfulness").uncheck()
    ask(page)
    expect(page.locator("#explained")).to_be_empty()


@pytest.mark.parametrize("numbers", [[5.0, 0.5], [5.0]])
def test_several_numbers_count_in_units_of_their_deviations(open_page: OpenPage, numbers: list[float]) -> None:
    """A move of 0.2 deviations is drawn tall. A single number moves in its own unit: 0.2 of 1,000 is small."""

    def move(route: Route) -> None:
        answer: Any = route.fetch().json()
        prediction = numbers if len(numbers) > 1 else numbers[0]
        answer["predictions"][0] |= {"prediction": prediction, "feature_importance": [0.2, 0.0]}
        route.fulfill(json=answer)

    scaling = {
        "mean": [0, 0],
        "deviation": [1, 1],
        "target_mean": [0, 0],
        "target_deviation": [1000, 1][: len(numbers)],
    }
    training = {"options": {}, "libraries": {}, "sequences": 1, "parameters": 1, "seconds": 0, "scaling": scaling}
    target = {"task": "regression", "classes": None, "names": ["a", "b"][: len(numbers)], "steps": None}
    page = open_page(prepare=with_card(target=target, training=training, judgement=None))
    page.route("**/predict?*", move)
    page.get_by_label("Importance of", exact=True).select_option("features")
    ask(page, TEXT)
    bars, tall = page.locator("#answer-features-plot .importance rect"), len(numbers) > 1
    assert (bars.first.evaluate("bar => bar.height.baseVal.value") > 80) is tall
    units = page.locator("#answer-features").get_by_text("in units of its standard deviation")
    expect(units).to_be_visible(visible=tall)


def test_noise_looks_small(open_page: OpenPage) -> None:
    """The scales of importance end at a twentieth or above, however small all values are."""

    def tiny(route: Route) -> None:
        answer: Any = route.fetch().json()
        answer["predictions"][0] |= {"importance": [0.001] * 20, "feature_importance": [0.001, 0.0005]}
        route.fulfill(json=answer)

    noise = {**FEATURES, "drop": [0.001, 0.0005], "spread": [0.0, 0.0]}
    page = open_page(
        prepare=with_card(feature_importance=noise, cell_importance={**CELLS, "drop": [[0.001, 0.0]] * 20})
    )
    page.route("**/predict?*", tiny)
    page.get_by_label("Importance of", exact=True).select_option("both")
    ask(page, TEXT)
    for chart in ("features-plot", "answer-features-plot", "sequence-plot"):
        heights = page.locator(f"#{chart} .importance rect").evaluate_all(
            "all => all.map(bar => bar.height.baseVal.value)"
        )
        assert 0 < max(heights) < 0.05 * 160, chart
    cells = [shade for row in reds(page.locator("#cells-plot .shades image")) for shade in row]
    assert max(cells) - min(cells) < 10
