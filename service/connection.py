"""Connections: uvicorn's, but what is refused for want of room costs next to nothing, however large it is."""

import asyncio
import socket
from functools import lru_cache
from typing import Any, NamedTuple

import httptools
from fastapi import Response
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.api.refusals import Refusals

#: Bytes to read of a request that was not heard of yet: all of a small one, and of a large one enough to refuse it by.
FIRST_BYTES = 4 * 2**10
#: Bytes to read at a time of one that is wanted.
MORE_BYTES = 256 * 2**10
#: Most bytes to drop at a time, so that others get their turn.
DROPPED_BYTES = 2**20
HEAD_END = b"\r\n\r\n"
#: How many heads are remembered: a client's requests mostly have the same one.
REMEMBERED_HEADS = 256
#: How many answers are: each is the same for a second.
REMEMBERED_ANSWERS = 16

#: What is read goes here, and is copied by whoever wants it before anything else is read.
_SCRATCH = memoryview(bytearray(DROPPED_BYTES))
_FIRST, _MORE = _SCRATCH[:FIRST_BYTES], _SCRATCH[:MORE_BYTES]


class Head(NamedTuple):
    """What it takes to refuse a request.

    Attributes:
        address: path and query, as they were sent.
        length: bytes of the body.
    """

    address: bytes
    length: int


class _HeadReader:
    """What a parser tells of a head.

    Attributes:
        address: path and query.
        headers: by name, in lower case.
        keeps_alive: whether the connection is to go on after it; False before all of it was told.
    """

    parser: httptools.HttpRequestParser

    def __init__(self) -> None:
        self.address = b""
        self.headers: dict[bytes, bytes] = {}
        self.keeps_alive = False

    def on_url(self, url: bytes) -> None:
        self.address += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.keeps_alive = self.parser.should_keep_alive()  # after an empty body, the parser has forgotten


@lru_cache(REMEMBERED_HEADS)
def plain_head(text: bytes) -> Head | None:
    """Parse the head of a request, up to its `HEAD_END`; None of what is not plain, and thus uvicorn's to see to."""
    reader = _HeadReader()
    reader.parser = parser = httptools.HttpRequestParser(reader)
    try:
        parser.feed_data(text)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    finally:
        del reader.parser  # or both would stay until the garbage collector comes
    length = reader.headers.get(b"content-length")
    if (
        length is None
        or not reader.keeps_alive
        or parser.get_method() != b"POST"
        or parser.get_http_version() != "1.1"
        or not reader.headers.keys().isdisjoint((b"expect", b"upgrade"))
    ):
        return None
    return Head(reader.address, int(length))


@lru_cache(REMEMBERED_ANSWERS)
def written(answer: Response, *headers: tuple[bytes, bytes]) -> bytes:
    """An answer as it is sent, with further headers."""
    lines = (b"%b: %b\r\n" % header for header in (*headers, *answer.raw_headers))
    return b"".join([STATUS_LINE[answer.status_code], *lines, b"\r\n", bytes(answer.body)])


class _Http(HttpToolsProtocol):
    """uvicorn's protocol, which says whether it is in the middle of a request.

    Attributes:
        cycle: uvicorn's state of the latest request; None at first.
        begun: whether a request has begun to come and has not ended.
    """

    cycle: RequestResponseCycle | None  # type: ignore[assignment] # whatever uvicorn declares
    begun = False

    def on_message_begin(self) -> None:
        self.begun = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self.begun = False
        super().on_message_complete()


class Connection(asyncio.BufferedProtocol):
    """What uvicorn takes as its `http`: hands what it reads to uvicorn's own protocol.

    But a request to an address at which the app has just refused one, while there still is no room, it refuses itself.
    As a `BufferedProtocol` may, it decides how much is read where: the head first, so that the body of what is refused
    is dropped in the kernel where that can be done (Linux), or else unseen. Not for TLS, whose bytes are the
    transport's to read.
    """

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], **rest: Any) -> None:
        self._http = http = _Http(config=config, server_state=server_state, app_state=app_state, **rest)
        # Where uvicorn is to write a log, all requests are for it to see.
        self._refusals = Refusals() if config.access_log else app_state["refusals"]
        self._unread = 0  # bytes that are to come of the body of what was refused
        self._socket: socket.socket | None = None
        self.eof_received = http.eof_received  # type: ignore[method-assign]
        self.pause_writing = http.pause_writing  # type: ignore[method-assign]
        self.resume_writing = http.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        self._transport = transport
        self._http.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._socket is not None:
            self._socket.detach()  # it is the transport's to close
        self._http.connection_lost(exc)

    def get_buffer(self, _: int) -> memoryview:
        if self._unread:
            return _SCRATCH[: min(self._unread, MORE_BYTES)]  # no more: another request may follow
        return _MORE if self._http.begun else _FIRST

    def buffer_updated(self, size: int) -> None:
        if self._unread:
            self._unread -= size
            self._drop()
        elif self._refusals and not self._http.begun:
            data = bytes(_SCRATCH[:size])
            while data and (refused := self._refuse(data)):
                data = data[refused:]
            if data:
                self._http.data_received(data)
        else:
            self._http.data_received(_SCRATCH[:size])  # type: ignore[arg-type] # what httptools takes

    def _refuse(self, data: bytes) -> int:
        """Refuse the request that data begin with, if there is no room for it; returns its size, or else 0."""
        http = self._http
        if not (http.cycle is None or http.cycle.response_complete) or http.flow.write_paused:
            return 0
        end = data.find(HEAD_END) + len(HEAD_END)
        head = plain_head(data[:end])  # where the end is not there, too short to be one
        refusal = self._refusals.answer(head.address) if head else None
        if head is None or refusal is None:
            return 0
        http.server_state.total_requests += 1
        self._transport.write(written(refusal, *http.server_state.default_headers))
        size = end + head.length
        self._unread = max(0, size - len(data))
        self._drop()
        return size

    def _drop(self) -> None:
        """Drop what is here of the body of a refused request, and wait as long as uvicorn does for what comes next."""
        http = self._http
        http._unset_keepalive_if_required()
        http.timeout_keep_alive_task = http.loop.call_later(http.timeout_keep_alive, http.timeout_keep_alive_handler)
        if not self._unread or self._transport.is_closing():
            return
        if self._socket is None:
            # Of the same file descriptor: another one would keep the connection open, and count against their limit.
            self._socket = socket.socket(fileno=self._transport.get_extra_info("socket").fileno())
        try:
            # Instead of copying them, Linux forgets the bytes.
            dropped = self._socket.recv_into(_SCRATCH, min(self._unread, DROPPED_BYTES), socket.MSG_TRUNC)
        except OSError:
            return  # nothing is here yet, or the transport will notice
        self._unread -= dropped
