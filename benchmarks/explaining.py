"""`python -m benchmarks.explaining`: the cost of explanations on request, and that of counting attention."""

import argparse
import os
import statistics
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.contestants import Body
from benchmarks.counting import TOGGLE
from benchmarks.load import Load, post
from benchmarks.ours import newest, ours, random_sequences
from benchmarks.servers import LOAD_CORE, Server, serving_alone


class Kind(NamedTuple):
    """A kind of load.

    Attributes:
        name: its name.
        body: the request body.
        concurrency: the number of connections.
        counted: whether the service counts attention under this load.
    """

    name: str
    body: Body
    concurrency: int
    counted: bool = True


class Run(NamedTuple):
    """One run of the load.

    Attributes:
        load: the measurements of wrk.
        cpu: the server's CPU time for each answer, in seconds.
    """

    load: Load
    cpu: float


def main() -> None:
    """Alternate between two kinds of load, and print the ratios.

    Both kinds run on the same process, and on several processes: two processes of the same program may differ by a
    tenth for their whole life.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explaining", description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="folder (default: artifacts)")
    parser.add_argument("--model", default="after-lstm", help="model to serve (default: after-lstm)")
    parser.add_argument("--starts", type=int, default=5, help="how often to start the service (default: 5)")
    parser.add_argument("--rounds", type=int, default=6, help="alternated runs of each start (default: 6)")
    options = parser.parse_args()
    card = newest(options.artifacts / options.model).read().card()
    service = next(one for one in ours(options.artifacts, options.model) if one.name == "this service")
    program, _, _, *arguments = service.command
    service = replace(service, command=(program, "-m", "benchmarks.counting", *arguments))
    plain = service.body(random_sequences(1, card.timesteps, card.features))
    explained = [
        Kind(name, Body(b"{%b," % fields + plain.content[1:]), 1)
        for name, fields in {
            "timesteps": b'"importance":"timesteps"',
            "features": b'"importance":"features"',
            "both": b'"importance":"both"',
            "marginal": b'"importance":"features","replacement":"marginal"',
            "faithfulness": b'"faithfulness":true',
        }.items()
    ]
    pairs = (
        *((Kind("plain", plain, 1), kind) for kind in explained),
        (Kind("not counting", plain, 16, counted=False), Kind("counting", plain, 16)),
    )
    runs: dict[tuple[Kind, Kind], list[list[Run]]] = {pair: [[], []] for pair in pairs}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.starts):
            with serving_alone(service, plain, Path(folder)) as server:
                for number in range(options.rounds):
                    for pair in pairs:
                        both = list(zip(pair, runs[pair], strict=True))
                        for kind, found in both if number % 2 else both[::-1]:
                            found.append(run(server, kind, Path(folder)))
    for pair in pairs:
        report(*zip(pair, runs[pair], strict=True))


def run(server: Server, kind: Kind, scratch: Path) -> Run:
    """Load the service for a second."""
    if not kind.counted:
        server.process.send_signal(TOGGLE)
    try:
        before = cpu_seconds(server)
        load = post(server.url, kind.body, connections=kind.concurrency, seconds=1, core=LOAD_CORE, scratch=scratch)
        return Run(load, (cpu_seconds(server) - before) / load.rate)
    finally:
        if not kind.counted:
            server.process.send_signal(TOGGLE)


def cpu_seconds(server: Server) -> float:
    """Return the CPU time of a server's processes."""
    ticks = 0
    for pid in server.processes():
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(after_name[11]) + int(after_name[12])  # in user mode and in the kernel
    return ticks / os.sysconf("SC_CLK_TCK")


def report(plain: tuple[Kind, Sequence[Run]], other: tuple[Kind, Sequence[Run]]) -> None:
    """Print the medians of both, and the median of the ratios of the other kind to the plain one."""
    print(f"concurrency {plain[0].concurrency}, medians of {len(plain[1])} alternated runs")
    for kind, runs in (plain, other):
        rate, p50, cpu = (
            _median(values) for values in zip(*((one.load.rate, one.load.p50, one.cpu) for one in runs), strict=True)
        )
        failed = sum(one.load.failed for one in runs)
        latency, work = f"p50 {p50 * 1e3:.2f} ms", f"CPU {cpu * 1e6:.0f} µs an answer"
        print(f"  {kind.name:12}  {rate:7,.0f} answers/s, {latency}, {work}, {failed} failed")
    both = list(zip(other[1], plain[1], strict=True))
    rate, p50, cpu = (
        _median(values)
        for values in zip(
            *((a.load.rate / b.load.rate, a.load.p50 / b.load.p50, a.cpu / b.cpu) for a, b in both), strict=True
        )
    )
    print(f"  ratio         answers/s {rate:.3f}, p50 {p50:.3f}, CPU {cpu:.3f}")


def _median(values: Iterable[float]) -> float:
    return float(statistics.median(values))


if __name__ == "__main__":
    main()
