"""What is answered for each sequence."""

import json

import numpy as np

from service.api.rows import rows
from service.inference.artifact import PREDICTION
from service.inference.card import Target


def test_a_regression_answers_numbers_without_labels() -> None:
    """One output is a number, several are a list."""
    one = rows({PREDICTION: np.array([[1.5], [2.5]], dtype=np.float32)}, None, Target(task="regression"))
    assert list(map(json.loads, one)) == [{"prediction": 1.5}, {"prediction": 2.5}]
    (two,) = rows({PREDICTION: np.array([[1.5, 2.5]], dtype=np.float32)}, None, Target(task="regression"))
    assert json.loads(two) == {"prediction": [1.5, 2.5]}
