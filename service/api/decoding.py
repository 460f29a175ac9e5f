"""Posted sequences to one float32 array that fits the card, with errors that name the element at fault."""

import json
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from service.errors import InvalidInput, TooLarge
from service.inference.artifact import Array
from service.inference.card import ModelCard

NUMBERS = {int, float}


def decode(sequences: object, card: ModelCard, limit: int, where: str) -> Array:
    """Turn parsed JSON into sequences the model can run.

    Args:
        sequences: what should be sequences, each a list of timesteps, each a list of numbers; as an array if
            `numbers.loads` could make it one, as a list otherwise.
        card: the shape to expect.
        limit: most sequences.
        where: what messages call a sequence, `{}` standing for its index: `sequences[{}]`.

    Returns:
        `(n, timesteps, features)`.

    Raises:
        TooLarge: more than `limit` sequences.
        InvalidInput: none, or at the first element that is not as expected.
    """
    if isinstance(sequences, np.ndarray):
        if sequences.shape[1:] == (card.timesteps, card.features) and len(sequences) <= limit:
            return sequences
        sequences = sequences.tolist()  # to be told what is wrong with it
    if not isinstance(sequences, list):
        raise InvalidInput(f"expected a list of sequences, got {kind(sequences)}")
    if len(sequences) > limit:
        raise TooLarge(f"expected at most {limit} sequences, got {len(sequences)}")
    if not sequences:
        raise InvalidInput("expected at least one sequence, got none")
    if _fits(sequences, card.timesteps, card.features):
        array = _array(sequences)
        if np.isfinite(array).all():
            return array
    raise InvalidInput(_first_problem(sequences, card, where))


def _fits(sequences: Sequence[Any], timesteps: int, features: int) -> bool:
    # A scan of each level in turn; what it finds wrong is left to _first_problem to name.
    return (
        all(type(sequence) is list and len(sequence) == timesteps for sequence in sequences)
        and all(type(step) is list and len(step) == features for step in chain.from_iterable(sequences))
        and set(map(type, chain.from_iterable(chain.from_iterable(sequences)))) <= NUMBERS
    )


def _first_problem(sequences: Sequence[object], card: ModelCard, where: str) -> str:
    for i, sequence in enumerate(sequences):
        if not _fits([sequence], card.timesteps, card.features) or not _finite([sequence]):
            return where.format(i) + _problem(sequence, card)
    raise AssertionError("called for sequences that fit")


def _problem(sequence: object, card: ModelCard) -> str:
    if not isinstance(sequence, list):
        return f": expected a list of {card.timesteps} timesteps, got {kind(sequence)}"
    if len(sequence) != card.timesteps:
        return f": expected {card.timesteps} timesteps, got {len(sequence)}"
    for t, step in enumerate(sequence):
        if not isinstance(step, list):
            return f"[{t}]: expected a list of {card.features} features, got {kind(step)}"
        if len(step) != card.features:
            return f"[{t}]: expected {card.features} features, got {len(step)}"
        for f, value in enumerate(step):
            if type(value) not in NUMBERS:
                return f"[{t}][{f}]: expected a finite number, got {kind(value)}"
            if not _finite(value):
                return f"[{t}][{f}]: expected a finite float32, got {value:g}"
    raise AssertionError("called for a sequence that fits")


def _finite(numbers: Any) -> bool:
    return bool(np.isfinite(_array(numbers)).all())


def _array(numbers: Any) -> Array:
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, and is refused as such
        return np.array(numbers, dtype=np.float32)


def shown(value: object) -> str:
    """What messages show of a parsed value: as JSON, unless it is long or may hold others."""
    if isinstance(value, list | dict):
        return kind(value)
    return json.dumps(value[:80] if isinstance(value, str) else value)


def kind(value: object) -> str:
    """What messages call a parsed value."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return "a number"
