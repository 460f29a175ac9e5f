"""`python -m benchmarks.capacity`: predict latency against load from measured service times, and check the prediction.

A process is measured at one request at a time and at bursts. A simulation of the Batcher takes these times and Poisson
arrivals. Measured open-loop points, which the model has not seen, stand beside its predictions.
"""

import argparse
import bisect
import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from benchmarks.contestants import Body, Contestant
from benchmarks.explaining import cpu_seconds
from benchmarks.open_loop import Client, Times, client_of, poisson
from benchmarks.ours import newest, ours, random_sequences
from benchmarks.servers import FIRST_PORT, LOAD_CORE, SERVER_CORE, Server, serving

#: The loads of the check, as parts of the peak.
LOADS: Final = (0.1, 0.3, 0.5, 0.7)
#: The sizes of the measured bursts, and the requests of all bursts of one size in a measurement.
SIZES: Final = (1, 2, 4, 8, 16, 32, 64)
BURST_REQUESTS: Final = 1280
#: Requests of a measurement of the peak, over so many connections.
PEAK_REQUESTS, PEAK_CONNECTIONS = 6000, 64
#: Idle times before single requests, in seconds, and the requests of a measurement for each. A process that was idle
#: takes longer: it wakes up, and its data have left the processor's caches.
IDLE: Final = (0.0, 0.0003, 0.001, 0.003, 0.01)
SINGLE_REQUESTS: Final = 300
#: Simulated requests for a prediction.
SIMULATED: Final = 50_000
#: Largest difference of a good prediction, as a part of the measured value.
TOLERANCE: Final = 0.25
#: Part of a process's peak at which processor time with one and two workers is compared.
LOAD_OF_WORKERS: Final = 0.3


@dataclass(frozen=True)
class ServiceTimes:
    """How long one process is busy, in seconds.

    Attributes:
        sizes: numbers of requests that wait when the process becomes free, in rising order.
        busy: processor time for all requests of each size: the engine's and their own.
        apart: time from one answer to the next of requests that are answered together.
        idle: times for which the process was idle before, in rising order.
        more: for each of them, how much longer single requests took than the median without idle time, each of them.
    """

    sizes: Sequence[int]
    busy: Sequence[float]
    apart: float
    idle: Sequence[float]
    more: Sequence[Sequence[float]]

    def of(self, requests: int) -> float:
        """Return the time of some requests together, on a line through the nearest sizes."""
        if requests <= self.sizes[-1]:
            return float(np.interp(requests, self.sizes, self.busy))
        return self.busy[-1] * requests / self.sizes[-1]

    def more_after(self, idle: float, draw: float) -> float:
        """Return one of the additional times after an idle time; `draw`, from 0 to below 1, says which."""
        after = self.more[bisect.bisect_right(self.idle, idle) - 1]
        return after[int(draw * len(after))]

    @property
    def peak(self) -> float:
        """The requests per second of a process that is never idle, at the largest size."""
        return self.sizes[-1] / self.busy[-1]


class Latency(NamedTuple):
    """Percentiles of the time to an answer, in seconds."""

    p50: float
    p99: float


def median_of(found: Sequence[Latency]) -> Latency:
    """Return the median of each percentile."""
    return Latency(*map(statistics.median, zip(*found, strict=True)))


def latency_of(times: Times) -> Latency:
    """Return the percentiles of times `(n,)`."""
    return Latency(*np.quantile(times, [0.5, 0.99]).tolist())


def simulate(arrivals: Times, times: ServiceTimes, rng: np.random.Generator) -> Times:
    """Return the time from each arrival `(n,)` to its answer, in a work-conserving process.

    The process takes all requests that have arrived when it becomes free. It is busy for the time of that number, and
    answers one after the other at the end of it.
    """
    latencies, begin, free = np.zeros(len(arrivals)), 0, 0.0
    draws = rng.random(len(arrivals))
    while begin < len(arrivals):
        start = max(free, arrivals[begin])
        end = int(np.searchsorted(arrivals, start, side="right"))
        free = start + times.of(end - begin) + times.more_after(start - free, draws[begin])
        answered = free - times.apart * np.arange(end - begin)[::-1]
        latencies[begin:end] = answered - arrivals[begin:end]
        begin = end
    return latencies


def predict(measured: Sequence[ServiceTimes], rate: float) -> Latency:
    """Return the latency of a process at a rate of requests per second, with Poisson arrivals.

    It is the median of the predictions of several measurements, because one may have met a rare disturbance.
    """
    rng = np.random.default_rng(0)
    arrivals = poisson(rate, SIMULATED / rate, rng)
    return median_of([latency_of(simulate(arrivals, times, rng)) for times in measured])


def processes_for(measured: Sequence[ServiceTimes], rate: float, p99: float) -> int | None:
    """Return the fewest processes that answer a rate of requests with a p99, in seconds; None if none are enough.

    Requests are divided among the processes by chance, so each has Poisson arrivals, too.
    """
    peak = peak_of(measured)
    if predict(measured, peak / 1000).p99 > p99:
        return None
    count = int(rate // peak) + 1
    while predict(measured, rate / count).p99 > p99:
        count += 1
    return count


def peak_of(measured: Sequence[ServiceTimes]) -> float:
    """Return the predicted requests per second of a process that is never idle."""
    return statistics.median(times.peak for times in measured)


def measure(server: Server, body: Body) -> ServiceTimes:
    """Measure the processor time of bursts that wait at a stopped process, and the latency of single requests."""
    with client_of(server, body) as client:
        single, _ = _burst(server, client, 1, stopped=False)
        stopped, apart = zip(*(_burst(server, client, size, stopped=True) for size in SIZES), strict=True)
    busy = [one - stopped[0] + single for one in stopped]  # stopping and going on takes time, too
    with client_of(server, body, connections=1) as alone:
        alone.post(np.zeros(SINGLE_REQUESTS))  # meanwhile the server closes the other connections
        after_idle = [_singles(alone, idle) for idle in IDLE]
    more = [(one - np.median(after_idle[0])).tolist() for one in after_idle]
    return ServiceTimes(SIZES, busy, apart[-1] / (SIZES[-1] - 1), IDLE, more)


def _singles(alone: Client, idle: float) -> Times:
    """Return the times of single requests, each so long after the answer before."""
    return np.concatenate([alone.post(np.array([idle])) for _ in range(SINGLE_REQUESTS)])


def _burst(server: Server, client: Client, size: int, *, stopped: bool) -> tuple[float, float]:
    """Return the mean processor time of a burst, and the median time from its first to its last answer."""
    pids, spreads = server.processes() if stopped else [], []
    before = cpu_seconds(server)
    for _ in range(BURST_REQUESTS // size):
        for pid in pids:  # all requests wait when the process goes on
            os.kill(pid, signal.SIGSTOP)
        client.send(size)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        spreads.append(client.receive())
    return (cpu_seconds(server) - before) / len(spreads), statistics.median(spreads)


def post_without_pause(server: Server, body: Body, connections: int) -> float:
    """Return the answers per second if each connection sends a request as soon as it has an answer."""
    with client_of(server, body, connections) as crowd:
        return PEAK_REQUESTS / float(crowd.post(np.zeros(PEAK_REQUESTS)).max())


def check(server: Server, body: Body, rounds: int, seconds: float) -> tuple[list[ServiceTimes], float]:
    """Measure service times and open-loop points in turns, and print the points beside their predictions.

    Returns:
        measured: the service times of each round.
        good: the load up to which the predictions are good, as a part of the peak.
    """
    rng = np.random.default_rng(1)
    peak = statistics.median(post_without_pause(server, body, PEAK_CONNECTIONS) for _ in range(3))
    measured: list[ServiceTimes] = []
    points: dict[float, list[Latency]] = {load: [] for load in LOADS}
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        measured.append(measure(server, body))
        for load, found in points.items():
            with client_of(server, body) as client:
                found.append(latency_of(client.post(poisson(load * peak, seconds, rng))))
    return measured, report(measured, peak, points)


def report(measured: Sequence[ServiceTimes], peak: float, points: Mapping[float, Sequence[Latency]]) -> float:
    """Print service times, predictions and measured points. Return the load up to which the predictions are good."""
    busy = np.median([times.busy for times in measured], axis=0) * 1e3
    print(f"busy      {', '.join(f'{size}: {one:.2f}' for size, one in zip(SIZES, busy, strict=True))} ms, by requests")
    for number, idle in enumerate(IDLE):
        more = median_of([latency_of(np.array(times.more[number])) for times in measured])
        print(f"  {more.p50 * 1e3:+.2f} ms ({more.p99 * 1e3:+.2f} at p99) after {idle * 1e3:g} ms without a request")
    print(f"peak      {peak_of(measured):,.0f} requests/s predicted, {peak:,.0f} measured")
    print(
        "| load | requests/s | p50 predicted | measured | p99 predicted | measured | from | to | predicted / measured |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    good = 0.0
    for load, found in points.items():
        expected, middle = predict(measured, load * peak), median_of(found)
        ratio = expected.p99 / middle.p99
        if abs(ratio - 1) <= TOLERANCE and good == max((one for one in points if one < load), default=0.0):
            good = load
        p99s = [one.p99 for one in found]
        cells = (expected.p50, middle.p50, expected.p99, middle.p99, min(p99s), max(p99s))
        print(f"| {load:.0%} | {load * peak:,.0f} | {' | '.join(f'{one * 1e3:.2f}' for one in cells)} | {ratio:.2f} |")
    print(f"p99 is predicted within {TOLERANCE:.0%} up to a load of {good:.0%} of the peak")
    return good


def cost_of_workers(
    contestant: Contestant, body: Body, scratch: Path, *, rate: float, rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Return the processor time of a request with two workers as a multiple of that with one, for each round.

    Each worker has the same rate, or the same number of connections that send without pause.
    """
    rng = np.random.default_rng(2)

    def at_rate(server: Server, workers: int) -> float:
        with client_of(server, body) as client:
            arrivals, before = poisson(workers * rate, seconds, rng), cpu_seconds(server)
            client.post(arrivals)
            return (cpu_seconds(server) - before) / len(arrivals)

    def busy(server: Server, workers: int) -> float:
        before = cpu_seconds(server)
        post_without_pause(server, body, workers * PEAK_CONNECTIONS)
        return (cpu_seconds(server) - before) / PEAK_REQUESTS

    ratios: dict[str, list[float]] = {f"at {LOAD_OF_WORKERS:.0%} of the peak": [], "without pause": []}
    with ExitStack() as stack:
        servers = []
        for workers in (1, 2):
            one = replace(contestant, command=(*contestant.command, "--workers", str(workers)))
            server = stack.enter_context(start(one, body, FIRST_PORT + workers, scratch / f"{workers}.log"))
            everywhere(server)
            servers.append((server, workers))
            server.pause()
        for _ in range(rounds):
            for found, cost in zip(ratios.values(), (at_rate, busy), strict=True):
                costs = []
                for server, workers in servers:
                    with server.running():
                        costs.append(cost(server, workers))
                found.append(costs[1] / costs[0])
    return ratios


def start(contestant: Contestant, body: Body, port: int, log: Path) -> AbstractContextManager[Server]:
    """Run a contestant in this environment until the block ends, on the server's core."""
    python = Path(sys.executable).parent
    return serving(contestant, python, port, body, core=SERVER_CORE, variables={}, log=log)


def everywhere(server: Server) -> None:
    """Let all threads of a server run on both cores."""
    for pid in server.processes():
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), {SERVER_CORE, LOAD_CORE})


def say(text: str) -> None:
    """Report progress."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, check the prediction, and answer how many processes a load needs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="folder (default: artifacts)")
    parser.add_argument("--model", default="after-lstm", help="model to serve (default: after-lstm)")
    parser.add_argument("--sequences", type=int, default=1, help="sequences in a request (default: 1)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each load (default: 5)")
    parser.add_argument("--seconds", type=float, default=5, help="length of a run (default: 5)")
    parser.add_argument("--rate", type=float, default=5000, help="requests per second to plan for (default: 5000)")
    parser.add_argument("--p99", type=float, default=10, help="milliseconds that p99 may take (default: 10)")
    options = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})  # the service has the other core for itself
    service = next(one for one in ours(options.artifacts, options.model) if one.name == "this service")
    card = newest(options.artifacts / options.model).read().card()
    body = service.body(random_sequences(options.sequences, card.timesteps, card.features))
    with tempfile.TemporaryDirectory() as folder:
        with start(service, body, FIRST_PORT, Path(folder, "server.log")) as server:
            measured, good = check(server, body, options.rounds, options.seconds)
        count = processes_for(measured, options.rate, options.p99 / 1e3)
        needed = "no number of processes is enough" if count is None else f"processes: {count}"
        print(f"{options.rate:,.0f} requests/s at p99 < {options.p99:g} ms: {needed}")
        if count is None or options.rate / count > good * peak_of(measured):
            print("the predictions were not good at this load: other programs may have used the machine")
        rate = LOAD_OF_WORKERS * peak_of(measured)
        ratios = cost_of_workers(service, body, Path(folder), rate=rate, rounds=options.rounds, seconds=options.seconds)
    for load, found in ratios.items():
        spread = f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
        print(f"processor time of a request with two workers, as a multiple of that with one, {load}: {spread}")


if __name__ == "__main__":
    main()
