"""`python -m benchmarks`: measure every contestant; write a table, the numbers and a chart."""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks.contestants import CONTESTANTS, Body, Contestant
from benchmarks.load import Load, post
from benchmarks.ours import newest, ours, random_sequences
from benchmarks.report import Outcome, Results, Scenario, write
from benchmarks.servers import FIRST_PORT, LOAD_CORE, SERVER_CORE, Server, install, post_once, serving
from service.artifact.tensors import ATTENTION, PREDICTION, SEQUENCE
from service.artifact.version import Artifact

SCENARIOS = (Scenario(1, 1), Scenario(1, 16), Scenario(1, 64), Scenario(32, 1), Scenario(512, 1))
TOLERANCE = 1e-5
#: Concurrent requests of which one is wrong, and how often to repeat them.
CONCURRENT, REPETITIONS = 9, 10


def main() -> None:
    """Measure the contestants, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--artifacts", type=Path, default=Path("artifacts"), help="folder of models (default: artifacts)"
    )
    parser.add_argument("--model", default="after-lstm", help="model to serve (default: after-lstm)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="contestants to run, by the start of their names")
    parser.add_argument("--rounds", type=int, default=5, help="alternated runs; medians count (default: 5)")
    parser.add_argument("--seconds", type=int, default=3, help="length of one run, in whole seconds (default: 3)")
    parser.add_argument("--environments", type=Path, default=Path(".venv/peers"), help="where peers are installed")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="where the results go")
    options = parser.parse_args()
    artifact = newest(options.artifacts / options.model)
    contestants = [
        contestant
        for contestant in (*ours(options.artifacts, options.model), *CONTESTANTS)
        if not options.only or any(contestant.name.startswith(name) for name in options.only)
    ]
    write(measure(contestants, artifact, options.rounds, options.seconds, options.environments), options.output)


def measure(
    contestants: Sequence[Contestant], artifact: Artifact, rounds: int, seconds: int, environments: Path
) -> Results:
    """Start every contestant, check its answers, and load them in turns; idle contestants are paused (SIGSTOP)."""
    card = artifact.read().card()
    bodies = {n: random_sequences(n, card.timesteps, card.features) for n in {s.sequences for s in SCENARIOS}}
    variables = {"LOWERING": str(artifact.lowering_path), "SAVED_MODEL": str(artifact.directory)}
    results = Results()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        starting = {}
        for index, contestant in enumerate(contestants):
            own = contestant.folder == Path(__file__).parent.parent
            starting[contestant.name] = partial(
                serving,
                contestant,
                Path(sys.executable).parent if own else install(contestant.folder, environments, contestant.python),
                FIRST_PORT + index,
                contestant.body(bodies[1]),
                core=SERVER_CORE,
                variables=variables,
                log=scratch / f"{index}.log",
            )
        starts = measure_starts(starting, rounds)
        servers: list[Server] = []
        for name in starts:
            say(f"starting {name}")
            server = stack.enter_context(starting[name]())
            if name != "limit":
                check(server, artifact, bodies[32])
            results.outcomes[name] = Outcome(starts[name], server.memory(), lost(server, bodies[1]))
            servers.append(server)
            server.pause()
        for number in range(rounds):
            results.engine_seconds.append(engine_seconds(artifact, bodies[512]))
            for scenario in SCENARIOS:
                for server in tuple(servers):
                    name = server.contestant.name
                    say(f"round {number + 1} of {rounds}: {scenario} on {name}")
                    try:
                        load = run(
                            server, server.contestant.body(bodies[scenario.sequences]), scenario, seconds, scratch
                        )
                    except RuntimeError as error:
                        say(f"{name} is left out: {error}\n{server.log.read_text(errors='replace')[-2000:]}")
                        servers.remove(server)
                        del results.outcomes[name]
                    else:
                        results.outcomes[name].loads.setdefault(scenario, []).append(load)
    return results


def measure_starts(
    starting: Mapping[str, Callable[[], AbstractContextManager[Server]]], rounds: int
) -> dict[str, list[float]]:
    """Start the contestants repeatedly, in turns; return the seconds of each start.

    Contestants that do not start are left out. The first start is not counted: it compiles the imported modules.
    """
    starts: dict[str, list[float]] = {name: [] for name in starting}
    for number in range(rounds + 1):
        for name in tuple(starts):
            say(f"start {number} of {rounds}: {name}")
            try:
                with starting[name]() as server:
                    starts[name].append(server.start)
            except RuntimeError as error:
                say(f"{name} is left out: {error}")
                del starts[name]
    return {name: seconds[1:] for name, seconds in starts.items()}


def run(server: Server, body: Body, scenario: Scenario, seconds: int, scratch: Path) -> Load:
    """Load one server for some seconds; the others are paused."""
    with server.running():
        return post(
            server.url, body, connections=scenario.concurrency, seconds=seconds, core=LOAD_CORE, scratch=scratch
        )


def check(server: Server, artifact: Artifact, sequences: np.ndarray) -> None:
    """Check that a contestant answers the outputs of the model.

    Raises:
        RuntimeError: its answers differ.
    """
    status, answer = server.post_once(server.contestant.body(sequences))
    session = onnxruntime.InferenceSession(artifact.lowering_path, providers=["CPUExecutionProvider"])
    expected = session.run([PREDICTION, ATTENTION], {SEQUENCE: sequences.astype(np.float32)})
    answered = server.contestant.answers(answer)
    for got, wanted in zip(answered, expected, strict=True):
        if status != 200 or not np.allclose(np.array(got).reshape(wanted.shape), wanted, rtol=0, atol=TOLERANCE):
            raise RuntimeError(f"{server.contestant.name} answers {status} {answer[:200]!r}")


def lost(server: Server, sequences: np.ndarray) -> int:
    """Return how many valid requests fail when one of nine concurrent requests has the wrong shape."""
    valid, invalid = server.contestant.body(sequences), server.contestant.body(sequences[:, 1:])
    failed = 0
    with ThreadPoolExecutor(CONCURRENT) as pool:
        for _ in range(REPETITIONS):
            answers = pool.map(lambda body: post_once(server.url, body), [valid] * (CONCURRENT - 1) + [invalid])
            failed += sum(status != 200 for status, _ in list(answers)[:-1])
    return failed


def engine_seconds(artifact: Artifact, sequences: np.ndarray) -> float:
    """Return the median time of the engine alone for some sequences, on the server's core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(artifact.lowering_path, options, providers=["CPUExecutionProvider"])
    inputs = {SEQUENCE: sequences.astype(np.float32)}
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {SERVER_CORE})
    try:
        times = []
        for _ in range(50):
            start = time.perf_counter()
            session.run([PREDICTION, ATTENTION], inputs)
            times.append(time.perf_counter() - start)
    finally:
        os.sched_setaffinity(0, cores)
    return statistics.median(times)


def say(text: str) -> None:
    """Report progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
