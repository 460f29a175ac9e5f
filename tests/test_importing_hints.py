"""Hints on imported models."""

import numpy as np
import pytest

from service.artifact.card import Target
from training.importing.distributions import QUERY, Distribution
from training.importing.feeding import Feeding
from training.importing.hints import hints_on_attention, hints_on_classes, hints_on_length
from training.importing.interpretation import Interpretation
from training.importing.reading import Reading


def interpretation(*units: int) -> Interpretation:
    """Return a model with sources of so many units over 6 timesteps."""
    sources = tuple(
        Distribution(f"source {place}", (8, count, 6), 2, 1, {QUERY: count}, np.full((count, 8, 6), 1 / 6))
        for place, count in enumerate(units)
    )
    return Interpretation(Feeding((), 6), Reading("out", Target(task="regression", names=("y",)), ()), sources)


def test_sources_with_more_units_weigh_more() -> None:
    """The hint has the number of each; equal ones need none."""
    (hint,) = hints_on_attention(interpretation(1, 12))
    assert "mean over 13 units, of which source 0 has 1, source 1 has 12" in hint
    assert not list(hints_on_attention(interpretation(12, 12)))


def test_one_length_has_its_reason() -> None:
    """The hint says what padding changes, and with which value."""
    (hint,) = hints_on_length(interpretation(1), "attention on padding is up to 0.1, expected 0", 0.0)
    assert hint == "every sequence has 6 timesteps, as attention on padding is up to 0.1, expected 0 (filled up with 0)"
    assert not list(hints_on_length(interpretation(1), None, 0.0))


@pytest.mark.parametrize(
    ("classes", "accuracy", "examples", "expected"),
    [(2, 0.1, 20, True), (2, 0.3, 20, False), (2, 0.1, 19, False), (4, 0.1, 20, True), (4, 0.13, 20, False)],
)
def test_an_accuracy_far_below_chance(classes: int, accuracy: float, examples: int, expected: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A hint asks for the order of the classes; a few examples show nothing."""
    target = Target(task="binary" if classes == 2 else "multiclass", classes=tuple("abcd"[:classes]))
    hints = list(hints_on_classes(target, {"accuracy": accuracy}, examples))
    assert [hint.endswith("is the order of the classes right?") for hint in hints] == [True] * expected
