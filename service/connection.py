"""Connections: uvicorn's, but what is refused for want of room costs next to nothing, however large it is."""

import asyncio
import socket
from typing import Any

import httptools
from fastapi import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.api.refusals import Refusals

#: Bytes to read of a request that was not heard of yet: all of a small one, and of a large one enough to refuse it by.
FIRST_BYTES = 4 * 2**10
#: Bytes to read at a time of one that is wanted.
MORE_BYTES = 256 * 2**10
#: Most bytes to drop at a time, so that others get their turn.
DROPPED_BYTES = 2**20

#: What is read goes here, and is copied by whoever wants it before anything else is read.
_SCRATCH = memoryview(bytearray(DROPPED_BYTES))
_FIRST, _MORE = _SCRATCH[:FIRST_BYTES], _SCRATCH[:MORE_BYTES]


class _Http(HttpToolsProtocol):
    """uvicorn's protocol, which asks whether a request will be refused before it asks the app.

    Attributes:
        cycle: uvicorn's state of the latest request that the app was asked; None at first.
        begun: whether a request has begun to come and has not ended.
        refused: whether the latest request was refused here.
        unread: bytes of its body that are to come, if so; else 0.
    """

    cycle: RequestResponseCycle | None  # type: ignore[assignment] # whatever uvicorn declares

    def __init__(self, app_state: dict[str, Any], **rest: Any) -> None:
        super().__init__(app_state=app_state, **rest)
        self._refusals: Refusals = app_state["refusals"]
        self.begun = self.refused = False
        self.unread = 0

    def on_message_begin(self) -> None:
        self.begun = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self.url in self._refusals:
            length = self._plain_length()
            refusal = None if length is None else self._refusals.answer(self.url)
            if length is not None and refusal is not None:
                self._refuse(refusal, length)
                return
        self.refused = False
        super().on_headers_complete()

    def _plain_length(self) -> int | None:
        """Length of the body, in bytes; None of a request that is not plain: what comes next is uvicorn's to see to.

        None, too, where uvicorn should write a log.
        """
        if (
            self.parser.get_method() != b"POST"
            or not (self.cycle is None or self.cycle.response_complete)
            or self.expect_100_continue
            or not self.parser.should_keep_alive()
            or self.parser.get_http_version() != "1.1"
            or self.parser.should_upgrade()
            or self.flow.write_paused
            or self.config.access_log
        ):
            return None
        for name, value in self.headers:
            if name == b"content-length":
                return int(value)
        return None

    def _refuse(self, refusal: Response, length: int) -> None:
        self.refused = True
        self.unread = length
        self.server_state.total_requests += 1
        headers = (*self.server_state.default_headers, *refusal.raw_headers)
        lines = [STATUS_LINE[refusal.status_code], *(b"%b: %b\r\n" % header for header in headers), b"\r\n"]
        self.transport.write(b"".join(lines) + bytes(refusal.body))

    def on_body(self, body: bytes) -> None:
        if self.refused:
            self.unread -= len(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self.begun = False
        if not self.refused:
            super().on_message_complete()

    def drop(self, size: int) -> None:
        """Go on after bytes of the body of what was refused, at most `unread`, that need no parsing."""
        self.unread -= size
        if not self.unread:
            self.begun = False
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does

    def wait(self) -> None:
        """Close the connection if nothing more comes for as long as uvicorn keeps one alive."""
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)


class Connection(asyncio.BufferedProtocol):
    """What uvicorn takes as its `http`: hands what it reads to uvicorn's own protocol.

    It decides how much is read where, as a `BufferedProtocol` may: the head of a request first. The body of a refused
    one is dropped in the kernel where that can be done (Linux), or else unseen. Not for TLS, whose bytes are the
    transport's to read.
    """

    def __init__(self, **rest: Any) -> None:
        self._http = _Http(**rest)
        self._dropping = False
        self._socket: socket.socket | None = None
        self.eof_received = self._http.eof_received  # type: ignore[method-assign]
        self.pause_writing = self._http.pause_writing  # type: ignore[method-assign]
        self.resume_writing = self._http.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        self._transport = transport
        self._http.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._socket is not None:
            self._socket.detach()  # it is the transport's to close
        self._http.connection_lost(exc)

    def get_buffer(self, _: int) -> memoryview:
        http = self._http
        self._dropping = http.unread > 0
        if self._dropping:
            return _SCRATCH[: min(http.unread, MORE_BYTES)]  # no more: another request may follow
        return _MORE if http.begun else _FIRST

    def buffer_updated(self, size: int) -> None:
        http = self._http
        if self._dropping:
            http.drop(size)
        else:
            http.data_received(_SCRATCH[:size])  # type: ignore[arg-type] # what httptools takes
        if http.refused and not self._transport.is_closing():
            if http.unread:
                self._drop()
            http.wait()

    def _drop(self) -> None:
        """Drop what is here of the body of a refused request."""
        if self._socket is None:
            # Of the same file descriptor: another one would keep the connection open, and count against their limit.
            self._socket = socket.socket(fileno=self._transport.get_extra_info("socket").fileno())
        try:
            # Instead of copying them, Linux forgets the bytes.
            size = self._socket.recv_into(_SCRATCH, min(self._http.unread, DROPPED_BYTES), socket.MSG_TRUNC)
        except OSError:
            return  # nothing is here yet, or the transport will notice
        self._http.drop(size)
