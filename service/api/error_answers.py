"""Errors to answers: in FastAPI's shape, or in that of the protocol whose route was asked."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service import errors
from service.api.codecs.sequences import shown

#: First parts of the paths of protocols whose errors are `{"error": "…"}`.
PROTOCOLS = frozenset({"v1", "v2", "invocations", "ping"})


class Problem(BaseModel):
    """One thing that is wrong with the form of a request, in FastAPI's shape."""

    type: str = Field(description="Kind of problem.", examples=["json_invalid"])
    loc: list[str | int] = Field(description="Where in the request it is.", examples=[["body", 14]])
    msg: str = Field(description="What was expected.", examples=["Input should be 'mean', 'full' or 'none'"])


class ErrorAnswer(BaseModel):
    """An error of the native API, in FastAPI's shape."""

    detail: str | list[Problem] = Field(
        description="What was expected, and what came; a list where the form of the request is wrong.",
        examples=["sequence[3][1]: expected a finite number, got null"],
    )


class ProtocolErrorAnswer(BaseModel):
    """An error of TensorFlow Serving's API, of KServe's and of the Open Inference Protocol."""

    error: str = Field(
        description="What was expected, and what came.",
        examples=["instances[0][3][1]: expected a finite number, got null"],
    )


#: What whoever asks a model may be told, whatever the route.
ASKING = (errors.UnknownModel, errors.InvalidInput, errors.Unavailable)
#: And where sequences are posted.
POSTING = (*ASKING, errors.TooLarge, errors.UnsupportedMediaType, errors.QueueFull, errors.DeadlineExceeded)


def documented(*kinds: type[errors.ServiceError]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for errors of a native route."""
    return {kind.status: {"model": ErrorAnswer, "description": kind.__doc__} for kind in kinds}


def documented_in_protocol(*kinds: type[errors.ServiceError]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for errors of a protocol's route."""
    return {
        _protocol_status(kind.status): {"model": ProtocolErrorAnswer, "description": kind.__doc__} for kind in kinds
    }


def add_handlers(app: FastAPI) -> None:
    """Have an app answer every error."""
    app.add_exception_handler(errors.ServiceError, _answer_service_error)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)
    app.add_exception_handler(Exception, _answer_unexpected_error)
    app.openapi = partial(_openapi, app.openapi)  # type: ignore[method-assign] # FastAPI's documented way to do so


def _openapi(original: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """FastAPI's document, without the 422 that it adds to routes which answer 400 instead."""
    document = original()
    for path, operations in document["paths"].items():
        if _in_protocol(path):
            for operation in operations.values():
                operation["responses"].pop("422", None)
    for schema in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(schema, None)
    return document


async def _answer_service_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.ServiceError)
    return _answer(request, error.status, str(error), error.headers)


async def _answer_validation_error(request: Request, error: Exception) -> JSONResponse:
    """FastAPI's own answer, less what it repeats of the request: a body may be megabytes of numbers."""
    assert isinstance(error, RequestValidationError)
    problems = error.errors()
    if _in_protocol(request.scope["path"]):
        first = problems[0]
        place = ".".join(str(part) for part in first["loc"] if part not in ("body", "path"))
        if first["type"] == "json_invalid":
            place = f"position {place}"
        got = f", got {shown(first['input'])}" if isinstance(first.get("input", {}), str | int | float | None) else ""
        return _answer(request, 400, (f"{place}: " if place else "") + first["msg"] + got)
    detail = [{key: item[key] for key in ("type", "loc", "msg")} for item in problems]
    return _answer(request, 422, jsonable_encoder(detail))


async def _answer_http_error(request: Request, error: Exception) -> JSONResponse:
    """What the router says: no such path, or no such method."""
    assert isinstance(error, HTTPException)
    return _answer(request, error.status_code, error.detail, error.headers)


async def _answer_nobody(_: Request, __: Exception) -> Response:
    """The client left before its request was here."""
    return Response(status_code=400)


async def _answer_unexpected_error(request: Request, _: Exception) -> JSONResponse:
    """What is left: a defect, whose traceback is in the log and not in the answer."""
    return _answer(request, 500, "internal error")


def _answer(request: Request, status: int, what: Any, headers: Mapping[str, str] | None = None) -> JSONResponse:
    # Whoever waits to be told to send a body, and is refused instead, must not go on as if it had been sent.
    closing = {"Connection": "close"} if "expect" in request.headers else {}
    return error_answer(request.scope["path"], status, what, {**(headers or {}), **closing})


def error_answer(path: str, status: int, what: Any, headers: Mapping[str, str]) -> JSONResponse:
    """An error, in the shape of those at a path."""
    if _in_protocol(path):
        return JSONResponse({"error": what}, _protocol_status(status), headers)
    return JSONResponse({"detail": what}, status, headers)


def _in_protocol(path: str) -> bool:
    return path.lstrip("/").partition("/")[0] in PROTOCOLS


def _protocol_status(status: int) -> int:
    """The protocols know one status for whatever is wrong with a request."""
    return 400 if status == errors.InvalidInput.status else status
