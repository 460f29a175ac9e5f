"""`python -m benchmarks.slow_clients`: the latency of other clients beside clients that send or read slowly.

Runs without and with slow clients alternate on one service, so that the load of the machine affects both.
"""

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.ours import newest, random_sequences
from benchmarks.stopping import Load, Service

#: Slow clients at once, other clients, the seconds of a run, and the runs of each kind.
SLOW, OTHERS, SECONDS, ROUNDS = 200, 16, 4.0, 5
#: The goal: the p99 of the other clients as a multiple of the p99 without slow clients.
MOST_RATIO = 3.0
#: The time in which the slow clients connect, before a measurement, in seconds.
CONNECT_SECONDS = 8.0
#: The time from one byte of a slow client to the next, in seconds.
PAUSE = 0.5


async def send_slowly(writer: asyncio.StreamWriter, begun: bytes, byte: bytes) -> None:
    """Send the beginning of a request, then a byte at a time, until the server closes the connection."""
    writer.write(begun)
    while True:
        await asyncio.sleep(PAUSE)
        writer.write(byte)
        await writer.drain()


async def keep_slow(port: int, begun: bytes, byte: bytes) -> None:
    """Be a slow client, on a new connection whenever the server closes one. Without a byte, send all and never read."""
    while True:
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        try:
            if byte:
                await send_slowly(writer, begun, byte)
            writer.write(begun)
            await asyncio.sleep(PAUSE)
            while not writer.is_closing():
                await asyncio.sleep(PAUSE)
        except OSError:
            await asyncio.sleep(PAUSE)
        finally:
            writer.transport.abort()


@asynccontextmanager
async def slow_clients(port: int, begun: bytes, byte: bytes) -> AsyncIterator[None]:
    """Run slow clients until the block ends."""
    tasks = []
    for _ in range(SLOW):
        tasks.append(asyncio.create_task(keep_slow(port, begun, byte)))
        await asyncio.sleep(CONNECT_SECONDS / SLOW)  # so that large requests do not fill the queue
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def p99_of_others(port: int, request: bytes) -> float:
    """Return the 99th percentile of the latency of other clients, in seconds."""
    load = Load(port, request)
    running = asyncio.create_task(load.run(OTHERS))
    await asyncio.sleep(SECONDS)
    load.stopped = True
    await running
    if load.lost:
        raise RuntimeError(f"{len(load.lost)} requests of other clients failed")
    return statistics.quantiles(load.latencies, n=100)[98]


def resident(pid: int) -> float:
    """Return the resident memory of a process, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def measure(artifacts: Path, model: str) -> bool:
    """Print a row for each kind of slow client; return whether the goal is met."""
    card = newest(artifacts / model).read().card()
    request, large = (
        post({"sequences": random_sequences(n, card.timesteps, card.features).tolist(), "attention": detail})
        for n, detail in ((1, "mean"), (1000, "full"))
    )
    kinds = {
        "slow heads": (b"GET /health/live HTTP/1.1\r\nX: ", b"x"),
        "slow bodies": (request[:-100], b"0"),
        "slow readers": (large, b""),
    }
    service = Service(artifacts, 1)
    process = await service.start()
    met = True
    print(f"| {SLOW} clients | p99 without, ms | p99 with, ms | ratio | memory before, MB | with, MB |\n|{'---|' * 6}")
    await p99_of_others(service.port, request)
    try:
        for kind, (begun, byte) in kinds.items():
            memory, most, pairs = resident(process.pid), 0.0, []
            for _ in range(ROUNDS):
                alone = await p99_of_others(service.port, request)
                async with slow_clients(service.port, begun, byte):
                    beside = await p99_of_others(service.port, request)
                    most = max(most, resident(process.pid))
                pairs.append((alone, beside))
            alone, beside = (statistics.median(column) * 1e3 for column in zip(*pairs, strict=True))
            ratio = statistics.median(with_slow / without for without, with_slow in pairs)
            print(f"| {kind} | {alone:.1f} | {beside:.1f} | {ratio:.2f} | {memory:.0f} | {most:.0f} |", flush=True)
            met &= ratio <= MOST_RATIO
    finally:
        process.terminate()
        await process.wait()
    return met


def post(body: object) -> bytes:
    """Return the bytes of a request to `/predict`."""
    text = json.dumps(body).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
    return head.encode() + text


def main() -> None:
    """Measure, and print a table.

    Raises:
        SystemExit: the goal is missed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slow_clients", description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="folder (default: artifacts)")
    parser.add_argument("--model", default="after-lstm", help="model to serve (default: after-lstm)")
    options = parser.parse_args()
    started = time.monotonic()
    if not asyncio.run(measure(options.artifacts, options.model)):
        raise SystemExit(f"missed: expected ratios of at most {MOST_RATIO:.0f}")
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
