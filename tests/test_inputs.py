"""Sequences as the model's input, in the words of its card."""

from typing import Any

import numpy as np
import orjson
import pytest

from service.api.codecs.inputs import inputs_of
from service.api.codecs.padding import PaddedSequences
from service.artifact.card import ModelCard, TokenRange, Tokens
from tests.samples import card

NAN = np.nan
VOCABULARY = {"[UNK]": 0, "the": 1, "cat": 2}


def written(array: list[Any], described: ModelCard, lengths: Any = None) -> Any:
    """Return the inputs of sequences `(n, timesteps, features)` as the answer has them."""
    inputs = inputs_of(PaddedSequences(np.array(array, np.float32), lengths), described)
    return orjson.loads(orjson.dumps(list(inputs), option=orjson.OPT_SERIALIZE_NUMPY))


def test_numbers_have_the_digits_of_float32() -> None:
    """A missing value is null, and the padding of a shorter sequence is left out."""
    two = card(timesteps=2, missing_values=True, variable_length=True)
    sequences = [[[0.1, NAN], [3, -4.25]], [[1e30, 7], [NAN, NAN]]]
    assert written(sequences, two) == [[[0.1, None], [3, -4.25]], [[1e30, 7], [None, None]]]
    assert written(sequences, two, np.array([2, 1]))[1] == [[1e30, 7]]
    assert written(sequences, two, 1) == [[[0.1, None]], [[1e30, 7]]]


def test_a_category_has_its_name() -> None:
    """An unknown one has the number of names, so that the inputs can be posted again."""
    described = card(
        timesteps=1, feature_labels=("speed", "colour"), categories={"colour": ("red", "blue")}, missing_values=True
    )
    assert written([[[0.1, 1]], [[2, 2]], [[NAN, NAN]]], described) == [[[0.1, "blue"]], [[2, 2]], [[None, None]]]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (Tokens(least=0, most=9, vocabulary=VOCABULARY), ["cat", "[UNK]", 7, None]),
        (Tokens(least=0, most=9), [2, 0, 7, None]),
    ],
)
def test_a_token_has_its_word(tokens: Tokens, expected: list[Any]) -> None:
    """A token without a word is its number."""
    described = card(timesteps=4, features=1, feature_labels=("word",), tokens=tokens, missing_values=True)
    assert written([[[2], [0], [7], [NAN]]], described) == [[[value] for value in expected]]


def test_tokens_of_several_features_have_their_words() -> None:
    """Each value is a token by itself."""
    tokens = Tokens(least=0, most=9, vocabulary=VOCABULARY, ranges={"segment": TokenRange(least=0, most=9)})
    described = card(timesteps=1, feature_labels=("word", "segment"), tokens=tokens)
    assert written([[[1, 8]]], described) == [[["the", 8]]]
