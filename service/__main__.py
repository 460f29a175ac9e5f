"""`python -m service`: serves the app with uvicorn, as the settings say."""

# ruff: noqa: E402
import gc
import os
import signal
import sys

if sys.argv[1:2] == ["score"]:  # another program, without the imports below: its processes would repeat them
    os.execv(sys.executable, [sys.executable, "-m", "service.bulk", *sys.argv[2:]])  # noqa: S606 - our own

gc.disable()  # collections during the imports find no garbage and take a tenth of the start
if __name__ == "__main__" and sys.platform != "win32":
    # Without a handler, SIGHUP would end the process. It waits until `serve` has one.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})

import math
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from service import __version__, tls
from service.app import FAILED, SHARED_FOLDER, STARTUP_FAILURE, create_app_or_exit, create_worker_app
from service.artifact.layout import discover
from service.keys import COMMAND, KeyFileError, make_key, read_keys
from service.logs import log_config
from service.server import listen, serve
from service.settings import Settings
from service.stopping import StoppableConfig

gc.freeze()
gc.enable()
# Requests leave no cycles, so frequent collections find no garbage, and take 4 % of the time with 64 clients.
gc.set_threshold(20_000)


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
    require_keys(settings)  # with one message, before the worker processes start
    in_workers = f"{create_worker_app.__module__}:{create_worker_app.__name__}"
    app = in_workers if settings.workers > 1 else partial(create_app_or_exit, settings)
    config = server_config(app, settings, listen(settings))  # the port is taken before the models are loaded
    check = partial(why_no_restart, settings)
    if settings.workers == 1:
        serve(config, check)
        return
    try:
        folder = tempfile.TemporaryDirectory(prefix="attention-service-")
    except OSError as error:
        raise SystemExit(f"error: several workers need a writable temporary folder: set TMPDIR ({error})") from None
    with folder as shared:
        os.environ[SHARED_FOLDER] = shared
        if not serve(config, check) and (Path(shared) / FAILED).exists():
            raise SystemExit(STARTUP_FAILURE)


def require_keys(settings: Settings) -> None:
    """Check that the file of keys can be used, if there is one.

    Raises:
        SystemExit: it cannot.
    """
    if settings.keys is not None:
        try:
            read_keys(settings.keys)
        except KeyFileError as error:
            raise SystemExit(f"error: {error}") from None


def why_no_restart(settings: Settings) -> str | None:
    """Return why the service could not start again with the files as they are; None if nothing is known against it."""
    try:
        require_keys(settings)
        tls.options(settings)
        return None if discover(settings.artifacts).models else f"no model in {settings.artifacts}"
    except SystemExit as error:
        return str(error).removeprefix("error: ")
    except OSError as error:
        return f"{settings.artifacts} cannot be read: {error.strerror}"


def server_config(
    app: Callable[[], Any] | str, settings: Settings, sockets: Sequence[socket.socket]
) -> StoppableConfig:
    """Return the server's configuration.

    Args:
        app: makes the app; the import path of such a function if there are several worker processes.
        settings: all settings.
        sockets: the sockets to listen on.

    Raises:
        SystemExit: a file of TLS is missing or wrong.
    """
    return StoppableConfig(
        app,
        factory=True,
        workers=settings.workers,
        ws="none",
        log_level=settings.log_level,
        log_config=log_config(settings.log_level, settings.log_format),
        access_log=False,  # `create_app` adds the middleware for it
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
        **tls.options(settings),
    )


if __name__ == "__main__":
    main()
