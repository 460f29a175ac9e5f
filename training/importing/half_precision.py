"""Graphs of half precision, which become single precision: ONNX Runtime has few operators of half precision."""

from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

#: ONNX's data types of half precision.
HALF: Final = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def to_single_precision(model: onnx.ModelProto) -> None:
    """Let a graph compute in float32, unless an input has half precision. The weights keep their values."""
    if not any(one.type.tensor_type.elem_type in HALF for one in model.graph.input):
        _change(model.graph)


def _change(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        _change_tensor(tensor)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type in HALF:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i in HALF:
                attribute.i = TensorProto.FLOAT
            _change_tensor(attribute.t)
            for inner in (attribute.g, *attribute.graphs):
                _change(inner)


def _change_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type in HALF:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
