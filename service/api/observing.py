"""The outermost middleware: request ids, counts, a line in the log, and spans."""

import itertools
import os
import re
import time
from collections.abc import Awaitable
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import tracing
from service.api.answers import AS_GET
from service.api.counters import Counters
from service.api.error_answers import DISCONNECTED, REFUSED, REQUEST_ID_HEADER, answer_unexpected_error
from service.api.inference import SERVED, Served
from service.logs import LogRequest, request_id, shown
from service.serving.labelled_counts import Labels

#: Key of the scope with the id of the key that a request was allowed by.
KEY: Final = "attention_service.key"
#: An id that is taken from a client.
SANE_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
#: Methods in metrics. All others are `OTHER`.
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER: Final = "other"
#: The route of a path that no route has, and of a request that is answered before its route is found.
UNKNOWN: Final = "unknown"

#: Key of the scope with the bytes of a body without a declared length that arrived so far.
RECEIVED: Final = "attention_service.received"

_HEADER: Final = REQUEST_ID_HEADER.lower().encode()


class Observing:
    """ASGI middleware that gives each request an id, counts it, logs it, and adds to its span.

    A request is counted before the end of its answer is sent, so that a client that has received an answer finds it in
    the metrics.

    Args:
        app: answers the requests.
        counters: counts them.
        log: writes the line of a request; None for no lines.
        traced: whether FastAPI makes spans.
    """

    def __init__(self, app: ASGIApp, counters: Counters, log: LogRequest | None, *, traced: bool) -> None:
        self.app = app
        self._counters = counters
        self._in_flight = counters.in_flight
        self._log = log
        self._traced = traced
        # Unique in all processes: a random part for this process, and a number.
        self._prefix = os.urandom(8).hex().encode()
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        logged = self._log is not None
        sent = status = 0
        ended = False
        identifier = length = b""
        for name, value in scope["headers"]:
            if name == b"content-length":
                length = value
            elif name == _HEADER:
                identifier = value if SANE_ID.fullmatch(value) else b""
            elif name == b"transfer-encoding":
                receive = counted(receive, scope)
        if not identifier:
            identifier = b"%b-%x" % (self._prefix, next(self._numbers))
        request_id.set(identifier)

        def send_observed(message: Message) -> Awaitable[None]:
            nonlocal status, sent, ended
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), (_HEADER, identifier)]}
            else:
                if logged:
                    sent += len(message.get("body", b""))
                if not (message.get("more_body") or ended):
                    ended = True
                    self._count(scope, length, status, started)
            return send(message)

        in_flight = self._in_flight
        in_flight[0] += 1
        try:
            await self.app(scope, receive, send_observed)
        except Exception:
            if not status:  # Starlette's own answer would not pass here
                await answer_unexpected_error(Request(scope))(scope, receive, send_observed)
            raise
        finally:
            in_flight[0] -= 1
            if not ended:
                status = status or DISCONNECTED
                self._count(scope, length, status, started)
            if self._log is not None:
                seconds = time.perf_counter() - started
                self._log_line(self._log, scope, status, seconds, size_of(length, scope), sent)

    def _count(self, scope: Scope, length: bytes, status: int, started: float) -> None:
        method, inner = scope["method"], scope
        if method == "HEAD":
            inner = scope.get(AS_GET, scope)
        elif method not in METHODS:
            method = OTHER
        route = route_of(inner)
        served: Served | None = inner.get(SERVED)
        if served is None:
            model, sequences = "", 0
            labels: Labels = (method, route, model, "", status)
        else:
            model, version, sequences = served[:3]
            labels = (method, route, model, version, status)
        self._counters.count(labels, sequences, time.perf_counter() - started, size_of(length, inner))
        if status >= 400 and REFUSED in inner:
            self._counters.count_refusal(model, inner[REFUSED])
        if self._traced:
            tracing.add_steps(scope, route, served)

    def _log_line(self, log: LogRequest, scope: Scope, status: int, seconds: float, size: int, sent: int) -> None:  # noqa: PLR0913, PLR0917
        inner = scope.get(AS_GET, scope)
        client = scope.get("client")
        fields = {
            "method": shown(scope["method"]),
            "route": route_of(inner),
            "path": shown(scope["path"]),
            "status": status,
            "seconds": round(seconds, 6),
            "bytes_in": size,
            "bytes_out": sent,
            "client": shown(client[0]) if client else "",
            "request_id": request_id.get().decode(),
        }
        served: Served | None = inner.get(SERVED)
        if served is not None:
            fields |= {"model": served.model, "version": served.version}
            if served.ended:
                fields |= {
                    "sequences": served.sequences,
                    "decode_seconds": round(served.decode, 6),
                    "queue_seconds": round(served.queue, 6),
                    "inference_seconds": round(served.inference, 6),
                    "encode_seconds": round(served.encode, 6),
                }
        if REFUSED in inner:
            fields["refused"] = inner[REFUSED]
        if KEY in scope:
            fields["key"] = shown(scope[KEY])
        if self._traced and (trace_id := tracing.trace_id()) is not None:
            fields["trace_id"] = trace_id
        log(fields)


def counted(receive: Receive, scope: Scope) -> Receive:
    """Return `receive` with a count of the bytes that arrive, in the scope."""
    scope[RECEIVED] = 0

    async def receive_counted() -> Message:
        message = await receive()
        scope[RECEIVED] += len(message.get("body", b""))
        return message

    return receive_counted


def size_of(length: bytes, scope: Scope) -> int:
    """Return the bytes of a request's body: the declared ones, or those that arrived if it is sent in chunks."""
    return int(length) if length.isdigit() else scope.get(RECEIVED, 0)


def route_of(scope: Scope) -> str:
    """Return the path of a request's route, with names in place of its variable parts."""
    path: str = getattr(scope.get("route"), "path_format", UNKNOWN)
    return path
