"""Hints name what was chosen for the person and what the data lack, and are silent about ordinary data."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from training.options import Options
from training.sources.loading import load

N = 300


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.fixture
def x(rng: np.random.Generator) -> Any:
    """Ordinary sequences: three features of noise."""
    return rng.standard_normal((N, 4, 3))


@pytest.fixture
def y(rng: np.random.Generator) -> Any:
    """Two classes of noise."""
    return rng.integers(0, 2, N)


def hints(folder: Path, x: Any, y: Any, **options: Any) -> tuple[str, ...]:
    """Return the hints on sequences of the features a, b and c."""
    content: dict[str, Any] = {"feature_names": list("abc")[: x.shape[2]]}
    if y.ndim == 2:
        content["target_names"] = [f"target {i}" for i in range(y.shape[1])]
    np.savez(folder / "data.npz", x=x, y=y, **content)
    return load(Options(data=str(folder / "data.npz"), **options)).hints


def test_ordinary_data_have_no_hint(tmp_path: Path, x: Any, y: Any, rng: np.random.Generator) -> None:
    """Neither classes that are learnt from several values, nor missing values, nor fractions to predict need one."""
    learnable = (x[:, 0, 0] + x[:, 1, 1] + x[:, 2, 2] > 0).astype(int)
    gaps = np.where(rng.random(x.shape) < 0.1, np.nan, x)
    gaps[:, 0, 2] = np.arange(N) + rng.random(N)  # such as a temperature that rises from day to day
    for labels in (y, learnable, learnable.astype(str), x.sum(axis=(1, 2))):
        assert hints(tmp_path, gaps, labels) == ()


def test_many_integers_are_probably_numbers(tmp_path: Path, x: Any, rng: np.random.Generator) -> None:
    """A price is no class. An answer to the question silences the hint."""
    prices = rng.permutation(np.arange(N) % 60 + 100)
    (hint,) = hints(tmp_path, x, prices)[:1]
    assert "60 different integers became a class each; --task regression predicts them as numbers" in hint
    assert not any("integers" in hint for hint in hints(tmp_path, x, prices, task="classification"))


def test_few_whole_numbers_are_probably_classes(tmp_path: Path, x: Any, y: Any) -> None:
    """1.0 and 2.0 are often classes that were read as numbers."""
    (hint,) = hints(tmp_path, x, y + 1.0)
    assert "only 2 different whole numbers" in hint
    assert "--task classification" in hint
    assert hints(tmp_path, x, y + 1.0, task="regression") == ()


def test_several_columns_of_zeros_and_ones_are_probably_classes(tmp_path: Path, x: Any, y: Any) -> None:
    """A column for each class is a way to write one class."""
    (hint,) = hints(tmp_path, x, np.stack([y, 1 - y], axis=1))
    assert hint.startswith("target 0, target 1: 2 columns of 0 and 1 are predicted as numbers")


def test_rare_classes_are_named(tmp_path: Path, x: Any, y: Any) -> None:
    """A class is not learnt without sequences to fit, and not measured without held-out ones."""
    names = np.where(y == 0, "often", "sometimes")
    np.savez(tmp_path / "held_out.npz", x=x, y=np.where(np.arange(N) == 0, "new", names), feature_names=list("abc"))
    names[0] = "once"
    found = hints(tmp_path, x, names, test_data=str(tmp_path / "held_out.npz"))
    assert len(found) == 3
    assert found[0].startswith("the classes 'new' and 'once' have fewer than 10 sequences")
    assert found[1].startswith("the class 'new' has no sequence to fit")
    assert found[2].startswith("the class 'once' has no held-out sequence")


def test_few_sequences_are_told(tmp_path: Path, x: Any) -> None:
    """A fifth of 60 is held out."""
    (hint,) = hints(tmp_path, x[:60], np.arange(60) % 2)
    assert hint.startswith("there are only 48 sequences to fit")


def test_nearly_constant_features_are_named(tmp_path: Path, x: Any, y: Any) -> None:
    """A feature that is constant where it is present is one, too."""
    x[:, :, 0], x[:, :, 2] = 7, 8
    x[5, 1, 0], x[3, :, 2] = 9, np.nan
    (hint,) = hints(tmp_path, x, y)
    assert hint.startswith("the features 'a' and 'c' have nearly always the same value")


def test_numbers_too_small_for_float32_are_named(tmp_path: Path, x: Any, y: Any) -> None:
    """The smallest that it holds have few digits."""
    x[:, :, 1] *= 1e-44
    (hint,) = hints(tmp_path, x, y)
    assert hint.startswith("the feature 'b' has values that differ by less than 1e-30, which float32 hardly holds")


def test_values_that_count_the_rows_are_named(tmp_path: Path, x: Any, y: Any) -> None:
    """An index that was saved with the table grows with each row; a clock that starts again does not."""
    x[:, :, 0] = np.arange(N * 4).reshape(N, 4)
    x[:, :, 1] = np.arange(4)
    (hint,) = hints(tmp_path, x, y)
    assert hint.startswith("the feature 'a at timestep 0' has values that count up with the order of the rows")


def test_a_feature_that_decides_alone_may_be_a_leak(tmp_path: Path, x: Any, y: Any) -> None:
    """Its mean separates the classes, whatever their order."""
    x[:, :, 1] += 20 * y[:, np.newaxis]
    (hint,) = hints(tmp_path, x, y)
    assert hint.startswith("the feature 'b' has values that suffice alone to predict the target")
    assert "check whether that is known before the outcome" in hint
    three = np.arange(N) % 3
    x[:, :, 1] = x[:, :, 2] + 20 * np.array([1, 0, 2])[three][:, np.newaxis]
    assert any("'b' has values that suffice" in hint for hint in hints(tmp_path, x, three))


def test_a_single_value_that_decides_alone_may_be_a_leak(tmp_path: Path, x: Any, y: Any) -> None:
    """The second column of a wide table is the second timestep."""
    x[:, 1, 0] = y
    (hint,) = hints(tmp_path, x[:, :, :1], y)
    assert hint.startswith("the feature 'a at timestep 1' has values that suffice alone to predict the target")


def test_a_single_feature_is_no_leak(tmp_path: Path, x: Any, y: Any) -> None:
    """There are no others without which it could predict."""
    x += 20 * y[:, np.newaxis, np.newaxis]
    assert not any("without the others" in hint for hint in hints(tmp_path, x[:, :1, :1], y))
    x[:, :, 0] = x[:, 1:2, 0]  # no value by itself says more than the others
    assert not any("the feature 'a' has" in hint for hint in hints(tmp_path, x[:, :, :1], y))


def test_a_feature_that_has_the_number_to_predict_may_be_a_leak(
    tmp_path: Path, x: Any, rng: np.random.Generator
) -> None:
    """The target in other units is among the features."""
    y = rng.standard_normal(N) * 3.3
    x[:, :, 2] = 1.8 * y[:, np.newaxis] + 32
    (hint,) = hints(tmp_path, x, y)
    assert hint.startswith("the feature 'c' has values that suffice alone to predict the target")


def test_many_names_are_counted(tmp_path: Path, y: Any) -> None:
    """The hint stays one line."""
    np.savez(tmp_path / "data.npz", x=np.ones((N, 2, 9)), y=y)
    (hint,) = load(Options(data=str(tmp_path / "data.npz"))).hints
    assert hint.startswith("the features '0', '1', '2' and 6 more have nearly always the same value")


def test_small_columns_beside_large_ones_need_a_scale_of_their_own(rng: np.random.Generator) -> None:
    """With the advice, the hint is gone. Columns of one magnitude need none, nor do series with names."""
    frame = pd.DataFrame(
        {"income": rng.lognormal(10, 1, N), "visits": rng.integers(0, 10, N), "age": rng.normal(40, 9, N)}
    )
    frame["y"] = rng.permutation(np.arange(N) % 2).astype(str)

    def found(frame: pd.DataFrame, **options: Any) -> tuple[str, ...]:
        return load(Options(data="frame", target_column=("y",), **options), frame).hints

    (hint,) = found(frame)
    assert hint.startswith("the columns 'visits' and 'age' have values that hardly differ on the scale")
    assert "--static-columns visits,age gives each its own scale" in hint
    assert found(frame, static_columns=("visits", "age")) == ()
    assert found(frame.assign(income=frame["income"] / 1000)) == ()
    assert found(frame.rename(columns={"income": "u@0", "visits": "u@1", "age": "u@2"})) == ()
