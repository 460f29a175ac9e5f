"""`python -m benchmarks.publications`: publish one version after another while the service is under load."""

import argparse
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.contestants import Body
from benchmarks.load import Load, parse
from benchmarks.ours import ours, random_sequences
from benchmarks.servers import LOAD_CORE, Server, post_once, serving_alone
from service.artifact.layout import versions_of
from service.artifact.publishing import publish, staging
from service.artifact.version import Artifact

SCRIPT = Path(__file__).with_name("publications.lua")
CONNECTIONS = 16
#: Longest time from a publication to its first answer; longest time of an answer.
VISIBLE_SECONDS, ANSWER_SECONDS = 2.0, 0.5
#: Largest difference between predictions of one version; they depend slightly on the other sequences of the batch.
ROUNDING = 1e-5
#: Number of publications after which memory should not grow.
SETTLED = 20


class Seen(NamedTuple):
    """The answers of one version.

    Attributes:
        answers: number of answers.
        first: time of the first answer, in seconds since 1970.
        last: time of the last answer.
        least: least prediction.
        greatest: greatest prediction.
    """

    answers: int
    first: float
    last: float
    least: float
    greatest: float


@dataclass
class Traffic:
    """The measurements of wrk: speed, answers by version, and the number of other answers."""

    load: Load
    versions: dict[int, Seen]
    others: int


def main() -> None:
    """Publish under load, and print the effect on the answers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.publications", description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="folder (default: artifacts)")
    parser.add_argument("--model", default="after-lstm", help="model with at least two versions (default: after-lstm)")
    parser.add_argument("--engine", choices=("onnx", "tensorflow"), default="onnx", help="(default: onnx)")
    parser.add_argument("--publications", type=int, default=200, help="how many in a row (default: 200)")
    parser.add_argument("--steady", type=int, default=20, help="seconds without any, before and after (default: 20)")
    options = parser.parse_args()
    numbers = versions_of(options.artifacts / options.model)
    if len(numbers) < 2:
        parser.error(f"{options.model} has {len(numbers)} version(s), expected 2: train another with another --seed")
    sources = [options.artifacts / options.model / str(number) for number in numbers[-2:]]
    card = Artifact(sources[0]).read().card()
    wanted = {"onnx": "this service", "tensorflow": "this service, TensorFlow"}[options.engine]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        home = scratch / "artifacts" / options.model
        home.mkdir(parents=True)
        moments = [add(sources, home)]
        contestant = next(one for one in ours(home.parent, options.model) if one.name == wanted)
        body = contestant.body(random_sequences(1, card.timesteps, card.features))
        (scratch / "body").write_bytes(body.content)
        with serving_alone(contestant, body, scratch) as server:
            with traffic(server, scratch) as before:
                time.sleep(options.steady)
            memory = []
            with traffic(server, scratch) as during:
                for _ in range(options.publications):
                    moments.append(add(sources, home))
                    await_version(server, len(moments))
                    memory.append(server.memory())
            with traffic(server, scratch) as after:
                time.sleep(options.steady)
            report(before[0], during[0], after[0], moments, memory)


def add(sources: list[Path], home: Path) -> float:
    """Publish the next of the sources in turn; return the time, in seconds since 1970."""
    number = max(versions_of(home), default=0) + 1
    with staging(home) as staged:
        shutil.copytree(sources[number % len(sources)], staged, dirs_exist_ok=True)
        publish(staged, home)
    return time.time()


def await_version(server: Server, number: int) -> None:
    """Wait until a version answers.

    Raises:
        RuntimeError: it does not within a minute.
    """
    body = Body((server.log.parent / "body").read_bytes())
    deadline = time.monotonic() + 60
    while f'"version":{number},'.encode() not in post_once(server.url, body)[1]:
        if time.monotonic() > deadline:
            raise RuntimeError(f"version {number} does not answer within a minute: see {server.log}")
        time.sleep(0.02)


@contextmanager
def traffic(server: Server, scratch: Path) -> Iterator[list[Traffic]]:
    """Post without pause until the block ends; then put the measurements into the list."""
    seen: list[Traffic] = []
    command = [
        "taskset",
        "-c",
        str(LOAD_CORE),
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        "-d1h",
        "--latency",
        "--timeout",
        "9s",
    ]
    with subprocess.Popen(
        [*command, "-s", str(SCRIPT), server.url],
        env={**os.environ, "BODY": str(scratch / "body")},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield seen
        finally:
            process.send_signal(signal.SIGINT)
            printed = process.communicate(timeout=60)[0]
    versions = {
        int(found[1]): Seen(int(found[2]), *map(float, found.groups()[2:]))
        for found in re.finditer(r"version (\d+): (\d+) (\S+) (\S+) (\S+) (\S+)", printed)
    }
    seen.append(Traffic(parse(printed), versions, sum(map(int, re.findall(r"answered otherwise: (\d+)", printed)))))


def report(before: Traffic, during: Traffic, after: Traffic, moments: list[float], memory: list[float]) -> None:
    """Print the measurements; `moments` are the publication times of the versions, from 1 on."""
    answers = sum(one.answers for one in during.versions.values())
    latest = {number: moments[number] for number in during.versions if number < len(moments)}
    early = [number for number, one in during.versions.items() if one.first < moments[number - 1]]
    late = [
        number
        for number, moment in latest.items()
        if during.versions[number].last > moment + VISIBLE_SECONDS + ANSWER_SECONDS
    ]
    mixed = [number for number, one in during.versions.items() if one.greatest - one.least > ROUNDING]
    visible = sorted(during.versions[number].first - moments[number - 1] for number in during.versions if number > 1)
    steady = min(before.load.p99, after.load.p99), max(before.load.p99, after.load.p99)
    settled = memory[min(SETTLED, len(memory)) - 1 :]
    print(
        f"published  {len(memory)} versions; first answer {visible[len(visible) // 2]:.2f} s after (median), ", end=""
    )
    print(f"{visible[-1]:.2f} s at most")
    print(f"answers    {answers:,} from {len(during.versions)} versions; {during.others + during.load.failed} failed")
    print(f"versions   {len(early)} answered too early, {len(late)} too late, {len(mixed)} with another's prediction")
    print(
        f"p99        {during.load.p99 * 1e3:.2f} ms; {steady[0] * 1e3:.2f} and {steady[1] * 1e3:.2f} ms without, ",
        end="",
    )
    print(f"{during.load.p99 / (sum(steady) / 2):.2f} times that")
    print(f"answers/s  {during.load.rate:,.0f}; {before.load.rate:,.0f} before, {after.load.rate:,.0f} after")
    print(f"memory     {settled[0]:.0f} MB after {min(SETTLED, len(memory))} publications, then at most ", end="")
    print(f"{max(settled):.0f} MB ({max(settled) / settled[0] - 1:+.1%}), {settled[-1]:.0f} MB at the end")


if __name__ == "__main__":
    main()
