"""The bar chart shows profile and importance, and does not change for the same card."""

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from service.artifact.card import AttentionProfile, CrossValidation, Importance, ModelCard, Repeats
from tests.samples import card
from training.profile_chart import draw_profile

PROFILE = AttentionProfile(sequences=1234, mean=(0.2, 0.7, 0.1), spread=(0.3, 0.1, 0.0), peak=1, sum_error=0)
LABELS = ("mon", "tue", "wed")
IMPORTANCE = Importance(metric="r2", drop=(0.5, 0.1, -0.1), spread=(0.0,) * 3, sequences=9, repetitions=1)
REPEATS = Repeats(
    seeds=(0, 1),
    metrics={},
    attention=(0.2, 0.7, 0.1),
    attention_spread=(0.0, 0.0, 0.0),
    importance=IMPORTANCE.drop,
    importance_spread=(0.0,) * 3,
)


def sales(**fields: Any) -> ModelCard:
    return card(**{"name": "sales", "timesteps": 3, "timestep_labels": LABELS, "attention": PROFILE, **fields})


def texts(drawn: ModelCard) -> list[str]:
    """Return all text of the chart."""
    root = ET.fromstring(draw_profile(drawn, "svg"))  # noqa: S314 - written a moment ago
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_the_svg_holds_labels_and_title() -> None:
    """Text in the SVG can be searched and read aloud."""
    written = texts(sales())
    assert set(LABELS) <= set(written)
    assert any("sales" in text and "1,234 held-out sequences" in text for text in written)


def test_the_profile_of_a_cross_validated_model_is_over_all_sequences() -> None:
    """The title does not call them held out."""
    validated = CrossValidation(folds=2, metrics={})
    assert not any("held-out" in text for text in texts(sales(cross_validation=validated)))
    assert any("held-out sequences" in text for text in texts(sales()))


def test_importance_stands_beside_attention() -> None:
    """A legend distinguishes the two; attention alone has no legend."""
    drawn = set(texts(sales(importance=IMPORTANCE)))
    assert "attention" in drawn
    assert any(text == "importance (r2 drops by up to 0.5)" for text in drawn)
    assert not any(text.startswith(("attention", "importance")) for text in texts(sales()))


def test_importance_that_never_drops_is_not_drawn() -> None:
    """There is no share of a total of 0."""
    nothing = IMPORTANCE.model_copy(update={"drop": (0.0, -0.1, 0.0)})
    assert not any("importance" in text for text in texts(sales(importance=nothing)))


def test_whiskers_are_over_the_seeds_where_there_are_several() -> None:
    """The title says whether the deviation is over sequences or seeds."""
    assert any("over the sequences" in text for text in texts(sales()))
    assert any("over 2 seeds" in text for text in texts(sales(repeats=REPEATS)))
    assert draw_profile(sales(), "png") != draw_profile(sales(repeats=REPEATS), "png")


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_the_same_card_draws_the_same_file(suffix: str) -> None:
    """The file contains no date and no random identifiers."""
    assert draw_profile(sales(importance=IMPORTANCE), suffix) == draw_profile(sales(importance=IMPORTANCE), suffix)


def test_many_timesteps_are_labelled_sparsely() -> None:
    """A thousand labels would overlap."""
    written = texts(card(name="long", timesteps=1000))
    assert "0" in written
    assert len(written) < 60


def test_dates_as_labels_do_not_overlap() -> None:
    """They stand upright, where each needs the width of a line, and long ones are cut."""
    days = tuple(f"2026-01-{day + 1:02}T00:00:00.000000+00:00" for day in range(20))
    drawn = draw_profile(card(name="days", timestep_labels=days), "svg").decode()
    assert drawn.count("rotate(-90") >= 20
    assert "2026-01-20T00:00:00.0000…" in drawn
    few = draw_profile(sales(), "svg").decode()
    assert few.count("rotate(-90") <= 1  # the name of the axis


def test_labels_in_any_script_are_drawn() -> None:
    """A character that no installed font has is a box in PNG, and itself in SVG."""
    drawn = sales(timestep_labels=("월요일", "화요일", "水曜日"))
    assert {"월요일", "화요일", "水曜日"} <= set(texts(drawn))
    assert draw_profile(drawn, "png").startswith(b"\x89PNG")
