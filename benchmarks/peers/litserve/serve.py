"""LitServe: one API server process, one worker process."""

import os
from typing import Any

import litserve as ls
import numpy as np
import onnxruntime as ort

BATCHING = os.environ["BATCHING"] == "1"


class Peer(ls.LitAPI):
    """The ONNX file in LitServe's steps: decode, batch, predict, unbatch, encode."""

    def setup(self, device: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(os.environ["LOWERING"], options, providers=["CPUExecutionProvider"])

    def decode_request(self, request: dict[str, Any]) -> np.ndarray:
        return np.array(request["sequences"], np.float32)

    def predict(self, x: np.ndarray) -> list[np.ndarray]:
        return self.session.run(["prediction", "attention"], {"sequence": x})

    def encode_response(self, output: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
        prediction, attention = output
        return {"prediction": prediction[:, 0].tolist(), "attention": attention.tolist()}


class BatchingPeer(Peer):
    """The same, with sequences of several requests in one call of the model."""

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        """Concatenate the requests' sequences."""
        self.ends = np.cumsum([len(sequences) for sequences in inputs])[:-1]
        return np.concatenate(inputs)

    def unbatch(self, output: list[np.ndarray]) -> list[tuple[np.ndarray, ...]]:
        """Split the outputs by request."""
        return list(zip(*(np.split(rows, self.ends) for rows in output), strict=True))


if __name__ == "__main__":
    api = BatchingPeer(max_batch_size=64, batch_timeout=0.001) if BATCHING else Peer()
    # fast_queue has no effect in 0.2.19: LitServe misspells its own argument that selects ZeroMQ.
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
        loop="uvloop",
        http="httptools",
    )
