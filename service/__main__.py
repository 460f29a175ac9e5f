"""`python -m service`: serves the app with uvicorn, as the settings say."""

# ruff: noqa: E402
import gc

gc.disable()  # collections during the imports find no garbage and take a tenth of the start

import copy
import math
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from uvicorn.config import LOGGING_CONFIG

from service import __version__, tls
from service.app import FAILED, SHARED_FOLDER, STARTUP_FAILURE, create_app_or_exit, create_worker_app
from service.http11 import ServerConfig
from service.keys import COMMAND, KeyFileError, make_key, read_keys
from service.server import listen, serve
from service.settings import Settings

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
    if sys.argv[1:2] == [COMMAND]:
        make_key(sys.argv[2:])
        return
    settings = Settings.from_command_line(sys.argv[1:])
    if settings.keys is not None:
        try:
            read_keys(settings.keys)  # with one message, before the worker processes start
        except KeyFileError as error:
            raise SystemExit(f"error: {error}") from None
    in_workers = f"{create_worker_app.__module__}:{create_worker_app.__name__}"
    config = server_config(in_workers if settings.workers > 1 else partial(create_app_or_exit, settings), settings)
    sockets = listen(settings)  # before the models are loaded
    if settings.workers == 1:
        serve(config, sockets)
        return
    with tempfile.TemporaryDirectory(prefix="attention-service-") as shared:
        os.environ[SHARED_FOLDER] = shared
        serve(config, sockets)
        if (Path(shared) / FAILED).exists():
            raise SystemExit(STARTUP_FAILURE)


def server_config(app: Callable[[], Any] | str, settings: Settings) -> ServerConfig:
    """Return the server's configuration.

    Args:
        app: makes the app; the import path of such a function if there are several worker processes.
        settings: all settings.

    Raises:
        SystemExit: a file of TLS is missing or wrong.
    """
    return ServerConfig(
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
        timeout_keep_alive=settings.keep_alive,
        # All requests have been answered by then, except for stalled uploads, which must not delay the shutdown.
        timeout_graceful_shutdown=math.ceil(settings.timeout),
        # A worker that is only busy must not be restarted, and its successor needs time to load the models.
        timeout_worker_healthcheck=math.ceil(settings.timeout),
        **tls.options(settings),
    )


def log_config(level: str) -> dict[str, Any]:
    """Return uvicorn's logging configuration with the service's loggers added."""
    config = copy.deepcopy(LOGGING_CONFIG)
    config["loggers"]["service"] = {"handlers": ["default"], "level": level.upper(), "propagate": False}
    return config


if __name__ == "__main__":
    main()
