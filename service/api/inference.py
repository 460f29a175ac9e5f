"""Inference over HTTP: from a posted body to an answer, for all protocols.

A protocol gives a decoder, which turns a body into a question for the data plane and an encoder of the answer.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import URLPath
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from service.api.error_answers import answer_service_error
from service.api.request_body import JSON, SLOW_BODY, RequestBody, read_body
from service.errors import ServiceError
from service.serving.dataplane import DataPlane, Question
from service.serving.model import Model
from service.serving.request_queue import Outputs, Result
from service.settings import Settings

#: Turns the outputs of a model into the answer.
Encoder = Callable[[Outputs], Response]
#: Turns a body for a model, of at most so many sequences, into a question and the encoder of its answer.
Decoder = Callable[[RequestBody, Model, int], tuple[Question, Encoder]]

#: More numbers than these are encoded in a thread.
LARGE_OUTPUTS: Final = 32 * 2**10


class DirectRoute(BaseRoute):
    """A route that stands in front of an inference route and calls its endpoint without FastAPI's handler.

    The handler takes a tenth of the time of a small request, even without dependencies. FastAPI leaves out such a route
    where one router includes another, so the dependencies of an inclusion apply, too.

    Args:
        route: a route whose endpoint takes nothing but the request.
    """

    def __init__(self, route: APIRoute) -> None:
        self.path_format = route.path_format  # FastAPI's telemetry reports it
        self._route = route

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child_scope = self._route.matches(scope)
        return (match, child_scope) if match is Match.FULL else (Match.NONE, {})

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._route.endpoint(Request(scope, receive, send))
        await response(scope, receive, send)


def add_inference_routes(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Add inference routes to an app. Without dependencies, their endpoints are called directly."""
    if not app.router.dependencies:
        for router in routers:
            app.router.routes.extend(DirectRoute(route) for route in router.routes if isinstance(route, APIRoute))
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
    try:
        return await _infer(request, model, decode, by_name)
    except ServiceError as error:  # here, as an exception takes long to pass the layers of the framework
        return answer_service_error(request, error)


async def _infer(request: Request, model: Model, decode: Decoder, by_name: bool) -> Response:  # noqa: FBT001
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
    try:
        result = await plane.ask(model, question)
        answered = time.perf_counter()
        outputs = result.outputs
        large = sum([output.size for output in outputs.values()]) > LARGE_OUTPUTS
        response = encode(outputs) if not large else await asyncio.to_thread(encode, outputs)
    except BaseException:
        model.statistics.count_failure(time.perf_counter() - decoded)
        raise
    ended = time.perf_counter()
    decoding, encoding = decoded - body.received, ended - answered
    model.statistics.count_success(
        len(question.sequences), ended - body.received, decoding, result.queue, result.inference, encoding
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
