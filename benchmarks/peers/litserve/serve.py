"""LitServe: one API server process, one worker process."""

import os
from typing import Any

import litserve as ls
import numpy as np
import onnxruntime as ort

BATCHING = os.environ["BATCHING"] == "1"


class Peer(ls.LitAPI):
    """The ONNX lowering behind LitServe's decode, batch, predict, unbatch, encode."""

    def setup(self, device: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(os.environ["LOWERING"], options, providers=["CPUExecutionProvider"])

    def decode_request(self, request: dict[str, Any]) -> np.ndarray:
        return np.array(request["sequences"], np.float32)

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        """Lay the requests' sequences behind each other."""
        self.ends = np.cumsum([len(sequences) for sequences in inputs])[:-1]
        return np.concatenate(inputs)

    def predict(self, x: np.ndarray) -> list[np.ndarray]:
        return self.session.run(["prediction", "attention"], {"sequence": x})

    def unbatch(self, output: list[np.ndarray]) -> list[tuple[np.ndarray, ...]]:
        """Give each request its own sequences' answers."""
        return list(zip(*(np.split(rows, self.ends) for rows in output), strict=True))

    def encode_response(self, output: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
        prediction, attention = output
        return {"prediction": prediction[:, 0].tolist(), "attention": attention.tolist()}


if __name__ == "__main__":
    api = Peer(max_batch_size=64, batch_timeout=0.002) if BATCHING else Peer()
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    # 0.2.19 misspells the argument that fast_queue should set, and would stay with its slow queue.
    server.transport_config.transport_type = "zmq"
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
