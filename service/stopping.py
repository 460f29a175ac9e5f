"""The stop of a server process on a signal: unready first, then no further connections, then the last answers."""

import logging
import math
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any, Final

from service.http11 import ServerConfig

logger = logging.getLogger(__name__)

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
#: Longest time in which connections that wait to be accepted delay the stop, in seconds.
ACCEPT_SECONDS: Final = 2.0
#: Time from the drain timeout until the process ends by force, in seconds.
END_SECONDS: Final = 3.0
#: Exit status of a process that ends by force.
FORCED: Final = 1


class StoppableConfig(ServerConfig):
    """The configuration of a server that drains before it stops.

    In a worker process, the supervisor sends SIGTERM, so SIGINT, which a terminal sends to all processes, is ignored.

    Attributes:
        stopping: whether a signal has begun the stop of this process.
        listeners: the sockets that the server listens on.
        drain_delay: time from the signal until no further connections are accepted, in seconds.
        drain_timeout: longest time after that for the accepted requests, in seconds.
    """

    def __init__(
        self, *args: Any, listeners: Sequence[socket.socket], drain_delay: float, drain_timeout: float, **options: Any
    ) -> None:
        super().__init__(*args, timeout_graceful_shutdown=math.ceil(drain_timeout), **options)
        self.stopping = False
        self.listeners = listeners
        self.drain_delay = drain_delay
        self.drain_timeout = drain_timeout

    @property
    def longest_stop(self) -> float:
        """Seconds from the signal until the process ends by force."""
        return self.drain_delay + ACCEPT_SECONDS + math.ceil(self.drain_timeout) + END_SECONDS

    def load(self) -> None:
        """Make the app, and take over the signals. A signal before that ends the process at once."""
        if threading.current_thread() is not threading.main_thread():
            super().load()
            return
        stop = signal.getsignal(signal.SIGTERM)
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        if self.workers > 1:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        super().load()
        drain = Drain(self, stop)
        for number in STOP_SIGNALS[: 1 if self.workers > 1 else None]:
            signal.signal(number, drain.handle_signal)


class Drain:
    """Stops a server in order: it answers that it is not ready, refuses connections after a delay, and ends.

    A thread does so, because a busy event loop must not delay the end of the process.

    Args:
        config: the server's configuration, with its app.
        stop: the server's own handler of a signal, which lets it refuse connections, answer the rest, and end.
    """

    def __init__(self, config: StoppableConfig, stop: Any) -> None:
        self._config = config
        self._stop = stop

    def handle_signal(self, number: int, _: FrameType | None) -> None:
        """Begin to stop; end the process at once if it has begun already."""
        if self._config.stopping:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._config.stopping = True
        self._config.loaded_app.state.plane.draining = True
        threading.Thread(target=self._run, args=[number], daemon=True).start()

    def _run(self, number: int) -> None:
        config = self._config
        logger.info("%s: stopping within %.0f s", signal.Signals(number).name, config.longest_stop)
        began = time.monotonic()
        time.sleep(config.drain_delay)
        waiting = select.poll()
        for listener in config.listeners:
            waiting.register(listener, select.POLLIN)
        until = time.monotonic() + ACCEPT_SECONDS
        while waiting.poll(0) and time.monotonic() < until:  # their requests may have been sent
            time.sleep(0.005)
        self._stop(number, None)
        time.sleep(config.longest_stop - (time.monotonic() - began))
        logger.critical("not stopped within %.0f s: ending without the last answers", config.longest_stop)
        os._exit(FORCED)
