"""Which models somebody asked to unload: in one process, and in several."""

import os
import subprocess
from pathlib import Path

import pytest

from service.errors import Unavailable
from service.serving.unloaded import Unloaded


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


def test_the_folder_may_be_cleaned_away(tmp_path: Path) -> None:
    """It is made again."""
    unloaded = Unloaded(tmp_path / "shared")
    unloaded.add("three")
    assert "three" in unloaded


def test_where_the_others_cannot_be_told_that_is_said(tmp_path: Path) -> None:
    """Rather than done in one process alone."""
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="the other processes cannot be told"):
        Unloaded(tmp_path / "file").add("three")


def test_a_process_says_what_it_has_done(tmp_path: Path) -> None:
    """Until it serves again, or ends; nobody waits for itself."""
    one = Unloaded(tmp_path)
    one.note("three", unloaded=True)
    assert not one.elsewhere("three")
    with subprocess.Popen(["/bin/sleep", "60"]) as other:
        (tmp_path / f"three@{other.pid}").touch()
        assert one.elsewhere("three")
        assert not one.elsewhere("thre")
        other.kill()
    assert not one.elsewhere("three")
    one.note("three", unloaded=False)
    assert not list(tmp_path.glob(f"*@{os.getpid()}"))


def test_processes_of_one_service_know_of_each_other(tmp_path: Path) -> None:
    """By the folder that they share."""
    one, other = Unloaded(tmp_path), Unloaded(tmp_path)
    one.add("three")
    assert "three" in other
    other.discard("three")
    assert "three" not in one
