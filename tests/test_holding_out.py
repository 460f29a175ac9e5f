"""Which sequences are held out, and data that are in memory."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from training import TrainingError
from training.options import Options
from training.sources import archives
from training.sources.loading import load


@pytest.mark.parametrize("seed", range(4))
def test_a_rare_class_is_on_both_sides(seed: int) -> None:
    """Classes of 50, 50 and 2 sequences are held out in their shares, the rare one with one sequence."""
    labels = np.repeat(["a", "b", "rare"], [50, 50, 2])
    loaded = load(Options(data="arrays", seed=seed), arrays_in_memory=(np.zeros((102, 3, 1)), labels))
    assert np.bincount(loaded.test.y).tolist() in ([10, 9, 1], [9, 10, 1], [10, 10, 1])
    assert np.bincount(loaded.train.y)[2] == 1


def test_a_group_stays_on_one_side() -> None:
    """Sequences of one patient are either fitted or held out."""
    frame = pd.DataFrame({"u": np.arange(40) % 7, "v": 1.5, "patient": np.arange(40) // 4, "y": ["a", "b"] * 20})
    loaded = load(Options(data="frame", target_column=("y",), group_column="patient"), frame)
    assert loaded.train.groups is not None
    assert loaded.test.groups is not None
    assert not set(loaded.train.groups.tolist()) & set(loaded.test.groups.tolist())
    assert len(loaded.test) == 8


@pytest.mark.parametrize("seed", range(4))
def test_groups_of_a_rare_class_are_on_both_sides(seed: int) -> None:
    """Of 30 patients, two have the rare class on some rows: one of them is held out, and six in all."""
    patient = np.arange(120) // 4
    labels = np.where(patient < 15, "a", "b")
    labels[[0, 1, 60]] = "rare"
    frame = pd.DataFrame({"u": np.arange(120) % 7, "v": 1.5, "patient": 10 + patient, "y": labels})
    loaded = load(Options(data="frame", target_column=("y",), group_column="patient", seed=seed), frame)
    assert loaded.test.groups is not None
    assert len(np.unique(loaded.test.groups)) == 6
    assert len({0, 15} & set(loaded.test.groups.tolist())) == 1
    assert np.bincount(loaded.test.y, minlength=3)[:2].min() >= 8


def test_two_groups_are_divided() -> None:
    """Each has a class of its own."""
    frame = pd.DataFrame({"u": np.arange(40) % 7, "v": 1.5, "patient": np.arange(40) // 20, "y": np.arange(40) // 20})
    for target in ("y", "u"):
        options = Options(data="frame", target_column=(target,), group_column="patient", task="regression")
        classes = options.model_copy(update={"task": "classification"})
        assert [len(load(one, frame).test) for one in (options, classes)] == [20, 20]


def test_one_group_cannot_be_split() -> None:
    """The message names the option."""
    frame = pd.DataFrame({"u": [1.5, 2, 3], "patient": [1, 1, 1], "y": ["a", "b", "a"]})
    with pytest.raises(TrainingError, match="--group-column patient: expected at least two groups, got one"):
        load(Options(data="frame", target_column=("y",), group_column="patient"), frame)


@pytest.mark.parametrize("kind", ["wide", "lists"])
def test_each_sequence_has_a_group(kind: str) -> None:
    """An empty cell is refused with its place."""
    series = {"u": [1.5, 2, 3], "v": [2.0, 4, 5]} if kind == "wide" else {"u": [[1.0, 2.0]] * 3}
    frame = pa.table({**series, "patient": ["p", None, "q"], "y": ["a", "b", "a"]})
    with pytest.raises(TrainingError, match="frame, column 'patient', row 2: expected a value, got none"):
        load(Options(data="frame", target_column=("y",), group_column="patient"), frame)


def test_windows_are_held_out_in_the_order_of_time() -> None:
    """The last windows are held out, and none is shuffled."""
    frame = pd.DataFrame({"t": range(60), "price": np.arange(60.0)})
    loaded = load(Options(data="frame", target_column=("price",), timestep_column="t", window=4, horizon=2), frame)
    assert loaded.ordered
    assert (np.diff(loaded.train.y[:, 0]) > 0).all()
    assert loaded.train.y.max() < loaded.test.x[:].min()


def test_labels_of_ts_files_keep_their_case(tmp_path: Path) -> None:
    """`A` and `a` are two classes."""
    path = tmp_path / "data.ts"
    path.write_text("@problemName t\n@univariate true\n@equalLength true\n@classLabel true A a\n@data\n1,2:A\n3,4:a\n")
    assert archives.read({"--data": path}).labels.tolist() == ["A", "a"]
