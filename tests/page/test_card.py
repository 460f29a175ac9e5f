"""The card of the model and its attention profile from training."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.page.actions import PROFILES, OpenPage, values, with_card
from tests.page.test_faithfulness import FAITHFULNESS
from tests.page.test_importance import CELLS, FEATURES
from tests.server import get


def test_the_card_describes_the_model(page: Page, served: str) -> None:
    """It shows the facts of `GET /model`, with the training options in the details."""
    card = get(f"{served}/model").json()
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    expect(page.get_by_role("heading", name="after-lstm, version 1")).to_be_visible()
    facts = page.locator("#card")
    for fact in ("one of 2 classes: 0, 1", "20 timesteps × 2 features", "after lstm", "accuracy", "ONNX Runtime"):
        expect(facts).to_contain_text(fact)
    expect(facts).to_contain_text(f"{card['training']['sequences']:,} sequences")
    expect(page).to_have_title("after-lstm · Attention service")
    more = page.locator("#card-more")
    expect(more).to_be_hidden()
    page.get_by_text("How it was trained").click()
    for fact in ("batch size", "keras", card["training"]["libraries"]["keras"]):
        expect(more).to_contain_text(fact)


def test_the_page_says_whether_the_model_is_good(page: Page, served: str) -> None:
    """The verdict is a fact. Below are metrics beside a baseline, scores of each class, and the confusion matrix."""
    judgement = get(f"{served}/model").json()["judgement"]
    assert judgement["beats_baseline"] is True
    expect(page.locator("#card")).to_contain_text(judgement["verdict"][1:])
    quality = page.locator("#quality")
    expect(quality).to_contain_text("The baseline always predicts the most frequent class.")
    rows = quality.get_by_role("region", name="Metrics and their baseline").locator("tbody tr")
    expect(rows).to_have_count(len(judgement["metrics"]))
    expect(rows.first).to_contain_text("accuracy")
    of_classes = quality.get_by_role("region", name="Classes").locator("tbody tr")
    expect(of_classes).to_have_count(2)
    expect(of_classes.last).to_contain_text(str(judgement["classes"][1]["support"]))
    cells = quality.get_by_role("region", name="Confusion matrix").locator("td")
    expect(cells).to_have_text([str(count) for row in judgement["confusion"] for count in row])
    right, wrong = cells.nth(0), cells.nth(1)
    shades = [cell.evaluate("cell => getComputedStyle(cell).backgroundColor") for cell in (right, wrong)]
    assert shades[0] != shades[1]


def test_the_losses_are_drawn(page: Page, served: str) -> None:
    """One line for each, over the epochs. A dashed line is at the best one."""
    training = get(f"{served}/model").json()["training"]
    history, best = training["history"], training["best_epoch"]
    expect(page.locator("#learning-plot .series path")).to_have_count(2)
    rows = values(page, "learning-plot")
    assert [row[0] for row in rows] == [str(epoch + 1) for epoch in range(len(history["loss"]))]
    assert [float(row[1]) for row in rows] == pytest.approx(history["loss"], rel=1e-2, abs=1e-4)
    place = page.locator("#learning-plot .axis-below .ticks line").nth(best - 1).get_attribute("x1")
    expect(page.locator("#learning-plot .mark line")).to_have_attribute("x1", place or "")
    expect(page.locator("#learning-text")).to_contain_text(f"The best epoch, {best}, is marked.")


def test_the_profile_from_training_is_drawn(page: Page, served: str) -> None:
    """Its values are bars with a marked peak, a description, a table, and a tooltip for pointer and keyboard."""
    profile = get(f"{served}/attention").json()
    chart = page.locator("#profile-plot")
    assert profile["peak"] == 10
    heights = chart.locator(".attention rect").evaluate_all("bars => bars.map(bar => bar.height.baseVal.value)")
    highest = max(profile["mean"])
    assert [height / max(heights) for height in heights] == pytest.approx(
        [mean / highest for mean in profile["mean"]], abs=1e-3
    )
    expect(chart.locator(".attention rect.picked")).to_have_count(1)
    expect(chart.locator(".attention rect").nth(10)).to_have_class("picked")
    expect(chart.locator(".importance rect")).to_have_count(20)
    expect(chart.locator(".whiskers path")).to_have_count(20)
    expect(chart.get_by_role("img")).to_have_accessible_name("Attention profile of after-lstm, version 1")
    expect(chart.get_by_role("img")).to_have_accessible_description(re.compile("falls on timestep 10"))
    expect(page.locator("#agreement")).to_contain_text("Most important: timestep 10")
    assert [row[0] for row in values(page, "profile-plot")] == profile["timestep_labels"]
    assert float(values(page, "profile-plot")[10][1]) == pytest.approx(highest, rel=1e-3)

    cursor = chart.get_by_role("slider")
    box = cursor.bounding_box()
    assert box is not None
    cursor.hover(position={"x": box["width"] * 10.5 / 20, "y": 5})
    expect(chart.locator(".tooltip")).to_contain_text("timestep 10")
    page.mouse.move(0, 0)
    expect(chart.locator(".tooltip")).to_be_hidden()
    cursor.focus()
    for key, timestep in (("Home", 0), ("ArrowRight", 1), ("End", 19), ("ArrowLeft", 18), ("PageDown", 8)):
        page.keyboard.press(key)
        expect(cursor).to_have_attribute("aria-valuenow", str(timestep))
        expect(cursor).to_have_attribute("aria-valuetext", re.compile(f"^timestep {timestep}: attention 0"))
        expect(chart.locator(".tooltip")).to_contain_text(f"timestep {timestep}")
    page.keyboard.press("Escape")
    expect(chart.locator(".tooltip")).to_be_hidden()


def test_captions_say_held_out_only_where_something_was(open_page: OpenPage) -> None:
    """After cross-validation, the version is fitted on all sequences that it is explained with."""
    fields: dict[str, Any] = {"feature_importance": FEATURES, "cell_importance": CELLS, "faithfulness": FAITHFULNESS}
    expect(open_page(prepare=with_card(**fields)).locator("#content")).to_contain_text("over 300 held-out sequences")
    folds = {"folds": 3, "metrics": {"accuracy": [0.9, 0.8, 1.0]}, "epochs": [1, 1, 1]}
    page = open_page(prepare=with_card(**fields, cross_validation=folds))
    for place, caption in {
        "#profile": "Mean over ",
        "#features-figure": "over 300 sequences.",
        "#cells-figure": "over 300 sequences.",
        "#faithfulness": "Measured on 200 sequences.",
        "#judged": "Over all sequences, each predicted by a model that was not fitted on it, with",
        "#card": "Metrics of 3 folds",
    }.items():
        expect(page.locator(place)).to_contain_text(caption)
    expect(page.locator("#content")).not_to_contain_text("eld-out")


def test_the_profile_of_each_seed_is_drawn(open_page: OpenPage) -> None:
    """Its weights are dots over the bars, inside the chart, and columns of the table."""
    profiles = [[0.5, *[0.5 / 19] * 19], [0.9, *[0.1 / 19] * 19]]
    page = open_page(prepare=with_card(repeats={"seeds": [3, 4], "profiles": profiles}))
    dots = page.locator("#profile-plot .seeds circle")
    expect(dots).to_have_count(40)
    tops = dots.evaluate_all("all => all.map(dot => dot.cy.baseVal.value)")
    assert tops[0] > tops[20] > 0
    expect(page.locator("#profile-plot .legend-key", has_text="each seed")).to_have_count(1)
    expect(page.locator("#profile-caption")).to_contain_text("The dots are the profiles of 2 seeds.")
    assert values(page, "profile-plot")[0][-2:] == ["0.5", "0.9"]
    expect(page.locator("#profile-plot thead")).to_contain_text("seed 3seed 4")
    page.locator("#profile-plot").get_by_role("slider").focus()
    page.keyboard.press("Home")
    expect(page.locator("#profile-plot .tooltip")).to_contain_text("each seed0.5 to 0.9")


def test_few_timesteps_are_named(open_page: OpenPage) -> None:
    """A tenth of long sequences would be a paragraph of numbers."""
    agreement = {"rank_correlation": 0.5, "top": list(range(12)), "attention": 0.6, "importance": 0.9}

    def prepare(page: Page) -> None:
        page.route(PROFILES, lambda route: route.fulfill(json=route.fetch().json() | {"agreement": agreement}))

    expect(open_page(prepare=prepare).locator("#agreement")).to_contain_text("timesteps 0, 1, 2, 3, 4 and 7 more, with")
