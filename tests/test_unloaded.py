"""Tests of the names of unloaded models, in one process and in several."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from service.errors import Unavailable
from service.serving.shared_table import file_name
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


@pytest.mark.parametrize("name", ["live", "failed", "m" * 255])
def test_a_model_may_have_any_name(tmp_path: Path, name: str) -> None:
    """It is no path in the shared folder, and may be as long as the name of a directory."""
    unloaded = Unloaded(tmp_path / "unloaded")
    for folder in ("live", "unloaded/live"):
        (tmp_path / folder).mkdir(parents=True)
    assert name not in unloaded
    unloaded.add(name)
    unloaded.acknowledge(name, unloaded=True)
    assert name in unloaded
    assert {path.name for path in tmp_path.iterdir()} == {"live", "unloaded"}


def test_an_unloaded_model_stays_unloaded_if_the_folder_is_deleted(tmp_path: Path) -> None:
    """A process that runs writes the file again, for processes that start later."""
    one, other = Unloaded(tmp_path / "shared"), Unloaded(tmp_path / "shared")
    one.add("three")
    assert "three" in other
    shutil.rmtree(tmp_path / "shared")
    assert "three" in one
    assert "three" in other
    (tmp_path / "shared").mkdir()
    other.acknowledge("three", unloaded=True)
    assert "three" in Unloaded(tmp_path / "shared")
    one.discard("three")
    other.acknowledge("three", unloaded=True)  # it has not loaded the model yet
    assert "three" not in other


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
        (tmp_path / f"{file_name('three')}@{other.pid}").touch()
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
