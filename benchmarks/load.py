"""The load generator: wrk posts one body repeatedly from a core of its own."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contestants import Body

SCRIPT = Path(__file__).with_name("post.lua")
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass(frozen=True)
class Load:
    """The measurements of one run of wrk.

    Attributes:
        rate: answers per second.
        p50: median latency, in seconds.
        p99: 99th percentile of the latency, in seconds.
        refused: answers other than 2xx.
        broken: connections that were closed, or on which no answer came. An answer other than 2xx may close its own.
    """

    rate: float
    p50: float
    p99: float
    refused: int
    broken: int

    @property
    def failed(self) -> int:
        """Answers other than 2xx and broken connections together."""
        return self.refused + self.broken


def post(url: str, body: Body, *, connections: int, seconds: int, core: int, scratch: Path) -> Load:
    """Post a body over some connections for some seconds.

    Raises:
        RuntimeError: wrk failed, or its output has another format.
    """
    path = scratch / "body"
    path.write_bytes(body.content)
    length = "" if body.json_length is None else str(body.json_length)
    command = [
        "taskset",
        "-c",
        str(core),
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--latency",
        "--timeout",
    ]
    outcome = subprocess.run(
        [*command, "10s", "-s", str(SCRIPT), url],
        env={**os.environ, "BODY": str(path), "JSON_LENGTH": length},
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    try:
        return parse(outcome.stdout)
    except (AttributeError, ValueError) as error:
        raise RuntimeError(f"wrk: {outcome.stdout}{outcome.stderr}") from error


def parse(printed: str) -> Load:
    """Parse the output of `wrk --latency`.

    Raises:
        ValueError: a figure is missing.
    """
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", printed)
    return Load(
        rate=float(_found(r"Requests/sec:\s+([\d.]+)", printed)[1]),
        p50=_latency(50, printed),
        p99=_latency(99, printed),
        refused=sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", printed))),
        broken=sum(map(int, sockets.groups())) if sockets else 0,
    )


def _latency(percentile: int, printed: str) -> float:
    found = _found(rf"{percentile}%\s+([\d.]+)(us|ms|s|m)", printed)
    return float(found[1]) * SECONDS[found[2]]


def _found(pattern: str, printed: str) -> re.Match[str]:
    found = re.search(pattern, printed)
    if found is None:
        raise ValueError(f"no {pattern} in the output of wrk")
    return found
