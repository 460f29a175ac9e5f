"""Reading a JSON body: its media type, its size, and its text, each checked once at the edge."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from service.api.numbers import loads
from service.errors import TooLarge, UnsupportedMediaType
from service.settings import Settings

T = TypeVar("T")

#: Bodies over this many bytes are decoded, and their answers encoded, in a thread.
LARGE_BODY = 256 * 2**10
#: What proxies log where the client left before there was an answer; nobody receives it.
CLIENT_CLOSED_REQUEST = 499


async def off_loop(call: Callable[..., T], *args: Any, large: bool) -> T:
    """Call what takes time in proportion to a body: in a thread if the body is large, so that others go on."""
    return await asyncio.to_thread(call, *args) if large else call(*args)


class JsonRequest(Request):
    """A request whose JSON body is read under a size limit; `numbers.loads` says what its arrays become."""

    async def read(self, limit: int) -> None:
        """Read the body into memory.

        Raises:
            UnsupportedMediaType: it is not declared to be JSON.
            TooLarge: it has, or says that it has, more than `limit` bytes.
        """
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise UnsupportedMediaType(f"expected content type application/json, got {media_type or 'none'}")
        encoding = self.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise UnsupportedMediaType(f"expected no content encoding, got {encoding}")
        declared = self.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise TooLarge(f"expected a body of at most {limit} bytes, got {declared}")
        chunks: list[bytes] = []
        size = 0
        async for chunk in self.stream():
            size += len(chunk)
            if size > limit:
                raise TooLarge(f"expected a body of at most {limit} bytes, got more")
            chunks.append(chunk)
        self._body = b"".join(chunks)
        self.state.large = size > LARGE_BODY
        self.state.received = time.perf_counter()

    async def json(self) -> Any:
        return await off_loop(loads, await self.body(), large=self.state.large)


class JsonRoute(APIRoute):
    """A route that reads its body as a `JsonRequest`; signature and OpenAPI document stay FastAPI's."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def read_then_handle(request: Request) -> Response:
            settings: Settings = request.app.state.settings
            json_request = JsonRequest(request.scope, request.receive)
            try:
                await json_request.read(settings.max_body)
            except ClientDisconnect:
                return Response(status_code=CLIENT_CLOSED_REQUEST)
            return await handle(json_request)

        return read_then_handle
