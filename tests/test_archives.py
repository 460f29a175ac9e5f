""".ts files and the data sets of the aeon package are read correctly, or refused with a clear message."""

from pathlib import Path

import numpy as np
import pytest

from service.tables.sequences import MOST_COLUMNS
from training import TrainingError
from training.options import Options
from training.sources import archives
from training.sources.loading import load

HEADER = "@problemName test\n@timeStamps false\n@univariate false\n"
CLASSES = f"{HEADER}@equalLength false\n@classLabel true a b\n@data\n"
NUMBERS = f"{HEADER}@equalLength true\n@targetLabel true\n@data\n"


def test_aeon_data_keeps_its_published_split() -> None:
    """ItalyPowerDemand: 67 training and 1,029 test sequences of 24 hours, the test ones in their published order."""
    from aeon.datasets import load_classification

    loaded = load(Options(data="aeon:ItalyPowerDemand"))
    assert loaded.train.x.shape == (67, 24, 1)
    assert loaded.target.classes == ("1", "2")
    assert loaded.timestep_labels == tuple(map(str, range(24)))
    x, y = load_classification("ItalyPowerDemand", split="test")
    np.testing.assert_array_equal(loaded.test.x[:], x.transpose(0, 2, 1).astype(np.float32))
    np.testing.assert_array_equal(loaded.test.y, y.astype(int) - 1)


def test_sequences_keep_their_real_lengths() -> None:
    """JapaneseVowels has 7 to 29 timesteps of 12 features; shorter sequences are padded with NaN."""
    from aeon.datasets import load_classification

    loaded = load(Options(data="aeon:JapaneseVowels"))
    assert loaded.train.x.shape == (270, 29, 12)
    assert loaded.test.x.shape == (370, 29, 12)
    assert loaded.variable_length
    assert not loaded.missing_values
    sequences, _ = load_classification("JapaneseVowels", split="test")
    for row, sequence in zip(loaded.test.x[:], sequences, strict=True):
        np.testing.assert_array_equal(row[: sequence.shape[1]], sequence.T.astype(np.float32))
        assert np.isnan(row[sequence.shape[1] :]).all()


@pytest.mark.parametrize(
    ("name", "shape", "task"),
    [
        ("ArrowHead", (36, 251, 1), "multiclass"),
        ("BasicMotions", (40, 100, 6), "multiclass"),
        ("Covid3Month", (140, 84, 1), "regression"),
        ("CardanoSentiment", (74, 24, 2), "regression"),
        ("PickupGestureWiimoteZ", (50, 361, 1), "multiclass"),
    ],
)
def test_shipped_data_sets_can_be_trained_on(name: str, shape: tuple[int, ...], task: str) -> None:
    """Data sets with classes or numbers, and with one feature or several, are loaded."""
    loaded = load(Options(data=f"aeon:{name}"))
    assert loaded.train.x.shape == shape
    assert loaded.target.task == task
    assert loaded.target.names == (("target",) if task == "regression" else None)
    assert loaded.train.y.shape == ((shape[0], 1) if task == "regression" else (shape[0],))


def test_a_ts_file_is_read(tmp_path: Path) -> None:
    """Colons separate features, commas separate timesteps, and a question mark is a missing value."""
    path = tmp_path / "data.ts"
    path.write_text(f"{CLASSES}1,2,3:4,5,6:a\n1:2:b\n?,2:3,4:a\n")
    sequences = archives.read({"--data": path})
    nan = np.nan
    np.testing.assert_array_equal(
        sequences.x[:], [[[1, 4], [2, 5], [3, 6]], [[1, 2], [nan, nan], [nan, nan]], [[nan, 3], [2, 4], [nan, nan]]]
    )
    assert sequences.labels.tolist() == ["a", "b", "a"]
    path.write_text(f"{NUMBERS}1,2:3,4:0.5\n1,2:3,4:2\n")
    sequences = archives.read({"--data": path})
    np.testing.assert_array_equal(sequences.x[:], [[[1, 3], [2, 4]]] * 2)
    assert sequences.labels.tolist() == [0.5, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"not a readable \.ts file|expected sequences, got none"),
        (CLASSES, "expected sequences, got none"),
        (f"{CLASSES}1,2:3,4:a\n1,x:3,4:b\n", r"not a readable \.ts file: could not convert string to float: 'x'"),
        (f"{CLASSES}1,2:3,4:a\n1,2:b\n", r"not a readable \.ts file: Inconsistent number of dimensions in case 2"),
        (f"{CLASSES}1,2:3,4:a\n1,1e39:3,4:b\n", r"expected finite numbers, got 1e\+39 at x\[1\]\[1\]\[0\]"),
        (f"{CLASSES}1,2:3,4:a\n?,?:?,?:b\n", r"expected values, got none in x\[1\]"),
        (f"{HEADER}@equalLength true\n@classLabel false\n@data\n1,2\n", "expected a class label or target for each"),
        (f"{CLASSES}{','.join('1' * (MOST_COLUMNS + 1))}:a\n", "expected at most 20,000 values in a sequence"),
    ],
)
def test_an_unusable_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    """The message gives the file, the expected content, the actual content and its place."""
    path = tmp_path / "data.ts"
    path.write_text(content)
    with pytest.raises(TrainingError, match=f"^--data: ({message})"):
        archives.read({"--data": path})


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """A file that is not UTF-8 ends in one message."""
    path = tmp_path / "data.ts"
    path.write_bytes(b"@data\n\xff\n")
    with pytest.raises(TrainingError, match=r"^--data: not a readable \.ts file: .*utf-8"):
        archives.read({"--data": path})


def test_an_unknown_data_set_is_refused() -> None:
    """The message lists data sets that exist."""
    with pytest.raises(
        TrainingError, match=r"^--data aeon:NoSuchData: expected a classification or regression data set"
    ):
        load(Options(data="aeon:NoSuchData"))
