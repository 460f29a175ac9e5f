"""Inference over HTTP: from a posted body to an answer, for all protocols.

A protocol gives a decoder, which turns a body into a question for the data plane and an encoder of the answer.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.answer_memory import FEW_NUMBERS, AnswerMemory, ResponseInParts, Share
from service.api.error_answers import answer_memory_error, answer_service_error
from service.api.request_body import JSON, SLOW_BODY, RequestBody, read_body
from service.api.request_headers import name_request_in_log
from service.artifact.card import ModelCard
from service.artifact.tensors import Array
from service.errors import Busy, InvalidInput, ServiceError
from service.serving.dataplane import DataPlane, Question
from service.serving.model import Model
from service.serving.request_queue import Outputs
from service.settings import Settings

#: Turns the outputs of a model into the answer.
Encoder = Callable[[Outputs], Response]
#: Turns a body for a model, of at most so many sequences, into a question and the encoder of its answer.
Decoder = Callable[[RequestBody, Model, int], tuple[Question, Encoder]]

#: Key of the scope with the model, once it is selected, and with the `Steps`, once they are over.
MODEL: Final = "attention_service.model"
STEPS: Final = "attention_service.steps"
#: The routes of so many paths are kept, each of at most so many characters: clients choose the paths.
MOST_PATHS: Final = 1024
LONGEST_PATH: Final = 200
#: Durations in milliseconds, as https://www.w3.org/TR/server-timing/ defines them.
SERVER_TIMING: Final = b"decode;dur=%.3f, queue;dur=%.3f, inference;dur=%.3f, encode;dur=%.3f"
#: More numbers than these are encoded in a thread.
LARGE_OUTPUTS: Final = 32 * 2**10


class Steps(NamedTuple):
    """Where the time of an answer went.

    Attributes:
        sequences: number of sequences.
        decode: seconds to read the sequences from the body.
        queue: seconds until a call of the engine.
        inference: seconds of the calls.
        encode: seconds to write the answer.
        received: when the body was complete, by `time.perf_counter`.
        ended: when the answer was written, likewise.
    """

    sequences: int
    decode: float
    queue: float
    inference: float
    encode: float
    received: float
    ended: float


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
        self._kept = lru_cache(MOST_PATHS)(self._find)  # most requests have one of a few paths

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http" and scope["method"] == "POST":
            path = scope["path"]
            found = (self._kept if len(path) <= LONGEST_PATH else self._find)(scope.get("root_path", ""), path)
            if found is not None:
                scope.update(found)
                return self._answer(scope, receive, send)
        name_request_in_log(scope)
        return self.app(scope, receive, send)

    def _find(self, root_path: str, path: str) -> Mapping[str, Any] | None:
        """Return the entries that the route of a path adds to a scope; None if no inference route has the path."""
        scope = {"type": "http", "method": "POST", "root_path": root_path, "path": path}
        for route in self.routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                return found
        return None

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        self._running += 1
        try:
            try:
                if self._running > self.most:
                    raise Busy(f"expected at most {self.most} requests at once, got more")
                response = await scope["endpoint"](request)
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


def require_one_static_value(sequences: Array, card: ModelCard) -> None:
    """Refuse sequences whose static values change, if the model reads them at the first timestep only.

    Imported models do; others read them at each timestep.

    Args:
        sequences: `(n, timesteps, features)`; NaN where a timestep is absent.
        card: the model's card.

    Raises:
        InvalidInput: a static value differs from that of the first timestep. The message names it.
    """
    if card.origin is None or not card.static_labels:
        return
    features = np.flatnonzero(np.isin(card.feature_labels, card.static_labels))
    values = sequences[:, :, features]
    changed = (values != values[:, :1]) & ~np.isnan(values)
    if changed.any():
        i, t, f = np.argwhere(changed)[0].tolist()
        raise InvalidInput(
            f"sequences[{i}][{t}][{features[f]}]: expected {values[i, 0, f]:g} as at timestep 0, because "
            f"{card.feature_labels[features[f]]!r} is static, got {values[i, t, f]:g}"
        )


class JsonResponse(Response):
    """A response whose content is encoded as JSON already."""

    media_type = JSON
    status_code = 200
    background = None

    def __init__(self, content: bytes) -> None:
        # Not by Starlette's, which takes longer than orjson does for a small answer.
        self.body = content
        self.raw_headers = [(b"content-length", b"%d" % len(content)), (b"content-type", JSON.encode())]


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
        if body.size > SLOW_BODY and (model.texts is not None or body.is_slow(by_name=by_name)):
            question, encode = await asyncio.to_thread(decode, body, model, most)
        else:
            question, encode = decode(body, model, most)
    require_one_static_value(question.sequences, model.card)
    decoded = time.perf_counter()
    numbers = len(question.sequences) * model.most_numbers  # a bound is enough for a small answer
    if numbers > FEW_NUMBERS or question.with_inputs:
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
    decode_seconds, encode_seconds = decoded - received, ended - answered
    _, queue_seconds, inference_seconds = result
    model.statistics.count_success(
        sequences, ended - received, decode_seconds, queue_seconds, inference_seconds, encode_seconds
    )
    request.scope[STEPS] = Steps(
        sequences, decode_seconds, queue_seconds, inference_seconds, encode_seconds, received, ended
    )
    timing = decode_seconds * 1e3, queue_seconds * 1e3, inference_seconds * 1e3, encode_seconds * 1e3
    response.raw_headers.append((b"server-timing", SERVER_TIMING % timing))
    return response
