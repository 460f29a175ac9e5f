"""The service itself, on either engine, and its limit, as contestants; and what is asked of all."""

import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.contestants import Answers, Contestant, Sequences
from service.inference.artifact import Artifact
from service.inference.repository import versions_of

ROOT = Path(__file__).parent.parent


def _body(sequences: Sequences) -> bytes:
    # One sequence is posted as people post one.
    named = {"sequence": sequences[0].tolist()} if len(sequences) == 1 else {"sequences": sequences.tolist()}
    return json.dumps(named, separators=(",", ":")).encode()


def _answers(body: bytes) -> Answers:
    rows = json.loads(body)["predictions"]
    return [row["prediction"] for row in rows], [row["attention"] for row in rows]


def _contestant(name: str, module: str, *arguments: str) -> Contestant:
    return Contestant(
        name=name,
        folder=ROOT,
        command=(Path(sys.executable).name, "-m", module, "--log-level", "warning", *arguments),
        path="/predict",
        body=_body,
        answers=_answers,
    )


def ours(artifacts: Path, model: str) -> tuple[Contestant, ...]:
    """The limit first, then the service on each engine."""
    arguments = ("--artifacts", str(artifacts.resolve()), "--model", model)
    return (
        _contestant("limit", "benchmarks.limit", *arguments),
        _contestant("this service", "service", *arguments),
        _contestant("this service, TensorFlow", "service", *arguments, "--engine", "tensorflow"),
    )


def newest(home: Path) -> Artifact:
    """The version that the service would serve."""
    return Artifact(home.resolve() / str(versions_of(home)[-1]))


def random_sequences(n: int, timesteps: int, features: int) -> Sequences:
    """Sequences as people write them: four decimals."""
    return np.random.default_rng(n).standard_normal((n, timesteps, features)).round(4)
