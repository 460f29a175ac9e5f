"""Sequences as the model's input, in the words of its card."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from service.api.codecs.padding import PaddedSequences
from service.artifact.card import ModelCard
from service.artifact.tokens import word_of, words_of


def inputs_of(sequences: PaddedSequences, card: ModelCard) -> Sequence[Any]:
    """Return the values of each sequence, `(timesteps, features)` for the posted timesteps.

    A value is a number in raw units, NaN where it is missing; the name of a category, or the number of names for any
    other name; the word of a token, or its number if it has none; None where a name or a token is missing.

    Args:
        sequences: `n` sequences of the card's features.
        card: the model's card.
    """
    array = np.ascontiguousarray(sequences.array)
    lengths = np.broadcast_to(array.shape[1] if sequences.lengths is None else sequences.lengths, len(array))
    rows = [row[:length] for row, length in zip(array, lengths.tolist(), strict=True)]
    if card.tokens is None and not card.categories:
        return rows
    words = [_words(card, label) for label in card.feature_labels]
    return [[list(map(_shown, step, words)) for step in row] for row in rows]


def _words(card: ModelCard, label: str) -> Mapping[int, str] | None:
    """Return the words of a feature's values that have any; None for a feature of numbers."""
    if card.tokens is not None:
        return words_of(card) or {}
    names = card.categories.get(label)
    return None if names is None else dict(enumerate(names))


def _shown(value: Any, words: Mapping[int, str] | None) -> Any:
    return value if words is None else word_of(value, words)
