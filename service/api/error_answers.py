"""Errors as answers: in FastAPI's shape, or in the shape of the protocol that the path belongs to."""

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service import errors
from service.api.codecs.sequences import shown
from service.api.request_body import JSON

#: First parts of the paths of protocols whose errors are `{"error": "…"}`.
PROTOCOLS = frozenset({"v1", "v2", "invocations", "ping"})


class Problem(BaseModel):
    """One problem of the form of a request, in FastAPI's shape."""

    type: str = Field(description="Kind of problem.", examples=["json_invalid"])
    loc: list[str | int] = Field(description="Where in the request it is.", examples=[["body", 14]])
    msg: str = Field(description="The expected value.", examples=["Input should be 'mean', 'full' or 'none'"])


class ErrorAnswer(BaseModel):
    """An error of the native API, in FastAPI's shape."""

    detail: str | list[Problem] = Field(
        description="The expected and the actual value; a list if the form of the request is wrong.",
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
    app.add_exception_handler(Exception, _answer_unexpected_error)


def answer_service_error(request: Request, error: errors.ServiceError) -> Response:
    """Return the answer to a domain error."""
    return _answer(request, error.status, str(error), error.headers)


async def _handle_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.ServiceError)
    return answer_service_error(request, error)


async def _answer_validation_error(request: Request, error: Exception) -> Response:
    """Answer as FastAPI does, but without the input: a body may be megabytes of numbers."""
    assert isinstance(error, RequestValidationError)
    problems = error.errors()
    if in_protocol(request.scope["path"]):
        first = problems[0]
        place = ".".join(str(part) for part in first["loc"] if part not in ("body", "path"))
        if first["type"] == "json_invalid":
            place = f"position {place}"
        got = f", got {shown(first['input'])}" if isinstance(first.get("input", {}), str | int | float | None) else ""
        return _answer(request, 400, (f"{place}: " if place else "") + first["msg"] + got)
    detail = [{key: item[key] for key in ("type", "loc", "msg")} for item in problems]
    return _answer(request, 422, jsonable_encoder(detail))


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """Answer an unknown path or method."""
    assert isinstance(error, HTTPException)
    return _answer(request, error.status_code, error.detail, error.headers)


async def _handle_disconnect(_: Request, __: Exception) -> Response:
    """End the request of a client that disconnected before its body was complete. The response is not sent."""
    return Response(status_code=400)


async def _answer_unexpected_error(request: Request, _: Exception) -> Response:
    """Answer an unexpected error, a defect. Its traceback is in the log and not in the answer."""
    return _answer(request, 500, "internal error")


def _answer(request: Request, status: int, content: Any, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error in the shape of the protocol that the path belongs to."""
    scope = request.scope
    if in_protocol(scope["path"]):
        field, status = "error", _protocol_status(status)
    else:
        field = "detail"
    response = Response(orjson.dumps({field: content}), status, headers, JSON)
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
