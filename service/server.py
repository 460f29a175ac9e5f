"""The server: its sockets, its worker processes, and its restart on SIGHUP."""

import errno
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

import uvicorn
from uvicorn.supervisors import Multiprocess

from service.settings import Settings
from service.stopping import END_SECONDS, FORCED, STOP_SIGNALS, StoppableConfig

logger = logging.getLogger(__name__)

#: Returns why a restart would fail; None if nothing is known against it.
WhyNoRestart = Callable[[], str | None]

#: The first descriptor that a service manager hands over, as sd_listen_fds(3) says.
FIRST_DESCRIPTOR: Final = 3


def listen(settings: Settings) -> list[socket.socket]:
    """Return the sockets to listen on: those that the parent process hands over, or new ones.

    Raises:
        SystemExit: the address is not free, or there is no such socket.
    """
    try:
        if handed_over := _handed_over():
            return handed_over
        if settings.fd is not None:
            return [socket.socket(fileno=settings.fd)]
        if settings.uds is not None:
            return [_listen_on_path(settings.uds)]
        return _listen_on_host(settings.host, settings.port)
    except OSError as error:
        if settings.fd is not None:
            advice = f"descriptor {settings.fd}: choose another --fd"
        elif settings.uds is not None:
            advice = f"{settings.uds}: choose another --uds"
        else:
            advice = f"{settings.host} port {settings.port}: choose another --host or --port"
        raise SystemExit(f"error: cannot listen on {advice} ({error.strerror or error})") from error


def serve(config: StoppableConfig, why_no_restart: WhyNoRestart) -> bool:
    """Serve an app on the configuration's sockets until a signal stops the service.

    On SIGHUP, the worker processes are replaced, each as soon as its successor is ready; a single process executes
    itself again, while new connections wait. Without a prospect of success, the service goes on as it is.

    Args:
        config: the configuration.
        why_no_restart: returns the reason against a restart.

    Returns:
        Whether a signal stopped the service; else a worker process could not start.

    Raises:
        SystemExit: a worker had to be killed.
    """
    sockets, hangups = config.listeners, _Hangups(why_no_restart)
    if config.workers > 1:
        _announce(sockets, config)
        supervisor = _Supervisor(config, list(sockets), hangups)
        _block_hangups(block=False)
        supervisor.run()
        if supervisor.killed:
            raise SystemExit(FORCED)
        return supervisor.stopped
    server = _Server(config, hangups)
    for stop in STOP_SIGNALS:
        signal.signal(stop, lambda *_: sys.exit())  # the server raises the signal again once it has stopped
    kept = [one.dup() for one in sockets]  # the server closes its own
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, server.handle_hangup)
    _block_hangups(block=False)
    with suppress(KeyboardInterrupt):
        server.run(list(sockets))
    if server.restarts:
        _block_hangups(block=True)  # until the successor has a handler
        for number, descriptor in enumerate(sorted(one.fileno() for one in kept), FIRST_DESCRIPTOR):
            os.dup2(descriptor, number)
            os.set_inheritable(number, True)  # noqa: FBT003
        os.environ |= {"LISTEN_FDS": str(len(kept)), "LISTEN_PID": str(os.getpid())}
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - the same command
    return True


def _block_hangups(*, block: bool) -> None:
    """Let SIGHUP wait, or handle one that waits. The mask stays when a process executes another program."""
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_BLOCK if block else signal.SIG_UNBLOCK, {signal.SIGHUP})


class _Hangups:
    """Decides what SIGHUP means: the end if the terminal has hung up, else a restart if one can succeed."""

    def __init__(self, why_no_restart: WhyNoRestart) -> None:
        self._why_no_restart = why_no_restart
        self._in_terminal = os.isatty(0)

    def meaning(self) -> Literal["stop", "restart", "nothing"]:
        """Return the meaning of a signal that came now, and log it."""
        if self._in_terminal and not os.isatty(0):
            logger.info("SIGHUP: stopping")
            return "stop"
        if (reason := self._why_no_restart()) is not None:
            logger.error("SIGHUP: no restart, as it would fail: %s", reason)
            return "nothing"
        logger.info("SIGHUP: restarting")
        return "restart"


class _Server(uvicorn.Server):
    """A server that logs where it listens, and handles SIGHUP."""

    def __init__(self, config: StoppableConfig, hangups: _Hangups) -> None:
        super().__init__(config)
        self._restarts = False
        self._hangups = hangups
        self._stoppable = config

    @property
    def restarts(self) -> bool:
        """Whether the process executes itself again at the end. A signal to stop is stronger than SIGHUP."""
        return self._restarts and not self._stoppable.stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _announce(sockets or [], self.config)

    def handle_hangup(self, *_: object) -> None:
        if self._stoppable.stopping:
            return
        meaning = self._hangups.meaning()
        if meaning != "nothing":
            self._restarts, self.should_exit = meaning == "restart", True


class _Supervisor(Multiprocess):
    """A supervisor of worker processes that stops them in time, and handles SIGHUP.

    Attributes:
        stopped: whether a signal stopped it.
        killed: whether the workers were killed, after a second signal or because they did not end in time.
    """

    def __init__(self, config: StoppableConfig, sockets: list[socket.socket], hangups: _Hangups) -> None:
        super().__init__(config, sockets)
        self.killed = False
        self._longest_stop = config.longest_stop
        self.stopped = False
        self._hangups = hangups
        for number in STOP_SIGNALS:
            signal.signal(number, self._handle_stop)

    def _handle_stop(self, *_: object) -> None:
        if self.stopped:
            self._kill()
            return
        self.stopped = True
        # A thread, because the interrupted code may hold the lock of the event.
        threading.Thread(target=self.should_exit.set).start()
        overdue = threading.Timer(self._longest_stop + END_SECONDS, self._kill)
        overdue.daemon = True
        overdue.start()

    def _kill(self) -> None:
        self.killed = True
        for process in self.processes:
            process.kill()

    def keep_subprocess_alive(self) -> None:
        for process in self.processes:
            # The workers have theirs. With this one open, the end of a worker that should answer would not show.
            process.child_conn.close()
        super().keep_subprocess_alive()

    def handle_hup(self) -> None:
        match self._hangups.meaning():
            case "stop":
                self._handle_stop()
            case "restart":
                super().handle_hup()


def _handed_over() -> list[socket.socket]:
    """Return the sockets that a service manager has opened, as sd_listen_fds(3) says."""
    count, process = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    if process != str(os.getpid()) or not count.isdecimal():
        return []
    return [socket.socket(fileno=FIRST_DESCRIPTOR + number) for number in range(int(count))]


def _listen_on_path(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    if path.is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:  # left behind by a service that was killed
                path.unlink()
    listener.bind(str(path))
    path.chmod(0o666)  # the proxy runs as another user; the directory limits the access
    return listener


def _listen_on_host(host: str, port: int) -> list[socket.socket]:
    """Return a socket for each address of a host. They do not accept connections yet."""
    listeners: list[socket.socket] = []
    problem: OSError | None = None
    for family, kind, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE):
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # `::` stands for IPv4 as well. Other addresses have a socket of their own for each family.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")
        # All addresses share the port of the first.
        try:
            listener.bind((address[0], listeners[0].getsockname()[1] if listeners else port, *address[2:]))
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            problem = error  # of `localhost`, say, where IPv6 is off
        else:
            listeners.append(listener)
    if problem is not None and not listeners:
        raise problem
    return listeners


def _announce(sockets: Sequence[socket.socket], config: uvicorn.Config) -> None:
    for listener in sockets:
        name = listener.getsockname()
        if listener.family == socket.AF_UNIX:
            logger.info("listening on the socket %s", name)
        else:
            host = f"[{name[0]}]" if listener.family == socket.AF_INET6 else name[0]
            scheme = "https" if config.is_ssl else "http"
            logger.info("listening on %s://%s:%d (press Ctrl+C to stop)", scheme, host, name[1])
