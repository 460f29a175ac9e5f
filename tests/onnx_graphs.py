"""ONNX models for tests: small ones, endless ones, and how many numbers ONNX Runtime computes in one."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from service.artifact.tensors import SEQUENCE
from service.artifact.version import Artifact


def graph_of(nodes: list[onnx.NodeProto], **constants: Any) -> onnx.ModelProto:
    """Return a model with the input `sequence (batch, 4, 2)`, whose output is that of the last node."""
    given = [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()]
    taken = helper.make_tensor_value_info(SEQUENCE, TensorProto.FLOAT, ["batch", 4, 2])
    returned = onnx.ValueInfoProto(name=nodes[-1].output[0])
    graph = helper.make_graph(nodes, "test", [taken], [returned], given)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def loop(name: str, body: onnx.NodeProto | None = None) -> onnx.NodeProto:
    """Return a node that passes a value on in each of `trips` steps, through a node `body` from `x` to `y`."""
    names = [f"{name} {part}" for part in ("step", "go on", "x", "still", "y")]
    step, before, x, after, y = names
    inner = body or helper.make_node("Identity", ["x"], ["y"])
    inner.input[:] = [x if one == "x" else one for one in inner.input]
    inner.output[:] = [y]
    graph = helper.make_graph(
        [helper.make_node("Identity", [before], [after]), inner],
        name,
        [
            helper.make_tensor_value_info(step, TensorProto.INT64, []),
            helper.make_tensor_value_info(before, TensorProto.BOOL, []),
            helper.make_tensor_value_info(x, TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info(after, TensorProto.BOOL, []),
            helper.make_tensor_value_info(y, TensorProto.FLOAT, None),
        ],
    )
    return helper.make_node("Loop", ["trips", "", "x"], ["y"], body=graph)


def insert(artifact: Artifact, *nodes: onnx.NodeProto, **constants: Any) -> None:
    """Insert nodes from `x` to `y` between the input of a version's lowering and all else, and sign the version."""
    model = onnx.load(artifact.lowering_path)
    for one in model.graph.node:
        one.input[:] = ["y" if name == SEQUENCE else name for name in one.input]
    for one in reversed(nodes):
        one.input[:] = [SEQUENCE if name == "x" else name for name in one.input]
        model.graph.node.insert(0, one)
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    artifact.lowering_path.write_bytes(model.SerializeToString())
    artifact.write_sums()


def numbers_in(model: onnx.ModelProto, sequences: int) -> int:
    """Return the numbers in all inputs and outputs of all nodes, of one run in ONNX Runtime."""
    taken = model.graph.input[0].type.tensor_type.shape.dim
    sequence = np.zeros((sequences, *(axis.dim_value for axis in taken[1:])), np.float32)
    nodes = model.graph.node
    wanted = list(dict.fromkeys(name for node in nodes for name in node.output if name))
    every = onnx.ModelProto()
    every.CopyFrom(model)
    del every.graph.output[:]
    every.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(every.SerializeToString(), options, providers=["CPUExecutionProvider"])
    sizes = {name: value.size for name, value in zip(wanted, session.run(wanted, {SEQUENCE: sequence}), strict=True)}
    sizes |= {one.name: numpy_helper.to_array(one).size for one in model.graph.initializer} | {SEQUENCE: sequence.size}
    sizes[""] = 1  # inputs that are left out
    return sum(sizes[name] for node in nodes for name in (*node.input, *filter(None, node.output)))
