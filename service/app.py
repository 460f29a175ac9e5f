"""`create_app`: the only place where the service's parts are wired together."""

import asyncio
import importlib.util
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.telemetry import TelemetryConfig
from uvicorn.config import STARTUP_FAILURE

from service import __version__
from service.api import attention, operations, predict
from service.errors import ArtifactError, ServiceError
from service.inference.cpus import threads_allowed
from service.inference.model import Limits, load_model
from service.inference.repository import Repository
from service.settings import Settings

logger = logging.getLogger(__name__)

DESCRIPTION = """
Ask a sequence model what it predicts **and which timesteps it looked at**: one call, one forward pass.

* `POST /predict` answers predictions with the attention behind each.
* `GET /attention` is the model's attention profile, as numbers or as a chart.
* `GET /model` is the model card: shapes, labels, classes, metrics, and how it was trained.
* `GET /models` lists the models and what has become of each of their versions.
"""

#: Longest time that a thread that reads a large body, or loads a version, keeps the interpreter from the event loop.
SWITCH_SECONDS = 0.0005

NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}


def create_app(settings: Settings) -> FastAPI:
    """Load the models and build the app that serves them.

    Raises:
        ArtifactError: there is nothing to serve.
    """
    load = partial(
        load_model,
        engine=settings.engine,
        threads=threads_allowed(settings.threads, settings.workers),
        limits=Limits(max_batch=settings.max_batch, max_queue=settings.max_queue, timeout=settings.timeout),
    )
    repository = Repository(
        settings.artifacts, load, default=settings.model, pins=settings.pin, keep=settings.keep_versions
    )
    repository.start()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(repository.watch(settings.poll_interval))
        yield
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await repository.close()

    app = FastAPI(
        title="Attention service",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        # Without OpenTelemetry's SDK nobody can receive any, but FastAPI looks for whoever might with each request.
        telemetry=None if importlib.util.find_spec("opentelemetry.sdk") else NO_TELEMETRY,
    )
    app.state.repository = repository
    app.state.settings = settings
    app.add_exception_handler(ServiceError, answer_service_error)
    app.add_exception_handler(RequestValidationError, answer_validation_error)
    app.add_exception_handler(Exception, answer_unexpected_error)
    # Rather than include_router, which makes FastAPI look for the route of each request twice; ahead of FastAPI's own.
    app.router.routes[:0] = [route for part in (predict, attention, operations) for route in part.router.routes]
    return app


def create_app_or_exit(settings: Settings) -> FastAPI:
    """`create_app` for a server process: where nothing can be served, log one line that says what to do, and exit.

    The exit code is the one after which uvicorn does not start the process again.
    """
    # Python lets a thread that computes keep the interpreter for 5 ms; here another waits with requests.
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        return create_app(settings)
    except ArtifactError as error:
        logger.critical("%s", error)
        raise SystemExit(STARTUP_FAILURE) from None


async def answer_service_error(request: Request, error: Exception) -> JSONResponse:
    """A domain error in FastAPI's shape."""
    assert isinstance(error, ServiceError)
    return JSONResponse({"detail": str(error)}, error.status, headers={**error.headers, **_closing(request)})


async def answer_validation_error(request: Request, error: Exception) -> JSONResponse:
    """FastAPI's own answer, less what it repeats of the request: a body may be megabytes of numbers."""
    assert isinstance(error, RequestValidationError)
    detail = [{key: item[key] for key in ("type", "loc", "msg")} for item in error.errors()]
    return JSONResponse({"detail": jsonable_encoder(detail)}, 422, headers=_closing(request))


async def answer_unexpected_error(_: Request, __: Exception) -> JSONResponse:
    """What is left: a defect, whose traceback is in the log and not in the answer."""
    return JSONResponse({"detail": "internal error"}, 500)


def _closing(request: Request) -> dict[str, str]:
    """Whoever waits to be told to send a body, and is refused instead, must not go on as if it had been sent."""
    return {"Connection": "close"} if "expect" in request.headers else {}
