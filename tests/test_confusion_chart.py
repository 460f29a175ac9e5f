"""The chart of the confusion matrix shows classes and counts, and does not change for the same card."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from service.artifact.card import ModelCard, Target
from tests.placeholder import complete_card
from tests.samples import card
from training.confusion_chart import draw_confusion


def judged(classes: int, name: str = "class {}") -> ModelCard:
    """Return a card of some classes, each predicted 90 + i times as itself and 7 times as the next one."""
    counts = np.diag(np.arange(90, 90 + classes)) + 7 * np.roll(np.eye(classes, dtype=int), 1, axis=1)
    names = tuple(name.format(i) for i in range(classes))
    judgement = complete_card().judgement
    assert judgement is not None
    judgement = judgement.model_copy(update={"confusion": tuple(map(tuple, counts.tolist()))})
    return card(target=Target(task="multiclass", classes=names), judgement=judgement)


def texts(drawn: ModelCard) -> list[str]:
    """Return all text of the chart."""
    svg = draw_confusion(drawn, "svg")
    assert svg is not None
    root = ET.fromstring(svg)  # noqa: S314 - written a moment ago
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_classes_and_counts_are_written() -> None:
    """Each class has a label on both axes, and each cell that is not empty its count."""
    written = texts(judged(3))
    assert {"class 0", "class 1", "class 2", "true class", "predicted class"} <= set(written)
    assert written.count("class 1") == 2
    assert [text for text in written if text.isdigit()] == ["90", "7", "91", "7", "7", "92"]
    assert "m: 294 held-out sequences" in written


def test_many_classes_have_fewer_labels_and_no_counts() -> None:
    """They would overlap. Long names are cut."""
    written = texts(judged(100, "a name that is much too long {}"))
    assert len(written) < 90
    assert max(map(len, written)) < 30


def test_numbers_and_older_cards_have_no_chart() -> None:
    """There is nothing to draw without a confusion matrix."""
    judgement = complete_card().judgement
    assert judgement is not None
    assert draw_confusion(card(), "svg") is None
    assert draw_confusion(card(judgement=judgement.model_copy(update={"confusion": None})), "png") is None


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_the_same_card_draws_the_same_file(suffix: str) -> None:
    """The file contains no date and no random identifiers."""
    assert draw_confusion(judged(3), suffix) == draw_confusion(judged(3), suffix)


def test_names_in_any_script_are_drawn() -> None:
    """An installed font that lacks them does not end the training."""
    assert "한국 1" in texts(judged(3, "한국 {}"))
    assert draw_confusion(judged(3, "한국 {}"), "png") is not None
