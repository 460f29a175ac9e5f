"""`python -m service`: serves the app with uvicorn, as the settings say."""

# ruff: noqa: E402
import gc

gc.disable()  # collections during the imports find no garbage and take a tenth of the start

import copy
import math
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.config import LOGGING_CONFIG

from service import __version__
from service.app import FAILED, SHARED_FOLDER, STARTUP_FAILURE, create_app_or_exit, create_worker_app
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
    settings = Settings.from_command_line(sys.argv[1:])
    if settings.workers == 1:
        uvicorn.run(partial(create_app_or_exit, settings), **server_options(settings))
        return
    with tempfile.TemporaryDirectory(prefix="attention-service-") as shared:
        os.environ[SHARED_FOLDER] = shared
        factory = f"{create_worker_app.__module__}:{create_worker_app.__name__}"
        uvicorn.run(factory, workers=settings.workers, **server_options(settings))
        if (Path(shared) / FAILED).exists():
            raise SystemExit(STARTUP_FAILURE)


def server_options(settings: Settings) -> dict[str, Any]:
    """Return uvicorn's options."""
    return {
        "factory": True,
        "http": "httptools",
        "ws": "none",
        "host": settings.host,
        "port": settings.port,
        "log_level": settings.log_level,
        "log_config": log_config(settings.log_level),
        "access_log": settings.access_log,
        # `create_app` adds the middleware for them itself.
        "proxy_headers": False,
        "server_header": False,
        # All requests have been answered by then, except for stalled uploads, which must not delay the shutdown.
        "timeout_graceful_shutdown": math.ceil(settings.timeout),
        # A worker that is only busy must not be restarted, and its successor needs time to load the models.
        "timeout_worker_healthcheck": math.ceil(settings.timeout),
    }


def log_config(level: str) -> dict[str, Any]:
    """Return uvicorn's logging configuration with the service's loggers added."""
    config = copy.deepcopy(LOGGING_CONFIG)
    config["loggers"]["service"] = {"handlers": ["default"], "level": level.upper(), "propagate": False}
    return config


if __name__ == "__main__":
    main()
