"""The other servers of the benchmark: how to start each, and its request and response formats."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent / "peers"

#: What docs/ray.md has set wherever Ray is started.
RAY_VARIABLES: Final[Mapping[str, str]] = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "2",
    "RAY_USAGE_STATS_ENABLED": "0",
}

Sequences = NDArray[np.floating[Any]]
"""(n, timesteps, features)"""

Answers = tuple[list[float], list[list[float]]]
"""One prediction for each sequence, and one attention weight for each timestep of each sequence."""


class Body(NamedTuple):
    """A request body.

    Attributes:
        content: all its bytes.
        json_length: length of the JSON if binary tensors follow it; None if all is JSON.
    """

    content: bytes
    json_length: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the request."""
        if self.json_length is None:
            return {"Content-Type": "application/json"}
        return {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(self.json_length)}


@dataclass(frozen=True)
class Contestant:
    """A server to measure, in its own environment.

    It listens on 127.0.0.1, on the port of the environment variable `PORT`. It serves the ONNX file of the variable
    `LOWERING`; the handwritten server serves the directory of `SAVED_MODEL`.

    Attributes:
        name: its name in the tables.
        folder: its working directory, with the requirements.txt of its environment.
        command: a program in the bin directory of its environment, and arguments.
        path: the path of its POST route.
        body: encodes sequences `(n, timesteps, features)` as a request body.
        answers: decodes a response body to predictions and rows of attention.
        batching: whether it batches across requests; None if the framework cannot.
        python: the interpreter of its environment.
        settings: further environment variables.
        pausable: whether its processes survive being stopped for a while.
    """

    name: str
    folder: Path
    command: tuple[str, ...]
    path: str
    body: Callable[[Sequences], Body]
    answers: Callable[[bytes], Answers]
    batching: bool | None = None
    python: str = "3.11"
    settings: Mapping[str, str] = field(default_factory=dict)
    pausable: bool = True

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables to start it with, beside `PORT` and the model."""
        return {"BATCHING": "1" if self.batching else "0", **self.settings}


def _json(value: object) -> Body:
    return Body(json.dumps(value, separators=(",", ":")).encode())


def _plain_body(sequences: Sequences) -> Body:
    return _json({"sequences": sequences.tolist()})


def _plain_answers(body: bytes) -> Answers:
    answer = json.loads(body)
    return answer["prediction"], answer["attention"]


def _instances_body(sequences: Sequences) -> Body:
    return _json({"instances": sequences.tolist()})


def _instances_answers(body: bytes) -> Answers:
    return _columns(json.loads(body)["predictions"])


def _row_answers(body: bytes) -> Answers:
    return _columns(json.loads(body))


def _columns(rows: list[dict[str, Any]]) -> Answers:
    return [row["prediction"] for row in rows], [row["attention"] for row in rows]


def tensor_body(sequences: Sequences) -> Body:
    """Encode sequences in the JSON of the Open Inference Protocol."""
    tensor = {
        "name": "sequence",
        "shape": sequences.shape,
        "datatype": "FP32",
        "data": sequences.ravel().tolist(),
    }
    return _json({"inputs": [tensor], "outputs": [{"name": "prediction"}, {"name": "attention"}]})


def tensor_answers(body: bytes) -> Answers:
    """Decode an answer in the JSON of the Open Inference Protocol."""
    outputs = {output["name"]: output for output in json.loads(body)["outputs"]}
    attention = outputs["attention"]
    return outputs["prediction"]["data"], np.reshape(attention["data"], attention["shape"]).tolist()


def binary_body(sequences: Sequences) -> Body:
    """Encode sequences in the binary format of the Open Inference Protocol; the answer is binary, too."""
    content = sequences.astype("<f4").tobytes()
    parameters = {"binary_data_size": len(content)}
    tensor = {"name": "sequence", "shape": sequences.shape, "datatype": "FP32", "parameters": parameters}
    outputs = [{"name": name, "parameters": {"binary_data": True}} for name in ("prediction", "attention")]
    head = _json({"inputs": [tensor], "outputs": outputs}).content
    return Body(head + content, len(head))


def binary_answers(body: bytes) -> Answers:
    """Decode an answer in the binary format of the Open Inference Protocol."""
    answer, at = json.JSONDecoder().raw_decode(body.decode("latin-1"))
    arrays = {}
    for output in answer["outputs"]:
        size = output["parameters"]["binary_data_size"]
        arrays[output["name"]] = np.frombuffer(body[at : at + size], "<f4").reshape(output["shape"])
        at += size
    return arrays["prediction"].ravel().tolist(), arrays["attention"].tolist()


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
        # With batching it answers a list of one row for each sequence.
        answers=_row_answers if batching else _plain_answers,
        batching=batching,
        settings={"BENTOML_DO_NOT_TRACK": "1"},
        # Its batching would count the pause as the duration of a batch.
        pausable=False,
    )


def _mlserver(*, batching: bool) -> Contestant:
    return Contestant(
        name=_named("mlserver", batching=batching),
        folder=HERE / "mlserver",
        command=("python", "serve.py"),
        path="/v2/models/attention/infer",
        body=tensor_body,
        answers=tensor_answers,
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
        settings={
            **RAY_VARIABLES,
            # A single core starts a dozen processes slowly.
            "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
            # Both run at the same time.
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(9101 + batching),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(8404 + batching),
            "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(8500 + batching),
        },
    )


def _triton(*, batching: bool, binary: bool = False) -> Contestant:
    return Contestant(
        name=_named("triton", batching=batching, binary=binary),
        folder=HERE / "triton",
        # PyTriton's Triton is linked against Debian's libpython.
        python="/usr/bin/python3.11",
        command=("python", "serve.py"),
        path="/v2/models/attention/infer",
        body=binary_body if binary else tensor_body,
        answers=binary_answers if binary else tensor_answers,
        batching=batching,
        # Its processes wait for shared locks with a deadline.
        pausable=False,
    )


def _named(name: str, *, batching: bool, binary: bool = False) -> str:
    return name + ", binary" * binary + ", batching" * batching


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
    _triton(batching=False, binary=True),
)
