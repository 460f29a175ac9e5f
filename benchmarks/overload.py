"""`python -m benchmarks.overload`: ten times what the service can do, for half a minute."""

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
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.contestants import Body
from benchmarks.load import post
from benchmarks.ours import newest, ours, random_sequences
from benchmarks.servers import LOAD_CORE, Server, serving_alone

SCRIPT = Path(__file__).with_name("overload.lua")
#: How many times the peak to offer: more than ten, as a connection's pause begins only once it has its answer.
FACTOR = 11
CONNECTIONS = 512
#: How often to measure the peak before the overload, and once more after it.
PEAKS = 3
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


def main() -> None:
    """Measure the peak, overload, measure the peak again, and print all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="folder (default: artifacts)")
    parser.add_argument("--model", default="after-lstm", help="model to serve (default: after-lstm)")
    parser.add_argument("--sequences", type=int, default=512, help="sequences in a request (default: 512)")
    parser.add_argument("--seconds", type=int, default=30, help="length of the overload (default: 30)")
    options = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})  # the service has its core for itself
    contestant = next(one for one in ours(options.artifacts, options.model) if one.name == "this service")
    card = newest(options.artifacts / options.model).read().card()
    body = contestant.body(random_sequences(options.sequences, card.timesteps, card.features))
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        with serving_alone(contestant, body, scratch) as server:
            peaks = measure_peak(server, body, scratch)
            offered = FACTOR * statistics.median(peaks)
            watch = Watch()
            stop = threading.Event()
            watcher = threading.Thread(target=observe, args=(server, watch, stop))
            watcher.start()
            try:
                ok, refused, other, seconds = overload(server, scratch, offered, options.seconds)
            finally:
                stop.set()
                watcher.join()
            time.sleep(1)  # what waits still
            peak = statistics.median([*peaks, *measure_peak(server, body, scratch)])
    came = (ok + refused + other) / seconds
    half = len(watch.memory) // 2
    first, second = (max(part, default=math.nan) for part in (watch.memory[:half], watch.memory[half:]))
    latencies = watch.latencies or [math.nan]
    print(f"peak       {peak:,.0f} answers/s of {options.sequences} sequence(s)")
    print(f"offered    {came:,.0f} requests/s, {came / peak:.1f} times the peak, for {seconds:.0f} s")
    print(f"goodput    {ok / seconds:,.0f} answers/s, {ok / seconds / peak:.2f} of the peak")
    print(f"refused    {refused:,} with 429, {other} answered otherwise")
    print(
        f"probes     {len(watch.latencies)} answered, {watch.failed} failed; median "
        f"{statistics.median(latencies) * 1e3:.0f} ms, longest {max(latencies) * 1e3:.0f} ms"
    )
    print(f"memory     {first:.0f} MB at most in the first half, {second:.0f} later")


def measure_peak(server: Server, body: Body, scratch: Path) -> list[float]:
    """Answers per second that the service can give when it is asked for no more, a few times.

    Raises:
        RuntimeError: some were refused.
    """
    loads = [post(server.url, body, connections=8, seconds=3, core=LOAD_CORE, scratch=scratch) for _ in range(PEAKS)]
    if failed := sum(load.failed for load in loads):
        raise RuntimeError(f"{failed} requests failed while the peak was measured")
    return [load.rate for load in loads]


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
