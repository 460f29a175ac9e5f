"""Tensors of the Open Inference Protocol to arrays and back, as JSON or as binary data.

Binary data are little-endian and row-major, and follow the JSON, as
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md says.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import numpy as np
from pydantic import BaseModel, FailFast, Field, StrictInt, TypeAdapter, WithJsonSchema

from service.api.codecs.padding import padded
from service.api.codecs.sequences import decode_sequences, value_types
from service.artifact.card import ModelCard
from service.artifact.categories import categories_of, expected_index, wrong_indices
from service.artifact.missing import absent, refused
from service.artifact.tensors import SEQUENCE, Array
from service.artifact.tokens import are_plain, expected_token, wrong_tokens
from service.errors import InvalidInput, TooLarge
from service.problems import kind_of, shown

#: The protocol's numeric datatypes. The model computes in FP32; all others are converted.
DATATYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
DATATYPE: Final = "FP32"
#: The protocol's datatype of words, which models with a vocabulary take.
WORDS: Final = "BYTES"
#: Most axes of a shape that is read.
MOST_AXES: Final = 32

#: Elements row by row: flat, or nested as the shape.
Data = list[float | None] | list[list[list[float | None]]]

Parameters = dict[str, Any]


class RequestInput(BaseModel):
    """A posted tensor."""

    name: str = Field(description=f"Always `{SEQUENCE}`.", examples=[SEQUENCE])
    shape: Annotated[list[StrictInt], FailFast()] = Field(
        max_length=MOST_AXES,
        description="`[n, timesteps, features]`; fewer timesteps than the model has if its card says "
        "`variable_length`; `[n, timesteps]` for tokens.",
        examples=[[1, 20, 2]],
    )
    datatype: str = Field(
        description=f"`{DATATYPE}`, or another that is converted: {', '.join(DATATYPES)}. `{WORDS}` for words, if the "
        "model's card has a vocabulary.",
        examples=[DATATYPE],
    )
    parameters: Parameters | None = Field(
        None, description="`binary_data_size`: bytes of it after the JSON.", examples=[{}]
    )
    data: Annotated[Any, WithJsonSchema(TypeAdapter(Data).json_schema())] = Field(
        None,
        description="Its elements, row by row, flat or nested; absent where they are binary. `null` is a missing "
        "value, if the model's card says `missing_values`.",
        examples=[[0.1] * 40],
    )


def decode_tensor(tensor: RequestInput, binary: bytes, card: ModelCard, limit: int) -> Array:
    """Turn a tensor into sequences `(n, timesteps, features)` with the timesteps of the model.

    Binary FP32 data are not copied.

    Args:
        tensor: the tensor.
        binary: the bytes after the JSON.
        card: the card of the model.
        limit: most sequences.

    Raises:
        TooLarge: more than `limit` sequences.
        InvalidInput: the name, datatype, shape, size or an element is wrong. The message names it.
    """
    if tensor.name != SEQUENCE:
        raise InvalidInput(f"inputs[0].name: expected {SEQUENCE!r}, got {tensor.name[:80]!r}")
    if card.tokens is not None:
        if len(tensor.shape) == 2 and are_plain(card):
            tensor = tensor.model_copy(update={"shape": [*tensor.shape, 1]})
        if tensor.datatype == WORDS and card.tokens.vocabulary is not None:
            return _from_words(tensor, binary, card, limit)
        # Tensors of other datatypes are of numbers.
        tokens = card.tokens.model_copy(update={"vocabulary": None})
        card = card.model_copy(update={"tokens": tokens})
    dtype = DATATYPES.get(tensor.datatype)
    if dtype is None:
        raise InvalidInput(
            f"{SEQUENCE}.datatype: expected {DATATYPE}, or one that can be converted ({', '.join(DATATYPES)}), "
            f"got {tensor.datatype[:80]!r}"
        )
    _check_shape(tensor.shape, card, limit)
    parameters = tensor.parameters or {}
    if parameters.get("shared_memory_region") is not None:
        raise InvalidInput(f"{SEQUENCE}: expected no parameter shared_memory_region, which is not spoken here")
    _check_byte_order(parameters)
    size = parameters.get("binary_data_size")
    if size is None:
        _refuse_bytes(binary)
        # Tensors are of numbers: `_as_float32` checks the indices of categories.
        of_numbers = card.model_copy(update={"categories": {}}) if card.categories else card
        numbers = _from_json(tensor, dtype, of_numbers, limit)
        missing = "null"
    elif tensor.data is not None:
        raise InvalidInput(f"{SEQUENCE}: expected either data or the parameter binary_data_size, got both")
    else:
        numbers = _from_bytes(tensor, dtype, binary, size)
        missing = "NaN"
    return padded(_as_float32(numbers, card, missing), card.timesteps).array


def _refuse_bytes(binary: bytes) -> None:
    if binary:
        raise InvalidInput(f"{SEQUENCE}: expected no bytes after the JSON, got {len(binary)}")


def _from_words(tensor: RequestInput, binary: bytes, card: ModelCard, limit: int) -> Array:
    """Return the sequences of a tensor of words: in JSON, or each as its length in four bytes and its UTF-8."""
    _check_shape(tensor.shape, card, limit)
    count, data = math.prod(tensor.shape), tensor.data
    if (tensor.parameters or {}).get("binary_data_size") is not None:
        data = list(_words_in(binary, count))
    else:
        _refuse_bytes(binary)
    if not isinstance(data, list) or not data:
        raise InvalidInput(f"{SEQUENCE}.data: expected a list of words, got {kind_of(data) if data else 'none'}")
    if not isinstance(data[0], list):
        if len(data) != count:
            raise InvalidInput(f"{SEQUENCE}.data: expected {count} words for shape {tensor.shape}, got {len(data)}")
        data = np.array(data, dtype=object).reshape(tensor.shape).tolist()
    elif len(data) != tensor.shape[0]:
        raise InvalidInput(f"{SEQUENCE}.data: expected {tensor.shape[0]} sequences, as in its shape, got {len(data)}")
    sequences = decode_sequences(data, card, limit, SEQUENCE + "[{}]")
    if any(length != tensor.shape[1] for length in map(len, data)):
        raise InvalidInput(f"{SEQUENCE}.data: expected sequences of {tensor.shape[1]} timesteps, as in its shape")
    return sequences.array


def _words_in(binary: bytes, count: int) -> Iterator[str]:
    """Yield the words of a binary tensor.

    Raises:
        InvalidInput: the bytes are no tensor of so many words.
    """
    at = 0
    for index in range(count):
        size = int.from_bytes(binary[at : at + 4], "little")
        word = binary[at + 4 : at + 4 + size]
        if len(binary) < at + 4 + size or (index == count - 1 and len(binary) > at + 4 + size):
            raise InvalidInput(
                f"{SEQUENCE}: expected the bytes of {count} words after the JSON, got {len(binary)} bytes"
            )
        at += 4 + size
        try:
            yield word.decode()
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{SEQUENCE}: expected words in UTF-8, got {word[:40]!r}") from error


def _check_shape(shape: list[int], card: ModelCard, limit: int) -> None:
    match shape:
        case [n, timesteps, card.features] if n >= 1 and card.fewest_timesteps <= timesteps <= card.timesteps:
            if n > limit:
                raise TooLarge(f"expected at most {limit} sequences, got {n}")
        case _:
            most = f"1 to {card.timesteps}" if card.variable_length else card.timesteps
            raise InvalidInput(
                f"{SEQUENCE}.shape: expected [n, {most}, {card.features}] with n of at least 1, got {shape}"
            )


def _check_byte_order(parameters: Parameters) -> None:
    """Refuse a declared byte order that is not little-endian: the numbers would be read wrongly."""
    for name, value in parameters.items():
        if name.lower().replace("_", "") in ("endianness", "endian", "byteorder") and value not in (
            None,
            "little",
            "<",
            "LE",
        ):
            raise InvalidInput(f"{SEQUENCE}.parameters.{name[:80]}: expected 'little', got {shown(value)}")


def _from_bytes(tensor: RequestInput, dtype: np.dtype[Any], binary: bytes, size: object) -> Any:
    expected = math.prod(tensor.shape) * dtype.itemsize
    if type(size) is not int or size != expected:
        raise InvalidInput(
            f"{SEQUENCE}.parameters.binary_data_size: expected {expected} bytes for {tensor.datatype} of shape "
            f"{tensor.shape}, got {shown(size)}"
        )
    if len(binary) != expected:
        raise InvalidInput(f"{SEQUENCE}: expected {expected} bytes after the JSON, got {len(binary)}")
    return np.frombuffer(binary, dtype).reshape(tensor.shape)


def _from_json(tensor: RequestInput, dtype: np.dtype[Any], card: ModelCard, limit: int) -> Any:
    data = tensor.data
    if not isinstance(data, list):
        raise InvalidInput(f"{SEQUENCE}.data: expected a list of numbers, got {kind_of(data)}")
    if data and isinstance(data[0], list):
        if len(data) != tensor.shape[0]:
            raise InvalidInput(
                f"{SEQUENCE}.data: expected {tensor.shape[0]} sequences, as in its shape, got {len(data)}"
            )
        if tensor.shape[1] < card.timesteps:  # none of its sequences may have more
            card = card.model_copy(update={"timesteps": tensor.shape[1]})
        exact = np.float32 if tensor.datatype == DATATYPE else np.float64
        numbers = decode_sequences(data, card, limit, SEQUENCE + "[{}]", exact).array
        return numbers if tensor.datatype == DATATYPE else _cast(numbers, dtype, tensor.datatype)
    count = math.prod(tensor.shape)
    if len(data) != count:
        raise InvalidInput(f"{SEQUENCE}.data: expected {count} numbers for shape {tensor.shape}, got {len(data)}")
    if not set(map(type, data)) <= value_types(card):
        decode_sequences(
            np.array(data, dtype=object).reshape(tensor.shape).tolist(), card, limit, SEQUENCE + "[{}]"
        )  # names which
    return _cast(np.array(data, dtype=np.float64).reshape(tensor.shape), dtype, tensor.datatype)


def _cast(numbers: Any, dtype: np.dtype[Any], datatype: str) -> Any:
    """Return numbers from JSON in their datatype; NaN where one is missing."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # too large values become infinite, and are refused
            cast = numbers.astype(dtype)
        wrong = np.isinf(cast)
    else:
        limits = np.iinfo(dtype)
        cast = numbers
        # float64 has limits.max + 1, but may round limits.max itself.
        wrong = (numbers % 1 > 0) | (numbers < limits.min) | (numbers >= limits.max + 1)
    _refuse(wrong, numbers, "a finite " + datatype if dtype.kind == "f" else datatype)
    return cast


def _as_float32(numbers: Any, card: ModelCard, missing: str) -> Array:
    """Return numbers as the model takes them; `missing` is the form in which NaN was posted."""
    with np.errstate(over="ignore"):
        array: Array = numbers.astype(np.float32, copy=False)
    if card.categories and (wrong := wrong_indices(array, card)).any():
        feature = int(np.argwhere(wrong)[0][2])
        _refuse(wrong, numbers, expected_index(categories_of(card)[feature]))
    if card.tokens is not None and (wrong := wrong_tokens(array, card.tokens, card.feature_labels)).any():
        label = card.feature_labels[int(np.argwhere(wrong)[0][2])]
        _refuse(wrong, numbers, expected_token(card.tokens, label))
    if not np.isfinite(array).all():
        _refuse(refused(array, card), numbers, f"a finite FP32{_or_missing(card, missing)}")
        empty = absent(array).all(axis=1)
        if empty.any():
            raise InvalidInput(
                f"{SEQUENCE}[{empty.argmax()}]: expected at least one value that is not {missing}, got none"
            )
    return array


def _or_missing(card: ModelCard, missing: str) -> str:
    if card.missing_values:
        return f" or {missing}"
    if card.variable_length and missing == "NaN":
        return ", or NaN in all of the last timesteps"
    return ""


def _refuse(wrong: Any, numbers: Any, expected: str) -> None:
    """Refuse the first wrong element, if there is one."""
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0].tolist())
        index = "".join(f"[{axis}]" for axis in place)
        raise InvalidInput(f"{SEQUENCE}{index}: expected {expected}, got {numbers[place].item()!r}")
