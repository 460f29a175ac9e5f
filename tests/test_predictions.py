"""The JSON answer to each sequence."""

import json

import numpy as np
import pytest

from service.api.codecs.padding import Lengths
from service.api.codecs.predictions import encode_predictions, require_classes
from service.artifact.card import Target
from service.artifact.tensors import ATTENTION, ATTENTION_VEC, IMPORTANCE, PREDICTION, RANK_CORRELATION
from service.errors import InvalidInput


def test_a_regression_answers_numbers_without_labels() -> None:
    """One output is a number; several are a list."""
    one = encode_predictions({PREDICTION: np.array([[1.5], [2.5]], dtype=np.float32)}, None, Target(task="regression"))
    assert list(map(json.loads, one)) == [{"prediction": 1.5}, {"prediction": 2.5}]
    (two,) = encode_predictions({PREDICTION: np.array([[1.5, 2.5]], dtype=np.float32)}, None, Target(task="regression"))
    assert json.loads(two) == {"prediction": [1.5, 2.5]}


BINARY = Target(task="binary", classes=("no", "yes"))
LABELS = Target(task="multilabel", classes=("a", "b"))
THREE = Target(task="multiclass", classes=("a", "b", "c"))


@pytest.mark.parametrize(
    ("target", "predicted"),
    [(BINARY, 1), (THREE, 3), (LABELS, 2), (Target(task="regression"), 1), (Target(task="regression"), 2)],
)
@pytest.mark.parametrize("attention", [None, ATTENTION, ATTENTION_VEC])
@pytest.mark.parametrize("lengths", [None, 3, np.array([4, 2, 3])])
@pytest.mark.parametrize("explained", [False, True])
def test_one_prediction_is_written_as_it_is_among_others(
    target: Target, predicted: int, attention: str | None, lengths: Lengths, *, explained: bool
) -> None:
    """The bytes are the same, with the probabilities of classes, too."""
    rng = np.random.default_rng(0)
    shapes = {PREDICTION: (predicted,), ATTENTION: (4,), ATTENTION_VEC: (4, 2)}
    outputs = {name: rng.random((3, *shape), dtype=np.float32) for name, shape in shapes.items()}
    if explained:
        outputs[IMPORTANCE] = rng.random((3, 4), dtype=np.float32)
        outputs[RANK_CORRELATION] = np.array([0.5, np.nan, -1.0])
    named = explained and target.classes is not None
    together = encode_predictions(outputs, attention, target, lengths, probabilities=named)
    for index, expected in enumerate(together):
        one = {name: output[index : index + 1] for name, output in outputs.items()}
        length = lengths[index : index + 1] if isinstance(lengths, np.ndarray) else lengths
        assert encode_predictions(one, attention, target, length, probabilities=named) == [expected]


def test_each_class_has_its_probability() -> None:
    """Names may have any characters."""
    target = Target(task="multiclass", classes=('a "b"', "100 %", "null"))
    outputs = {PREDICTION: np.array([[0.25, 0.5, 0.25], [0.1, 0.2, 0.7]], dtype=np.float32)}
    first, second = map(json.loads, encode_predictions(outputs, None, target, probabilities=True))
    assert first["probabilities"] == {'a "b"': 0.25, "100 %": 0.5, "null": 0.25}
    assert second["probabilities"] == {'a "b"': 0.1, "100 %": 0.2, "null": 0.7}


def test_several_labels_are_a_list() -> None:
    """The list has each class with a probability of at least 0.5: all of them, or none."""
    outputs = {PREDICTION: np.array([[0.5, 0.75], [0.25, 0.125]], dtype=np.float32)}
    first, second = map(json.loads, encode_predictions(outputs, None, LABELS, probabilities=True))
    assert first == {"prediction": [0.5, 0.75], "label": ["a", "b"], "probabilities": {"a": 0.5, "b": 0.75}}
    assert second == {"prediction": [0.25, 0.125], "label": [], "probabilities": {"a": 0.25, "b": 0.125}}


def test_a_regression_has_no_probabilities() -> None:
    """Asking for them is an error."""
    require_classes(BINARY)
    with pytest.raises(InvalidInput, match="probabilities: expected a model of classes, got a regression"):
        require_classes(Target(task="regression"))


@pytest.mark.parametrize("name", [PREDICTION, ATTENTION])
def test_an_output_that_is_not_finite_is_an_error(name: str) -> None:
    """The same holds for one sequence and for several."""
    for n in (1, 2):
        outputs = {PREDICTION: np.full((n, 1), 0.5, np.float32), ATTENTION: np.full((n, 4), 0.25, np.float32)}
        outputs[name][n - 1, 0] = np.nan
        with pytest.raises(InvalidInput, match=f"sequence {n - 1}: "):
            encode_predictions(outputs, ATTENTION, BINARY)
