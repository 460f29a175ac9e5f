"""Reading a request body, under a size limit and a deadline, and parsing it."""

import asyncio
import time
from typing import Any, Final, NamedTuple, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from service.api.codecs.array_reader import loads
from service.api.content_encoding import decoder_of
from service.api.problems import in_plain_words
from service.artifact.card import ModelCard
from service.errors import InvalidInput, TooLarge, UnfinishedBody, UnknownModel, UnsupportedMediaType

M = TypeVar("M", bound=BaseModel)

JSON: Final = "application/json"
#: The UTF-8 byte order mark, which some editors and clients write before JSON.
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
#: Bodies of more bytes are decoded in a thread.
LARGE_BODY: Final = 256 * 2**10
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

    @property
    def large(self) -> bool:
        """Whether decoding it belongs in a thread."""
        return self.size > LARGE_BODY

    def parse(self, expected: type[M], most_sequences: int, card: ModelCard) -> M:
        """Parse the body as JSON that describes sequences, at most `most_sequences` that fit a card.

        Raises:
            TooLarge: the body has more lists, objects, fields or values than those sequences could have.
            InvalidInput: the body is not JSON, or is not of the type.
        """
        return parse_sequences(b"".join(self.chunks), expected, most_sequences, card)


def parse_sequences(text: bytes, expected: type[M], most_sequences: int, card: ModelCard) -> M:
    """Parse JSON that describes sequences, as `RequestBody.parse` does."""
    if len(text) > LARGE_BODY:
        # Each list, field or value becomes an object while no other thread has the interpreter, and takes up to twenty
        # times the memory of its text. Counting takes far less time.
        most = most_sequences * (card.timesteps + 3) + LARGE_STRUCTURE
        _require_few(text, b"[{:", most, "lists, objects and fields")
        most = most_sequences * card.timesteps * card.features + LARGE_STRUCTURE
        _require_few(text, b",", most, "values")
    return validated(expected, parse_json(text), "body")


def _require_few(text: bytes, characters: bytes, most: int, name: str) -> None:
    count = len(text) - len(text.translate(None, characters))
    if count > most:
        raise TooLarge(f"expected at most {most} {name} in the body, got {count}")


def parse_json(text: bytes) -> Any:
    """Parse JSON as `array_reader.loads` does; a byte order mark may come first.

    Raises:
        InvalidInput: the text is not JSON.
    """
    try:
        return loads(text.removeprefix(BYTE_ORDER_MARK))
    except orjson.JSONDecodeError as error:
        message = f"position {error.pos}: expected JSON (which has no NaN and no Infinity), got: {error.msg}"
    raise InvalidInput(message)  # outside of the block above: the error there holds the text


def validated(expected: type[M], value: object, where: str) -> M:
    """Return a value as an instance of a type; `where` names the part of the request that it is, for errors.

    Raises:
        InvalidInput: the value is not of that type.
        UnknownModel: the same, where it is the path.
    """
    try:
        return expected.model_validate(value)
    except ValidationError as error:
        message = in_plain_words(error.errors(include_url=False)[0], where)
    # Outside of the block above: the errors there hold the value, in a cycle that stays until the next collection.
    raise (UnknownModel if where == "path" else InvalidInput)(message)


def require_json(request: Request) -> None:
    """Refuse a body that is not declared to be JSON.

    Raises:
        UnsupportedMediaType: the content type is another.
    """
    declared = next((value for name, value in request.scope["headers"] if name == b"content-type"), b"none")
    media_type = declared.partition(b";")[0].strip().lower()
    if media_type != JSON.encode():
        raise UnsupportedMediaType(f"expected content type {JSON}, got {media_type.decode('latin-1')}")


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
    headers: dict[bytes, bytes] = dict(request.scope["headers"])
    decoder = decoder_of(request.scope["headers"], limit) if b"content-encoding" in headers else None
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > limit:
        raise TooLarge(f"expected a body of at most {limit} bytes, got {int(declared)}")
    chunks: list[bytes] = []
    more = await _receive(request, chunks)
    size = len(chunks[0])
    if more or decoder:
        try:
            async with asyncio.timeout(timeout):
                if decoder:
                    chunks = await decoder.decode(chunks[0])
                while more and size <= limit:
                    arrived: list[bytes] = []
                    more = await _receive(request, arrived)
                    size += len(arrived[0])
                    chunks += await decoder.decode(arrived[0]) if decoder else arrived
        except TimeoutError:
            raise UnfinishedBody(f"expected all of the body within {timeout:g} s, got {size} bytes") from None
    if size > limit:
        raise TooLarge(f"expected a body of at most {limit} bytes, got more")
    if decoder:
        decoder.end()
        size = sum(map(len, chunks))
    return RequestBody(chunks, size, request.scope["headers"], time.perf_counter())


async def _receive(request: Request, chunks: list[bytes]) -> bool:
    """Append the next piece of the body; return whether more follow."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    chunks.append(message.get("body", b""))
    more: bool = message.get("more_body", False)
    return more
