"""`python -m service`: serves the app with uvicorn, as the settings say."""

# ruff: noqa: E402
import gc

gc.disable()  # collections during the imports find no garbage and take a tenth of the start

import copy
import math
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from uvicorn.config import LOGGING_CONFIG

from service import __version__
from service.app import FAILED, SHARED_FOLDER, STARTUP_FAILURE, create_app_or_exit, create_worker_app
from service.server import listen, serve
from service.settings import Settings
from service.stopping import StoppableConfig

gc.freeze()
gc.enable()


def main() -> None:
    """Serve until a signal stops the process.

    Raises:
        SystemExit: the settings are wrong, or the service cannot start.
    """
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"attention-service {__version__}\n")
        return
    settings = Settings.from_command_line(sys.argv[1:])
    sockets = listen(settings)  # before the models are loaded
    if settings.workers == 1:
        serve(server_config(partial(create_app_or_exit, settings), settings, sockets))
        return
    with tempfile.TemporaryDirectory(prefix="attention-service-") as shared:
        os.environ[SHARED_FOLDER] = shared
        serve(server_config(f"{create_worker_app.__module__}:{create_worker_app.__name__}", settings, sockets))
        if (Path(shared) / FAILED).exists():
            raise SystemExit(STARTUP_FAILURE)


def server_config(
    app: Callable[[], Any] | str, settings: Settings, sockets: Sequence[socket.socket]
) -> StoppableConfig:
    """Return the server's configuration.

    Args:
        app: makes the app; the import path of such a function if there are several worker processes.
        settings: all settings.
        sockets: the sockets to listen on.
    """
    return StoppableConfig(
        app,
        factory=True,
        workers=settings.workers,
        ws="none",
        log_level=settings.log_level,
        log_config=log_config(settings.log_level),
        access_log=settings.access_log,
        proxy_headers=False,  # `create_app` adds the middleware for them
        server_header=False,
        head_timeout=settings.head_timeout,
        write_timeout=settings.write_timeout,
        timeout_keep_alive=settings.keep_alive,
        listeners=sockets,
        drain_delay=settings.drain_delay,
        # All requests have been answered by then, except for stalled uploads, which must not delay the shutdown.
        drain_timeout=settings.drain_timeout or settings.timeout,
        # A worker that is only busy must not be restarted, and its successor needs time to load the models.
        timeout_worker_healthcheck=math.ceil(settings.timeout),
    )


def log_config(level: str) -> dict[str, Any]:
    """Return uvicorn's logging configuration with the service's loggers added."""
    config = copy.deepcopy(LOGGING_CONFIG)
    config["loggers"]["service"] = {"handlers": ["default"], "level": level.upper(), "propagate": False}
    return config


if __name__ == "__main__":
    main()
