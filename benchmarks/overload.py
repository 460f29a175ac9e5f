"""`python -m benchmarks.overload`: offer ten times the capacity of the service, for half a minute, repeatedly."""

import argparse
import math
import os
import re
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmarks.contestants import Body
from benchmarks.load import post
from benchmarks.ours import newest, ours, random_sequences
from benchmarks.servers import LOAD_CORE, Server, serving_alone

SCRIPT = Path(__file__).with_name("overload.lua")
#: The offered load as a multiple of the peak. It exceeds ten because a connection's pause begins after its answer.
FACTOR = 12
#: The goals: least goodput as a part of the peak, and most growth of memory from the first half to the second.
LEAST_GOODPUT, MOST_GROWTH = 0.7, 1.1
CONNECTIONS = 512
#: Duration of a measurement of the peak, before each overload and after the last.
PEAK_SECONDS = 9
PROBES, PROBE_SECONDS = ("/health/live", "/health/ready"), 1


@dataclass
class Watch:
    """Measurements of a server under load, every second.

    Attributes:
        latencies: latencies of the answered probes, in seconds.
        failed: number of probes that were not answered 200 within a second.
        memory: memory of the server, in MB.
    """

    latencies: list[float] = field(default_factory=list)
    failed: int = 0
    memory: list[float] = field(default_factory=list)


class Round(NamedTuple):
    """The outcome of one overload.

    Attributes:
        peak: capacity of the service in answers per second, measured just before and after.
        ok: number of requests answered 200.
        refused: number of requests answered 429.
        other: number of requests answered with another status.
        broken: number of requests without an answer, because the connection broke.
        seconds: duration.
    """

    peak: float
    ok: int
    refused: int
    other: int
    broken: int
    seconds: float

    @property
    def offered(self) -> float:
        """The offered load as a multiple of the peak."""
        return (self.ok + self.refused + self.other + self.broken) / self.seconds / self.peak

    @property
    def goodput(self) -> float:
        """The rate of requests answered 200 as a part of the peak."""
        return self.ok / self.seconds / self.peak


def main() -> None:
    """Measure the peak and overload in turns; print the results.

    Raises:
        SystemExit: a goal is missed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="folder (default: artifacts)")
    parser.add_argument("--model", default="after-lstm", help="model to serve (default: after-lstm)")
    parser.add_argument("--sequences", type=int, default=512, help="sequences in a request (default: 512)")
    parser.add_argument("--seconds", type=int, default=30, help="length of an overload (default: 30)")
    parser.add_argument("--rounds", type=int, default=5, help="how often to overload (default: 5)")
    options = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})  # the service has the other core for itself
    contestant = next(one for one in ours(options.artifacts, options.model) if one.name == "this service")
    card = newest(options.artifacts / options.model).read().card()
    body = contestant.body(random_sequences(options.sequences, card.timesteps, card.features))
    watch = Watch()
    rounds: list[Round] = []
    print(f"requests of {options.sequences} sequence(s), {options.seconds} s each time")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        with serving_alone(contestant, body, scratch) as server:
            before = measure_peak(server, body, scratch)
            for _ in range(options.rounds):
                with watching(server, watch):
                    outcome = overload(server, scratch, FACTOR * before, options.seconds)
                time.sleep(1)  # queued requests finish
                after = measure_peak(server, body, scratch)
                rounds.append(this := Round((before + after) / 2, *outcome))
                print(
                    f"peak {this.peak:,.0f} answers/s; offered {this.offered:.1f} times that: goodput "
                    f"{this.goodput:.2f} of it, {this.refused:,} refused with 429, {this.other} answered otherwise, "
                    f"{this.broken} broken connections",
                    flush=True,
                )
                before = after
    half = len(watch.memory) // 2
    first, second = (max(part, default=math.nan) for part in (watch.memory[:half], watch.memory[half:]))
    latencies = watch.latencies or [math.nan]
    goodput = statistics.median(this.goodput for this in rounds)
    print(f"goodput    {goodput:.2f} of the peak in the median")
    print(f"offered    {min(this.offered for this in rounds):.1f} times the peak at least")
    print(
        f"probes     {len(watch.latencies)} answered, {watch.failed} failed; median "
        f"{statistics.median(latencies) * 1e3:.0f} ms, longest {max(latencies) * 1e3:.0f} ms"
    )
    print(f"memory     {first:.0f} MB at most in the first half, {second:.0f} later")
    if goodput < LEAST_GOODPUT or watch.failed or second > MOST_GROWTH * first:
        raise SystemExit(
            f"missed: expected a goodput of at least {LEAST_GOODPUT}, no failed probe, and memory that grows at most "
            f"{MOST_GROWTH} times"
        )


def measure_peak(server: Server, body: Body, scratch: Path) -> float:
    """Return the capacity of the service, in answers per second.

    Raises:
        RuntimeError: a request failed.
    """
    load = post(server.url, body, connections=8, seconds=PEAK_SECONDS, core=LOAD_CORE, scratch=scratch)
    if load.failed:
        raise RuntimeError(f"{load.failed} requests failed while the peak was measured")
    return load.rate


def overload(server: Server, scratch: Path, offered: float, seconds: int) -> tuple[int, int, int, int, float]:
    """Offer requests at a rate; return the fields of `Round` after the peak."""
    command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "60s"]
    pause = CONNECTIONS / offered * 1e3
    started = time.perf_counter()
    outcome = subprocess.run(
        [*command, "-s", str(SCRIPT), server.url],
        env={**os.environ, "BODY": str(scratch / "body"), "PAUSE": f"{pause:.0f}"},
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=True,
    )
    counts = re.findall(r"answered: (\d+) (\d+) (\d+)", outcome.stdout)
    ok, refused, other = (sum(int(count[kind]) for count in counts) for kind in range(3))
    broken = sum(map(int, re.findall(r"(?:connect|read|write) (\d+)", outcome.stdout)))
    return ok, refused, other, broken, time.perf_counter() - started


@contextmanager
def watching(server: Server, watch: Watch) -> Iterator[None]:
    """Probe health and measure memory in a thread until the block ends."""
    stop = threading.Event()
    watcher = threading.Thread(target=observe, args=(server, watch, stop))
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def observe(server: Server, watch: Watch, stop: threading.Event) -> None:
    """Probe health and measure memory every second until the event is set."""
    while not stop.wait(PROBE_SECONDS):
        for probe in PROBES:
            started = time.perf_counter()
            try:
                with urllib.request.urlopen(server.address(probe), timeout=1):  # noqa: S310 - http, to this machine
                    watch.latencies.append(time.perf_counter() - started)
            except OSError:  # includes HTTPError: an answer other than 2xx
                watch.failed += 1
        watch.memory.append(server.memory())


if __name__ == "__main__":
    main()
