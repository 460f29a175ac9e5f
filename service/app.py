"""`create_app`: the only place where the service's parts are wired together."""

import asyncio
import importlib.util
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from uvicorn.config import STARTUP_FAILURE

from service import __version__
from service.api import error_answers as failures
from service.api.refusals import Refusals
from service.api.routes import (
    attention,
    invocations,
    kserve,
    model_repository,
    oip,
    operations,
    page,
    predict,
    tfserving,
)
from service.api.routes import prometheus as metrics
from service.artifact.gate import OpenEngine
from service.engines import opener
from service.errors import ArtifactError
from service.serving.cpus import threads_allowed
from service.serving.loading import ModelLoader
from service.serving.model import Limits
from service.serving.repository import Repository
from service.serving.unloaded import Unloaded
from service.settings import Settings

logger = logging.getLogger(__name__)

DESCRIPTION = """
Ask a sequence model what it predicts **and which timesteps it looked at**: one call, one forward pass.

* `GET /` is, in a browser, a page that shows all of this and lets you try it.
* `POST /predict` answers predictions with the attention behind each.
* `GET /attention` is where the model looks, in training and in the traffic, as numbers or as a chart.
* `GET /model` is the model card: shapes, labels, classes, metrics, and how it was trained.
* `GET /models` lists the models and what has become of each of their versions.
"""

#: Longest time that a thread that reads a large body, or loads a version, keeps the interpreter from the event loop.
SWITCH_SECONDS = 0.0005

NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}


def create_app(settings: Settings, shared: Path | None = None, *, open_engine: OpenEngine | None = None) -> FastAPI:
    """Load the models and build the app that serves them.

    Args:
        settings: all that there is to choose.
        shared: a folder in which the worker processes of one service tell each other; none where there is one process.
        open_engine: opens the engine of a version; by default the engine of the settings.

    Raises:
        ArtifactError: there is nothing to serve.
    """
    loader = ModelLoader(
        open_engine or opener(settings.engine, threads_allowed(settings.threads, settings.workers)),
        Limits(max_batch=settings.max_batch, max_queue=settings.max_queue, timeout=settings.timeout),
        shared,
    )
    repository = Repository(
        settings.artifacts,
        loader.load,
        default=settings.model,
        pins=settings.pin,
        keep=settings.keep_versions,
        unloaded=Unloaded(shared),
    )
    repository.start()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Refusals]]:
        watching = asyncio.create_task(repository.watch(settings.poll_interval))
        yield {"refusals": app.state.refusals}
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await repository.close()

    app = FastAPI(
        title="Attention service",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        # Without OpenTelemetry's SDK nobody can receive any, but FastAPI looks for whoever might with each request.
        telemetry=None if importlib.util.find_spec("opentelemetry.sdk") else NO_TELEMETRY,
    )
    app.state.repository = repository
    app.state.settings = settings
    app.state.refusals = Refusals()
    failures.add_handlers(app)
    # Rather than include_router, which makes FastAPI look for the route of each request twice; ahead of FastAPI's own.
    # They are tried in this order: those first that are asked most.
    routers = (
        predict.router,
        tfserving.asking,
        kserve.asking,
        oip.asking,
        invocations.asking,
        attention.router,
        operations.router,
        metrics.router,
        page.router,
        tfserving.router,
        kserve.router,
        oip.router,
        model_repository.router,
        invocations.router,
    )
    app.router.routes[:0] = [route for router in routers for route in router.routes]
    return app


def create_app_or_exit(settings: Settings, shared: Path | None = None) -> FastAPI:
    """`create_app` for a server process: where nothing can be served, log one line that says what to do, and exit.

    The exit code is the one after which uvicorn does not start the process again.
    """
    # Python lets a thread that computes keep the interpreter for 5 ms; here another waits with requests.
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        return create_app(settings, shared)
    except ArtifactError as error:
        logger.critical("%s", error)
        raise SystemExit(STARTUP_FAILURE) from None
