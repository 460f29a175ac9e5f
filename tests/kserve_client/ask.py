"""KServe's own client, run in a separate environment. Reads sequences from stdin and writes the answers to stdout."""

import asyncio
import json
import sys
from typing import Any

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

MODEL = "after-lstm"


async def main(url: str, sequences: list[Any]) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    async with InferenceRESTClient(RESTConfig(protocol="v1")) as client:
        answers["live_v1"] = await client.is_server_live(url)
        answers["ready_v1"] = await client.is_model_ready(url, MODEL)
        answers["unloaded_ready_v1"] = await client.is_model_ready(url, "three")
        answers["predict_v1"] = await client.infer(url, {"instances": sequences}, model_name=MODEL)
        answers["explain_v1"] = await client.explain(url, MODEL, {"instances": sequences})
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        answers["live_v2"] = await client.is_server_live(url)
        answers["ready_v2"] = await client.is_server_ready(url)
        answers["model_ready_v2"] = await client.is_model_ready(url, MODEL)
        answers["unknown_ready_v2"] = await client.is_model_ready(url, "unknown")
        for form, binary in (("json", False), ("binary", True)):
            array = np.array(sequences, dtype=np.float32)
            tensor = InferInput("sequence", list(array.shape), "FP32")
            tensor.set_data_from_numpy(array, binary_data=binary)
            outputs = [
                RequestedOutput(name, parameters={"binary_data": binary}) for name in ("prediction", "attention")
            ]
            request = InferRequest(MODEL, [tensor], request_id="42", request_outputs=outputs)
            response = await client.infer(url, request, model_name=MODEL)
            answers[form] = {output.name: output.as_numpy().tolist() for output in response.outputs}
            answers[form]["id"] = response.id
    return answers


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], json.load(sys.stdin)))))
