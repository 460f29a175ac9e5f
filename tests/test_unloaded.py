"""Which models somebody asked to unload: in one process, and in several."""

from pathlib import Path

import pytest

from service.inference.unloaded import Unloaded


@pytest.mark.parametrize("several", [False, True])
def test_a_name_is_there_from_when_it_is_added_until_it_is_discarded(tmp_path: Path, *, several: bool) -> None:
    """Twice over changes nothing."""
    unloaded = Unloaded(tmp_path if several else None)
    assert "three" not in unloaded
    for _ in range(2):
        unloaded.add("three")
        assert "three" in unloaded
    assert "four" not in unloaded
    for _ in range(2):
        unloaded.discard("three")
        assert "three" not in unloaded


def test_processes_of_one_service_know_of_each_other(tmp_path: Path) -> None:
    """By the folder that they share."""
    one, other = Unloaded(tmp_path), Unloaded(tmp_path)
    one.add("three")
    assert "three" in other
    other.discard("three")
    assert "three" not in one
