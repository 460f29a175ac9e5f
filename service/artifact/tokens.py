"""Tokens: the integers of a model whose sequences are text, or another series of such integers."""

import numpy as np
from numpy.typing import NDArray

from service.artifact.card import ModelCard, Tokens
from service.artifact.tensors import Array


def wrong_tokens(sequences: Array, tokens: Tokens) -> NDArray[np.bool_]:
    """Return whether each value is a number that is no token: a fraction, too small or too large. NaN is not wrong."""
    value = np.nan_to_num(sequences, nan=tokens.least)
    wrong: NDArray[np.bool_] = (value < tokens.least) | (value > tokens.most) | (value != np.floor(value))
    return wrong


def token_of(word: str, tokens: Tokens) -> int | None:
    """Return the token of a word, or that of unknown words; None if there is neither."""
    return (tokens.vocabulary or {}).get(word, tokens.unknown)


def are_plain(card: ModelCard) -> bool:
    """Return whether a timestep may be one token, in place of a list of it."""
    return card.tokens is not None and card.features == 1


def expected_token(tokens: Tokens) -> str:
    """Return what a value must be, for messages."""
    word = "" if tokens.vocabulary is None else " or a word of the vocabulary"
    return f"an integer from {tokens.least} to {tokens.most}{word}"
