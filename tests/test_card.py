"""The model card keeps its content, and refuses contradictions."""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from service.artifact.card import CellImportance, FeatureImportance, ModelCard, Target
from service.problems import in_plain_words
from tests.placeholder import complete_card

FEATURES = {"metric": "accuracy", "drop": [0.1], "spread": [0.1], "sequences": 9, "repetitions": 1}
CELLS = {"metric": "accuracy", "drop": [[0.1, 0.1]], "sequences": 9, "repetitions": 1}


@pytest.fixture
def card() -> dict[str, Any]:
    """A complete card as parsed JSON."""
    return complete_card().model_dump(mode="json")


def test_a_card_survives_the_way_through_json(card: dict[str, Any]) -> None:
    """The service reads the card that training writes."""
    written = complete_card()
    assert ModelCard.model_validate_json(written.model_dump_json()) == written
    assert ModelCard.model_validate(card) == written


def test_a_field_of_a_newer_training_program_is_ignored(card: dict[str, Any]) -> None:
    """An older service reads a newer card."""
    ModelCard.model_validate({**card, "from_the_future": 1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timestep_labels": ["0"]}, "timestep_labels: expected 4 entries, got 1"),
        ({"feature_labels": ["a", "b", "c"]}, "feature_labels: expected 2 entries, got 3"),
        ({"timesteps": 0}, "greater than or equal to 1"),
        ({"baseline": [[0.0, 0.0]] * 3}, "baseline: expected 4 entries, got 3"),
        ({"baseline": [[0.0, 0.0]] * 3 + [[0.0]]}, r"baseline\[3\]: expected 2 entries, got 1"),
        ({"baseline": [[0.0, float("nan")]] * 4}, "should be a finite number"),
        ({"baseline": [[0.0, 1e39]] * 4}, "less than or equal to 3402823"),
        ({"feature_importance": FEATURES}, r"feature_importance\.drop: expected 2 entries, got 1"),
        ({"cell_importance": CELLS}, "cell_importance.drop: expected 4 entries, got 1"),
        ({"cell_importance": {**CELLS, "drop": [[0.1]] * 4}}, r"drop\[0\]: expected 2 entries, got 1"),
        ({"created": "2026-01-01T00:00:00"}, "should have timezone info"),
    ],
)
def test_a_card_that_contradicts_itself_is_refused(card: dict[str, Any], change: dict[str, Any], message: str) -> None:
    """The message names the field, and has the expected and the actual value."""
    with pytest.raises(ValidationError, match=message):
        ModelCard.model_validate({**card, **change})


def numbers_in(value: Any, *place: str | int) -> Iterator[tuple[str | int, ...]]:
    """Yield the place of each number in parsed JSON."""
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers_in(one, *place, key)
    elif type(value) in (int, float):
        yield place


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "1e300", "1" + "0" * 400])
def test_a_number_that_is_infinite_or_overflows_is_refused(card: dict[str, Any], number: str) -> None:
    """Metrics and charts of all models would fail otherwise. The message names the field."""
    del card["training"]["options"]["seed"]  # options are shown, and nothing more
    places = list(numbers_in(card))
    assert len(places) > 50
    for *parents, last in places:
        changed = copy.deepcopy(card)
        parent: Any = changed
        for part in parents:
            parent = parent[part]
        parent[last] = "number"
        with pytest.raises(ValidationError) as caught:
            ModelCard.model_validate_json(json.dumps(changed).replace('"number"', number))
        (problem,) = caught.value.errors()
        assert problem["loc"] == (*parents, last)
        assert re.search(
            r"expected .*, got (-?Infinity|NaN|1e\+300|an integer of 1329 bits)$", in_plain_words(problem, "")
        )


def test_the_most_important_timesteps_are_those_of_the_model(card: dict[str, Any]) -> None:
    """A timestep beyond the last is refused."""
    with pytest.raises(ValidationError, match=r"agreement.top: expected timesteps below 4, got 4"):
        ModelCard.model_validate({**card, "agreement": {**card["agreement"], "top": [4]}})


@pytest.mark.parametrize(
    ("part", "field"),
    [("attention", "mean"), ("attention", "spread"), ("importance", "drop"), ("importance", "spread")],
)
def test_a_profile_has_an_entry_for_each_timestep(card: dict[str, Any], part: str, field: str) -> None:
    """A profile of another length belongs to another model."""
    with pytest.raises(ValidationError, match=rf"{part}\.{field}: expected 4 entries, got 1"):
        ModelCard.model_validate({**card, part: {**card[part], field: [1.0]}})


def test_each_seed_has_a_profile_of_all_timesteps(card: dict[str, Any]) -> None:
    """A shorter profile is refused, and earlier versions have none."""
    repeats = card["repeats"]
    with pytest.raises(ValidationError, match=r"repeats\.profiles\[1\]: expected 4 entries, got 1"):
        ModelCard.model_validate({**card, "repeats": {**repeats, "profiles": [repeats["attention"], [1.0]]}})
    del repeats["profiles"]
    assert getattr(ModelCard.model_validate(card).repeats, "profiles", None) == ()


def test_the_results_of_an_order_have_an_entry_for_each_fraction(card: dict[str, Any]) -> None:
    """The message names the order."""
    card["faithfulness"]["fractions"].append(1.0)
    with pytest.raises(ValidationError, match="comprehensiveness of attention: expected 3 entries, got 2"):
        ModelCard.model_validate(card)


def test_shares_are_of_the_sum_of_positive_drops() -> None:
    """A metric that rises by chance counts as 0, and one that never drops has no shares."""
    features = FeatureImportance.model_validate({**FEATURES, "drop": (0.3, -0.1, 0.1)})
    assert features.mass == pytest.approx((0.75, 0, 0.25))
    cells = CellImportance.model_validate({**CELLS, "drop": ((0.3, -0.1), (0.1, 0.0))})
    assert np.array(cells.mass) == pytest.approx(np.array([[0.75, 0], [0.25, 0]]))
    assert CellImportance.model_validate({**CELLS, "drop": ((0.0, -0.1),)}).mass is None


def test_the_peak_is_the_highest_timestep(card: dict[str, Any]) -> None:
    """Another peak is refused."""
    with pytest.raises(ValidationError, match=r"attention.peak: expected 2, the highest of attention.mean, got 3"):
        ModelCard.model_validate({**card, "attention": {**card["attention"], "peak": 3}})


@pytest.mark.parametrize(
    ("task", "classes"),
    [
        ("binary", None),
        ("binary", ["a", "b", "c"]),
        ("multiclass", ["a", "b"]),
        ("multilabel", ["a"]),
        ("regression", ["a", "b"]),
    ],
)
def test_classes_fit_the_task(task: str, classes: list[str] | None) -> None:
    """A target with the wrong number of classes is refused."""
    with pytest.raises(ValidationError, match=f"a {task} target has"):
        Target.model_validate({"task": task, "classes": classes})
