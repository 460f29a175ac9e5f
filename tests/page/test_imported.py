"""The page about imported models."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from service.artifact.card import Tokens
from tests.imported import (
    ORIGIN,
    imported_card,
    numbers,
    of_numbers,
    of_steps,
    of_tokens,
    without_attention,
    write_imported,
)
from tests.page.actions import VIEWS, OpenPage, ask, predicted, refused, rows_of, take, values, with_card
from tests.page.test_faithfulness import FAITHFULNESS
from tests.server import serving
from tests.test_parts import SOURCES, UNITS
from tests.test_steps import SOURCES as STEP_SOURCES
from tests.test_steps import STEPS, TARGETS
from tests.test_tokens import GOLDEN, TIMESTEPS, VOCABULARY


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a service with imported models only."""
    folder: Path = tmp_path_factory.mktemp("imported")
    write_imported(folder, of_numbers(), imported_card("plain"), numbers())
    goods = imported_card("goods", feature_labels=("speed", "colour"), categories={"colour": ("red", "blue")})
    write_imported(folder, of_numbers(), goods, np.array([[[1, 0], [2, 1]] * 2] * 2, np.float32))
    for name, vocabulary in (("words", VOCABULARY), ("ids", None)):
        tokens = Tokens(least=0, most=9, vocabulary=vocabulary)
        shape: dict[str, Any] = {"timesteps": TIMESTEPS, "features": 1, "variable_length": True}
        write_imported(folder, of_tokens(), imported_card(name, tokens=tokens, **shape), GOLDEN)
    write_imported(folder, of_numbers(UNITS), imported_card("layers", attention_from=SOURCES), numbers())
    for name, target in TARGETS.items():
        card = imported_card(name, target=target, attention_from=STEP_SOURCES)
        write_imported(folder, of_steps(STEPS, target.outputs or 0), card, numbers())
    bare = imported_card("bare", attention=None, baseline=((0.0, 0.0),) * 4)
    write_imported(folder, without_attention(), bare, numbers())
    with serving("--artifacts", str(folder), "--model", "plain") as (url, _):
        yield url


def test_the_card_says_where_the_model_is_from(open_page: OpenPage) -> None:
    """There is no training to tell about; the model can be asked."""
    page = open_page()
    expect(page.locator("#card")).to_contain_text("Imported fromtheirs.onnx (ONNX)")
    expect(page.locator("#card")).not_to_contain_text("Trained on")
    page.get_by_text("More about it").click()
    expect(page.locator("#card-more")).to_contain_text(ORIGIN.digest)
    take(page, "Example")
    ask(page)
    expect(page.locator("#sequence-plot .attention rect")).to_have_count(4)
    ask(page, "1,2\n3,4\n5,6\n7,8")


def test_explanations_were_measured_on_examples(open_page: OpenPage) -> None:
    """Nothing was held out. A baseline is a typical value, and not always a mean."""
    fields: dict[str, Any] = {"metrics": {"accuracy": 1.0}, "faithfulness": FAITHFULNESS, "baseline": [[0.0, 0.0]] * 4}
    page = open_page(prepare=with_card(**fields))
    expect(page.locator("#card")).to_contain_text("Metrics on the examples")
    expect(page.locator("#profile-caption")).to_contain_text(re.compile("^Mean over [0-9]+ examples?; "))
    expect(page.locator("#faithfulness")).to_contain_text("Measured on 200 examples.")
    expect(page.locator("#content")).not_to_contain_text("eld-out")


def test_values_are_replaced_by_the_baseline(open_page: OpenPage) -> None:
    """It is a typical value: a mean, padding, or the commonest category. A version without one says so."""
    page = open_page("/?model=bare")
    expect(page.locator("#replacement option").first).to_have_text("a typical value")
    take(page, "Example")
    page.get_by_label("Importance of", exact=True).select_option("features")
    ask(page)
    expect(page.locator("#answer-features")).to_contain_text("replaced by a typical value (the card's baseline).")
    page.get_by_label("Model", exact=True).select_option("plain")
    expect(page.locator("#no-importance")).to_have_text(
        "The card of this version has no baseline, which importance needs."
    )


def test_words_are_written_below_the_bars(open_page: OpenPage) -> None:
    """They are typed as JSON or as CSV, and unknown ones are shown as the model has seen them."""
    page = open_page("/?model=words")
    expect(page.locator("#card")).to_contain_text("6 timesteps × 1 feature of integers from 0 to 9, or one of 10 words")
    for typed in ('["the", "cat", "hums"]', '[["the"], ["cat"], ["hums"]]', "the\ncat\nhums"):
        ask(page, typed)
        expect(page.locator("#sequence-plot .axis-below .numbers text")).to_have_text(["the", "cat", "[UNK]"])
        expect(page.locator("#sequence-plot .attention rect")).to_have_count(3)
    assert [row[:2] for row in values(page, "sequence-plot")] == [["0", "the"], ["1", "cat"], ["2", "[UNK]"]]
    ask(page, '[["the", "cat"], ["mat"]]')
    expect(rows_of(page)).to_have_count(2)
    rows_of(page).nth(1).click()
    expect(page.locator("#sequence-plot .axis-below .numbers text")).to_have_text(["mat"])


def test_categories_are_drawn_at_their_indices_with_their_names(open_page: OpenPage) -> None:
    """Both where an example has indices and where a table has names."""
    page = open_page("/?model=goods")
    heights = page.locator("#sequence-plot .series path")
    take(page, "Example")
    ask(page)
    assert [row[3] for row in values(page, "sequence-plot")] == ["red", "blue", "red", "blue"]
    drawn = heights.nth(1).get_attribute("d") or ""
    assert drawn.count("L") == 3
    ask(page, "colour,speed\nred,1\nblue,2\nred,1\nblue,2\n")
    expect(heights.nth(1)).to_have_attribute("d", drawn)
    page.get_by_role("slider").nth(1).focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#sequence-plot .tooltip")).to_contain_text("blue")


def test_tokens_without_words_are_written_as_numbers(open_page: OpenPage) -> None:
    """The buttons fill in tokens, and a wrong one is marked."""
    page = open_page("/?model=ids")
    for name in ("Example", "Random"):
        tokens = json.loads(take(page, name))
        ask(page)
        expect(page.locator("#sequence-plot .axis-below .numbers text")).to_have_text(list(map(str, tokens)))
    assert refused(page, "[2, 12]", "expected an integer from 0 to 9, got 12") == ("12", "[2, ")


def test_a_part_of_the_attention_can_be_chosen(open_page: OpenPage, served: str) -> None:
    """A layer offers its own axes; each choice asks again."""
    page = open_page("/?model=layers")
    take(page, "Example")
    ask(page)
    sequence = numbers()[0].tolist()

    def drawn(part: Any) -> None:
        (expected,) = predicted(f"{served}", "layers", sequence=sequence, attention=part)
        cursor = page.locator("#sequence-plot").get_by_role("slider")
        expect(cursor).to_have_attribute("aria-valuetext", re.compile(f"attention {expected['attention'][0]:.4g}"))

    drawn("mean")
    page.get_by_label("head", exact=True).select_option("3")
    drawn({"head": 3})
    page.get_by_label("layer", exact=True).select_option("0 (first)")
    expect(page.get_by_label("head", exact=True).get_by_role("option")).to_have_text(["all", "0", "1"])
    drawn({"layer": 0})
    page.get_by_label("query", exact=True).select_option("2")
    drawn({"layer": 0, "query": 2})
    expect(page.locator("#result")).to_contain_text("The attention is that of layer 0 (first), query 2.")
    page.goto("/?model=plain")
    expect(page.locator("#parts")).to_be_hidden()


@pytest.mark.parametrize("name", TARGETS)
def test_the_attention_of_each_output_step_is_a_row(open_page: OpenPage, served: str, name: str) -> None:
    """A row has the prediction of its step; a click draws its attention over the sequence."""
    page = open_page(f"/?model={name}")
    take(page, "Example")
    ask(page)
    (expected,) = predicted(served, name, sequence=numbers()[0].tolist(), attention="full")
    rows = page.get_by_role("listbox", name="Output steps").get_by_role("option")
    expect(rows).to_have_count(STEPS)
    table = page.locator("#prediction tbody tr")
    expect(table).to_have_count(STEPS)
    for step in range(STEPS):
        label = expected["label"][step] if "label" in expected else f"{expected['prediction'][step][0]:.4g}"
        for shown in (rows.nth(step), table.nth(step)):
            expect(shown).to_contain_text(", ".join(label) if isinstance(label, list) else label.replace("-", "−"))
    cursor = page.locator("#sequence-plot").get_by_role("slider")
    mean = sum(expected["attention"][0]) / STEPS
    expect(cursor).to_have_attribute("aria-valuetext", re.compile(f"attention {mean:.4g}"))
    rows.nth(2).click()
    expect(cursor).to_have_attribute("aria-valuetext", re.compile(f"attention {expected['attention'][0][2]:.4g}"))
    take(page, "Several")
    ask(page)
    expect(page.get_by_role("listbox", name="Sequences answered").get_by_role("option")).to_have_count(5)


def test_a_model_without_attention_is_shown_with_its_importance(open_page: OpenPage) -> None:
    """There is no profile, and nothing live. Another model that is selected then has both."""
    page = open_page("/?model=bare")
    expect(page.locator("#no-attention")).to_be_visible()
    for absent in ("#profile", "#live", "#parts"):
        expect(page.locator(absent)).to_be_hidden()
    take(page, "Example")
    page.get_by_label("Importance of", exact=True).select_option("timesteps")
    ask(page)
    expect(page.locator("#sequence-plot .importance rect")).to_have_count(4)
    expect(page.locator("#sequence-plot .attention rect")).to_have_count(0)
    expect(page.locator("#result")).to_contain_text("The sequence. One line per feature. Importance: how far")
    page.get_by_label("Model", exact=True).select_option("plain")
    expect(page.locator("#live")).to_be_visible()
    expect(page.locator("#profile")).to_be_visible()
    expect(page.locator("#no-attention")).to_be_hidden()


@pytest.mark.parametrize("name", ["words", "layers", "multiclass", "bare"])
@pytest.mark.parametrize("view", ["light", "narrow"])
def test_axe_finds_no_violation(open_page: OpenPage, name: str, view: str) -> None:
    """The page also fits the width of the screen, with the answer to several sequences."""
    page = open_page(f"/?model={name}", bypass_csp=True, reduced_motion="reduce", **VIEWS[view])
    take(page, "Several")
    ask(page)
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
