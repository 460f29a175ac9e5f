"""Tokens: the integers of a model whose sequences are text, or another series of such integers."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from service.artifact.card import ModelCard, TokenRange, Tokens
from service.artifact.tensors import Array


def wrong_tokens(sequences: Array, tokens: Tokens, labels: Sequence[str]) -> NDArray[np.bool_]:
    """Return whether each value is a number that is no token: a fraction, too small or too large. NaN is not wrong.

    Args:
        sequences: `(n, timesteps, features)`.
        tokens: the model's tokens.
        labels: the label of each feature.
    """
    ranges = [range_of(tokens, label) for label in labels] if tokens.ranges else [tokens]
    least, most = np.array([(one.least, one.most) for one in ranges], np.float32).T
    value = np.where(np.isnan(sequences), least, sequences)
    wrong: NDArray[np.bool_] = (value < least) | (value > most) | (value != np.floor(value))
    return wrong


def range_of(tokens: Tokens, label: str) -> TokenRange:
    """Return the range of a feature's tokens."""
    return tokens.ranges.get(label, tokens)


def token_of(word: str, tokens: Tokens) -> int | None:
    """Return the token of a word, or that of unknown words; None if there is neither."""
    return (tokens.vocabulary or {}).get(word, tokens.unknown)


def words_of(card: ModelCard) -> dict[int, str] | None:
    """Return the word of each token that has one; None without a vocabulary."""
    if card.tokens is None or card.tokens.vocabulary is None:
        return None
    return {token: word for word, token in card.tokens.vocabulary.items()}


def word_of(value: float, words: Mapping[int, str]) -> str | int | None:
    """Return the word of a number, or the number as an integer if it has none; None where it is missing.

    Args:
        value: a token or the index of a category; NaN for a missing one.
        words: the words by their numbers.
    """
    return None if math.isnan(value) else words.get(int(value), int(value))


def are_plain(card: ModelCard) -> bool:
    """Return whether a timestep may be one token, in place of a list of it."""
    return card.tokens is not None and card.features == 1


def expected_token(tokens: Tokens, label: str) -> str:
    """Return what a value of a feature must be, for messages."""
    word = "" if tokens.vocabulary is None else " or a word of the vocabulary"
    allowed = range_of(tokens, label)
    return f"an integer from {allowed.least} to {allowed.most}{word}"
