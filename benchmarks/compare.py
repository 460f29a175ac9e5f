"""`python -m benchmarks.compare OLD NEW`: the speed of two source trees of the service, side by side."""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.contestants import Body, Contestant, binary_body
from benchmarks.load import Load, post
from benchmarks.ours import ROOT, newest, ours, random_sequences
from benchmarks.servers import FIRST_PORT, LOAD_CORE, SERVER_CORE, Server, serving

OLD, NEW, PLAIN = "old", "new", "plain"
START = "start to first answer, s"

#: Measured values by the name of the quantity and of the server, one value a round.
Values = dict[str, dict[str, list[float]]]


class Case(NamedTuple):
    """One kind of load.

    Attributes:
        name: the name in the table.
        path: the path that is posted to; the plain route serves `/predict` only.
        body: the body of each request.
        connections: the number of concurrent connections.
        latency: whether to report the median latency beside the rate.
    """

    name: str
    path: str
    body: Body
    connections: int
    latency: bool


def main() -> None:
    """Measure both trees and a plain FastAPI route in turns, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("old", type=Path, help="source tree to compare with")
    parser.add_argument("new", type=Path, help="source tree to judge")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="folder (default: artifacts)")
    parser.add_argument("--model", default="after-lstm", help="model to serve (default: after-lstm)")
    parser.add_argument("--rounds", type=int, default=5, help="alternated runs of each server (default: 5)")
    parser.add_argument("--seconds", type=int, default=2, help="length of one run, in whole seconds (default: 2)")
    options = parser.parse_args()
    card = newest(options.artifacts / options.model).read().card()
    service = next(one for one in ours(options.artifacts, options.model) if one.name == "this service")
    one, many = (random_sequences(n, card.timesteps, card.features) for n in (1, 512))
    cases = [
        *(Case(f"1 sequence, concurrency {n}", "/predict", service.body(one), n, latency=True) for n in (1, 16, 64)),
        Case("512 sequences, JSON", "/predict", service.body(many), 1, latency=False),
        Case("512 sequences, V2 binary", f"/v2/models/{options.model}/infer", binary_body(many), 1, latency=False),
    ]
    contestants = [
        of_tree(service, OLD, options.old),
        of_tree(service, NEW, options.new),
        replace(service, name=PLAIN, folder=ROOT, command=("python", "-m", "benchmarks.plain")),
    ]
    print(markdown(measure(contestants, cases, options.rounds, options.seconds)), end="")


def of_tree(service: Contestant, name: str, tree: Path) -> Contestant:
    """Return the service as a source tree has it, compiled."""
    subprocess.run([sys.executable, "-m", "compileall", "-q", "service"], cwd=tree, check=True)
    return replace(service, name=name, folder=tree.resolve())


def measure(contestants: Sequence[Contestant], cases: Sequence[Case], rounds: int, seconds: int) -> Values:
    """Start all servers anew in each round, and load them in turns; idle servers are paused (SIGSTOP).

    New processes, because two processes of the same program may differ by a tenth for their whole life. Loads
    begin with another server in each round, because a machine may be faster after a pause.

    Raises:
        RuntimeError: a server does not start, or a request fails.
    """
    values: Values = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        start_all(contestants, cases[0].body, Path(folder), stack)  # not measured: it compiles the imported modules
    for number in range(1, rounds + 1):
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            servers = start_all(contestants, cases[0].body, Path(folder), stack)
            for server in servers:
                _add(values, START, server, server.start)
            for case in cases:
                asked = [one for one in servers if one.contestant.name != PLAIN or one.contestant.path == case.path]
                first = number % len(asked)
                for server in (*asked[first:], *asked[:first]):
                    print(f"round {number}: {case.name}: {server.contestant.name}", file=sys.stderr, flush=True)
                    load = run(server, case, seconds, Path(folder))
                    _add(values, f"{case.name}: requests/s", server, load.rate)
                    if case.latency:
                        _add(values, f"{case.name}: p50, ms", server, load.p50 * 1e3)
    return values


def start_all(contestants: Sequence[Contestant], body: Body, scratch: Path, stack: ExitStack) -> list[Server]:
    """Start servers one after another, each paused after its first answer; the stack stops them."""
    python = Path(sys.executable).parent
    servers = []
    for port, contestant in enumerate(contestants, FIRST_PORT):
        log = scratch / f"{contestant.name}.log"
        server = stack.enter_context(serving(contestant, python, port, body, core=SERVER_CORE, variables={}, log=log))
        server.pause()
        servers.append(server)
    return servers


def run(server: Server, case: Case, seconds: int, scratch: Path) -> Load:
    """Load one server for some seconds; the others are paused.

    Raises:
        RuntimeError: a request fails.
    """
    url = server.address(case.path)
    with server.running():
        load = post(url, case.body, connections=case.connections, seconds=seconds, core=LOAD_CORE, scratch=scratch)
    if load.failed:
        raise RuntimeError(f"{load.failed} requests to {server.contestant.name} failed: {case.name}")
    return load


def _add(values: Values, quantity: str, server: Server, value: float) -> None:
    values.setdefault(quantity, {}).setdefault(server.contestant.name, []).append(value)


def markdown(values: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Return a table of medians; a ratio is the median of the ratios of each round."""
    lines = [f"| | {OLD} | {NEW} | {PLAIN} | {NEW}/{OLD} | {NEW}/{PLAIN} |", "|---|---|---|---|---|---|"]
    for quantity, by_server in values.items():
        medians = [
            _number(statistics.median(by_server[name])) if name in by_server else "" for name in (OLD, NEW, PLAIN)
        ]
        ratios = [_ratio(by_server, NEW, name) for name in (OLD, PLAIN)]
        lines.append(f"| {quantity} | {' | '.join((*medians, *ratios))} |")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _ratio(by_server: Mapping[str, Sequence[float]], above: str, below: str) -> str:
    if below not in by_server:
        return ""
    return f"{statistics.median(a / b for a, b in zip(by_server[above], by_server[below], strict=True)):.3f}"


if __name__ == "__main__":
    main()
