"""Ray Serve: one proxy, one replica."""

import os
import signal
from typing import Any

import numpy as np
import onnxruntime as ort
import ray
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig
from starlette.requests import Request

BATCHING = os.environ["BATCHING"] == "1"


class Alone:
    """The ONNX file, with one call for each request."""

    def __init__(self, lowering: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(lowering, options, providers=["CPUExecutionProvider"])

    async def __call__(self, request: Request) -> dict[str, Any]:
        prediction, attention = await self.predict(np.array((await request.json())["sequences"], np.float32))
        return {"prediction": prediction[:, 0].tolist(), "attention": attention.tolist()}

    async def predict(self, sequences: np.ndarray) -> tuple[np.ndarray, ...]:
        """Map sequences (n, 20, 2) to predictions (n, 1) and attention (n, 20)."""
        return tuple(self.session.run(["prediction", "attention"], {"sequence": sequences}))


class Together(Alone):
    """The same, with sequences of several requests in one call of the model."""

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0)
    async def predict(self, requests: list[np.ndarray]) -> list[tuple[np.ndarray, ...]]:
        """Concatenate the requests' sequences, and split the outputs by request."""
        ends = np.cumsum([len(sequences) for sequences in requests])[:-1]
        outputs = await super().predict(np.concatenate(requests))
        return list(zip(*(np.split(rows, ends) for rows in outputs), strict=True))


def main() -> None:
    """Serve until a signal."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    quiet = LoggingConfig(enable_access_log=False, log_level="WARNING")
    ray.init(include_dashboard=False, configure_logging=False, log_to_driver=False)
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=int(os.environ["PORT"])), logging_config=quiet)
    deployment = serve.deployment(
        num_replicas=1, max_ongoing_requests=256, logging_config=quiet, ray_actor_options={"num_cpus": 0}
    )(Together if BATCHING else Alone)
    serve.run(deployment.bind(os.environ["LOWERING"]), blocking=True)


if __name__ == "__main__":
    main()
