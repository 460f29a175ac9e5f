"""MLServer: its REST server and a custom runtime in one process."""

import asyncio
import os

import onnxruntime as ort
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import install_uvloop_event_loop

BATCHING = os.environ["BATCHING"] == "1"


class Peer(MLModel):
    """The ONNX file behind the Open Inference Protocol."""

    async def load(self) -> bool:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(os.environ["LOWERING"], options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        sequences = NumpyCodec.decode_input(payload.inputs[0])
        names = ["prediction", "attention"]
        outputs = self.session.run(names, {"sequence": sequences})
        return InferenceResponse(
            model_name=self.name,
            outputs=[NumpyCodec.encode_output(name, output) for name, output in zip(names, outputs, strict=True)],
        )


async def main() -> None:
    """Serve until a signal."""
    settings = Settings(
        debug=False,
        host="127.0.0.1",
        http_port=int(os.environ["PORT"]),
        grpc_port=0,
        parallel_workers=0,
        metrics_endpoint=None,
        gzip_enabled=False,
        load_models_at_startup=False,
    )
    batching = {"max_batch_size": 64, "max_batch_time": 0.0001} if BATCHING else {}
    await MLServer(settings).start([ModelSettings(name="attention", implementation=Peer, **batching)])


if __name__ == "__main__":
    install_uvloop_event_loop()
    asyncio.run(main())
