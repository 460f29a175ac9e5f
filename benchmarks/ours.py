"""The service as a contestant, on each engine and protocol, its limit, and the sequences for all contestants."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.contestants import (
    Answers,
    Body,
    Contestant,
    Sequences,
    binary_answers,
    binary_body,
    tensor_answers,
    tensor_body,
)
from service.artifact.layout import versions_of
from service.artifact.version import Artifact

ROOT = Path(__file__).parent.parent


def _body(sequences: Sequences) -> Body:
    # Clients post a single sequence without a list around it.
    named = {"sequence": sequences[0].tolist()} if len(sequences) == 1 else {"sequences": sequences.tolist()}
    return Body(json.dumps(named, separators=(",", ":")).encode())


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
    """Return the limit, then the service on each protocol and engine."""
    arguments = ("--artifacts", str(artifacts.resolve()), "--model", model)
    service = _contestant("this service", "service", *arguments)
    v2 = replace(service, path=f"/v2/models/{model}/infer")
    return (
        _contestant("limit", "benchmarks.limit", *arguments),
        service,
        replace(v2, name="this service, V2", body=tensor_body, answers=tensor_answers),
        replace(v2, name="this service, V2 binary", body=binary_body, answers=binary_answers),
        _contestant("this service, TensorFlow", "service", *arguments, "--engine", "tensorflow"),
    )


def newest(home: Path) -> Artifact:
    """Return the newest version of a model, which the service would serve.

    Raises:
        SystemExit: there is no such model.
    """
    if not home.is_dir():
        raise SystemExit(f"error: expected a model in {home.parent}, got {home.name!r}: --model names another one")
    return Artifact(home.resolve() / str(versions_of(home)[-1]))


def random_sequences(n: int, timesteps: int, features: int) -> Sequences:
    """Return random sequences with four decimals, as in usual JSON."""
    return np.random.default_rng(n).standard_normal((n, timesteps, features)).round(4)
