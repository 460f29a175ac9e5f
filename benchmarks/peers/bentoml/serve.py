"""BentoML: one service, one worker."""

import os
from typing import Annotated, Any

import bentoml
import numpy as np
import onnxruntime as ort
from bentoml.validators import DType
from pydantic import BaseModel

BATCHING = os.environ["BATCHING"] == "1"

Sequences = Annotated[np.ndarray, DType("float32")]


class Answer(BaseModel):
    """One prediction and 20 weights for each sequence."""

    prediction: list[float]
    attention: list[list[float]]


def load() -> ort.InferenceSession:
    """Return a session of the ONNX file, on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(os.environ["LOWERING"], options, providers=["CPUExecutionProvider"])


def run(session: ort.InferenceSession, sequences: np.ndarray) -> tuple[list[float], list[list[float]]]:
    """Return predictions and attention of every sequence."""
    prediction, attention = session.run(["prediction", "attention"], {"sequence": sequences})
    return prediction[:, 0].tolist(), attention.tolist()


configured = bentoml.service(
    name="Peer",
    workers=1,
    http={"host": "127.0.0.1", "port": int(os.environ["PORT"])},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)


class Alone:
    """The ONNX file, with one call for each request."""

    def __init__(self) -> None:
        self.session = load()

    # A coroutine runs on the event loop. BentoML runs a plain function in a thread, which takes longer than the model.
    @bentoml.api
    async def predict(self, sequences: Sequences) -> Answer:
        prediction, attention = run(self.session, sequences)
        return Answer(prediction=prediction, attention=attention)


class Together:
    """The same, with sequences of several requests in one call of the model."""

    def __init__(self) -> None:
        self.session = load()

    # BentoML adapts the waiting time by itself. It answers 503 to requests that wait longer than the maximum.
    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=10_000)
    async def predict(self, sequences: Sequences) -> list[dict[str, Any]]:
        rows = zip(*run(self.session, sequences), strict=True)
        return [{"prediction": prediction, "attention": attention} for prediction, attention in rows]


Peer = configured(Together if BATCHING else Alone)
