"""`python -m benchmarks.overload`: ten times what the service can do, for half a minute, again and again."""

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
#: How many times the peak to offer: more than ten, as a connection's pause begins only once it has its answer.
FACTOR = 12
CONNECTIONS = 512
#: How long to measure the peak, before each overload and after the last.
PEAK_SECONDS = 9
PROBES, PROBE_SECONDS = ("/health/live", "/health/ready"), 1


@dataclass
class Watch:
    """What was seen of a server under load, every second.

    Attributes:
        latencies: of the probes, in seconds.
        failed: probes that were not answered 200 within a second.
        memory: in MB.
    """

    latencies: list[float] = field(default_factory=list)
    failed: int = 0
    memory: list[float] = field(default_factory=list)


class Round(NamedTuple):
    """What came of one overload.

    Attributes:
        peak: answers/s that the service can give, of the time just before and after.
        ok, refused, other: requests answered 200, 429 and otherwise.
        seconds: how long it took.
    """

    peak: float
    ok: int
    refused: int
    other: int
    seconds: float

    @property
    def offered(self) -> float:
        """As a multiple of the peak."""
        return (self.ok + self.refused + self.other) / self.seconds / self.peak

    @property
    def goodput(self) -> float:
        """As a part of the peak."""
        return self.ok / self.seconds / self.peak


def main() -> None:
    """Measure the peak and overload in turns, and print all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="folder (default: artifacts)")
    parser.add_argument("--model", default="after-lstm", help="model to serve (default: after-lstm)")
    parser.add_argument("--sequences", type=int, default=512, help="sequences in a request (default: 512)")
    parser.add_argument("--seconds", type=int, default=30, help="length of an overload (default: 30)")
    parser.add_argument("--rounds", type=int, default=5, help="how often to overload (default: 5)")
    options = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})  # the service has its core for itself
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
                time.sleep(1)  # what waits still
                after = measure_peak(server, body, scratch)
                rounds.append(this := Round((before + after) / 2, *outcome))
                print(
                    f"peak {this.peak:,.0f} answers/s; offered {this.offered:.1f} times that: goodput "
                    f"{this.goodput:.2f} of it, {this.refused:,} refused with 429, {this.other} answered otherwise",
                    flush=True,
                )
                before = after
    half = len(watch.memory) // 2
    first, second = (max(part, default=math.nan) for part in (watch.memory[:half], watch.memory[half:]))
    latencies = watch.latencies or [math.nan]
    print(f"goodput    {statistics.median(this.goodput for this in rounds):.2f} of the peak in the median")
    print(f"offered    {min(this.offered for this in rounds):.1f} times the peak at least")
    print(
        f"probes     {len(watch.latencies)} answered, {watch.failed} failed; median "
        f"{statistics.median(latencies) * 1e3:.0f} ms, longest {max(latencies) * 1e3:.0f} ms"
    )
    print(f"memory     {first:.0f} MB at most in the first half, {second:.0f} later")


def measure_peak(server: Server, body: Body, scratch: Path) -> float:
    """Answers per second that the service can give when it is asked for no more.

    Raises:
        RuntimeError: some were refused.
    """
    load = post(server.url, body, connections=8, seconds=PEAK_SECONDS, core=LOAD_CORE, scratch=scratch)
    if load.failed:
        raise RuntimeError(f"{load.failed} requests failed while the peak was measured")
    return load.rate


def overload(server: Server, scratch: Path, offered: float, seconds: int) -> tuple[int, int, int, float]:
    """Offer requests at a rate; returns how many were answered 200, 429 and otherwise, and in how many seconds."""
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
    return ok, refused, other, time.perf_counter() - started


@contextmanager
def watching(server: Server, watch: Watch) -> Iterator[None]:
    """Ask for health and look at memory, in a thread."""
    stop = threading.Event()
    watcher = threading.Thread(target=observe, args=(server, watch, stop))
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def observe(server: Server, watch: Watch, stop: threading.Event) -> None:
    """Ask for health and look at memory until told to stop."""
    base = server.url.removesuffix(server.contestant.path)
    while not stop.wait(PROBE_SECONDS):
        for probe in PROBES:
            started = time.perf_counter()
            try:
                with urllib.request.urlopen(base + probe, timeout=1):  # noqa: S310 - http, to this machine
                    watch.latencies.append(time.perf_counter() - started)
            except OSError:  # an answer other than 2xx is one, too
                watch.failed += 1
        watch.memory.append(server.memory())


if __name__ == "__main__":
    main()
