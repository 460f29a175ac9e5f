"""The server: its sockets, its worker processes, and its restart on SIGHUP."""

import errno
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import uvicorn
from uvicorn.supervisors import Multiprocess

from service.settings import Settings
from service.stopping import END_SECONDS, FORCED, STOP_SIGNALS, StoppableConfig

logger = logging.getLogger(__name__)

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


def serve(config: StoppableConfig) -> None:
    """Serve an app on the configuration's sockets until a signal stops the service.

    On SIGHUP, the worker processes are replaced, each as soon as its successor is ready; a single process executes
    itself again, while new connections wait.

    Raises:
        SystemExit: a worker had to be killed.
    """
    sockets = config.listeners
    if config.workers > 1:
        _announce(sockets)
        supervisor = _Supervisor(config, list(sockets))
        supervisor.run()
        if supervisor.killed:
            raise SystemExit(FORCED)
        return
    server = _Server(config)
    for stop in STOP_SIGNALS:
        signal.signal(stop, lambda *_: sys.exit())  # the server raises the signal again once it has stopped
    kept = [one.dup() for one in sockets]  # the server closes its own
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, server.handle_hangup)
    with suppress(KeyboardInterrupt):
        server.run(list(sockets))
    if server.restarts:
        for number, descriptor in enumerate(sorted(one.fileno() for one in kept), FIRST_DESCRIPTOR):
            os.dup2(descriptor, number)
            os.set_inheritable(number, True)  # noqa: FBT003
        os.environ |= {"LISTEN_FDS": str(len(kept)), "LISTEN_PID": str(os.getpid())}
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - the same command


class _Server(uvicorn.Server):
    """A server that says where it listens, and restarts on SIGHUP unless its terminal has hung up."""

    def __init__(self, config: StoppableConfig) -> None:
        super().__init__(config)
        self.restarts = False
        self._in_terminal = os.isatty(0)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _announce(sockets or [])

    def handle_hangup(self, *_: object) -> None:
        self.restarts = not self._in_terminal or os.isatty(0)
        logger.info("SIGHUP: %s", "restarting" if self.restarts else "stopping")
        self.should_exit = True


class _Supervisor(Multiprocess):
    """A supervisor that stops at once on a signal, with its workers in time, and if its terminal has hung up.

    Attributes:
        killed: whether the workers were killed, after a second signal or because they did not end in time.
    """

    def __init__(self, config: StoppableConfig, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self.killed = False
        self._longest_stop = config.longest_stop
        self._stopping = False
        self._in_terminal = os.isatty(0)
        for number in STOP_SIGNALS:
            signal.signal(number, self._handle_stop)

    def _handle_stop(self, *_: object) -> None:
        if self._stopping:
            self._kill()
            return
        self._stopping = True
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
        if self._in_terminal and not os.isatty(0):
            self.handle_term()
        else:
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


def _announce(sockets: Sequence[socket.socket]) -> None:
    for listener in sockets:
        name = listener.getsockname()
        if listener.family == socket.AF_UNIX:
            logger.info("listening on the socket %s", name)
        else:
            host = f"[{name[0]}]" if listener.family == socket.AF_INET6 else name[0]
            logger.info("listening on http://%s:%d (press Ctrl+C to stop)", host, name[1])
