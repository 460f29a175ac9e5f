"""Labels become classes or numbers, or are refused."""

from typing import Any

import numpy as np
import pytest

from training import TrainingError
from training.data import SourceData
from training.options import TaskChoice
from training.sources.targets import encode


def labelled(labels: Any, names: tuple[str, ...] = ("target",)) -> SourceData:
    labels = np.asarray(labels)
    x = np.zeros((len(labels), 1, 1), dtype=np.float32)
    return SourceData("--data f", x, labels, names, ("0",), ("0",), lambda index: f"--data f, row {index + 1}", None)


@pytest.mark.parametrize(
    ("labels", "task", "classes", "indices"),
    [
        (["b", "a", "b"], "auto", ("a", "b"), [1, 0, 1]),
        (np.array(["b", "a", "c"], dtype=object), "auto", ("a", "b", "c"), [1, 0, 2]),
        ([b"\xff", b"a", b"a"], "auto", ("a", "\\xff"), [1, 0, 0]),
        ([10, 9, 10], "auto", ("9", "10"), [1, 0, 1]),
        ([True, False, True], "auto", ("False", "True"), [1, 0, 1]),
        ([10.0, 9.0, 9.0], "classification", ("9", "10"), [1, 0, 0]),
        ([0.5, -0.5, 1.0], "classification", ("-0.5", "0.5", "1"), [1, 0, 2]),
    ],
)
def test_labels_are_classes(labels: Any, task: TaskChoice, classes: tuple[str, ...], indices: list[int]) -> None:
    """Strings, integers and booleans are classes, and other numbers are on request."""
    target, y = encode(labelled(labels), task)
    assert target.classes == classes
    assert target.task == ("binary" if len(classes) == 2 else "multiclass")
    assert y.tolist() == indices
    assert y.dtype == np.int64


@pytest.mark.parametrize(
    ("labels", "task"),
    [([0.5, 1, 2], "auto"), ([1, 2, 3], "regression"), ([True, False], "regression"), ([[1, 2], [3, 4]], "auto")],
)
def test_labels_are_numbers(labels: Any, task: TaskChoice) -> None:
    """Fractions and several columns are numbers, and integers are on request."""
    names = ("u", "v")[: np.ndim(labels)]
    target, y = encode(labelled(labels, names), task)
    assert (target.task, target.names, target.classes) == ("regression", names, None)
    np.testing.assert_array_equal(y, np.array(labels, dtype=np.float32).reshape(len(labels), -1))
    assert y.dtype == np.float32


@pytest.mark.parametrize("kind", [int, bool, float])
def test_several_labels_are_columns_of_0_and_1(kind: type) -> None:
    """Each column is a class of its name."""
    target, y = encode(labelled(np.array([[1, 0], [1, 1]]).astype(kind), ("wet", "hot")), "multilabel")
    assert (target.task, target.classes, target.names) == ("multilabel", ("wet", "hot"), None)
    assert y.dtype == np.float32
    assert y.tolist() == [[1, 0], [1, 1]]


@pytest.mark.parametrize(
    ("labels", "task", "message"),
    [
        (["a", "a"], "auto", "--data f: expected 2 to 10,000 classes, got 'a' alone"),
        ([3], "auto", "--data f: expected 2 to 10,000 classes, got '3' alone"),
        (range(10_001), "auto", "--data f: expected 2 to 10,000 classes, got 10,001; --task regression"),
        ([0.5, np.nan], "auto", "--data f, row 2: expected a finite target, got nan"),
        ([0.5, 1e39], "auto", "--data f, row 2: expected a finite target, got 1e+39"),
        ([1.0, np.inf], "classification", "--data f, row 2: expected a finite target, got inf"),
        (["a", "b"], "regression", "--data f, row 1: expected numbers to predict, got 'a'"),
        ([[1, 0], [0.5, 0]], "multilabel", "--data f, row 2: expected 0 or 1 in target, got '0.5'"),
        ([[1, 0], [1, np.nan]], "multilabel", "--data f, row 2: expected 0 or 1 in other, got 'nan'"),
        ([1, 0], "multilabel", "--data f: expected at least 2 columns of 0 and 1 for --task multilabel, got 1"),
        ([[1, 2], [3, 4]], "classification", "--data f, row 1: expected one class, got 2 numbers; classes"),
        (np.array(["2020-01-01"], "M8[D]"), "auto", "--data f: expected labels that are strings, booleans or numbers"),
        (np.array([1j, 2]), "auto", "--data f: expected labels that are strings, booleans or numbers, got complex128"),
    ],
)
def test_labels_that_cannot_be_predicted_are_refused(labels: Any, task: TaskChoice, message: str) -> None:
    """The message gives the sequence and its label."""
    with pytest.raises(TrainingError) as caught:
        encode(labelled(labels, ("target", "other")), task)
    assert str(caught.value).startswith(message)
