"""Middleware for the answers to all requests: HEAD, caching and compression."""

import asyncio
from collections.abc import Awaitable
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.answer_memory import PIECE_BYTES
from service.api.content_encoding import accepts_gzip, compressed
from service.api.request_headers import headers_of

#: Answers of fewer bytes stay plain: TCP sends 10 segments of 1,460 bytes before it waits for the client, so a smaller
#: answer arrives no earlier.
FEWEST_BYTES: Final = 14_600
#: Answers of more bytes are compressed in a thread. The event loop compresses as many in 2 ms.
LARGE_ANSWER: Final = 128 * 2**10
#: Key of the scope with the scope in which a HEAD request is answered as GET.
AS_GET: Final = "attention_service.as_get"
#: Media types that are compressed already.
COMPRESSED_TYPES: Final = ("image/png", "font/")


class Answers:
    """ASGI middleware that answers HEAD as GET, forbids caching by default, and compresses large answers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Return the awaitable of the app, without a coroutine of its own around it: most requests need none."""
        if scope["type"] == "http":
            method, accepts = scope["method"], b"accept-encoding" in headers_of(scope)
            if accepts or method != "POST":
                accepted = b",".join([value for name, value in scope["headers"] if name == b"accept-encoding"])
                send = Answer(send, method, accepts_gzip(accepted[:1000])).send
                if method == "HEAD":
                    inner = scope[AS_GET] = {**scope, "method": "GET"}
                    scope = inner
        return self.app(scope, receive, send)


class Answer:
    """One answer on its way to the client.

    Args:
        send: sends a message to the client.
        method: the method of the request.
        gzip: whether the client accepts gzip.
    """

    def __init__(self, send: Send, method: str, gzip: bool) -> None:  # noqa: FBT001
        self._send = send
        self._method = method
        self._gzip = gzip
        self._start: Message | None = None
        self._parts: list[bytes | memoryview] = []

    async def send(self, message: Message) -> None:
        """Send a message; keep those of an answer to compress until it is complete."""
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ())]}
            headers = MutableHeaders(raw=message["headers"])
            if self._method != "POST":
                headers.setdefault("Cache-Control", "no-store")
            if is_compressible(headers):
                if "Accept-Encoding" not in headers.get("Vary", ""):
                    headers.add_vary_header("Accept-Encoding")
                if self._gzip:
                    self._start = message
                    return
            await self._send(message)
        elif self._start is None:
            await self._send({**message, "body": b""} if self._method == "HEAD" else message)
        else:
            self._parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                await self._send_compressed(self._start)

    async def _send_compressed(self, start: Message) -> None:
        if sum(map(len, self._parts)) > LARGE_ANSWER:
            body = await asyncio.to_thread(compressed, self._parts)
        else:
            body = compressed(self._parts)
        headers = MutableHeaders(raw=start["headers"])
        headers["Content-Encoding"] = "gzip"
        headers["Content-Length"] = str(len(body))
        self._parts.clear()
        await self._send(start)
        if self._method == "HEAD":
            body = b""
        for first in range(0, len(body), PIECE_BYTES):
            piece = body[first : first + PIECE_BYTES]
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        await self._send({"type": "http.response.body"})


def is_compressible(headers: MutableHeaders) -> bool:
    """Return whether an answer is large, of a known length, and not compressed yet."""
    return (
        int(headers.get("Content-Length", 0)) >= FEWEST_BYTES
        and "Content-Encoding" not in headers
        and not headers.get("Content-Type", "").startswith(COMPRESSED_TYPES)
    )
