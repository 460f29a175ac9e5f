"""A version's files are read whole, and what is wrong with them is told."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from service.errors import ArtifactError
from service.inference.artifact import Artifact


@pytest.fixture
def artifact(artifacts: Path, tmp_path: Path) -> Artifact:
    """A version of its own to break."""
    return Artifact(Path(shutil.copytree(artifacts / "after-lstm" / "1", tmp_path / "1")))


def test_the_digest_is_the_one_the_lowering_was_derived_from(artifact: Artifact) -> None:
    """The card and the files agree as training left them."""
    lowering = artifact.read().card().lowering
    assert lowering is not None
    assert artifact.saved_model_digest() == lowering.source_digest


@pytest.mark.parametrize(
    "file", ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
)
def test_any_change_to_the_saved_model_changes_its_digest(artifact: Artifact, file: str) -> None:
    """One flipped bit in any file that decides what it computes is seen."""
    before = artifact.saved_model_digest()
    path = artifact.directory / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert artifact.saved_model_digest() != before


def test_a_renamed_file_changes_the_digest(artifact: Artifact) -> None:
    """Names are part of what a SavedModel computes: TensorFlow finds its variables by them."""
    before = artifact.saved_model_digest()
    index = artifact.directory / "variables" / "variables.index"
    index.rename(index.with_name("variables.other"))
    assert artifact.saved_model_digest() != before


def test_what_travels_beside_the_saved_model_leaves_its_digest_alone(artifact: Artifact) -> None:
    """The fingerprint is random, and the card holds the digest itself."""
    before = artifact.saved_model_digest()
    (artifact.directory / "fingerprint.pb").write_bytes(b"other")
    artifact.card_path.write_text("{}")
    assert artifact.saved_model_digest() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "card: Invalid JSON"),
        (b"{}", "name: Field required"),
        (b'{"name": 3}', "name: Input should be a valid string"),
    ],
)
def test_a_broken_card_is_named(artifact: Artifact, content: bytes, message: str) -> None:
    """The message names the file and the first field at fault."""
    artifact.card_path.write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"card\.json is not a valid card: {message}"):
        artifact.read().card()


def test_a_missing_file_is_named(artifact: Artifact) -> None:
    """The message names the file."""
    artifact.card_path.unlink()
    artifact.golden_path.unlink()
    with pytest.raises(ArtifactError, match=r"card\.json cannot be read: No such file"):
        artifact.read().card()
    with pytest.raises(ArtifactError, match=r"golden\.npz cannot be read: No such file"):
        artifact.read().golden()


def test_the_golden_example_has_a_row_of_each_array_for_each_sequence(artifact: Artifact) -> None:
    """Shapes are those of the contract."""
    golden = artifact.read().golden()
    n = len(golden.sequence)
    assert golden.sequence.shape == (n, 20, 2)
    assert golden.prediction.shape == (n, 1)
    assert golden.attention_vec.shape == (n, 20, 32)


@pytest.mark.parametrize("damage", ["empty", "truncated", "not an archive", "lacks an array", "pickled"])
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
        case "pickled":
            np.savez(path, sequence=np.array([print], dtype=object), prediction=np.zeros(1), attention_vec=np.zeros(1))
    with pytest.raises(ArtifactError, match=r"golden\.npz is not a golden example"):
        artifact.read().golden()
