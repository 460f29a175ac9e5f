"""Posted sequences to one array that fits the card, with errors that name the wrong element."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pydantic import BaseModel

from service.api.codecs.padding import PaddedSequences, padded, padded_each
from service.api.codecs.records import Record, first_repeated, name_problem
from service.artifact.card import ModelCard, Tokens
from service.artifact.categories import categories_of, expected_index, index_of, wrong_indices
from service.artifact.missing import absent
from service.artifact.tokens import are_plain, expected_token, range_of, token_of, wrong_tokens
from service.errors import InvalidInput, TooLarge
from service.problems import kind_of, shown

NUMBERS = frozenset({int, float})
NUMBERS_OR_NULL = NUMBERS | {type(None)}


class NamedFeatures(InvalidInput):
    """A timestep is an object whose repeated names are lost: the body must be parsed by `loads_records`."""


class SequenceFields(BaseModel, ABC):
    """Fields of a body that has sequences."""

    @abstractmethod
    def decode(self, card: ModelCard, limit: int) -> PaddedSequences:
        """Return the sequences.

        Raises:
            TooLarge: more than `limit` sequences.
            NamedFeatures: a timestep is an object, but not a record.
            InvalidInput: an element is wrong. The message names the first.
        """


def decode_sequences(
    sequences: object, card: ModelCard, limit: int, where: str, dtype: DTypeLike = np.float32
) -> PaddedSequences:
    """Turn parsed JSON into sequences that a model can run.

    Args:
        sequences: a list of sequences, each a list of timesteps, each a list of numbers, or a record of numbers by
            the names of the features; or the array that `array_reader.loads` made of it. A category may be a string,
            and so may a token. Where a timestep has one token, it may be the token itself.
        card: the card of the model.
        limit: most sequences.
        where: the name of a sequence in messages, with `{}` for its index: `sequences[{}]`.
        dtype: the type that lists are converted to.

    Raises:
        TooLarge: more than `limit` sequences.
        NamedFeatures: a timestep is an object, but not a record.
        InvalidInput: there are no sequences, or an element is wrong. The message names the first.
    """
    if isinstance(sequences, np.ndarray):
        array = sequences[:, :, np.newaxis] if sequences.ndim == 2 and are_plain(card) else sequences
        if _has_shape(array, card) and len(array) <= limit and not _has_wrong_integer(array, card):
            return padded(array, card.timesteps)
        sequences = sequences.tolist()  # to find the wrong element
    if not isinstance(sequences, list):
        raise InvalidInput(f"expected a list of sequences, got {kind_of(sequences)}")
    if len(sequences) > limit:
        raise TooLarge(f"expected at most {limit} sequences, got {len(sequences)}")
    if not sequences:
        raise InvalidInput("expected at least one sequence, got none")
    if card.categories:
        sequences = [_with_indices(sequence, card) for sequence in sequences]
    posted = sequences
    if card.tokens is not None:
        sequences = [_with_tokens(sequence, card) for sequence in sequences]
    decoded = _read(sequences, card, dtype)
    if decoded is None:
        decoded = _read([_without_names(sequence, card) for sequence in sequences], card, dtype)
    if decoded is None:
        raise _first_problem(posted, card, where)
    return decoded


def value_types(card: ModelCard) -> frozenset[type]:
    """Return the types that a value in parsed JSON may have."""
    return NUMBERS_OR_NULL if card.missing_values else NUMBERS


def _has_shape(array: NDArray[Any], card: ModelCard) -> bool:
    shape = array.shape[1:]
    if shape == (card.timesteps, card.features):
        return True
    return card.variable_length and len(shape) == 2 and 0 < shape[0] < card.timesteps and shape[1] == card.features


def _read(sequences: Sequence[Any], card: ModelCard, dtype: DTypeLike = np.float32) -> PaddedSequences | None:
    """Return the sequences; None if one is wrong. `_first_problem` then says which."""
    if not _fits(sequences, card):
        return None
    lengths = np.fromiter(map(len, sequences), np.intp, len(sequences))
    values = _array(list(chain.from_iterable(chain.from_iterable(sequences))), dtype)
    read = padded_each(values.reshape(-1, card.features), lengths, card.timesteps)
    if np.isinf(values).any() or (card.missing_values and absent(read.array).all(axis=1).any()):
        return None
    return None if _has_wrong_integer(read.array, card) else read


def _has_wrong_integer(sequences: NDArray[Any], card: ModelCard) -> bool:
    """Return whether a category has a wrong index, or a value is no token."""
    if card.tokens is not None:
        return bool(wrong_tokens(sequences, card.tokens, card.feature_labels).any())
    return bool(card.categories) and bool(wrong_indices(sequences, card).any())


def _fits(sequences: Sequence[Any], card: ModelCard) -> bool:
    # One scan for each level is several times faster than a loop over the sequences.
    fewest, most, features = card.fewest_timesteps, card.timesteps, card.features
    return (
        all(type(sequence) is list and fewest <= len(sequence) <= most for sequence in sequences)
        and all(type(step) is list and len(step) == features for step in chain.from_iterable(sequences))
        and set(map(type, chain.from_iterable(chain.from_iterable(sequences)))) <= value_types(card)
    )


def _with_indices(sequence: Any, card: ModelCard) -> Any:
    """Return a sequence with the index of each category that is given by its name. What is wrong stays as it is."""
    if type(sequence) is not list:
        return sequence
    categories = categories_of(card)
    return [_step_with_indices(step, categories, card) for step in sequence]


def _step_with_indices(step: Any, categories: dict[int, tuple[str, ...]], card: ModelCard) -> Any:
    if type(step) is Record and step.repeated is None:
        return Record([(name, _index(value, card.categories.get(name), card)) for name, value in step.items()])
    if type(step) is not list:
        return step
    return [_index(value, categories.get(f), card) for f, value in enumerate(step)]


def _index(value: Any, values: tuple[str, ...] | None, card: ModelCard) -> Any:
    """Return the index of a category's value by its name; null for an empty name or a word for a missing value."""
    if type(value) is not str or values is None:
        return value
    index = index_of(value, values)
    is_missing = index == len(values) and value.strip() in {"", *(card.table.missing if card.table else ())}
    return None if is_missing else index


def _with_tokens(sequence: Any, card: ModelCard) -> Any:
    """Return a sequence with the tokens of words, and a list for each token by itself. What is wrong stays as it is."""
    if type(sequence) is not list:
        return sequence
    plain = are_plain(card)
    return [
        _step_with_tokens([step] if plain and type(step) not in (list, Record) else step, card) for step in sequence
    ]


def _step_with_tokens(step: Any, card: ModelCard) -> Any:
    if type(step) is Record and step.repeated is None:
        return Record([(name, _token_of(value, card)) for name, value in step.items()])
    return [_token_of(value, card) for value in step] if type(step) is list else step


def _token_of(value: Any, card: ModelCard) -> Any:
    if type(value) is not str or card.tokens is None:
        return value
    token = token_of(value, card.tokens)
    return value if token is None else token


def _without_names(sequence: Any, card: ModelCard) -> Any:
    """Return a sequence with lists instead of its records. What does not fit the card stays as it is."""
    if type(sequence) is not list or not any(type(step) is Record for step in sequence):
        return sequence
    labels = card.feature_labels
    return [
        [step[label] for label in labels] if type(step) is Record and _problem_of_names(step, card) is None else step
        for step in sequence
    ]


def _problem_of_names(step: Record, card: ModelCard) -> str | None:
    labels = card.feature_labels
    if step.repeated is None and len(step) == len(labels) and step.keys() == set(labels):
        return None
    if (twice := first_repeated(labels)) is not None:
        return f"expected a list of {card.features} features, as two of them are named {twice!r}, got an object"
    if step.repeated is not None:
        return f"repeated feature {step.repeated[:80]!r}"
    return name_problem("feature", step, labels)


def _first_problem(sequences: Sequence[object], card: ModelCard, where: str) -> InvalidInput:
    for i, sequence in enumerate(sequences):
        prepared = sequence if card.tokens is None else _with_tokens(sequence, card)
        if _read([_without_names(prepared, card)], card) is None:
            problem = where.format(i) + _problem(sequence, card)
            named = isinstance(sequence, list) and any(type(step) is dict for step in sequence)
            return NamedFeatures(problem) if named else InvalidInput(problem)
    raise AssertionError("all sequences fit the card")


def _problem(sequence: object, card: ModelCard) -> str:
    timesteps = f"1 to {card.timesteps} timesteps" if card.variable_length else f"{card.timesteps} timesteps"
    if not isinstance(sequence, list):
        return f": expected a list of {timesteps}, got {kind_of(sequence)}"
    if not card.fewest_timesteps <= len(sequence) <= card.timesteps:
        return f": expected {timesteps}, got {len(sequence)}"
    for t, step in enumerate(sequence):
        if problem := _problem_of_step(step, card):
            return f"[{t}]{problem}"
    return ": expected at least one value that is not null, got none"


def _problem_of_step(step: object, card: ModelCard) -> str | None:
    if isinstance(step, Record):
        if problem := _problem_of_names(step, card):
            return f": {problem}"
    elif are_plain(card) and type(step) is not list:
        problem = _problem_of_value(step, card, card.feature_labels[0])
        return problem and f": {problem}"
    elif not isinstance(step, list):
        return f": expected a list of {card.features} features, got {kind_of(step)}"
    elif len(step) != card.features:
        return f": expected {card.features} features, got {len(step)}"
    for f, value in step.items() if isinstance(step, Record) else enumerate(step):
        label = f if isinstance(f, str) else card.feature_labels[f]
        if problem := _problem_of_value(value, card, label):
            return f"[{f!r}]: {problem}"
    return None


def _problem_of_value(value: Any, card: ModelCard, label: str) -> str | None:
    if card.tokens is not None:
        return _problem_of_token(value, card, card.tokens, label)
    category = card.categories.get(label)
    if type(value) not in value_types(card):
        expected = "a finite number" if category is None else f"a name or {expected_index(category)}"
        return f"expected {expected}{' or null' if card.missing_values else ''}, got {kind_of(value)}"
    if category is not None and value is not None and not (0 <= value <= len(category) and value == int(value)):
        return f"expected a name or {expected_index(category)}, got {value:g}"
    if np.isinf(_array(value, np.float32)):
        return f"expected a finite float32, got {value:g}"
    return None


def _problem_of_token(value: Any, card: ModelCard, tokens: Tokens, label: str) -> str | None:
    if type(value) is str and tokens.vocabulary is not None:
        if (token := token_of(value, tokens)) is None:
            return f"expected a word of the vocabulary, got {shown(value)}"
        value = token
    known, allowed = type(value) in value_types(card), range_of(tokens, label)
    if known and (value is None or (allowed.least <= value <= allowed.most and value == int(value))):
        return None
    got = kind_of(value) if not known or value is None else f"{value:.7g}"  # the digits that float32 has
    return f"expected {expected_token(tokens, label)}{' or null' if card.missing_values else ''}, got {got}"


def _array(values: Any, dtype: DTypeLike) -> NDArray[Any]:
    with np.errstate(over="ignore"):  # too large values become infinite, and are refused
        return np.array(values, dtype)  # null becomes NaN
