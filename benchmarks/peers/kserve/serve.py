"""KServe: its REST server around a custom model."""

import os
from typing import Any

import numpy as np
import onnxruntime as ort
from kserve import Model, ModelServer
from kserve.constants.constants import FASTAPI_APP_IMPORT_STRING
from kserve.protocol.rest.server import RESTServer


class Peer(Model):
    """The ONNX file behind KServe's V1 protocol."""

    def load(self) -> bool:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(os.environ["LOWERING"], options, providers=["CPUExecutionProvider"])
        self.ready = True
        return self.ready

    async def predict(self, payload: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:
        sequences = np.array(payload["instances"], np.float32)
        prediction, attention = self.session.run(["prediction", "attention"], {"sequence": sequences})
        rows = zip(prediction[:, 0].tolist(), attention.tolist(), strict=True)
        return {"predictions": [{"prediction": value, "attention": weights} for value, weights in rows]}


if __name__ == "__main__":
    model = Peer("attention")
    model.load()
    server = ModelServer(enable_grpc=False)
    server.register_model(model)
    # ModelServer.start listens on every address and does not use uvloop.
    rest = RESTServer(
        FASTAPI_APP_IMPORT_STRING, server.dataplane, server.model_repository_extension, int(os.environ["PORT"])
    )
    rest.config.host = "127.0.0.1"
    rest.run()
