""".npz files are read correctly, or refused with a clear message."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.tables.sequences import MOST_COLUMNS
from training import TrainingError
from training.data import SourceData
from training.sources import arrays

X = np.zeros((10, 4, 2))
Y = np.arange(10) % 2


def read(path: Path, **content: Any) -> SourceData:
    np.savez(path / "data.npz", **content)
    return arrays.read({f"--data {path / 'data.npz'}": path / "data.npz"})


def test_arrays_are_read_as_they_are(tmp_path: Path) -> None:
    """Values become float32; features and timesteps without names get numbers."""
    x = np.random.default_rng(0).random((10, 4, 2))
    sequences = read(tmp_path, x=x, y=Y)
    np.testing.assert_array_equal(sequences.x[:], x.astype(np.float32))
    np.testing.assert_array_equal(sequences.labels, Y)
    assert sequences.timestep_labels == ("0", "1", "2", "3")
    assert sequences.feature_labels == ("0", "1")
    assert sequences.label_names == ("target",)
    assert sequences.fitted is None


def test_names_come_from_the_file(tmp_path: Path) -> None:
    """The file may name features, timesteps and numbers to predict."""
    names = {"feature_names": ["a", "b"], "timestep_labels": [1, 2, 3, 4], "target_names": ["u", "v", "w"]}
    sequences = read(tmp_path, x=X, y=np.zeros((10, 3)), **names)
    assert sequences.feature_labels == ("a", "b")
    assert sequences.timestep_labels == ("1", "2", "3", "4")
    assert sequences.label_names == ("u", "v", "w")


def test_padding_is_ignored(tmp_path: Path) -> None:
    """Values after the end of a sequence are ignored; the longest sequence gives the timesteps."""
    x = np.ones((3, 5, 1), dtype=np.int64)
    x[1, 1:] = -999
    wild = x.astype(np.float64)
    wild[1, 1:] = np.inf
    for padded in (x, wild):
        sequences = read(tmp_path, x=padded, y=[0, 1, 0], lengths=[3, 1, 2])
        assert sequences.x.shape == (3, 3, 1)
        np.testing.assert_array_equal(np.isnan(sequences.x[:][..., 0]).sum(axis=1), [0, 2, 1])
        assert np.nanmax(sequences.x[:]) == np.nanmin(sequences.x[:]) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": X}, "expected arrays x and y, got no y"),
        ({"data": X}, "expected arrays x and y, got no x and no y"),
        ({"x": X[0], "y": Y}, r"expected x \(n, timesteps, features\) and y .*, got \(4, 2\) and \(10,\)"),
        ({"x": X, "y": Y[:9]}, r"got \(10, 4, 2\) and \(9,\)"),
        ({"x": X, "y": np.zeros((10, 0))}, r"got \(10, 4, 2\) and \(10, 0\)"),
        ({"x": X, "y": X}, r"got \(10, 4, 2\) and \(10, 4, 2\)"),
        ({"x": X + 1e39, "y": Y}, r"expected finite numbers, got 1e\+39 at x\[0\]\[0\]\[0\]"),
        ({"x": X - np.inf, "y": Y}, r"expected finite numbers, got -inf at x\[0\]\[0\]\[0\]"),
        ({"x": np.where(np.arange(10)[:, None, None] == 7, np.nan, X), "y": Y}, r"expected values, got none in x\[7\]"),
        ({"x": X.astype(str), "y": Y}, r"expected x to hold numbers, got shape \(10, 4, 2\) of <U"),
        ({"x": X[:, :0], "y": Y}, r"expected x to hold numbers, got shape \(10, 0, 2\)"),
        ({"x": X[:0], "y": Y[:0]}, r"expected x to hold numbers, got shape \(0, 4, 2\)"),
        ({"x": X, "y": Y, "lengths": Y[1:]}, r"expected lengths \(n,\) of integers, got \(9,\) of int64"),
        ({"x": X, "y": Y, "lengths": Y * 1.0}, r"expected lengths \(n,\) of integers, got \(10,\) of float64"),
        ({"x": X, "y": Y, "lengths": Y}, r"expected lengths from 1 to 4, got 0 at lengths\[0\]"),
        ({"x": X, "y": Y, "lengths": Y + 4}, r"expected lengths from 1 to 4, got 5 at lengths\[1\]"),
        ({"x": X, "y": Y, "feature_names": ["a"]}, r"expected feature_names \(2,\), got \(1,\) of <U1"),
        ({"x": X, "y": Y, "timestep_labels": ["a"]}, r"expected timestep_labels \(4,\), got \(1,\)"),
        ({"x": X, "y": Y, "target_names": ["a", "b"]}, r"expected target_names \(1,\), got \(2,\)"),
    ],
)
def test_an_unusable_file_is_refused(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    """The message gives the file, the expected content and the actual content."""
    with pytest.raises(TrainingError, match=message) as caught:
        read(tmp_path, **content)
    assert str(caught.value).startswith(f"--data {tmp_path / 'data.npz'}: ")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    """Text, an array without names, a truncated file and pickled objects are refused."""
    path = tmp_path / "data.npz"
    files = {"--data data.npz": path}
    np.savez(path, x=X, y=Y)
    whole = path.read_bytes()
    for content in (b"text", b"", whole[: len(whole) // 2], whole.replace(b"descr", b"DESCR")):
        path.write_bytes(content)
        with pytest.raises(TrainingError, match=r"not a readable \.npz file"):
            arrays.read(files)
    with path.open("wb") as file:
        np.save(file, X)
    with pytest.raises(TrainingError, match=r"not a readable \.npz file"):
        arrays.read(files)
    np.savez(path, x=np.array([print], dtype=object), y=Y)
    with pytest.raises(TrainingError, match=r"not a readable \.npz file"):
        arrays.read(files)


def test_too_many_values_are_refused_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transposed table is refused by its header."""
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", lambda *_: pytest.fail("was read"))
    with pytest.raises(TrainingError, match=r"expected at most 20,000 values in a sequence, .*, got 20,002 in x of"):
        read(tmp_path, x=np.zeros((2, MOST_COLUMNS // 2 + 1, 2)), y=[0, 1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": X[..., :1], "y": Y}, "expected 2 features, as in the data to fit, got 1"),
        (
            {"x": X, "y": np.zeros((10, 2))},
            r"expected labels as in the data to fit, one of int64, got \(2,\) of float64",
        ),
        ({"x": X, "y": Y.astype(str)}, "expected labels as in the data to fit, one of int64, got one of <U"),
        (
            {"x": X, "y": Y, "feature_names": ["b", "a"]},
            "expected feature_names as in the data to fit, .'a', 'b'., got .'b', 'a'.",
        ),
    ],
)
def test_both_files_must_agree(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    """The file to hold out must have the features and the kind of labels of the file to fit."""
    np.savez(tmp_path / "train.npz", x=X, y=Y, feature_names=["a", "b"])
    np.savez(tmp_path / "test.npz", **content)
    with pytest.raises(TrainingError, match=f"^--test-data: {message}"):
        arrays.read({"--data": tmp_path / "train.npz", "--test-data": tmp_path / "test.npz"})


def test_every_timestep_has_a_label_where_some_have(tmp_path: Path) -> None:
    """Labels must also cover timesteps that only the second file has."""
    np.savez(tmp_path / "fit.npz", x=X, y=Y, timestep_labels=["a", "b", "c", "d"])
    np.savez(tmp_path / "held-out.npz", x=np.zeros((10, 5, 2)), y=Y)
    with pytest.raises(
        TrainingError, match="held-out: expected at most 4 timesteps, as there are timestep_labels, got 5"
    ):
        arrays.read({"fit": tmp_path / "fit.npz", "held-out": tmp_path / "held-out.npz"})
