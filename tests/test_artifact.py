"""A version's files are read whole, as they were published, and what is wrong with them is told."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from service.artifact import version as artifact_module
from service.artifact.layout import SUMS
from service.artifact.version import Artifact, saved_model_digest
from service.errors import ArtifactError


@pytest.fixture
def artifact(artifacts: Path, tmp_path: Path) -> Artifact:
    """A version of its own to break."""
    return Artifact(Path(shutil.copytree(artifacts / "after-lstm" / "1", tmp_path / "1")))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def names(artifacts: Path) -> list[str]:
    version = artifacts / "after-lstm" / "1"
    return sorted(path.relative_to(version).as_posix() for path in version.rglob("*") if path.is_file())


def test_the_digest_is_the_one_the_lowering_was_derived_from(artifact: Artifact) -> None:
    """The card and the files agree as training left them."""
    contents = artifact.read()
    lowering = contents.card().lowering
    assert lowering is not None
    assert saved_model_digest(contents.digests) == lowering.source_digest


@pytest.mark.parametrize(
    "file", ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
)
def test_any_change_to_the_saved_model_changes_its_digest(artifact: Artifact, file: str) -> None:
    """One flipped bit in any file that decides what it computes is seen."""
    before = saved_model_digest(artifact.digests())
    flip(artifact.directory / file)
    assert saved_model_digest(artifact.digests()) != before


def test_a_renamed_file_changes_the_digest(artifact: Artifact) -> None:
    """Names are part of what a SavedModel computes: TensorFlow finds its variables by them."""
    before = saved_model_digest(artifact.digests())
    index = artifact.directory / "variables" / "variables.index"
    index.rename(index.with_name("variables.other"))
    assert saved_model_digest(artifact.digests()) != before


def test_what_travels_beside_the_saved_model_leaves_its_digest_alone(artifact: Artifact) -> None:
    """The fingerprint is random, and the card holds the digest itself."""
    before = saved_model_digest(artifact.digests())
    (artifact.directory / "fingerprint.pb").write_bytes(b"other")
    artifact.card_path.write_text("{}")
    assert saved_model_digest(artifact.digests()) == before


def test_sha256sum_agrees_with_the_list(artifact: Artifact) -> None:
    """People can check a version with what every system has."""
    command = ["sha256sum", "--check", "--strict", "--quiet", SUMS]
    subprocess.run(command, cwd=artifact.directory, check=True)
    flip(artifact.golden_path)
    assert subprocess.run(command, cwd=artifact.directory, capture_output=True, check=False).returncode == 1


def test_every_file_is_what_was_published_or_is_named(artifact: Artifact, artifacts: Path) -> None:
    """Changed, emptied or gone: of each file of the version, the list itself included."""
    for name in names(artifacts):
        path = artifact.directory / name
        whole = path.read_bytes()
        flip(path)
        with pytest.raises(ArtifactError, match=path.name):
            artifact.read()
        path.write_bytes(b"")
        with pytest.raises(ArtifactError, match=path.name):
            artifact.read()
        path.unlink()
        with pytest.raises(ArtifactError, match=rf"{path.name} is missing"):
            artifact.read()
        path.write_bytes(whole)
        artifact.read()


def test_a_file_that_was_not_published_is_named_unless_it_lies_beside_the_model(artifact: Artifact) -> None:
    """TensorFlow prefers some names over saved_model.pb; in assets.extra it reads nothing."""
    (artifact.directory / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"requests")
    artifact.read()
    (artifact.directory / "saved_model.cpb").write_bytes(b"another model")
    with pytest.raises(ArtifactError, match=r"saved_model\.cpb was not published: .*SHA256SUMS does not list it"):
        artifact.read()


def test_a_link_may_lead_within_the_version_and_not_out_of_it(artifact: Artifact, tmp_path: Path) -> None:
    """Nobody's other files are read as a model's."""
    moved = artifact.card_path.rename(artifact.card_path.with_name("card-1.json"))
    artifact.card_path.symlink_to(moved.name)
    artifact.read()
    outside = Path(shutil.copy(moved, tmp_path / "card.json"))
    artifact.card_path.unlink()
    artifact.card_path.symlink_to(outside)
    with pytest.raises(ArtifactError, match=r"card\.json is a link that leads out of the version"):
        artifact.read()


@pytest.mark.parametrize("kind", ["pipe", "directory", "dangling link", "link to itself"])
def test_what_is_no_file_is_named_and_does_not_hang(artifact: Artifact, kind: str) -> None:
    """Opening a named pipe would wait for whoever writes to it."""
    artifact.card_path.unlink()
    match kind:
        case "pipe":
            os.mkfifo(artifact.card_path)
        case "directory":
            artifact.card_path.mkdir()
        case "dangling link":
            artifact.card_path.symlink_to("nowhere")
        case "link to itself":
            artifact.card_path.symlink_to(artifact.card_path.name)
    with pytest.raises(ArtifactError, match=r"card\.json is (not a file|missing)|card\.json cannot be read"):
        artifact.read()
    assert artifact.stamp() == artifact.stamp()


def test_what_is_too_large_is_named(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card of gigabytes is not read into memory, and a golden example not unpacked to them."""
    with artifact.card_path.open("ab") as card:
        card.truncate(2**24)
    with pytest.raises(ArtifactError, match=r"card\.json is too large: expected at most 8388608 bytes"):
        artifact.read()
    with (artifact.directory / "variables" / "variables.index").open("ab") as variables:
        variables.truncate(2**34)  # sparse
    with pytest.raises(ArtifactError, match=r"is too large: expected at most 1073741824 bytes"):
        artifact.read()
    (artifact.directory / "variables" / "variables.index").write_bytes(b"")
    artifact.card_path.write_text("{}")
    np.savez_compressed(artifact.golden_path, sequence=np.zeros(10**7, np.float32))
    artifact.write_sums()
    monkeypatch.setattr("service.artifact.golden.MOST_BYTES", 10**6)
    with pytest.raises(ArtifactError, match=r"golden\.npz is not a golden example: expected at most 1000000 bytes"):
        artifact.read().golden()


def test_a_version_of_very_many_files_is_refused(artifact: Artifact) -> None:
    """Looking at them again and again would be what hurts."""
    for number in range(artifact_module.MOST_FILES):
        (artifact.directory / "assets" / str(number)).touch()
    with pytest.raises(ArtifactError, match="has more than 1000 files and directories"):
        artifact.read()


def test_the_stamp_differs_once_a_file_does(artifact: Artifact) -> None:
    """And not before: what was rejected is tried again only then."""
    before = artifact.stamp()
    assert artifact.stamp() == before
    times = artifact.card_path.stat()
    flip(artifact.card_path)
    os.utime(artifact.card_path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as rsync would
    assert artifact.stamp() != before


@pytest.mark.parametrize("line", ["", "00  saved_model.pb", "text"])
def test_a_list_that_is_none_is_named_with_its_line(artifact: Artifact, line: str) -> None:
    """Half a list does not pass for a whole one."""
    lines = artifact.sums_path.read_text().splitlines()
    artifact.sums_path.write_text("\n".join([lines[0], line, *lines[1:]]))
    with pytest.raises(ArtifactError, match=r"SHA256SUMS line 2: expected '<SHA-256>  <file>', got"):
        artifact.read()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "card: Invalid JSON"),
        (b"{}", "name: Field required"),
        (b'{"name": 3}', "name: Input should be a valid string"),
        (b'{"name": "../x"}', "name: String should match pattern"),
        (b'{"name": ' + b"[" * 10**5, "card: Invalid JSON"),
    ],
)
def test_a_broken_card_is_named(artifact: Artifact, content: bytes, message: str) -> None:
    """The message names the file and the first field at fault."""
    artifact.card_path.write_bytes(content)
    artifact.write_sums()
    with pytest.raises(ArtifactError, match=rf"card\.json is not a valid card: {message}"):
        artifact.read().card()


def test_a_missing_part_is_named(artifact: Artifact) -> None:
    """Also where the list never had it."""
    artifact.card_path.unlink()
    artifact.golden_path.unlink()
    artifact.chart_path("svg").unlink()
    artifact.write_sums()
    contents = artifact.read()
    with pytest.raises(ArtifactError, match=r"card\.json is missing"):
        contents.card()
    with pytest.raises(ArtifactError, match=r"golden\.npz is missing"):
        contents.golden()
    with pytest.raises(ArtifactError, match=r"attention\.svg is missing"):
        contents.charts()


def test_the_golden_example_has_a_row_of_each_array_for_each_sequence(artifact: Artifact) -> None:
    """Shapes are those of the contract."""
    golden = artifact.read().golden()
    n = len(golden.sequence)
    assert golden.sequence.shape == (n, 20, 2)
    assert golden.prediction.shape == (n, 1)
    assert golden.attention_vec.shape == (n, 20, 32)


@pytest.mark.parametrize("damage", ["empty", "truncated", "not an archive", "lacks an array", "pickled", "float16"])
def test_a_damaged_golden_example_is_named(artifact: Artifact, damage: str) -> None:
    """Whatever happened to it, the message names the file; nothing in it is executed."""
    path = artifact.golden_path
    whole = path.read_bytes()
    match damage:
        case "empty":
            path.write_bytes(b"")
        case "truncated":
            path.write_bytes(whole[: len(whole) // 2])
        case "not an archive":
            path.write_bytes(b"text")
        case "lacks an array":
            np.savez(path, sequence=np.zeros(1))
        case "float16":
            half = np.zeros(1, np.float16)
            np.savez(path, sequence=half, prediction=half, attention_vec=half)
        case "pickled":
            np.savez(path, sequence=np.array([print], dtype=object), prediction=np.zeros(1), attention_vec=np.zeros(1))
    artifact.write_sums()
    with pytest.raises(ArtifactError, match=r"golden\.npz is not a golden example"):
        artifact.read().golden()


def test_a_version_that_is_a_link_out_of_the_folder_is_refused(artifacts: Path, tmp_path: Path) -> None:
    """A link to another version of the folder is read."""
    home = tmp_path / "artifacts" / "m"
    shutil.copytree(artifacts / "after-lstm" / "1", home / "1")
    (home / "2").symlink_to("1")
    (home / "3").symlink_to(artifacts / "after-lstm" / "1")
    assert Artifact(home / "2").read().card().name == "after-lstm"
    with pytest.raises(ArtifactError, match=r"artifacts/m/3 is a link that leads out of .*/artifacts$"):
        Artifact(home / "3").read()
