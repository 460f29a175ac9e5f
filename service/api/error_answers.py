"""Errors as answers: in the shape of the native API, or of the protocol that the path belongs to."""

import logging
from collections.abc import Mapping
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service import errors
from service.api.directory import allowed_methods, not_found
from service.api.prefix import root_path, route_path
from service.api.request_body import JSON
from service.api.request_headers import name_request_in_log
from service.problems import in_plain_words
from service.settings import Settings

logger = logging.getLogger(__name__)

#: First parts of the paths of protocols whose errors are `{"error": "…"}`.
PROTOCOLS = frozenset({"v1", "v2", "invocations", "ping"})

#: Key of the scope with the reason of a refusal.
REFUSED: Final = "attention_service.refused"
#: Status in metrics and logs of a request whose client disconnected before its body was complete. Nobody receives it.
DISCONNECTED: Final = 499

#: What Starlette raises for an unknown method and for an unknown path.
NO_PATH: Final = "Not Found"


class ErrorAnswer(BaseModel):
    """An error of the native API."""

    detail: str = Field(
        description="The place, the expected and the received value.",
        examples=["sequence[3][1]: expected a finite number, got null"],
    )


class ProtocolErrorAnswer(BaseModel):
    """An error of TensorFlow Serving's API, of KServe's and of the Open Inference Protocol."""

    error: str = Field(
        description="The expected and the actual value.",
        examples=["instances[0][3][1]: expected a finite number, got null"],
    )


#: The errors of routes that select a model.
SELECTION_ERRORS = (errors.UnknownModel, errors.InvalidInput, errors.Unavailable)
#: The errors of routes that take sequences.
INFERENCE_ERRORS = (
    *SELECTION_ERRORS,
    errors.TooLarge,
    errors.UnsupportedMediaType,
    errors.QueueFull,
    errors.DeadlineExceeded,
)


def documented(*kinds: type[errors.ServiceError]) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI entries for errors of a native route."""
    return {kind.status: {"model": ErrorAnswer, "description": kind.__doc__} for kind in kinds}


def documented_in_protocol(*kinds: type[errors.ServiceError]) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI entries for errors of a protocol's route."""
    return {
        _protocol_status(kind.status): {"model": ProtocolErrorAnswer, "description": kind.__doc__} for kind in kinds
    }


def add_handlers(app: FastAPI) -> None:
    """Add handlers for all errors to an app."""
    app.add_exception_handler(errors.ServiceError, _handle_service_error)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(ClientDisconnect, _handle_disconnect)
    app.add_exception_handler(MemoryError, _handle_memory_error)
    app.add_exception_handler(Exception, _handle_unexpected_error)


def answer_service_error(request: Request, error: errors.ServiceError) -> Response:
    """Return the answer to a domain error."""
    request.scope[REFUSED] = error.reason
    return _answer(request, error.status, str(error), error.headers)


def answer_memory_error(request: Request, error: MemoryError) -> Response:
    """Log that memory has run out, and return the answer to the request that needed it."""
    name_request_in_log(request.scope)
    logger.error("%s %s: out of memory: %s", request.method, request.scope["path"], error)
    return answer_service_error(request, errors.OutOfMemory("out of memory: send fewer sequences, or try again"))


async def _handle_memory_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, MemoryError)
    return answer_memory_error(request, error)


async def _handle_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.ServiceError)
    return answer_service_error(request, error)


async def _answer_validation_error(request: Request, error: Exception) -> Response:
    """Answer the first problem in plain words. A version in a path that is no number is an unknown one."""
    assert isinstance(error, RequestValidationError)
    problem = error.errors()[0]
    where, *place = problem["loc"]
    request.scope[REFUSED] = (errors.UnknownModel if where == "path" else errors.InvalidInput).reason
    return _answer(request, 404 if where == "path" else 422, in_plain_words({**problem, "loc": place}, where))


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """Answer an unknown path or method, and OPTIONS, which no route has."""
    assert isinstance(error, HTTPException)
    method, path = request.method, route_path(request.scope)
    if error.status_code == 405 or (method == "OPTIONS" and path == "*"):
        allow = {"Allow": allowed_methods(request)}
        return (
            Response(status_code=204, headers=allow)
            if method == "OPTIONS"
            else _answer(request, 405, f"expected one of the methods {allow['Allow']}, got {method}", allow)
        )
    if (error.status_code, error.detail) != (404, NO_PATH):
        return _answer(request, error.status_code, error.detail, error.headers)
    if not path:  # the prefix alone; the page's links are relative to the slash
        query = request.scope["query_string"].decode("latin-1")
        return RedirectResponse(f"{root_path(request)}/{'?' if query else ''}{query}")
    return _answer(request, 404, not_found(request))


async def _handle_disconnect(_: Request, __: Exception) -> Response:
    """End the request of a client that disconnected before its body was complete. The response is not sent."""
    return Response(status_code=DISCONNECTED)


def answer_unexpected_error(request: Request) -> Response:
    """Return the answer to an unexpected error, a defect. Its traceback is in the log and not in the answer."""
    return _answer(request, 500, "internal error", {"Connection": "close"})  # the server closes it after a defect


async def _handle_unexpected_error(request: Request, _: Exception) -> Response:
    return answer_unexpected_error(request)


def _answer(request: Request, status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error in the shape of the protocol that the path belongs to."""
    scope, path = request.scope, route_path(request.scope)
    settings: Settings = request.app.state.settings
    if in_protocol(path) or path in (settings.vertex_predict_route, settings.vertex_health_route):
        field, status = "error", _protocol_status(status)
    else:
        field = "detail"
    response = Response(orjson.dumps({field: message}), status, headers, JSON)
    if any(name == b"expect" for name, _ in scope["headers"]):
        # After refusing `Expect: 100-continue`, close the connection: the client may or may not send the body.
        response.headers["Connection"] = "close"
    return response


def in_protocol(path: str) -> bool:
    """Return whether a path belongs to a protocol whose errors are `{"error": "…"}`."""
    return path.lstrip("/").partition("/")[0] in PROTOCOLS


def _protocol_status(status: int) -> int:
    """Return the status in a protocol, where 400 stands for every wrong request."""
    return 400 if status == errors.InvalidInput.status else status
