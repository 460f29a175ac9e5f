"""A version is read only if its files are the published ones; errors name the file and the fault."""

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from service.artifact import version
from service.artifact.layout import SUMS, open_beneath
from service.artifact.version import Artifact, saved_model_digest
from service.errors import ArtifactError
from tests.placeholder import FEATURES, TIMESTEPS, UNITS, mount, remount, write_version


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    """Write a version to damage."""
    return write_version(tmp_path / "artifacts" / "m" / "1")


def flip(path: Path) -> None:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "file", ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
)
def test_any_change_to_the_saved_model_changes_its_digest(artifact: Artifact, file: str) -> None:
    """One bit of a file that decides the outputs is enough."""
    before = saved_model_digest(artifact.digests())
    flip(artifact.directory / file)
    assert saved_model_digest(artifact.digests()) != before


def test_a_renamed_file_changes_the_digest(artifact: Artifact) -> None:
    """TensorFlow finds variables by file name."""
    before = saved_model_digest(artifact.digests())
    index = artifact.directory / "variables" / "variables.index"
    index.rename(index.with_name("variables.other"))
    assert saved_model_digest(artifact.digests()) != before


def test_files_beside_the_saved_model_do_not_change_its_digest(artifact: Artifact) -> None:
    """The fingerprint is random, and the card holds the digest."""
    before = saved_model_digest(artifact.digests())
    (artifact.directory / "fingerprint.pb").write_bytes(b"other")
    artifact.card_path.write_text("{}")
    assert saved_model_digest(artifact.digests()) == before


def test_sha256sum_agrees_with_the_list(artifact: Artifact) -> None:
    """People can check a version with a standard tool."""
    command = ["sha256sum", "--check", "--strict", "--quiet", SUMS]
    subprocess.run(command, cwd=artifact.directory, check=True)
    flip(artifact.golden_path)
    assert subprocess.run(command, cwd=artifact.directory, capture_output=True, check=False).returncode == 1


def test_a_file_that_is_changed_empty_or_missing_is_named(artifact: Artifact) -> None:
    """Each file of the version is checked, including the list."""
    paths = sorted(path for path in artifact.directory.rglob("*") if path.is_file())
    assert len(paths) == 10
    for path in paths:
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


def test_an_unpublished_file_is_refused_outside_assets_extra(artifact: Artifact) -> None:
    """TensorFlow prefers some names over saved_model.pb, and reads nothing in assets.extra."""
    (artifact.directory / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"requests")
    artifact.read()
    (artifact.directory / "saved_model.cpb").write_bytes(b"another model")
    with pytest.raises(ArtifactError, match=r"saved_model\.cpb was not published: .*SHA256SUMS does not list it"):
        artifact.read()


def test_a_link_out_of_the_version_is_refused(artifact: Artifact, tmp_path: Path) -> None:
    """A link within the version is read."""
    moved = artifact.card_path.rename(artifact.card_path.with_name("card-1.json"))
    artifact.card_path.symlink_to(moved.name)
    artifact.read()
    outside = Path(shutil.copy(moved, tmp_path / "card.json"))
    artifact.card_path.unlink()
    artifact.card_path.symlink_to(outside)
    with pytest.raises(ArtifactError, match=r"card\.json is a link that leads out of the version"):
        artifact.read()


@pytest.mark.parametrize("kind", ["pipe", "directory", "dangling link", "link to itself"])
def test_an_entry_that_is_no_file_is_refused(artifact: Artifact, kind: str) -> None:
    """Opening a named pipe would block until another process writes to it."""
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


def test_a_file_that_is_too_large_is_refused(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large card is not read, and a large golden example is not unpacked."""
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
    np.savez_compressed(artifact.golden_path, sequence=np.zeros(10**6, np.float32))
    artifact.write_sums()
    monkeypatch.setattr("service.artifact.golden.MOST_BYTES", 10**5)
    with pytest.raises(ArtifactError, match=r"golden\.npz is not a golden example: expected at most 100000 bytes"):
        artifact.read().golden()


def test_a_golden_example_of_very_many_arrays_is_refused_before_it_is_read(artifact: Artifact) -> None:
    """The directory of the archive could take seconds and gigabytes."""
    with zipfile.ZipFile(artifact.golden_path, "a") as archive:
        for number in range(400):
            archive.writestr(f"{number}.npy", b"")
    artifact.write_sums()
    with pytest.raises(
        ArtifactError, match=r"golden\.npz is not a golden example: expected 3 arrays, got 403 in a dir"
    ):
        artifact.read().golden()


@pytest.mark.parametrize("kind", ["comment", "locator"])
def test_an_archive_that_may_hide_another_directory_is_refused(artifact: Artifact, kind: str) -> None:
    """Readers could find a directory of another size."""
    whole = artifact.golden_path.read_bytes()
    if kind == "comment":
        artifact.golden_path.write_bytes(whole[:-2] + b"\4\0text")
    else:
        artifact.golden_path.write_bytes(whole[:-22] + b"PK\6\7".ljust(20, b"\0") + whole[-22:])
    artifact.write_sums()
    with pytest.raises(ArtifactError, match="expected an archive that NumPy wrote"):
        artifact.read().golden()


def test_a_card_of_very_many_values_is_refused_before_it_is_parsed(artifact: Artifact) -> None:
    """Values take more memory than their text."""
    content = artifact.card_path.read_text()
    artifact.card_path.write_text(content.replace('"seed":0', f'"seed":[{"{}," * version.MOST_VALUES}{{}}]'))
    artifact.write_sums()
    with pytest.raises(ArtifactError, match=r"card\.json has too many values: expected at most 524288"):
        artifact.read().card()


def test_a_version_of_very_many_files_is_refused(artifact: Artifact) -> None:
    """The number of files is limited, as the service looks at them again and again."""
    for number in range(version.MOST_FILES):
        (artifact.directory / "assets" / str(number)).touch()
    with pytest.raises(ArtifactError, match="has more than 1000 files and directories"):
        artifact.read()


def test_the_stamp_changes_when_a_file_changes(artifact: Artifact) -> None:
    """A refused version is read again only after a change."""
    before = artifact.stamp()
    assert artifact.stamp() == before
    times = artifact.card_path.stat()
    flip(artifact.card_path)
    os.utime(artifact.card_path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as rsync does
    assert artifact.stamp() != before


@pytest.mark.parametrize("line", ["", "00  saved_model.pb", "text"])
def test_an_invalid_line_of_the_list_is_named(artifact: Artifact, line: str) -> None:
    """A damaged list is refused as a whole."""
    lines = artifact.sums_path.read_text().splitlines()
    artifact.sums_path.write_text("\n".join([lines[0], line, *lines[1:]]))
    with pytest.raises(ArtifactError, match=r"SHA256SUMS line 2: expected '<SHA-256>  <file>', got"):
        artifact.read()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "card: expected JSON, got"),
        (b"{}", "name: expected a value, got none"),
        (b'{"name": 3}', "name: expected a string, got 3"),
        (b'{"name": "../x"}', "name: expected letters a to z, digits"),
        (b'{"name": ' + b"[" * 10**5, "card: expected JSON, got"),
    ],
)
def test_an_invalid_card_is_refused(artifact: Artifact, content: bytes, message: str) -> None:
    """The message names the file and the first invalid field."""
    artifact.card_path.write_bytes(content)
    artifact.write_sums()
    with pytest.raises(ArtifactError, match=rf"card\.json is not a valid card: {message}"):
        artifact.read().card()


def test_a_missing_part_is_named(artifact: Artifact) -> None:
    """Each part of the contract is required, even if the list does not have it."""
    artifact.card_path.unlink()
    artifact.golden_path.unlink()
    artifact.write_sums()
    contents = artifact.read()
    with pytest.raises(ArtifactError, match=r"card\.json is missing"):
        contents.card()
    with pytest.raises(ArtifactError, match=r"golden\.npz is missing"):
        contents.golden()


def test_the_golden_example_has_the_shapes_of_the_contract(artifact: Artifact) -> None:
    """Each array has a row for each sequence."""
    golden = artifact.read().golden()
    assert golden.sequence.shape == (5, TIMESTEPS, FEATURES)
    assert golden.prediction.shape == (5, 1)
    assert golden.outputs["attention_vec"].shape == (5, TIMESTEPS, UNITS)
    assert golden.sizes == {"timesteps": TIMESTEPS, "features": FEATURES, "outputs": 1, "units": UNITS}


@pytest.mark.parametrize("damage", ["empty", "truncated", "not an archive", "lacks an array", "pickled", "float16"])
def test_a_damaged_golden_example_is_refused(artifact: Artifact, damage: str) -> None:
    """The message names the file, and nothing in it is executed."""
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


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("sequence", (5, 4), r"expected sequence of shape \(batch, timesteps, features\), got \(5, 4\)"),
        ("prediction", (5,), r"expected prediction of shape \(5, outputs\), got \(5,\)"),
        ("prediction", (4, 1), r"expected prediction of shape \(5, outputs\), got \(4, 1\)"),
        ("attention_vec", (5, 3, 3), r"expected attention_vec of shape \(5, 4, units\), got \(5, 3, 3\)"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(
    artifact: Artifact, name: str, shape: tuple[int, ...], message: str
) -> None:
    """Arrays agree on the size of an axis that they share."""
    with np.load(artifact.golden_path) as golden:
        arrays = dict(golden)
    arrays[name] = np.zeros(shape, np.float32)
    np.savez(artifact.golden_path, **arrays)
    artifact.write_sums()
    with pytest.raises(ArtifactError, match=message):
        artifact.read().golden()


def test_files_are_read_through_links_of_a_volume(artifact: Artifact) -> None:
    """Kubernetes mounts a ConfigMap or a Secret as links to a hidden directory. Its update is a change."""
    plain = artifact.read()
    mount(artifact.directory, "..2026_11_27")
    assert artifact.read() == plain
    before = artifact.stamp()
    assert artifact.stamp() == before
    remount(artifact.directory, "..2026_11_28")
    assert artifact.read() == plain
    assert artifact.stamp() != before


def test_a_volume_may_be_part_of_a_version(artifact: Artifact) -> None:
    """Each directory may be a volume of its own."""
    mount(artifact.directory / "variables", "..2026_11_27")
    mount(artifact.directory / "assets.extra", "..2026_11_27")
    artifact.read()


def test_a_linked_directory_may_have_any_name(artifact: Artifact) -> None:
    """Its files are published by the names of the link. Other files beside them are refused."""
    (artifact.directory / "variables").rename(artifact.directory / "weights")
    (artifact.directory / "variables").symlink_to("weights")
    artifact.read()
    (artifact.directory / "weights" / "other").touch()
    with pytest.raises(ArtifactError, match=r"(weights|variables)/other was not published"):
        artifact.read()


def test_another_name_of_a_published_file_is_refused(artifact: Artifact) -> None:
    """TensorFlow prefers some names over saved_model.pb."""
    (artifact.directory / "saved_model.cpb").symlink_to("saved_model.pb")
    with pytest.raises(ArtifactError, match=r"saved_model\.cpb was not published"):
        artifact.read()


@pytest.mark.parametrize("target", [".", "..", "assets", "loop"])
def test_a_linked_directory_that_is_endless_or_lies_outside_is_refused(artifact: Artifact, target: str) -> None:
    """Links to each other are found, too."""
    (artifact.directory / "variables" / "loop").symlink_to(artifact.directory / target)
    if target == "assets":
        (artifact.directory / "assets" / "back").symlink_to("../variables")
    expected = "out of the version" if target == ".." else "to a directory that it lies in"
    with pytest.raises(ArtifactError, match=rf"is a link (that leads )?{expected}|is not a file"):
        artifact.read()
    assert artifact.stamp() == artifact.stamp()


@pytest.mark.parametrize("kind", ["pipe", "device", "link", "linked directory", "larger", "endless"])
def test_an_entry_that_replaces_a_listed_file_is_not_read(
    artifact: Artifact, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes after the files are listed, and before this one is opened. Another file's digest is not shown."""
    index = artifact.directory / "variables" / "variables.index"
    size = index.stat().st_size
    outside = Path(shutil.copytree(index.parent, tmp_path / "outside"))
    (outside / index.name).write_bytes(b"s" * size)

    def replace(folder: str, path: str, flags: int) -> int:
        if path.endswith(SUMS):
            match kind:
                case "pipe":
                    index.unlink()
                    os.mkfifo(index)
                case "device" | "link":
                    index.unlink()
                    index.symlink_to("/dev/zero" if kind == "device" else outside / index.name)
                case "linked directory":
                    index.parent.rename(tmp_path / "away")
                    index.parent.symlink_to(outside)
                case "larger" | "endless":
                    os.truncate(index, size + 1 if kind == "larger" else 2**40)
        return open_beneath(folder, path, flags)

    monkeypatch.setattr(version, "open_beneath", replace)
    with pytest.raises(ArtifactError, match=r"variables\.(index|data-00000-of-00001) cannot be read: "):
        artifact.read()


@pytest.mark.parametrize("kind", ["pipe", "device", "link"])
def test_an_entry_that_replaces_a_file_after_reading_is_not_copied(
    artifact: Artifact, tmp_path: Path, kind: str
) -> None:
    """The SavedModel is copied for TensorFlow when everything else is checked."""
    contents = artifact.read()
    index = artifact.directory / "variables" / "variables.index"
    outside = Path(shutil.copy(index, tmp_path / "outside"))
    index.unlink()
    if kind == "pipe":
        os.mkfifo(index)
    else:
        index.symlink_to("/dev/zero" if kind == "device" else outside)
    with pytest.raises(ArtifactError, match=r"variables\.index cannot be read: "):
        contents.write_saved_model(tmp_path / "copy")


def test_linked_directories_count_each_time(artifact: Artifact) -> None:
    """Links that double the files at each level end at the limit."""
    for level in range(12):
        directory = artifact.directory / "assets" / str(level)
        directory.mkdir()
        (directory / "a").symlink_to(f"../{level + 1}")
        (directory / "b").symlink_to(f"../{level + 1}")
    (artifact.directory / "assets" / "12").mkdir()
    with pytest.raises(ArtifactError, match="has more than 1000 files and directories"):
        artifact.read()


def test_a_version_that_is_a_link_out_of_the_folder_is_refused(artifact: Artifact, tmp_path: Path) -> None:
    """A link to another version of the folder is read."""
    home = artifact.directory.parent
    (home / "2").symlink_to("1")
    assert Artifact(home / "2").read().card().name == "m"
    outside = write_version(tmp_path / "other" / "m" / "1")
    (home / "3").symlink_to(outside.directory)
    with pytest.raises(ArtifactError, match=r"artifacts/m/3 is a link that leads out of .*/artifacts$"):
        Artifact(home / "3").read()
