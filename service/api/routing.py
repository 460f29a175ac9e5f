"""Routes that ask a model: the body is read once at the edge, and the endpoint is called without FastAPI's solver."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, get_type_hints

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service.api.codecs.arrays import loads
from service.api.selection import Selection, model_in_path
from service.api.timing import server_timing
from service.api.validation import validated
from service.artifact.card import ModelCard
from service.artifact.tensors import Array
from service.errors import QueueFull, TooLarge, UnfinishedBody, UnsupportedMediaType
from service.serving.batcher import Outputs, Result
from service.serving.model import Model
from service.settings import Settings

T = TypeVar("T")

JSON = "application/json"
NO_SELECTION = Selection()
#: JSON of more bytes is decoded in a thread, and so are more numbers encoded; and what is binary of more bytes.
LARGE_BODY, LARGE_OUTPUTS, LARGE_BINARY = 256 * 2**10, 32 * 2**10, 2**20
#: Lists, objects and fields in JSON that are not worth counting.
LARGE_STRUCTURE = 1000


async def off_loop(call: Callable[..., T], *args: Any, large: bool) -> T:
    """Call what takes time in proportion to its data: in a thread if they are large, so that others go on."""
    return await asyncio.to_thread(call, *args) if large else call(*args)


def are_large(outputs: Iterable[Array]) -> bool:
    """Whether there is so much to encode as JSON that it belongs in a thread."""
    return sum(output.size for output in outputs) > LARGE_OUTPUTS


class BodyRequest(Request):
    """A request whose body is read under a size limit.

    Attributes:
        large: whether it is so large that work on it belongs in a thread.
        received: when all of the body was here, by `time.perf_counter`.
        binary: what follows the JSON.
    """

    large: bool
    received: float
    binary: bytes = b""

    def most_sequences(self, card: ModelCard) -> int:
        """Most sequences that may be posted to a model.

        Of those that may be short, no more than there could be of whole ones: a small body would otherwise become
        however large an array once they are padded.
        """
        settings: Settings = self.app.state.settings
        if not card.variable_length:
            return settings.max_sequences
        whole = len("0,") * card.timesteps * card.features  # bytes at least
        return max(1, min(settings.max_sequences, settings.max_body // whole))

    def require_json(self) -> None:
        """Refuse a body that is something else.

        Raises:
            UnsupportedMediaType: it is not declared to be JSON.
        """
        declared = next((value for name, value in self.scope["headers"] if name == b"content-type"), b"none")
        media_type = declared.partition(b";")[0].strip().lower()
        if media_type != JSON.encode():
            raise UnsupportedMediaType(f"expected content type {JSON}, got {media_type.decode('latin-1')}")

    async def read(self, limit: int, timeout: float) -> list[bytes]:
        """Read the body, in the pieces in which it comes.

        Args:
            limit: most bytes.
            timeout: longest time from the first of them to the last, in seconds.

        Raises:
            UnsupportedMediaType: it is compressed.
            TooLarge: it has, or says that it has, more than `limit` bytes.
            UnfinishedBody: it stops coming.
            ClientDisconnect: the client left before all of it was here.
        """
        headers: dict[bytes, bytes] = dict(self.scope["headers"])
        encoding = headers.get(b"content-encoding", b"identity").lower()
        if encoding != b"identity":
            raise UnsupportedMediaType(f"expected no content encoding, got {encoding.decode('latin-1')}")
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > limit:
            raise TooLarge(f"expected a body of at most {limit} bytes, got {int(declared)}")
        chunks: list[bytes] = []
        more = await self._receive_into(chunks)
        size = len(chunks[0])
        if more:
            try:
                async with asyncio.timeout(timeout):
                    while more and size <= limit:
                        more = await self._receive_into(chunks)
                        size += len(chunks[-1])
            except TimeoutError:
                raise UnfinishedBody(f"expected all of the body within {timeout:g} s, got {size} bytes") from None
        if size > limit:
            raise TooLarge(f"expected a body of at most {limit} bytes, got more")
        self.large = size > LARGE_BODY
        self.received = time.perf_counter()
        return chunks

    async def _receive_into(self, chunks: list[bytes]) -> bool:
        """Wait for another piece of the body; returns whether there are more."""
        received = await self.receive()
        if received["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(received.get("body", b""))
        more: bool = received.get("more_body", False)
        return more


class JsonResponse(Response):
    """JSON that is encoded already, with a `Server-Timing`."""

    def __init__(self, content: bytes, timing: str) -> None:
        self.status_code = 200
        self.background = None
        self.body = content
        self.raw_headers = [
            (b"content-type", JSON.encode()),
            (b"content-length", b"%d" % len(content)),
            (b"server-timing", timing.encode()),
        ]


async def respond(request: BodyRequest, decoded: float, result: Result, encode: Callable[[Outputs], bytes]) -> Response:
    """Answer what a model said, as JSON.

    Args:
        request: what is answered.
        decoded: when the model was asked, by `time.perf_counter`, in seconds.
        result: what it said.
        encode: its outputs to the JSON of an answer.
    """
    answered = time.perf_counter()
    content = await off_loop(encode, result.outputs, large=are_large(result.outputs.values()))
    return JsonResponse(content, server_timing(request.received, decoded, result, answered))


class ModelRoute(APIRoute):
    """A route that asks a model: its endpoint takes `body`, the `model` selected, and `request`.

    FastAPI documents it from the endpoint's signature like any other. Calling it takes three lines, and they are here:
    FastAPI's solver of dependencies, which could do far more, takes longer than a small model does. An app takes such a
    route as it is: `include_router` would make another of it, which FastAPI calls.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._body: type[BaseModel] = get_type_hints(self.endpoint)["body"]
        self.app = self._answer

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = BodyRequest(scope, receive)
        settings: Settings = request.app.state.settings
        model = self.select(request)
        try:
            model.admit()
        except QueueFull as error:
            request.app.state.refusals.remember(request, model, error)
            raise
        chunks = await request.read(settings.max_body, settings.timeout)
        model.admit()  # again: others may have come while the body did
        body = await self.parse(request, model, chunks)
        response: Response = await self.endpoint(body=body, model=model, request=request)
        await response(scope, receive, send)

    def select(self, request: BodyRequest) -> Model:
        """The model to ask: the one in the path, else the default; whatever the content type is said to be."""
        return model_in_path(request)

    async def parse(self, request: BodyRequest, model: Model, chunks: list[bytes]) -> BaseModel:
        """The body as what the endpoint takes."""
        return await self.parse_json(request, model, b"".join(chunks))

    async def parse_json(self, request: BodyRequest, model: Model, text: bytes) -> BaseModel:
        """JSON as what the endpoint takes.

        Raises:
            TooLarge: it has more lists, objects and fields than the sequences that are allowed could have.
            RequestValidationError: it is not JSON, or something else than expected.
        """
        if not request.large:
            return validated(self._body, parsed(text), "body")
        most = request.app.state.settings.max_sequences * (model.card.timesteps + 3) + LARGE_STRUCTURE
        return validated(self._body, await asyncio.to_thread(_parsed_if_plausible, text, most), "body")


class JsonRoute(ModelRoute):
    """A native route: JSON declared as such; the query names the model."""

    def select(self, request: BodyRequest) -> Model:
        request.require_json()
        selection = NO_SELECTION
        if request.scope["query_string"]:
            selection = validated(Selection, dict(request.query_params), "query")
        return selection.of(request)


def _parsed_if_plausible(text: bytes, most: int) -> Any:
    # Each is an object to make while nobody else gets the interpreter; to count them takes a fraction of that.
    count = len(text) - len(text.translate(None, b"[{:"))
    if count > most:
        raise TooLarge(f"expected at most {most} lists, objects and fields in the body, got {count}")
    return parsed(text)


def parsed(text: bytes) -> Any:
    """Parse JSON as `numbers.loads` does.

    Raises:
        RequestValidationError: it is not JSON.
    """
    try:
        return loads(text)
    except orjson.JSONDecodeError as error:
        message = f"expected JSON (which has no NaN and no Infinity), got: {error.msg}"
        problem = {"type": "json_invalid", "loc": ("body", error.pos), "msg": message}
        raise RequestValidationError([problem]) from error
