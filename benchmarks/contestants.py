"""The peers of the benchmark: how each is started, asked and read."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent / "peers"

Sequences = NDArray[np.floating[Any]]
"""(n, timesteps, features)"""

Answers = tuple[list[float], list[list[float]]]
"""One prediction a sequence, and one attention weight a timestep of each."""


@dataclass(frozen=True)
class Contestant:
    """A server to start in its own environment and to post sequences to.

    It listens on 127.0.0.1 and the `PORT` of its environment, and serves the ONNX model that `LOWERING` names; the
    handwritten one serves the directory that `SAVED_MODEL` names.

    Attributes:
        name: what the tables call it.
        folder: its working directory; requirements.txt there is its environment.
        command: a program in the environment's bin, and its arguments.
        path: the route that takes a POST of application/json.
        body: sequences (n, timesteps, features) as a request body.
        answers: a response body as predictions and rows of attention.
        batching: whether it batches across requests; None where the framework has no such thing.
        python: the interpreter its environment needs; None for any Python 3.11.
        settings: what else its environment says.
        freezes: whether its processes survive being stopped for a while.
    """

    name: str
    folder: Path
    command: tuple[str, ...]
    path: str
    body: Callable[[Sequences], bytes]
    answers: Callable[[bytes], Answers]
    batching: bool | None = None
    python: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    freezes: bool = True

    @property
    def environment(self) -> dict[str, str]:
        """The variables to start it with, beside `PORT` and the model."""
        return {"BATCHING": "1" if self.batching else "0", **self.settings}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _plain_body(sequences: Sequences) -> bytes:
    return _json({"sequences": sequences.tolist()})


def _plain_answers(body: bytes) -> Answers:
    answer = json.loads(body)
    return answer["prediction"], answer["attention"]


def _instances_body(sequences: Sequences) -> bytes:
    return _json({"instances": sequences.tolist()})


def _instances_answers(body: bytes) -> Answers:
    return _columns(json.loads(body)["predictions"])


def _row_answers(body: bytes) -> Answers:
    return _columns(json.loads(body))


def _columns(rows: list[dict[str, Any]]) -> Answers:
    return [row["prediction"] for row in rows], [row["attention"] for row in rows]


def _tensor_body(sequences: Sequences) -> bytes:
    tensor = {
        "name": "sequence",
        "shape": sequences.shape,
        "datatype": "FP32",
        "data": sequences.ravel().tolist(),
    }
    return _json({"inputs": [tensor]})


def _tensor_answers(body: bytes) -> Answers:
    outputs = {output["name"]: output for output in json.loads(body)["outputs"]}
    attention = outputs["attention"]
    return outputs["prediction"]["data"], np.reshape(attention["data"], attention["shape"]).tolist()


def _handwritten() -> Contestant:
    return Contestant(
        name="handwritten",
        folder=HERE / "handwritten",
        command=("python", "serve.py"),
        path="/predict",
        body=_plain_body,
        answers=_plain_answers,
    )


def _litserve(*, batching: bool) -> Contestant:
    return Contestant(
        name=_named("litserve", batching=batching),
        folder=HERE / "litserve",
        command=("python", "serve.py"),
        path="/predict",
        body=_plain_body,
        answers=_plain_answers,
        batching=batching,
    )


def _bentoml(*, batching: bool) -> Contestant:
    return Contestant(
        name=_named("bentoml", batching=batching),
        folder=HERE / "bentoml",
        command=("bentoml", "serve", "serve:Peer"),
        path="/predict",
        body=_plain_body,
        # Its batching takes the answers apart by rows.
        answers=_row_answers if batching else _plain_answers,
        batching=batching,
        settings={"BENTOML_DO_NOT_TRACK": "1"},
        # Its batching would learn that a batch takes as long as it was stopped.
        freezes=False,
    )


def _mlserver(*, batching: bool) -> Contestant:
    return Contestant(
        name=_named("mlserver", batching=batching),
        folder=HERE / "mlserver",
        command=("python", "serve.py"),
        path="/v2/models/attention/infer",
        body=_tensor_body,
        answers=_tensor_answers,
        batching=batching,
    )


def _kserve() -> Contestant:
    return Contestant(
        name="kserve",
        folder=HERE / "kserve",
        command=("python", "serve.py", "--configure_logging=false", "--enable_latency_logging=false"),
        path="/v1/models/attention:predict",
        body=_instances_body,
        answers=_instances_answers,
    )


def _rayserve(*, batching: bool) -> Contestant:
    return Contestant(
        name=_named("rayserve", batching=batching),
        folder=HERE / "rayserve",
        command=("python", "serve.py"),
        path="/",
        body=_plain_body,
        answers=_plain_answers,
        batching=batching,
        settings={"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_USAGE_STATS_ENABLED": "0"},
    )


def _triton(*, batching: bool) -> Contestant:
    return Contestant(
        name=_named("triton", batching=batching),
        folder=HERE / "triton",
        # Its Triton is linked against Debian's libpython.
        python="/usr/bin/python3.11",
        command=("python", "serve.py"),
        path="/v2/models/attention/infer",
        body=_tensor_body,
        answers=_tensor_answers,
        batching=batching,
        # Its processes share locks that they wait for with a deadline.
        freezes=False,
    )


def _named(name: str, *, batching: bool) -> str:
    return f"{name}, batching" if batching else name


CONTESTANTS = (
    _handwritten(),
    _litserve(batching=False),
    _litserve(batching=True),
    _bentoml(batching=False),
    _bentoml(batching=True),
    _mlserver(batching=False),
    _mlserver(batching=True),
    _kserve(),
    _rayserve(batching=False),
    _rayserve(batching=True),
    _triton(batching=False),
    _triton(batching=True),
)
