"""Inference over HTTP: from a posted body to an answer, for all protocols.

A protocol gives a decoder, which turns a body into a question for the data plane and an encoder of the answer.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.answer_memory import FEW_NUMBERS, AnswerMemory, ResponseInParts, Share
from service.api.error_answers import answer_memory_error, answer_service_error
from service.api.request_body import JSON, SLOW_BODY, RequestBody, read_body
from service.errors import Busy, ServiceError
from service.serving.dataplane import DataPlane, Question
from service.serving.model import Model
from service.serving.request_queue import Outputs, Result
from service.settings import Settings

#: Turns the outputs of a model into the answer.
Encoder = Callable[[Outputs], Response]
#: Turns a body for a model, of at most so many sequences, into a question and the encoder of its answer.
Decoder = Callable[[RequestBody, Model, int], tuple[Question, Encoder]]

#: Key of the scope with a `Served`, once a model is selected.
SERVED: Final = "attention_service.served"
#: More numbers than these are encoded in a thread.
LARGE_OUTPUTS: Final = 32 * 2**10


class Served(NamedTuple):
    """The model of a request, and where the time of its answer went; 0 without an answer.

    Attributes:
        model: name of the model.
        version: its version.
        sequences: number of sequences.
        decode: seconds to read the sequences from the body.
        queue: seconds until a call of the engine.
        inference: seconds of the calls.
        encode: seconds to write the answer.
        received: when the body was complete, by `time.perf_counter`.
        ended: when the answer was written, likewise.
    """

    model: str
    version: int
    sequences: int = 0
    decode: float = 0
    queue: float = 0
    inference: float = 0
    encode: float = 0
    received: float = 0
    ended: float = 0


class DirectRoutes:
    """ASGI middleware that calls the endpoints of inference routes without FastAPI's handler.

    The handler, and the layers before it, take longer than decoding a small body.

    Args:
        app: answers all other requests.
        routes: routes whose endpoints take nothing but the request, and raise nothing but a `ServiceError`.
        most: most requests at once, from their heads to the ends of their answers. Further ones are refused.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[APIRoute], most: int) -> None:
        self.app = app
        self.most = most
        self.routes = routes
        self._running = 0

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http" and scope["method"] == "POST":
            for route in self.routes:
                match, child_scope = route.matches(scope)
                if match is Match.FULL:
                    scope.update(child_scope)
                    return self._answer(route, scope, receive, send)
        return self.app(scope, receive, send)

    async def _answer(self, route: APIRoute, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        self._running += 1
        try:
            try:
                if self._running > self.most:
                    raise Busy(f"expected at most {self.most} requests at once, got more")
                response = await route.endpoint(request)
            except ServiceError as error:
                response = answer_service_error(request, error)
            except MemoryError as error:
                response = answer_memory_error(request, error)
            except ClientDisconnect:
                return
            await response(scope, receive, send)
        finally:
            self._running -= 1


def add_inference_routes(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Add inference routes to an app. Without dependencies, their endpoints are called directly.

    Where another app includes the routes, it has no such middleware, so the dependencies of an inclusion apply.
    """
    if not app.router.dependencies:
        routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
        settings: Settings = app.state.settings
        app.add_middleware(DirectRoutes, routes=routes, most=settings.max_requests)
    for router in routers:
        app.include_router(router)


class JsonResponse(Response):
    """A response whose content is encoded as JSON already."""

    media_type = JSON


async def infer(request: Request, model: Model, decode: Decoder, *, by_name: bool = False) -> Response:
    """Answer a posted body with the outputs of a model, in the form of a protocol.

    Args:
        request: the request.
        model: the model to ask.
        decode: decodes the body.
        by_name: whether the body may be a table, or name features, which take longer to decode.
    """
    settings: Settings = request.app.state.settings
    plane: DataPlane = request.app.state.plane
    with plane.admit(model):  # before the body is read
        body = await read_body(request, settings.max_body, settings.timeout)
        most = plane.most_sequences(model.card)
        # Large data are decoded and encoded in a thread, so that other requests proceed.
        if body.size > SLOW_BODY and body.is_slow(by_name=by_name):
            question, encode = await asyncio.to_thread(decode, body, model, most)
        else:
            question, encode = decode(body, model, most)
    decoded = time.perf_counter()
    numbers = plane.numbers(model, question)
    share: Share | None = None
    try:
        if numbers > FEW_NUMBERS:
            memory: AnswerMemory = request.app.state.answer_memory
            share = memory.hold(numbers)
        result = await plane.ask(model, question)
        answered = time.perf_counter()
        outputs = result.outputs
        response = encode(outputs) if numbers <= LARGE_OUTPUTS else await asyncio.to_thread(encode, outputs)
        if share is not None:
            response = ResponseInParts.of(response)
            share.resize(response.size)
            response.share = share
    except BaseException:
        if share is not None:
            share.resize(0)
        model.statistics.count_failure(time.perf_counter() - decoded)
        raise
    ended = time.perf_counter()
    received, sequences = body.received, len(question.sequences)
    decoding, encoding = decoded - received, ended - answered
    model.statistics.count_success(sequences, ended - received, decoding, result.queue, result.inference, encoding)
    request.scope[SERVED] = Served(
        model.card.name, model.version, sequences, decoding, result.queue, result.inference, encoding, received, ended
    )
    response.raw_headers.append((b"server-timing", _server_timing(decoding, result, encoding)))
    return response


def _server_timing(decoding: float, result: Result, encoding: float) -> bytes:
    """Return durations in milliseconds, as https://www.w3.org/TR/server-timing/ defines them, from seconds."""
    return b"decode;dur=%.3f, queue;dur=%.3f, inference;dur=%.3f, encode;dur=%.3f" % (
        decoding * 1e3,
        result.queue * 1e3,
        result.inference * 1e3,
        encoding * 1e3,
    )
