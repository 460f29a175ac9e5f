"""Routes that take JSON: the body is read once at the edge, and the endpoint is called without FastAPI's solver."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service.api.numbers import loads
from service.api.selection import Selection
from service.errors import TooLarge, UnsupportedMediaType
from service.settings import Settings

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

JSON = "application/json"
NO_SELECTION = Selection()
#: Bodies over this many bytes are decoded, and their answers encoded, in a thread.
LARGE_BODY = 256 * 2**10


async def off_loop(call: Callable[..., T], *args: Any, large: bool) -> T:
    """Call what takes time in proportion to a body: in a thread if the body is large, so that others go on."""
    return await asyncio.to_thread(call, *args) if large else call(*args)


class JsonRequest(Request):
    """A request whose JSON body is read under a size limit.

    Attributes:
        large: whether the body is so large that work on it belongs in a thread.
        received: when all of the body was here, by `time.perf_counter`.
    """

    large: bool
    received: float

    async def read(self, limit: int) -> bytes:
        """Read the body.

        Raises:
            UnsupportedMediaType: it is not declared to be JSON.
            TooLarge: it has, or says that it has, more than `limit` bytes.
            ClientDisconnect: the client left before all of it was here.
        """
        headers: dict[bytes, bytes] = dict(self.scope["headers"])
        media_type = headers.get(b"content-type", b"none").partition(b";")[0].strip().lower()
        if media_type != JSON.encode():
            raise UnsupportedMediaType(f"expected content type {JSON}, got {media_type.decode('latin-1')}")
        encoding = headers.get(b"content-encoding", b"identity")
        if encoding != b"identity":
            raise UnsupportedMediaType(f"expected no content encoding, got {encoding.decode('latin-1')}")
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > limit:
            raise TooLarge(f"expected a body of at most {limit} bytes, got {int(declared)}")
        chunks: list[bytes] = []
        size, more = 0, True
        while more:
            received = await self.receive()
            if received["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk, more = received.get("body", b""), received.get("more_body", False)
            size += len(chunk)
            if size > limit:
                raise TooLarge(f"expected a body of at most {limit} bytes, got more")
            chunks.append(chunk)
        self.large = size > LARGE_BODY
        self.received = time.perf_counter()
        return b"".join(chunks)


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


class JsonRoute(APIRoute):
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
        request = JsonRequest(scope, receive)
        settings: Settings = request.app.state.settings
        selection = NO_SELECTION
        if scope["query_string"]:
            selection = _validated(Selection, dict(request.query_params), "query")
        model = selection.of(request)
        model.admit()
        try:
            text = await request.read(settings.max_body)
        except ClientDisconnect:
            return  # nobody is left to answer
        model.admit()  # again: others may have come while the body did
        body = _validated(self._body, await off_loop(_parsed, text, large=request.large), "body")
        response: Response = await self.endpoint(body=body, model=model, request=request)
        await response(scope, receive, send)


def _parsed(text: bytes) -> Any:
    try:
        return loads(text)
    except orjson.JSONDecodeError as error:
        message = f"expected JSON (which has no NaN and no Infinity), got: {error.msg}"
        problem = {"type": "json_invalid", "loc": ("body", error.pos), "msg": message}
        raise RequestValidationError([problem]) from error


def _validated(expected: type[M], value: object, where: str) -> M:
    try:
        return expected.model_validate(value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**problem, "loc": (where, *problem["loc"])} for problem in problems]) from error
