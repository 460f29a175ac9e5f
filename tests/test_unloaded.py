"""Tests of the names of unloaded models, in one process and in several."""

import os
import subprocess
from pathlib import Path

import pytest

from service.errors import Unavailable
from service.serving.unloaded import Unloaded


@pytest.mark.parametrize("several", [False, True])
def test_a_name_is_contained_from_add_until_discard(tmp_path: Path, *, several: bool) -> None:
    """Repeating either changes nothing."""
    unloaded = Unloaded(tmp_path if several else None)
    assert "three" not in unloaded
    for _ in range(2):
        unloaded.add("three")
        assert "three" in unloaded
    assert "four" not in unloaded
    for _ in range(2):
        unloaded.discard("three")
        assert "three" not in unloaded


def test_a_missing_folder_is_created(tmp_path: Path) -> None:
    """A clean-up of temporary files may have removed it."""
    unloaded = Unloaded(tmp_path / "shared")
    unloaded.add("three")
    assert "three" in unloaded


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """The model is then not unloaded in any process."""
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="the other processes cannot be notified"):
        Unloaded(tmp_path / "file").add("three")


def test_a_process_acknowledges_unloading_until_it_loads_again_or_ends(tmp_path: Path) -> None:
    """Its own acknowledgement does not count as elsewhere."""
    one = Unloaded(tmp_path)
    one.acknowledge("three", unloaded=True)
    assert not one.is_unloaded_elsewhere("three")
    with subprocess.Popen(["/bin/sleep", "60"]) as other:
        (tmp_path / f"three@{other.pid}").touch()
        assert one.is_unloaded_elsewhere("three")
        assert not one.is_unloaded_elsewhere("thre")
        other.kill()
    assert not one.is_unloaded_elsewhere("three")
    one.acknowledge("three", unloaded=False)
    assert not list(tmp_path.glob(f"*@{os.getpid()}"))


def test_processes_share_the_names(tmp_path: Path) -> None:
    """They share a folder."""
    one, other = Unloaded(tmp_path), Unloaded(tmp_path)
    one.add("three")
    assert "three" in other
    other.discard("three")
    assert "three" not in one
