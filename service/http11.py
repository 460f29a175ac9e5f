"""The HTTP/1.1 protocol of a connection: uvicorn's, with stricter limits and better answers to unusual clients."""

import asyncio
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, Final, NoReturn

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Most bytes of a request line and its headers.
MOST_HEAD_BYTES: Final = 64 * 2**10
#: How long a refused client may still send before the connection is closed, in seconds. Closing at once would reset the
#: connection, and the client might lose the answer.
LINGER_SECONDS: Final = 2.0
#: How long a server that stops still reads requests on idle connections, in seconds. A request may be on its way.
GRACE_SECONDS: Final = 0.5
HEAD_TOO_LARGE: Final = (
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"expected a head of at most {MOST_HEAD_BYTES} bytes",
)


class Stage(Enum):
    """The part of a message that a connection reads next."""

    START = auto()
    HEAD = auto()
    BODY = auto()


class ServerConfig(uvicorn.Config):
    """uvicorn's configuration, with the time that a head may take, in seconds."""

    def __init__(self, *args: Any, head_timeout: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self.http = Http11Protocol
        self.head_timeout = head_timeout


class Http11Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which parses with httptools, with these differences.

    * An offer to upgrade is ignored, as RFC 9110, section 7.8, allows. httptools would skip the body of the request and
      read it as the next request.
    * A head must be complete within the configuration's `head_timeout` seconds, and has at most `MOST_HEAD_BYTES`.
    * After malformed bytes, the requests before them are answered, and the connection closes. The bytes themselves get
      an answer only if nothing came before them: they may be the rest of a body that was longer than declared.
    * The only transfer coding is `chunked`. httptools would pass on a body that is compressed as well.
    * A server that stops answers the requests that are on their way to it.
    * A client that closes its side of the connection is still answered.
    * A target may be a URL without a path, as RFC 9112, section 3.2.2, says.
    """

    def __init__(self, config: ServerConfig, **more: Any) -> None:
        super().__init__(config=config, **more)
        self._head_timeout = config.head_timeout
        self._stage = Stage.START
        self._read = 0  # bytes of the latest read
        self._head = 0  # bytes of the head that later reads than its first had
        self._problem: tuple[HTTPStatus, str] | None = None  # a problem that httptools does not see
        self._deadline: asyncio.TimerHandle | None = None
        self._ended = False
        self._stopping = False
        self._earlier = self.cycle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type] # as uvicorn's own class narrows it
        self._start_deadline(self._head_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio's protocols return it
        """Return whether the transport stays open for the answers to complete requests."""
        return self._end() and self.transport.can_write_eof()

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        self._read = len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._refuse(*(self._problem or (HTTPStatus.BAD_REQUEST, str(error))))
            return
        if self._stage is Stage.HEAD:
            if self._deadline is None:
                self._start_deadline(self._head_timeout)
            self._head += self._read
            if self._head > MOST_HEAD_BYTES:
                self._refuse(*HEAD_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._stage = Stage.HEAD
        self._head = -self._read  # `data_received` adds this read, which may begin with another message

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # `_feed` parses the head again
        self._stage = Stage.BODY
        self._stop_deadline()
        if (self._head >= 0 or self._read > MOST_HEAD_BYTES) and self._head_size() > MOST_HEAD_BYTES:
            self._stage = Stage.HEAD
            self._stop(*HEAD_TOO_LARGE)
        if not self.url.startswith(b"/"):
            target = httptools.parse_url(self.url)
            if target.path is None:
                self.url = b"/" if target.query is None else b"/?" + target.query
        self._earlier = self.cycle
        super().on_headers_complete()
        if self._stopping:
            self.cycle.keep_alive = False

    def on_chunk_header(self) -> None:
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        if codings != [b"chunked"]:
            self._stop(HTTPStatus.BAD_REQUEST, "expected no transfer coding but chunked, once")

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            self._stage = Stage.START
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._ended and self.cycle.response_complete:
            self.transport.close()

    def shutdown(self) -> None:
        self._stopping = True
        if self._waits_for_answer():
            super().shutdown()
        else:
            self.loop.call_later(GRACE_SECONDS, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if not self._waits_for_answer():
            self.transport.close()

    def _waits_for_answer(self) -> bool:
        # There is no cycle before the first request.
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]

    def _feed(self, data: bytes) -> None:
        """Parse data. Parse the head of a request that offers an upgrade again, without the offer.

        Raises:
            HttpParserError: the data are malformed.
        """
        rest = memoryview(data)
        while True:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as offer:
                rest = rest[offer.args[0] :]
                self._ignore_upgrade()
            else:
                return

    def _ignore_upgrade(self) -> None:
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            raise httptools.HttpParserError("there are no tunnels")
        headers = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        head = b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version, b"".join(headers))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn
        self.parser.feed_data(head)

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _end(self) -> bool:
        """Read no more. Return whether there are complete requests to answer; the connection closes after them."""
        self._ended = True
        self._stop_deadline()
        if self._stage is Stage.BODY:  # the latest request can never be complete
            if not (self.pipeline and self.pipeline[0][0] is self.cycle):
                return False
            self.pipeline.popleft()
            self.cycle = self._earlier
            self._stage = Stage.START
        # There is no cycle before the first request.
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]

    def _stop(self, status: HTTPStatus, reason: str) -> NoReturn:
        """Stop the parser, in one of its callbacks."""
        self._problem = status, reason
        raise ValueError(reason)

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        """Close the connection after malformed data."""
        if self._end():
            return
        first = self.cycle is None
        if first or (self._stage is Stage.BODY and not self.cycle.response_started):
            text = f"malformed request: {reason}".encode()
            self.transport.write(
                b"HTTP/1.1 %d %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
                b"connection: close\r\n\r\n%b" % (status, status.phrase.encode(), len(text), text)
            )
        if first and self.transport.can_write_eof():
            self.transport.write_eof()
            self._start_deadline(LINGER_SECONDS)
        else:
            self.transport.close()

    def _start_deadline(self, seconds: float) -> None:
        self._deadline = self.loop.call_later(seconds, self.transport.close)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
