"""`python -m service`: settings to uvicorn."""

# ruff: noqa: E402
import gc

gc.disable()  # nothing that is imported is garbage: to look for it all the same takes a tenth of the start

import copy
import math
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from uvicorn.config import LOGGING_CONFIG, STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from service import __version__
from service.app import create_app_or_exit
from service.connection import Connection
from service.settings import Settings

gc.freeze()
gc.enable()


def main() -> None:
    """Serve until told to stop."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"attention-service {__version__}\n")
        return
    settings = Settings.from_command_line(sys.argv[1:])
    if settings.workers == 1:
        serve(settings, None)
    else:
        with tempfile.TemporaryDirectory(prefix="attention-service-") as shared:
            serve(settings, Path(shared))


def serve(settings: Settings, shared: Path | None) -> None:
    """Serve in one process, or in several that have a folder for what they tell each other.

    Raises:
        SystemExit: it did not start.
    """
    config = server_config(settings, partial(create_app_or_exit, settings, shared))
    if shared is None:
        server = uvicorn.Server(config)
        with suppress(KeyboardInterrupt):  # raised again once the server has stopped in good order
            server.run()
        failed = not server.started
    else:
        supervisor = Multiprocess(config, sockets=[config.bind_socket()])
        supervisor.run()
        failed = any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes)
    if failed:
        raise SystemExit(STARTUP_FAILURE)


def server_config(settings: Settings, make_app: Callable[[], FastAPI]) -> uvicorn.Config:
    """How uvicorn serves the app that a function makes."""
    return uvicorn.Config(
        make_app,
        factory=True,
        http=Connection,  # type: ignore[arg-type] # any protocol will do
        ws="none",
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        log_level=settings.log_level,
        log_config=log_config(settings.log_level),
        access_log=settings.access_log,
        # Who asks, behind a proxy, and by which scheme, is of interest to that log alone.
        proxy_headers=settings.access_log,
        server_header=False,
        # By then whoever could be answered is; a client that never sends all of its request must not keep it running.
        timeout_graceful_shutdown=math.ceil(settings.timeout),
        # A worker that is busy is not one that hangs.
        timeout_worker_healthcheck=math.ceil(settings.timeout),
    )


def log_config(level: str) -> dict[str, object]:
    """The logging of uvicorn, with the service's loggers beside it."""
    config = copy.deepcopy(LOGGING_CONFIG)
    config["loggers"]["service"] = {"handlers": ["default"], "level": level.upper(), "propagate": False}
    return config


if __name__ == "__main__":
    main()
