"""`import training`: data of any kind becomes a published version, with the options of the command."""

import doctest
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import training
from tests.sensors import FRAME_OPTIONS, long_frame, sensors
from training import TrainingError
from training.in_memory import load_arrays, load_frame
from training.options import Options
from training.result import Result
from training.sources.loading import load


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[doctest.DocTestFailure]:
    """Run the examples of the docstrings, one after the other, in an empty folder. Return the failures."""
    folder = tmp_path_factory.mktemp("examples")
    failures: list[doctest.DocTestFailure] = []
    runner = doctest.DebugRunner()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for function in (training.train, training.load):
            for example in doctest.DocTestFinder().find(function, globs={}):
                try:
                    runner.run(example)
                except doctest.DocTestFailure as failure:
                    failures.append(failure)
    return failures


def test_the_examples_of_the_docstrings_run(examples: list[doctest.DocTestFailure]) -> None:
    """What they print is what stands there."""
    assert [f"{failure.example.source}{failure.got}" for failure in examples] == []


def test_the_import_is_light() -> None:
    """`import training` imports none of the large libraries."""
    heavy = "{'tensorflow', 'keras', 'matplotlib', 'pandas', 'pyarrow', 'duckdb', 'sklearn'}"
    program = f"import sys, training; print({heavy} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert printed == "set()\n"


@pytest.mark.parametrize(
    "kind", [lambda frame: frame, pl.from_pandas, lambda frame: pl.from_pandas(frame).to_arrow()],
    ids=["pandas", "polars", "pyarrow"],
)  # fmt: skip
def test_a_frame_gives_the_same_dataset_as_its_file(kind: Callable[[Any], Any], tmp_path: Path) -> None:
    """Each kind of frame is read as a Parquet file with the same columns."""
    frame = long_frame()
    frame.to_parquet(tmp_path / "frame.parquet", index=False)
    options = Options.from_keywords({**FRAME_OPTIONS, "data": str(tmp_path / "frame.parquet")})
    expected, got = load(options), load_frame(options, kind(frame))
    np.testing.assert_array_equal(got.train.x[:], expected.train.x[:])
    np.testing.assert_array_equal(got.test.y, expected.test.y)
    assert got.feature_labels == expected.feature_labels == ("temperature", "vibration")


def test_the_index_of_a_frame_is_no_feature() -> None:
    """A frame with another index gives the same dataset."""
    frame = long_frame()
    options = Options.from_keywords(FRAME_OPTIONS)
    got = load_frame(options, frame.set_index(pd.Index(np.arange(len(frame)) * 7)))
    np.testing.assert_array_equal(got.train.x[:], load_frame(options, frame).train.x[:])


def test_lists_of_different_lengths_are_padded() -> None:
    """Sequences may be lists; the longest gives the timesteps."""
    x = [[[1.0, 2.0]] * (1 + index % 3) for index in range(20)]
    dataset = load_arrays(Options(), x, ["a", "b"] * 10)
    assert dataset.train.x.shape[1:] == (3, 2)
    assert dataset.variable_length
    assert dataset.target.classes == ("a", "b")


def test_labels_may_be_a_series() -> None:
    """A series of pandas or polars holds text as objects."""
    for labels in (pd.Series(["a", "b"] * 10), pl.Series(["a", "b"] * 10), np.array(["a", "b"] * 10, object)):
        assert load_arrays(Options(), np.ones((20, 4, 1)), labels).target.classes == ("a", "b")


def test_two_axes_are_sequences_of_one_feature() -> None:
    """`x (n, timesteps)` needs no third axis."""
    dataset = load_arrays(Options(), np.ones((20, 4)), np.arange(20) % 2)
    assert dataset.train.x.shape[1:] == (4, 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epoch": 3}, "expected an option, got 'epoch'; did you mean 'epochs'?"),
        ({"units": 0}, "units: expected a number of at least 1, got 0"),
        ({"artifacts": [1]}, "artifacts: expected a path, got a list"),
        ({"data": 3}, "data: expected a path, a frame or arrays x and y, got int"),
        ({"data": "missing.npz"}, "--data missing.npz: no such file"),
        ({"x": np.ones((4, 2, 1))}, "expected sequences x and labels y, or data alone"),
        ({"x": np.ones(4), "y": np.ones(4)}, r"x: expected sequences (n, timesteps, features), got (4,)"),
        ({"x": [[[1]], [[1, 2]]], "y": [0, 1]}, "x: expected sequences (timesteps, features) of the same features"),
        ({"data": sensors()[0], "y": [0, 1]}, "arrays: expected x (n, timesteps, features) and y (n,) or (n, numbers)"),
        ({"data": long_frame(), "target": "mood"}, "frame: expected a column 'mood'"),
    ],
)
def test_a_mistake_is_one_line(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    """The line says what was expected and what came; nothing is published."""
    with pytest.raises(TrainingError) as caught:
        training.train(**{"artifacts": tmp_path, **given})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_target_is_short_for_target_column(monitored: Result) -> None:
    """The card has the options of the command, and says that the data were a frame."""
    options = monitored.card.training_options
    assert options["target_column"] == ["state"]
    assert options["data"] == "frame"
    assert set(options) == set(Options().model_dump())


def test_load_takes_a_version_or_a_model(monitored: Result) -> None:
    """A model is its newest version; a folder without versions is refused."""
    directory = monitored.directory
    assert training.load(directory).card == monitored.card
    assert training.load(str(directory.parent)).directory == directory
    with pytest.raises(TrainingError, match="expected the directory of a version or of a model"):
        training.load(directory.parent / "9")
