"""`python -m benchmarks.stopping`: stop the service by SIGTERM under load, many times; kill a worker under load.

Each client knows which requests it had sent completely before the signal. All of them must be answered.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.ours import ROOT, newest, random_sequences

CONNECTIONS = 64
#: The load before a signal, in seconds, and the longest time until a killed worker must be back.
LOAD_SECONDS, MOST_SECONDS_AWAY = 1.0, 5.0


@dataclass
class Load:
    """The requests of some keep-alive connections to a service.

    Attributes:
        port: the port of the service.
        request: the bytes of a request.
        latencies: the seconds from each request to its answer.
        waiting: the requests that were sent completely and have no answer, by the number of their connection: the time
            at which they were sent, by `time.monotonic`.
        lost: the times at which requests were sent that got no answer, or another one than 200.
        stopped: set when no further requests should be sent.
    """

    port: int
    request: bytes
    latencies: list[float] = field(default_factory=list)
    waiting: dict[int, float] = field(default_factory=dict)
    lost: list[float] = field(default_factory=list)
    stopped: bool = False

    async def run(self, connections: int) -> None:
        """Send requests over keep-alive connections, each as soon as the one before is answered, until stopped."""
        await asyncio.gather(*(self._run(number) for number in range(connections)))

    async def _run(self, number: int) -> None:
        while not self.stopped:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(0.01)
                continue
            try:
                while not self.stopped:
                    writer.write(self.request)
                    self.waiting[number] = time.monotonic()  # a small request is in the socket's buffer at once
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                    await reader.readexactly(length)
                    sent = self.waiting.pop(number)
                    if not head.startswith(b"HTTP/1.1 200 "):
                        self.lost.append(sent)
                    self.latencies.append(time.monotonic() - sent)
                    if b"connection: close" in head.lower():
                        break
            except (OSError, asyncio.IncompleteReadError):
                self.lost.append(self.waiting.pop(number))
            finally:
                writer.close()


class Service:
    """A service in processes of its own.

    Args:
        artifacts: the folder of its models.
        workers: the number of its worker processes.

    Attributes:
        port: its port.
        started: how many workers have started so far.
    """

    def __init__(self, artifacts: Path, workers: int) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.started = 0
        self._workers = workers
        self._arguments = ["--artifacts", str(artifacts), "--port", str(self.port), "--workers", str(workers)]

    async def start(self) -> asyncio.subprocess.Process:
        """Start it, and return its process once all workers have started."""
        command = [sys.executable, "-m", "service", *self._arguments]
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stderr=asyncio.subprocess.PIPE)
        self._reading = asyncio.create_task(self._read(process))
        await self.wait_for(self._workers)
        return process

    async def wait_for(self, started: int) -> None:
        """Wait until so many workers have started.

        Raises:
            TimeoutError: they do not.
        """
        async with asyncio.timeout(60):
            while self.started < started:
                await asyncio.sleep(0.01)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            self.started += b"Application startup complete" in line


async def stop(service: Service, request: bytes) -> tuple[int, int, int, float]:
    """Stop a service under load. Return requests answered, lost ones that were sent before, status and seconds."""
    process = await service.start()
    load = Load(service.port, request)
    running = asyncio.create_task(load.run(CONNECTIONS))
    await asyncio.sleep(LOAD_SECONDS)
    signalled = time.monotonic()
    process.send_signal(signal.SIGTERM)
    status = await process.wait()
    seconds = time.monotonic() - signalled
    load.stopped = True
    await running
    return len(load.latencies), sum(sent < signalled for sent in load.lost), status, seconds


async def kill(service: Service, request: bytes) -> tuple[int, int, float]:
    """Kill a worker under load. Return requests answered, lost ones, and seconds until there is another worker."""
    process = await service.start()
    load = Load(service.port, request)
    running = asyncio.create_task(load.run(CONNECTIONS))
    await asyncio.sleep(LOAD_SECONDS)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    worker = next(child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes())
    os.kill(int(worker), signal.SIGKILL)
    killed = time.monotonic()
    await service.wait_for(3)
    seconds = time.monotonic() - killed
    await asyncio.sleep(LOAD_SECONDS)
    load.stopped = True
    await running
    process.terminate()
    await process.wait()
    return len(load.latencies), len(load.lost), seconds


def main() -> None:
    """Stop and kill; print a line for each kind.

    Raises:
        SystemExit: a request was lost, or a process ended with another status than 0 or too late.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stopping", description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="folder (default: artifacts)")
    parser.add_argument("--model", default="after-lstm", help="model to serve (default: after-lstm)")
    parser.add_argument("--times", type=int, default=20, help="how often to stop (default: 20)")
    options = parser.parse_args()
    card = newest(options.artifacts / options.model).read().card()
    body = json.dumps({"sequences": random_sequences(1, card.timesteps, card.features).tolist()}).encode()
    head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
    request = f"{head}{len(body)}\r\n\r\n".encode() + body
    missed = False
    for count in (1, 2):
        outcomes = [asyncio.run(stop(Service(options.artifacts, count), request)) for _ in range(options.times)]
        answered, lost, statuses, seconds = zip(*outcomes, strict=True)
        print(
            f"{count} worker(s), {options.times} × SIGTERM at concurrency {CONNECTIONS}: {sum(answered):,} answered, "
            f"{sum(lost)} lost of those sent before; exit status {sorted(set(statuses))}, {max(seconds):.2f} s at most",
            flush=True,
        )
        missed |= any(lost) or any(statuses)
    kills = [asyncio.run(kill(Service(options.artifacts, 2), request)) for _ in range(3)]
    answered, lost, seconds = zip(*kills, strict=True)
    print(
        f"2 workers, 3 × SIGKILL of one: {sum(answered):,} answered, {list(lost)} lost, at most its own "
        f"connections ({CONNECTIONS}); another answers after {max(seconds):.2f} s at most"
    )
    if missed or max(lost) > CONNECTIONS or max(seconds) > MOST_SECONDS_AWAY:
        raise SystemExit("missed: expected no lost request, status 0, and another worker within 5 s")


if __name__ == "__main__":
    main()
