"""The outermost middleware: headers of all answers, counts, a line in the log, and spans."""

import asyncio
import itertools
import os
import re
import time
from collections.abc import Awaitable
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import tracing
from service.api.answers import AS_GET
from service.api.authentication import KEY_ID
from service.api.counters import Counters
from service.api.error_answers import DISCONNECTED, REFUSED, answer_service_error, answer_unexpected_error
from service.api.inference import MODEL, STEPS, Steps
from service.api.request_headers import REQUEST_ID, REQUEST_ID_HEADER, headers_of, name_request_in_log
from service.api.security_headers import HEADERS, HEADERS_BESIDE_POLICY, POLICY_HEADER
from service.errors import Unavailable
from service.logs import RequestLog, shown
from service.serving.dataplane import STOPPING
from service.serving.labelled_counts import Labels
from service.serving.model import Model

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
    """ASGI middleware that adds headers to each answer, counts requests, logs them, and adds to their spans.

    The headers are the id of the request and those that protect browsers.

    A request is counted before the end of its answer is sent, so that a client that has received an answer finds it in
    the metrics.

    Args:
        app: answers the requests.
        counters: counts them.
        log: writes the line of a request; None for no lines.
        most_body: most bytes of a body. Larger ones are counted as this size.
        traced: whether FastAPI makes spans.
    """

    def __init__(
        self, app: ASGIApp, counters: Counters, log: RequestLog | None, *, most_body: int, traced: bool
    ) -> None:
        self.app = app
        self._most_body = most_body
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
        of_request = headers_of(scope)
        identifier = of_request.get(_HEADER)
        if identifier is None or not SANE_ID.fullmatch(identifier):
            identifier = b"%b-%x" % (self._prefix, next(self._numbers))
        scope[REQUEST_ID] = identifier
        if b"transfer-encoding" in of_request:
            receive = counted(receive, scope)
        status = sent = 0
        ended, logged = False, self._log is not None

        def send_observed(message: Message) -> Awaitable[None]:
            nonlocal status, sent, ended
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), (_HEADER, identifier)]
                for name, _ in headers:
                    if name == POLICY_HEADER:  # of the page, of `/docs` or of a chart
                        headers += HEADERS_BESIDE_POLICY
                        break
                else:
                    headers += HEADERS
                message["headers"] = headers
            else:
                if logged:
                    sent += len(message.get("body", b""))
                if not (message.get("more_body") or ended):
                    ended = True
                    self._count(scope, status, started)
            return send(message)

        self._in_flight[0] += 1
        try:
            await self.app(scope, receive, send_observed)
        except asyncio.CancelledError:
            if status or not scope["app"].state.plane.draining:
                raise
            # The drain timeout is over. Without this, the server would answer 500 and log a defect.
            await answer_service_error(Request(scope), Unavailable(STOPPING))(scope, receive, send_observed)
        except Exception:
            name_request_in_log(scope)  # the server logs the error
            if not status:  # Starlette's own answer would not pass here
                await answer_unexpected_error(Request(scope))(scope, receive, send_observed)
            raise
        finally:
            self._in_flight[0] -= 1
            if not ended:
                status = status or DISCONNECTED
                self._count(scope, status, started)
            if self._log is not None:
                trace_id = tracing.trace_id() if self._traced else None
                self._log.add(partial(fields_of, scope, status, time.perf_counter() - started, sent, trace_id))

    def _count(self, scope: Scope, status: int, started: float) -> None:
        method, inner = scope["method"], scope
        if method == "HEAD":
            inner = scope.get(AS_GET, scope)
        elif method not in METHODS:
            method = OTHER
        route = route_of(inner)
        model: Model | None = inner.get(MODEL)
        steps: Steps | None = inner.get(STEPS)
        name, version = ("", "") if model is None else (model.card.name, model.version)
        labels: Labels = (method, route, name, version, status)
        sequences = 0 if steps is None else steps.sequences
        size = min(size_of(inner), self._most_body)  # a client may declare any length
        self._counters.count(labels, sequences, time.perf_counter() - started, size)
        if status >= 400 and REFUSED in inner:
            self._counters.count_refusal(name, inner[REFUSED])
        if self._traced:
            tracing.add_steps(scope, None if route == UNKNOWN else route, model, steps)


def counted(receive: Receive, scope: Scope) -> Receive:
    """Return `receive` with a count of the bytes that arrive, in the scope."""
    scope[RECEIVED] = 0

    async def receive_counted() -> Message:
        message = await receive()
        scope[RECEIVED] += len(message.get("body", b""))
        return message

    return receive_counted


def size_of(scope: Scope) -> int:
    """Return the bytes of a request's body: the declared ones, or those that arrived if it is sent in chunks."""
    length = headers_of(scope).get(b"content-length", b"")
    return int(length) if length.isdigit() else scope.get(RECEIVED, 0)


def route_of(scope: Scope) -> str:
    """Return the path of a request's route, with names in place of its variable parts."""
    path: str = getattr(scope.get("route"), "path_format", UNKNOWN)
    return path


def fields_of(scope: Scope, status: int, seconds: float, sent: int, trace_id: str | None) -> dict[str, Any]:
    """Return the fields of the line of a request.

    Args:
        scope: its scope.
        status: the status of its answer.
        seconds: how long it took.
        sent: bytes of the answer's body.
        trace_id: the id of its trace, if it has one.
    """
    inner = scope.get(AS_GET, scope)
    client = scope.get("client")
    fields: dict[str, Any] = {
        "method": shown(scope["method"]),
        "route": route_of(inner),
        "path": shown(scope["path"]),
        "status": status,
        "seconds": _rounded(seconds),
        "bytes_in": size_of(inner),
        "bytes_out": sent,
        "client": shown(client[0]) if client else "",
        "request_id": scope[REQUEST_ID].decode(),
    }
    model: Model | None = inner.get(MODEL)
    if model is not None:
        fields |= {"model": model.card.name, "version": model.version}
    steps: Steps | None = inner.get(STEPS)
    if steps is not None:
        fields |= {
            "sequences": steps.sequences,
            "decode_seconds": _rounded(steps.decode),
            "queue_seconds": _rounded(steps.queue),
            "inference_seconds": _rounded(steps.inference),
            "encode_seconds": _rounded(steps.encode),
        }
    if REFUSED in inner:
        fields["refused"] = inner[REFUSED]
    if KEY_ID in scope:
        fields["key"] = shown(scope[KEY_ID])
    if trace_id is not None:
        fields["trace_id"] = trace_id
    return fields


def _rounded(seconds: float) -> float:
    return int(seconds * 1e6) / 1e6  # `round` takes several times as long
