"""`python -m benchmarks.soak`: send many mixed requests, check every answer, and compare counts and resources."""

import argparse
import asyncio
import json
import os
import random
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.contestants import binary_body
from benchmarks.ours import newest, ours, random_sequences
from benchmarks.servers import FIRST_PORT, LOAD_CORE, Server, serving_alone

CONNECTIONS = 16
#: Resources are measured this many times in all; the first measurement is the one to compare with.
MEASUREMENTS = 10
#: Tolerance of predictions and weights, as other requests of the batch change the rounding.
TOLERANCE = 1e-5
#: Most growth of memory, as a part of the first measurement.
MOST_GROWTH = 0.05
REQUESTS = "attention_service_requests_total"
SEQUENCES = "attention_service_sequences_total"

#: Method, route template and status.
Outcome = tuple[str, str, int]


class Kind(NamedTuple):
    """One kind of request.

    Attributes:
        weight: its part of all requests, in percent.
        outcome: the expected method, route and status.
        request: the bytes of the request.
        is_right: whether a body is the expected answer.
        sequences: the number of sequences that it asks for.
    """

    weight: float
    outcome: Outcome
    request: bytes
    is_right: Callable[[bytes], bool]
    sequences: int = 0


@dataclass(frozen=True)
class Resources:
    """The resources of all processes of a server.

    Attributes:
        megabytes: resident memory.
        descriptors: open descriptors.
        threads: threads.
        files: files in its temporary folder.
    """

    megabytes: float
    descriptors: int
    threads: int
    files: int

    @classmethod
    def of(cls, server: Server, folder: Path) -> "Resources":
        """Measure a server that has this temporary folder."""
        processes = [Path(f"/proc/{pid}") for pid in server.processes()]
        return cls(
            server.resident_memory(),
            sum(len(list((process / "fd").iterdir())) for process in processes),
            sum(len(list((process / "task").iterdir())) for process in processes),
            sum(path.is_file() for path in folder.rglob("*")),
        )


def main() -> None:
    """Send the requests and print what was found.

    Raises:
        SystemExit: an answer is wrong, a count differs, or a resource grows.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="folder (default: artifacts)")
    parser.add_argument("--model", default="after-lstm", help="model to serve (default: after-lstm)")
    parser.add_argument("--requests", type=int, default=1_000_000, help="number of requests (default: 1000000)")
    parser.add_argument("--workers", type=int, default=1, help="worker processes (default: 1)")
    options = parser.parse_args()
    contestant = next(one for one in ours(options.artifacts, options.model) if one.name == "this service")
    card = newest(options.artifacts / options.model).read().card()
    first = contestant.body(random_sequences(1, card.timesteps, card.features))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "tmp"
        folder.mkdir()
        contestant = replace(
            contestant,
            command=(*contestant.command, "--workers", str(options.workers)),
            settings={"TMPDIR": str(folder)},
        )
        with serving_alone(contestant, first, Path(name)) as server:
            os.sched_setaffinity(0, {LOAD_CORE})
            kinds = list(kinds_of(options.model, card.timesteps, card.features))
            problems = asyncio.run(soak(server, folder, kinds, options.requests))
    raise SystemExit("\n".join(problems) or None)


def kinds_of(model: str, timesteps: int, features: int) -> Iterator[Kind]:
    """Yield the kinds of requests. Each right answer is that of the same request alone."""
    one, some, many = (random_sequences(n, timesteps, features) for n in (1, 8, 64))
    tensor = {"name": "sequence", "datatype": "FP32", "shape": list(some.shape), "data": some.ravel().tolist()}
    binary = binary_body(some)
    bodies: Sequence[tuple[float, str, str, object, int]] = (
        (55, "/predict", "/predict", {"sequence": one[0].tolist()}, 1),
        (8, "/predict", "/predict", {"sequences": some.tolist(), "attention": "full"}, 8),
        (2, "/predict", "/predict", {"sequences": many.tolist(), "importance": False}, 64),
        (10, f"/v1/models/{model}:predict", "/v1/models/{model}:predict", {"instances": some.tolist()}, 8),
        (5, f"/v2/models/{model}/infer", "/v2/models/{model}/infer", {"inputs": [tensor]}, 8),
        (5, "/invocations", "/invocations", {"instances": one.tolist()}, 1),
    )
    for weight, path, route, body, sequences in bodies:
        request = _post(path, json.dumps(body).encode())
        expected = orjson.loads(_alone(request)[1])
        yield Kind(weight, ("POST", route, 200), request, _close_to(expected), sequences)
    length = {"Inference-Header-Content-Length": str(binary.json_length)}
    request = _post(f"/v2/models/{model}/infer", binary.content, length)
    size = len(_alone(request)[1])
    yield Kind(5, ("POST", "/v2/models/{model}/infer", 200), request, lambda body: len(body) == size, len(some))
    for path in ("/model", "/attention", "/health/ready", "/models", f"/v2/models/{model}"):
        route = path.replace(model, "{model}")
        yield Kind(1, ("GET", route, 200), b"GET %b HTTP/1.1\r\nHost: soak\r\n\r\n" % path.encode(), bool)
    bad: Sequence[tuple[str, str, int, bytes]] = (
        ("/predict", "/predict", 422, json.dumps({"sequence": one[0, 1:].tolist()}).encode()),
        ("/predict", "/predict", 422, b'{"sequence": [[1, '),
        ("/v1/models/none:predict", "/v1/models/{model}:predict", 404, b"{}"),
        (f"/v1/models/{model}:predict", "/v1/models/{model}:predict", 400, b'{"instances": [[["a"]]]}'),
        ("/nowhere", "unknown", 404, b"{}"),
    )
    for path, route, status, content in bad:
        yield Kind(1, ("POST", route, status), _post(path, content), lambda body: b"rror" in body or b"detail" in body)


def _post(path: str, content: bytes, headers: dict[str, str] | None = None) -> bytes:
    lines = {"Host": "soak", "Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + content


def _close_to(expected: object) -> Callable[[bytes], bool]:
    """Return a check that JSON is as expected, except for rounding."""
    numbers = np.array(list(_numbers(expected)))
    return lambda body: np.allclose(list(_numbers(orjson.loads(body))), numbers, rtol=0, atol=TOLERANCE)


def _numbers(value: object) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _numbers(one)
    elif isinstance(value, float):
        yield value


def _alone(request: bytes) -> tuple[int, bytes]:
    async def ask() -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", FIRST_PORT)
        try:
            return await _ask(reader, writer, request)
        finally:
            writer.close()

    return asyncio.run(ask())


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, bytes]:
    """Send a request; return the status and the body of its answer."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
    return int(head[9:12]), await reader.readexactly(length)


async def soak(server: Server, folder: Path, kinds: Sequence[Kind], requests: int) -> list[str]:
    """Send requests over some connections, measure, and return the problems."""
    before, weights = _counted(), [kind.weight for kind in kinds]
    sent: Counter[Outcome] = Counter()
    sequences = wrong = 0
    measured: list[Resources] = []
    for part in range(MEASUREMENTS):
        started, count = time.perf_counter(), requests // MEASUREMENTS
        chosen = iter(random.Random(part).choices(kinds, weights, k=count))  # noqa: S311 - not for secrets

        async def connection(chosen: Iterator[Kind] = chosen) -> None:
            nonlocal sequences, wrong
            reader, writer = await asyncio.open_connection("127.0.0.1", FIRST_PORT)
            for kind in chosen:
                status, body = await _ask(reader, writer, kind.request)
                wrong += status != kind.outcome[2] or not kind.is_right(body)
                sent[kind.outcome] += 1
                sequences += kind.sequences
            writer.close()

        await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
        rate = count / (time.perf_counter() - started)
        await asyncio.sleep(1)  # connections close
        measured.append(now := Resources.of(server, folder))
        print(f"{(part + 1) * count:,} requests, {rate:,.0f}/s; {wrong} wrong; {now}", flush=True)
    return list(_problems(measured, wrong, Counter(sent), sequences, before))


def _counted() -> Counter[Outcome | str]:
    """Return the server's counts of requests by outcome, and of sequences."""
    with urllib.request.urlopen(f"http://127.0.0.1:{FIRST_PORT}/metrics", timeout=60) as response:
        text = response.read().decode()
    counted: Counter[Outcome | str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels
            if sample.name == REQUESTS:
                counted[labels["method"], labels["route"], int(labels["status"])] += int(sample.value)
            elif sample.name == SEQUENCES:
                counted[SEQUENCES] += int(sample.value)
    return counted


def _problems(
    measured: Sequence[Resources], wrong: int, sent: Counter[Outcome], sequences: int, before: Counter[Outcome | str]
) -> Iterator[str]:
    counted = _counted()
    counted.subtract(before)
    if wrong:
        yield f"{wrong} answers are wrong"
    for outcome, number in sent.items():
        if counted[outcome] != number:
            yield f"{outcome}: {number} requests were sent, {counted[outcome]} are counted"
    if counted[SEQUENCES] != sequences:
        yield f"{sequences} sequences were sent, {counted[SEQUENCES]} are counted"
    first, last = measured[0], measured[-1]
    if last.megabytes > first.megabytes * (1 + MOST_GROWTH):
        yield f"memory grew from {first.megabytes:.0f} to {last.megabytes:.0f} MB"
    for name in ("descriptors", "threads", "files"):
        if getattr(last, name) > getattr(first, name):
            yield f"{name} grew from {getattr(first, name)} to {getattr(last, name)}"


if __name__ == "__main__":
    main()
