"""Requests and answers of the Open Inference Protocol, in JSON and in binary."""

import json
from typing import Any

import httpx
import numpy as np
import orjson

LENGTH = "Inference-Header-Content-Length"


def as_json(sequences: Any, **more: Any) -> dict[str, Any]:
    array = np.asarray(sequences)
    tensor = {"name": "sequence", "shape": list(array.shape), "datatype": "FP32", "data": array.ravel().tolist()}
    return {"inputs": [{**tensor, **more.pop("tensor", {})}], **more}


def binary(sequences: Any, datatype: str = "FP32", dtype: str = "<f4", **more: Any) -> dict[str, Any]:
    """Return the arguments of a request with binary data."""
    array = np.asarray(sequences).astype(dtype)
    parameters = {"binary_data_size": array.nbytes}
    tensor = {"name": "sequence", "shape": list(array.shape), "datatype": datatype, "parameters": parameters}
    head = json.dumps({"inputs": [tensor], **more}).encode()
    return {"content": head + array.tobytes(), "headers": {LENGTH: str(len(head))}}


def tensors(response: httpx.Response) -> dict[str, Any]:
    """Return the outputs of a binary answer."""
    length = int(response.headers[LENGTH])
    rest = response.content[length:]
    arrays = {}
    for output in orjson.loads(response.content[:length])["outputs"]:
        assert "data" not in output
        size = output["parameters"]["binary_data_size"]
        arrays[output["name"]], rest = np.frombuffer(rest[:size], "<f4").reshape(output["shape"]), rest[size:]
    assert not rest
    return arrays
