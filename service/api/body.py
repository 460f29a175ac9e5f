"""Reading a JSON body: its media type, its size, and its text, each checked once at the edge."""

import time
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute

from service.errors import TooLarge, UnsupportedMediaType
from service.settings import Settings


class JsonRequest(Request):
    """A request whose JSON body is read under a size limit and parsed by orjson."""

    async def read(self, limit: int) -> None:
        """Read the body into memory.

        Raises:
            UnsupportedMediaType: it is not declared to be JSON.
            TooLarge: it has, or says that it has, more than `limit` bytes.
        """
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise UnsupportedMediaType(f"expected content type application/json, got {media_type or 'none'}")
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
        self.state.received = time.perf_counter()

    async def json(self) -> Any:
        return orjson.loads(await self.body())


class JsonRoute(APIRoute):
    """A route that reads its body as a `JsonRequest`; signature and OpenAPI document stay FastAPI's."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def read_then_handle(request: Request) -> Response:
            settings: Settings = request.app.state.settings
            json_request = JsonRequest(request.scope, request.receive)
            await json_request.read(settings.max_body)
            return await handle(json_request)

        return read_then_handle
