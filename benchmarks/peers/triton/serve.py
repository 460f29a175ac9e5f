"""Triton: its HTTP server in front of a Python function, through PyTriton."""

import os
import signal

import numpy as np
import onnxruntime as ort
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

BATCHING = os.environ["BATCHING"] == "1"

options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession(os.environ["LOWERING"], options, providers=["CPUExecutionProvider"])


@batch
def predict(sequence: np.ndarray) -> dict[str, np.ndarray]:
    """Map sequences (n, 20, 2) to predictions (n, 1) and attention (n, 20)."""
    names = ["prediction", "attention"]
    return dict(zip(names, session.run(names, {"sequence": sequence}), strict=True))


def predict_alone(requests: list) -> list[dict[str, np.ndarray]]:
    """Run each request in a call of its own; without Triton's batch dimension it does not join requests."""
    names = ["prediction", "attention"]
    return [dict(zip(names, session.run(names, {"sequence": r["sequence"]}), strict=True)) for r in requests]


def main() -> None:
    """Serve until a signal."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config = TritonConfig(
        http_address="127.0.0.1", http_port=int(os.environ["PORT"]), allow_grpc=False, allow_metrics=False
    )
    rows = () if BATCHING else (-1,)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="attention",
            infer_func=predict if BATCHING else predict_alone,
            inputs=[Tensor(name="sequence", dtype=np.float32, shape=(*rows, 20, 2))],
            outputs=[
                Tensor(name="prediction", dtype=np.float32, shape=(*rows, 1)),
                Tensor(name="attention", dtype=np.float32, shape=(*rows, 20)),
            ],
            config=ModelConfig(
                batching=BATCHING, max_batch_size=512, batcher=DynamicBatcher(max_queue_delay_microseconds=0)
            ),
        )
        triton.serve()


if __name__ == "__main__":
    main()
