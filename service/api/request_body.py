"""Reading a request body, under a size limit and a deadline, and parsing it."""

import asyncio
import json
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar, Final, NamedTuple, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError, model_validator
from starlette.requests import ClientDisconnect

from service.api.codecs.array_reader import loads
from service.api.codecs.padding import PaddedSequences
from service.api.codecs.records import loads_records
from service.api.codecs.sequences import NamedFeatures, SequenceFields
from service.api.content_encoding import decoder_of
from service.api.request_headers import headers_of
from service.artifact.card import ModelCard
from service.errors import InvalidInput, TooLarge, UnfinishedBody, UnknownModel
from service.problems import in_plain_words

M = TypeVar("M", bound=BaseModel)
S = TypeVar("S", bound=SequenceFields)
Loads = Callable[[bytes], Any]

JSON: Final = "application/json"
#: The UTF-8 byte order mark, which some editors and clients write before JSON.
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
CSV: Final = "text/csv"
#: Further bytes of the header `Content-Type` are ignored.
LONGEST_MEDIA_TYPE: Final = 200
#: Bodies of more bytes are decoded in a thread.
LARGE_BODY: Final = 256 * 2**10
#: Bodies of more bytes are decoded in a thread if they are tables or name features, which takes longer.
SLOW_BODY: Final = 8 * 2**10
#: Lists, objects and fields that a body may have in addition to those of its sequences.
LARGE_STRUCTURE: Final = 1000


class RequestBody(NamedTuple):
    """A request body.

    Attributes:
        chunks: its bytes, in the pieces in which they arrived.
        size: how many bytes it has.
        headers: the headers of the request, names in lower case.
        received: when the last of them arrived, by `time.perf_counter`.
    """

    chunks: list[bytes]
    size: int
    headers: list[tuple[bytes, bytes]]
    received: float

    def is_slow(self, *, by_name: bool) -> bool:
        """Return whether decoding it belongs in a thread.

        Args:
            by_name: whether it may be a table or name features. Both take longer.
        """
        return self.size > LARGE_BODY or (
            by_name and any(b'"dataframe_' in chunk or chunk.count(b"{") >= chunk.count(b"[") for chunk in self.chunks)
        )

    def decode(self, expected: type[S], card: ModelCard, most: int) -> tuple[S, PaddedSequences]:
        """Return the fields of the body, and the sequences in them.

        Args:
            expected: the type of the fields.
            card: the card of the model.
            most: most sequences.

        Raises:
            TooLarge: there are more sequences, or more lists, objects, fields or values than those could have.
            InvalidInput: the body is not JSON or not of the type, or an element is wrong.
        """
        text = b"".join(self.chunks)
        fields = parse_sequences(text, expected, most, card)
        try:
            return fields, fields.decode(card, most)
        except NamedFeatures:
            fields = parse_sequences(text, expected, most, card, loads_records)
            return fields, fields.decode(card, most)


def parse_sequences(text: bytes, expected: type[M], most_sequences: int, card: ModelCard, load: Loads = loads) -> M:
    """Parse JSON that describes sequences.

    Args:
        text: the JSON.
        expected: the type of its fields.
        most_sequences: most sequences.
        card: the card of the model.
        load: parses the text.

    Raises:
        TooLarge: the text has more lists, objects, fields or values than those sequences could have.
        InvalidInput: the text is not JSON, or is not of the type.
    """
    if len(text) > LARGE_BODY:
        require_structure(text, most_sequences, card, card.features)
        most = most_sequences * card.timesteps * card.features + LARGE_STRUCTURE
        if (count := text.count(b",")) > most:
            raise TooLarge(
                f"expected at most {most_sequences} sequences of {card.timesteps} times {card.features} values in the "
                f"body, got more than {count} values"
            )
    return validated(expected, parse_json(text, load), "body")


def require_structure(text: bytes, most_sequences: int, card: ModelCard, names: int) -> None:
    """Refuse JSON of more lists, objects and fields than some sequences could have, before it is parsed.

    Args:
        text: the JSON.
        most_sequences: most sequences.
        card: the card of the model.
        names: most fields of an object.

    Raises:
        TooLarge: it has more.
    """
    # Each list, field or value becomes an object while no other thread has the interpreter, and takes up to twenty
    # times the memory of its text. Counting takes far less time.
    most = most_sequences * (card.timesteps + 3) + LARGE_STRUCTURE
    lists, objects, fields = map(text.count, (b"[", b"{", b":"))
    if lists + objects > most or fields > most + objects * names:
        count = lists + objects + fields
        raise TooLarge(f"expected at most {most} lists, objects and fields in the body, got {count}")


class KnownFields(BaseModel):
    """An object without unknown fields, which would be ignored in silence."""

    _names: ClassVar[frozenset[str]]

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        cls._names = frozenset(cls.model_fields)  # `model_fields` is slow for every request

    @model_validator(mode="before")
    @classmethod
    def _no_others(cls, value: object) -> object:
        # Not extra="forbid", which makes an error of each unknown field: a body may have millions.
        if isinstance(value, dict) and not value.keys() <= cls._names:
            unknown = next(name for name in value if name not in cls._names)
            raise ValueError(f"expected no other field than {', '.join(cls.model_fields)}, got {unknown[:80]!r}")
        return value


def parse_json(text: bytes, load: Loads = loads) -> Any:
    """Parse JSON as `array_reader.loads` does, or as `load`; a byte order mark may come first.

    Raises:
        InvalidInput: the text is not JSON.
    """
    try:
        return load(text.removeprefix(BYTE_ORDER_MARK))
    except json.JSONDecodeError as error:  # orjson's is a subclass
        got = f"got: {error.msg}" if text else "got an empty body"
        message = f"position {error.pos}: expected JSON (which has no NaN and no Infinity), {got}"
    raise InvalidInput(message)  # outside of the block above: the error there holds the text


def validated(expected: type[M], value: object, where: str) -> M:
    """Return a value as an instance of a type; `where` names the part of the request that it is, for errors.

    A field of null is as if absent.

    Raises:
        InvalidInput: the value is not of that type.
        UnknownModel: the same, where it is the path.
    """
    if isinstance(value, dict) and any(field is None for field in value.values()):
        value = {name: field for name, field in value.items() if field is not None}
    try:
        return expected.model_validate(value)
    except ValidationError as error:
        message = in_plain_words(error.errors(include_url=False)[0], where)
    # Outside of the block above: the errors there hold the value, in a cycle that stays until the next collection.
    raise (UnknownModel if where == "path" else InvalidInput)(message)


def media_type_of(request: Request) -> str:
    """Return the media type that a body is declared to have, without parameters; `none` if it is not declared."""
    return _media_type(headers_of(request.scope).get(b"content-type", b"none")[:LONGEST_MEDIA_TYPE])


@lru_cache(256)  # most clients send the same
def _media_type(declared: bytes) -> str:
    return declared.partition(b";")[0].strip().lower().decode("latin-1")


async def read_body(request: Request, limit: int, timeout: float) -> RequestBody:
    """Read a body of at most `limit` bytes, whose last piece arrives within `timeout` seconds of the first.

    A compressed body is decoded; the limit holds for both of its sizes.

    Raises:
        UnsupportedEncoding: the body has a content encoding that is not decoded, or several.
        TooLarge: the body has, or declares, more than `limit` bytes.
        InvalidInput: the body is not what its content encoding says.
        UnfinishedBody: the body stops arriving.
        ClientDisconnect: the client disconnects before the end of the body.
    """
    headers = headers_of(request.scope)
    decoder = decoder_of(request.scope["headers"], limit) if b"content-encoding" in headers else None
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > limit:
        raise TooLarge(f"expected a body of at most {limit} bytes, got {int(declared)}")
    chunks: list[bytes] = []
    piece, more = await _receive(request)  # without a timeout: the server gives it at once, empty if it must
    size = len(piece)
    chunks += await decoder.decode(piece) if decoder else (piece,)
    if more:
        try:
            async with asyncio.timeout(timeout):
                while more and size <= limit:
                    piece, more = await _receive(request)
                    size += len(piece)
                    chunks += await decoder.decode(piece) if decoder else (piece,)
        except TimeoutError:
            raise UnfinishedBody(f"expected all of the body within {timeout:g} s, got {size} bytes") from None
    if size > limit:
        raise TooLarge(f"expected a body of at most {limit} bytes, got more")
    if decoder:
        decoder.end()
        size = sum(map(len, chunks))
    return RequestBody(chunks, size, request.scope["headers"], time.perf_counter())


async def _receive(request: Request) -> tuple[bytes, bool]:
    """Return the next piece of the body, and whether more follow."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)
