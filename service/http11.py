"""The HTTP/1.1 protocol of a connection: uvicorn's, with stricter limits and better answers to unusual clients."""

import asyncio
import socket
import struct
from http import HTTPStatus
from typing import Any, Final, NoReturn

import httptools
import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.api.security_headers import HEADERS

#: Most bytes of a request line and its headers.
MOST_HEAD_BYTES: Final = 64 * 2**10
#: How long a refused client may still send before the connection is closed, in seconds. Closing at once would reset the
#: connection, and the client might lose the answer.
LINGER_SECONDS: Final = 2.0
#: How long a server that stops still reads requests on idle connections, in seconds. A request may be on its way.
GRACE_SECONDS: Final = 0.5
#: Fewest bytes of an answer that a client must take within the configuration's `write_timeout`.
LEAST_PROGRESS: Final = 64 * 2**10
#: `struct linger` of socket(7): closing resets the connection.
NO_LINGERING: Final = struct.pack("ii", 1, 0)
HEAD_TOO_LARGE: Final = (
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"expected a head of at most {MOST_HEAD_BYTES} bytes",
)

#: The headers of an answer that the app does not give.
SECURITY_HEADERS: Final = b"".join(b"%b: %b\r\n" % header for header in HEADERS)


class ServerConfig(uvicorn.Config):
    """uvicorn's configuration, with the times that a head and an answer may take.

    Attributes:
        head_timeout: longest time until a head is complete, in seconds.
        write_timeout: longest time in which a client takes nothing of its answer, in seconds.
    """

    def __init__(self, *args: Any, head_timeout: float, write_timeout: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self.http = Http11Protocol
        self.head_timeout = head_timeout
        self.write_timeout = write_timeout


class NoTrailers(list[tuple[bytes, bytes]]):
    """Takes the trailers after a body, which httptools reports as headers, and drops them."""

    def append(self, header: tuple[bytes, bytes]) -> None: ...


NO_TRAILERS: Final = NoTrailers()


class NoRequest:
    """Stands for the request before the first: it is complete and answered."""

    disconnected = False
    waiting_for_100_continue = False
    more_body = False
    response_started = True
    response_complete = True
    message_event = asyncio.Event()


class Http11Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which parses with httptools, with these differences.

    * An offer to upgrade is ignored, as RFC 9110, section 7.8, allows. httptools would skip the body of the request and
      read it as the next request.
    * A head must be complete within the configuration's `head_timeout` seconds, and has at most `MOST_HEAD_BYTES`.
    * After malformed bytes, the requests before them are answered, and the connection closes. The bytes themselves get
      an answer only if nothing came before them: they may be the rest of a body that was longer than declared.
    * Trailers are dropped: they must not be taken for headers.
    * The app gets an empty piece of a body that has not begun, so that it can limit the time of the rest.
    * The only transfer coding is `chunked`. httptools would pass on a body that is compressed as well.
    * A client must take its answer: at least `LEAST_PROGRESS` bytes within each `write_timeout` seconds, as long as
      more than the transport's buffer are waiting. After the last answer of a connection, or at the end of its
      keep-alive time, nothing may be waiting after `write_timeout`.
    * After an answer to a part of a body, the rest must follow within `LINGER_SECONDS`, or the connection closes.
    * A server that stops answers the requests that are on their way to it.
    * A client that closes its side of the connection is still answered.
    * A target may be a URL without a path, as RFC 9112, section 3.2.2, says.
    """

    def __init__(self, config: ServerConfig, **more: Any) -> None:
        super().__init__(config=config, **more)
        self.cycle = NoRequest()  # type: ignore[assignment] # instead of None
        self._head_timeout = config.head_timeout
        self._read = 0  # bytes of the latest read
        self._head = 0  # bytes of the head that later reads than its first had
        self._framing = 0  # bytes since the head, or the last chunk's size, that belong to no body
        self._parsed = self.scope  # the scope of the latest complete head
        self._partial = self.scope  # the scope of the head that the read before did not complete
        self._earlier = self.cycle
        self._problem: tuple[HTTPStatus, str] | None = None  # a problem that httptools does not see
        self._deadline: asyncio.TimerHandle | None = None
        self._write_timeout = config.write_timeout
        self._write_deadline: asyncio.TimerHandle | None = None
        self._unsent = 0  # bytes in the transport's buffer at the last look
        self._ended = False
        self._stopping = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type] # as uvicorn's own class narrows it
        self._start_deadline(self._head_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        self._stop_write_deadline()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio's protocols return it
        """Return whether the transport stays open for the answers to complete requests."""
        return self._end() and self.transport.can_write_eof()

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        before = self.scope
        self._read = len(data)
        self._framing += self._read
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                self._ignore_upgrades(memoryview(data)[offer.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(*(self._problem or (HTTPStatus.BAD_REQUEST, str(error))))
            return
        # `on_message_begin` makes a scope. Other data, such as the rest of an answered body, do not prolong a deadline.
        if self.timeout_keep_alive_task is not None and self.scope is not before:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        if self.scope is not self._parsed:  # its head is not complete
            self._await_rest_of_head()
        elif self._framing > MOST_HEAD_BYTES:
            self._refuse(*HEAD_TOO_LARGE)
        elif self.cycle.more_body:
            self.cycle.message_event.set()

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # `_ignore_upgrades` parses the head again
        if self._read > MOST_HEAD_BYTES or self.scope is self._partial:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > MOST_HEAD_BYTES:
                self._stop(*HEAD_TOO_LARGE)
        self._parsed = self.scope
        if self._deadline is not None:
            self._stop_deadline()
        if not self.url.startswith(b"/"):
            try:
                target = httptools.parse_url(self.url)
            except httptools.HttpParserInvalidURLError:
                self._stop(HTTPStatus.BAD_REQUEST, "expected a target such as /predict")
            if target.path is None:
                self.url = b"/" if target.query is None else b"/?" + target.query
        if not self.cycle.response_complete:  # else it should be freed
            self._earlier = self.cycle
        super().on_headers_complete()
        self.headers = NO_TRAILERS  # the scope keeps the list of headers
        self._framing = 0
        if self._stopping:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        # As uvicorn does, with a count. It is not called, because every request passes here.
        self._framing -= len(body)
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.body += body
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.message_event.set()

    def on_chunk_header(self) -> None:
        self._framing = 0
        codings = [value.lower() for name, value in self.scope["headers"] if name == b"transfer-encoding"]
        if codings != [b"chunked"]:
            self._stop(HTTPStatus.BAD_REQUEST, "expected no transfer coding but chunked, once")

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._await_reading()
        elif self.cycle.more_body and self.cycle.response_complete and self._reads_body() and self._deadline is None:
            self._deadline = self.loop.call_later(LINGER_SECONDS, self._close_unless_body_is_complete)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_deadline is None:
            self._await_reading()

    def resume_writing(self) -> None:
        self._stop_write_deadline()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._await_reading()

    def shutdown(self) -> None:
        self._stopping = True
        if not self.cycle.response_complete:
            super().shutdown()
        else:
            self.loop.call_later(GRACE_SECONDS, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self.cycle.response_complete:
            self._close()
            self.loop.call_later(GRACE_SECONDS, self._abort_if_sent)

    def _abort_if_sent(self) -> None:
        """Close a connection with TLS whose client does not answer the end of TLS, which would take 30 s."""
        if self.transport.get_write_buffer_size() == 0:
            self.transport.abort()

    def _close_unless_body_is_complete(self) -> None:
        self._deadline = None
        if self._reads_body():
            self._close()
        elif self.scope is not self._parsed:
            self._start_deadline(self._head_timeout)

    def _close(self) -> None:
        """Close the connection once the client has taken its answers, for which it has a deadline."""
        self.transport.close()
        self._await_reading()

    def _await_reading(self) -> None:
        """Start the deadline of a client to take a part of its answer."""
        self._stop_write_deadline()
        self._unsent = self.transport.get_write_buffer_size()
        self._write_deadline = self.loop.call_later(self._write_timeout, self._require_progress)

    def _require_progress(self) -> None:
        if self.transport.get_write_buffer_size() > max(0, self._unsent - LEAST_PROGRESS):
            # Closing would wait for the client. A reset frees the system's buffers as well.
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGERING)
            self.transport.abort()
        else:
            self._await_reading()

    def _stop_write_deadline(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def _ignore_upgrades(self, rest: memoryview) -> None:
        """Parse the latest head again, without its offer to upgrade, and the data that follow it.

        Raises:
            HttpParserError: the data are malformed.
        """
        while True:
            method, version = self.parser.get_method(), self.parser.get_http_version().encode()
            if method == b"CONNECT":
                self._stop(HTTPStatus.BAD_REQUEST, "there are no tunnels")
            headers = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn
            self.parser.feed_data(b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version, b"".join(headers)))
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as offer:
                rest = rest[offer.args[0] :]
            else:
                return

    def _await_rest_of_head(self) -> None:
        """Start the deadline of a head that is not complete, or check its size so far."""
        if self.scope is not self._partial:
            self._partial, self._head = self.scope, 0
            if self._deadline is None:
                self._start_deadline(self._head_timeout)
            return
        self._head += self._read
        if self._head > MOST_HEAD_BYTES:
            self._refuse(*HEAD_TOO_LARGE)

    def _end(self) -> bool:
        """Read no more. Return whether there are complete requests to answer; the connection closes after them."""
        self._ended = True
        self._stop_deadline()
        if self._reads_body():  # the latest request can never be complete
            if not (self.pipeline and self.pipeline[0][0] is self.cycle):
                return False
            self.pipeline.popleft()
            self.cycle = self._earlier
        if self.cycle.response_complete:
            return False
        self.cycle.keep_alive = False
        return True

    def _reads_body(self) -> bool:
        return self.cycle.more_body and self.scope is self._parsed

    def _stop(self, status: HTTPStatus, reason: str) -> NoReturn:
        """Stop the parser, if this is one of its callbacks."""
        self._problem = status, reason
        raise httptools.HttpParserError(reason)

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        """Close the connection after malformed data."""
        if self._end():
            return
        first = isinstance(self.cycle, NoRequest)
        answers = first or (self._reads_body() and not self.cycle.response_started)
        if answers:
            text = f"malformed request: {reason}".encode()
            self.transport.write(
                b"HTTP/1.1 %d %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
                b"%bconnection: close\r\n\r\n%b" % (status, status.phrase.encode(), len(text), SECURITY_HEADERS, text)
            )
        if answers and self.transport.can_write_eof():
            self.cycle.disconnected = True  # it must not answer as well, nor continue
            self.cycle.waiting_for_100_continue = False
            self.cycle.message_event.set()
            self.transport.write_eof()
            self._start_deadline(LINGER_SECONDS)
        else:
            self._close()

    def _start_deadline(self, seconds: float) -> None:
        self._deadline = self.loop.call_later(seconds, self._close)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
