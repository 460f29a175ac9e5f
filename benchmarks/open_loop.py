"""Load by one thread that sends each request when it is due, whatever became of those before it."""

import re
import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.contestants import Body
from benchmarks.servers import Server

#: Seconds, or one number for each request.
Times = NDArray[np.float64]
#: Connections. A request waits for a free one if all are in use, and its time counts from when it was due.
CONNECTIONS: Final = 256
#: Longest time without any answer, in seconds.
TIMEOUT: Final = 30.0
LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)


class Client:
    """Connections to a server, and one request."""

    def __init__(self, address: tuple[str, int], path: str, body: Body, connections: int = CONNECTIONS) -> None:
        headers = {"Host": "127.0.0.1", "Content-Length": str(len(body.content)), **body.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._request = f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body.content
        self._poll = select.epoll()
        self._sockets = {}
        for _ in range(connections):
            one = socket.create_connection(address)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[one.fileno()] = one
            self._poll.register(one, select.EPOLLIN)
        self._free = deque(self._sockets)
        self._running: dict[int, int] = {}  # the numbers of requests without an answer, by their sockets

    def close(self) -> None:
        """Close all connections."""
        self._poll.close()
        for one in self._sockets.values():
            one.close()

    def post(self, due: Times) -> Times:
        """Send a request at each time `(n,)`, in seconds from now. Return the seconds from there to each answer.

        Raises:
            RuntimeError: an answer is not 200, or none comes.
        """
        answered, sent = np.zeros(len(due)), 0
        began = time.perf_counter()
        while sent < len(due) or self._running:
            now = time.perf_counter()
            while sent < len(due) and self._free and began + due[sent] <= now:
                self._send(sent)
                sent += 1
            wait = began + due[sent] - now if sent < len(due) and self._free else TIMEOUT
            # A timeout of epoll's own would be inexact by up to a millisecond, which is longer than a request takes.
            if not select.select([self._poll], [], [], max(0.0, wait))[0] and wait == TIMEOUT:
                raise RuntimeError(f"no answer within {TIMEOUT} s")
            for number in self._answers():
                answered[number] = time.perf_counter() - began
        return answered - due

    def send(self, count: int) -> None:
        """Send some requests at once, at most as many as there are connections."""
        for number in range(count):
            self._send(number)

    def receive(self) -> float:
        """Wait for all answers. Return the seconds from the first to the last."""
        times: list[float] = []
        while self._running:
            times += [time.perf_counter() for _ in self._answers()]
        return times[-1] - times[0]

    def _send(self, number: int) -> None:
        file = self._free.popleft()
        self._running[file] = number
        self._sockets[file].sendall(self._request)

    def _answers(self) -> Iterator[int]:
        """Yield the numbers of the requests that are answered now."""
        for file, _ in self._poll.poll(0):
            self._read(self._sockets[file])
            self._free.append(file)
            yield self._running.pop(file)

    @staticmethod
    def _read(connection: socket.socket) -> None:
        """Read one answer. Its parts come in one go, as it is small."""
        answer = b""
        while not (length := LENGTH.search(answer)) or len(answer.partition(b"\r\n\r\n")[2]) < int(length[1]):
            answer += (part := connection.recv(2**16))
            if not part:
                raise RuntimeError("the server closed a connection")
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"expected an answer 200, got {answer[:200]!r}")


@contextmanager
def client_of(server: Server, body: Body, connections: int = CONNECTIONS) -> Iterator[Client]:
    """Connect to a server until the block ends."""
    host, _, port = server.address("").removeprefix("http://").partition(":")
    client = Client((host, int(port)), server.contestant.path, body, connections)
    try:
        yield client
    finally:
        client.close()


def poisson(rate: float, seconds: float, rng: np.random.Generator) -> Times:
    """Return the times of arrivals that do not know of each other, in order, at a mean rate per second."""
    return np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds)))
