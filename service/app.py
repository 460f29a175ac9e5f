"""`create_app`: the only place where the service's parts are wired together."""

import asyncio
import ctypes
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from service import __version__, platforms
from service.api import error_answers, openapi, rights, tracing
from service.api.answer_memory import AnswerMemory
from service.api.answers import Answers
from service.api.authentication import Authentication
from service.api.counters import Counters
from service.api.inference import add_inference_routes
from service.api.layers import LayeredApp
from service.api.observing import Observing
from service.api.prefix import ForwardedClient
from service.api.protection import Protection
from service.api.request_headers import REQUEST_ID_HEADER
from service.api.routes import (
    attention,
    documentation,
    invocations,
    kserve,
    model_repository,
    oip,
    operations,
    page,
    predict,
    prometheus,
    tfserving,
    triton,
)
from service.artifact.gate import OpenEngine
from service.engines import opener
from service.errors import ArtifactError
from service.keys import KeyFile, KeyFileError
from service.logs import RequestLog
from service.serving.cpus import threads_allowed
from service.serving.dataplane import DataPlane
from service.serving.loading import ModelLoader
from service.serving.model import Limits
from service.serving.repository import Repository
from service.serving.trial import Trials
from service.serving.unloaded import Unloaded
from service.settings import Settings, listed

logger = logging.getLogger(__name__)

DESCRIPTION = """
Ask a sequence model what it predicts **and which timesteps it looked at**: one call, one forward pass.

* `GET /` is, in a browser, a page that shows all of this and lets you try it.
* `POST /predict` answers predictions with the attention behind each.
* `GET /attention` is where the model looks, in training and in the traffic, as numbers or as a chart.
* `GET /model` is the model card: shapes, labels, classes, metrics, and how it was trained.
* `GET /models` lists the models and the state of each of their versions.
"""

#: Longest time that another thread keeps the interpreter from the event loop, in seconds.
SWITCH_SECONDS: Final = 0.0005
#: Fewest bytes of a value in JSON, its comma included.
BYTES_OF_VALUE: Final = 2
#: Parameters of glibc's memory, see mallopt(3): M_TRIM_THRESHOLD and M_MMAP_THRESHOLD, which glibc would raise to the
#: size of the largest blocks, and M_ARENA_MAX. Without them, the memory of large requests stays for good.
MEMORY: Final = {-1: 8 * 2**20, -3: 4 * 2**20, -8: 2}
#: Exit status of a process that cannot start. uvicorn does not start a worker again after it.
STARTUP_FAILURE: Final = 3
#: Environment variable with the folder in which the worker processes of one service share state.
SHARED_FOLDER: Final = "ATTENTION_SERVICE_SHARED_FOLDER"
#: A file in that folder. A worker that cannot start makes it.
FAILED: Final = "failed"


def create_app(
    settings: Settings,
    shared: Path | None = None,
    *,
    open_engine: OpenEngine | None = None,
    node: str | None = None,
) -> FastAPI:
    """Load the models and build the app that serves them.

    Args:
        settings: all settings.
        shared: a folder in which the worker processes of one service share state; None with one process.
        open_engine: opens the engine of a version; by default as the settings say.
        node: the node of a cluster whose processes share the folder, if others of the service do not.

    Raises:
        ArtifactError: there is nothing to serve.
        KeyFileError: the file of keys cannot be read.
    """
    keys = KeyFile(settings.keys) if settings.keys else None
    threads = threads_allowed(settings.threads, settings.workers)
    limits = Limits(max_batch=settings.max_batch, max_queue=settings.max_queue, timeout=settings.timeout)
    trials = Trials(settings.engine, threads, limits, settings.load_timeout) if settings.load_timeout else None
    loader = ModelLoader(
        open_engine or opener(settings.engine, threads, settings.timeout),
        limits,
        shared,
        trials if open_engine is None else None,
    )
    counters = Counters(shared)
    repository = Repository(
        settings.artifacts,
        loader.load,
        default=settings.model,
        pins=settings.pin,
        keep=settings.keep_versions,
        unloaded=Unloaded(shared / "unloaded" if shared else None),
        count_rejection=counters.count_rejection,
    )
    repository.start()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(repository.watch(settings.poll_interval))
        yield
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        if trials is not None:
            trials.close()
        await repository.close()

    telemetry = tracing.telemetry()
    app = (FastAPI if telemetry["tracing"] else LayeredApp)(  # FastAPI's traces need its layers around the middleware
        title="Attention service",
        version=__version__,
        description=DESCRIPTION,
        license_info={"name": "MIT", "identifier": "MIT"},
        openapi_tags=openapi.TAGS,
        generate_unique_id_function=openapi.operation_id,
        lifespan=lifespan,
        redirect_slashes=False,
        # `routes.documentation` adds these routes.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        telemetry=telemetry,
    )
    app.state.repository = repository
    app.state.settings = settings
    app.state.counters = counters
    app.state.node = node
    app.state.plane = DataPlane(
        repository, max_sequences=settings.max_sequences, max_values=settings.max_body // BYTES_OF_VALUE
    )
    app.state.answer_memory = AnswerMemory()
    app.root_path = settings.root_path
    add_routes(app)
    add_middleware(app, settings, keys, traced=telemetry["tracing"])
    return app


def add_middleware(app: FastAPI, settings: Settings, keys: KeyFile | None, *, traced: bool) -> None:
    """Add the middleware that the settings ask for. The last one is the outermost."""
    app.add_middleware(Answers)
    if keys is not None:
        app.add_middleware(Authentication, keys=keys, opened=listed(settings.open_routes))
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=listed(settings.cors_origins),
            allow_methods=("GET", "HEAD", "POST", "OPTIONS"),
            allow_headers=("*",),
            expose_headers=("Server-Timing", oip.LENGTH_HEADER, "Retry-After", REQUEST_ID_HEADER),
        )
    app.add_middleware(Protection, hosts=listed(settings.allowed_hosts), origins=listed(settings.cors_origins))
    if settings.access_log:
        app.add_middleware(ForwardedClient, trusted_hosts=list(listed(settings.trusted_proxies)))
    logs = settings.access_log and settings.log_level in ("debug", "info")
    log = RequestLog(settings.log_format) if logs else None
    app.add_middleware(Observing, counters=app.state.counters, log=log, most_body=settings.max_body, traced=traced)


def add_routes(app: FastAPI) -> None:
    """Add all routes to an app, and the answers to its errors."""
    error_answers.add_handlers(app)
    protocols = (tfserving, kserve, oip, invocations)
    inference_routers = [module.inference_router for module in (predict, *protocols)]
    # `triton` before `oip`, as `stats` is no model's name in `/v2/models/stats`.
    modules = (attention, operations, prometheus, page, documentation, triton, *protocols, model_repository)
    routers = [module.router for module in modules]
    settings: Settings = app.state.settings
    # Before all others, as their paths may be those of other routes.
    if settings.vertex_predict_route is not None:
        inference_routers.insert(0, invocations.inference_router_of_vertex(settings.vertex_predict_route))
    if settings.vertex_health_route is not None:
        routers.insert(0, invocations.router_of_vertex(settings.vertex_health_route))
    add_inference_routes(app, inference_routers)
    for router in routers:
        app.include_router(router)
    openapi.complete(app, None if settings.keys is None else rights.open_routes(listed(settings.open_routes)))


def tune_process() -> None:
    """Set what a process that serves needs of Python's threads and of the C library's memory."""
    # Python lets a thread that computes keep the interpreter for 5 ms, while the event loop has requests to read.
    sys.setswitchinterval(SWITCH_SECONDS)
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            for parameter, value in MEMORY.items():
                ctypes.CDLL(None).mallopt(parameter, value)


def create_app_or_exit(settings: Settings, shared: Path | None = None) -> FastAPI:
    """Build the app of a server process. If nothing can be served, log why and end the process."""
    tune_process()
    try:
        return create_app(settings, shared)
    except (ArtifactError, KeyFileError) as error:
        logger.critical("%s", error)
        if (advice := platforms.advice()) is not None:
            logger.critical("%s", advice)
        if shared is not None:
            (shared / FAILED).touch()
            # Without a clean-up, in which uvicorn would wait for the answer to a health check until that times out.
            os._exit(STARTUP_FAILURE)
        raise SystemExit(STARTUP_FAILURE) from None


def create_worker_app() -> FastAPI:
    """Build the app of one of several worker processes, which inherit the command line and the environment."""
    return create_app_or_exit(Settings.from_command_line(sys.argv[1:]), Path(os.environ[SHARED_FOLDER]))
