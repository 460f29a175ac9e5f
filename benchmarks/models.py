"""`python -m benchmarks.models`: memory, time until ready and speed of the service for models of several shapes."""

import argparse
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.contestants import binary_body
from benchmarks.load import post
from benchmarks.ours import ROOT, ours, random_sequences
from benchmarks.servers import LOAD_CORE, serving_alone
from benchmarks.shapes import SHAPES, Shape, publish_models

#: Sequences in a large request, and connections that send such requests.
SEQUENCES, CONNECTIONS = 32, 4
HEADER = (
    "model",
    "models",
    "tree",
    "ready, s",
    "memory when ready, MB",
    "memory after load, MB",
    "1 sequence: p50, ms",
    f"{SEQUENCES} sequences: requests/s",
)


class Measured(NamedTuple):
    """The measurements of one run of the service.

    Attributes:
        ready: seconds from start to first answer.
        memory: resident memory after the first answer, in MB.
        memory_after_load: resident memory after all requests, in MB.
        p50: median latency of one sequence as JSON at concurrency 1, in milliseconds.
        rate: requests answered per second, each of `SEQUENCES` sequences in V2 binary, over `CONNECTIONS` connections.
    """

    ready: float
    memory: float
    memory_after_load: float
    p50: float
    rate: float


def main() -> None:
    """Measure each source tree with each shape in turns, and print a table of medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description=__doc__)
    parser.add_argument("--tree", type=Path, nargs="+", default=[ROOT], help="source trees (default: this one)")
    parser.add_argument(
        "--shapes", type=Path, default=Path("benchmarks/results/shapes"), help="where the untrained models are kept"
    )
    parser.add_argument("--copies", type=int, default=8, help="large models to serve at once (default: 8)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each tree and shape (default: 3)")
    parser.add_argument("--seconds", type=int, default=3, help="length of a load, in whole seconds (default: 3)")
    options = parser.parse_args()
    small, *large = SHAPES
    print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}")
    for shape, count in [(small, 1), *((one, count) for count in (1, options.copies) for one in large)]:
        artifacts = publish_models(shape, count, options.shapes)
        runs: dict[Path, list[Measured]] = {tree: [] for tree in options.tree}
        for _ in range(options.rounds):
            for tree in options.tree:
                runs[tree].append(measure(tree, shape, artifacts, options.seconds))
        for tree, measured in runs.items():
            ready, memory, after_load, p50, rate = (statistics.median(column) for column in zip(*measured, strict=True))
            print(
                f"| {shape} | {count} | {tree} | {ready:.1f} | {memory:,.0f} | {after_load:,.0f} | {p50:.2f} | "
                f"{rate:.1f} |",
                flush=True,
            )


def measure(tree: Path, shape: Shape, artifacts: Path, seconds: int) -> Measured:
    """Start a tree's service on an artifacts folder, and load its first model.

    Raises:
        RuntimeError: the service does not start, or a request fails.
    """
    model = f"{shape.name}-1"
    service = next(one for one in ours(artifacts, model) if one.name == "this service")
    one, many = (random_sequences(n, shape.timesteps, shape.features) for n in (1, SEQUENCES))
    with (
        tempfile.TemporaryDirectory() as scratch,
        serving_alone(replace(service, folder=tree.resolve()), service.body(one), Path(scratch)) as server,
    ):
        print(f"{tree}: {artifacts.name}", file=sys.stderr, flush=True)
        memory = server.resident_memory()
        infer = server.address(f"/v2/models/{model}/infer")
        single, large = (
            post(url, body, connections=n, seconds=seconds, core=LOAD_CORE, scratch=Path(scratch))
            for url, body, n in ((server.url, service.body(one), 1), (infer, binary_body(many), CONNECTIONS))
        )
        if single.failed or large.failed:
            raise RuntimeError(f"requests to {tree} failed: {single.failed} of one sequence, {large.failed} of many")
        return Measured(server.start, memory, server.resident_memory(), single.p50 * 1e3, large.rate)


if __name__ == "__main__":
    main()
