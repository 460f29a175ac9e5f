"""The plan of a fit follows from the number of sequences, except where a person decides."""

import pytest

from training.options import Options
from training.plan import Plan


def test_synthetic_data_has_the_original_plan() -> None:
    """One epoch of batches of 128, and Adam with a constant step size, however many sequences there are."""
    expected = Plan(1, 128, 0.001, decay=False, patience=None, validation_split=0.1)
    assert Plan.of(Options(), 300_000) == Plan.of(Options(sequences=20), 20) == expected


@pytest.mark.parametrize(
    ("sequences", "epochs", "batch_size", "patience", "validation_split"),
    [
        (1, 150, 16, None, 0),
        (67, 150, 16, None, 0),
        (300, 150, 16, 30, 0.1),
        (10_000, 28, 64, 5, 0.1),
        (1_000_000, 10, 128, 5, 0.1),
    ],
)
def test_the_plan_suits_the_number_of_sequences(
    sequences: int, epochs: int, batch_size: int, patience: int | None, validation_split: float
) -> None:
    """More sequences have fewer epochs and larger batches; few sequences have no validation data."""
    expected = Plan(epochs, batch_size, 0.003, decay=True, patience=patience, validation_split=validation_split)
    assert Plan.of(Options(data="mine.csv"), sequences) == expected


def test_options_that_a_person_gave_are_kept() -> None:
    """A given learning rate is constant, and given epochs end early only on request."""
    given = {"epochs": 7, "batch_size": 5, "learning_rate": 0.1, "validation_split": 0.3}
    plan = Plan.of(Options(data="mine.csv", **given), 300)
    assert plan == Plan(7, 5, 0.1, decay=False, patience=None, validation_split=0.3)
    assert Plan.of(Options(data="mine.csv", patience=3), 50).validation_split == 0.1
    assert Plan.of(Options(data="mine.csv", patience=3), 50).patience == 3
