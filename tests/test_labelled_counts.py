"""Counts by labels, over several processes."""

from pathlib import Path

from service.serving.labelled_counts import LONGEST, OTHER, LabelledCounts


def counts(folder: Path | None, rows: int = 8) -> LabelledCounts:
    return LabelledCounts(2, 1, rows, folder, "counts")


def test_processes_add_up_and_a_successor_goes_on_counting(tmp_path: Path) -> None:
    """A row is found again by its labels, numbers among them."""
    one, two = counts(tmp_path), counts(tmp_path)
    one["a", 200][0] += 1
    two["b", 404][0] += 2
    two["a", 200][0] += 4
    expected = {("a", 200): [5.0], ("b", 404): [2.0], (OTHER, OTHER): [0.0]}
    assert one.totals() == two.totals() == expected
    del two
    successor = counts(tmp_path)
    successor["b", 404][0] += 1
    assert one.totals() == {**expected, ("b", 404): [3.0]}
    assert len(list(tmp_path.iterdir())) == 2


def test_a_full_table_counts_the_rest_together() -> None:
    """Nothing is lost, and neither the table nor the dictionary grows."""
    full = counts(None, rows=3)
    for number in range(10):
        full["a", number][0] += 1
    full["b" * LONGEST, 1][0] += 1
    assert full.totals() == {("a", 0): [1.0], ("a", 1): [1.0], (OTHER, OTHER): [9.0]}
    assert len(full) == 3
