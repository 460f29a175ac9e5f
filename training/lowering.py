"""The lowering: the SavedModel's graph as ONNX, simplified and compared with the SavedModel."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx
from onnx import numpy_helper

from service.artifact.card import Target
from service.artifact.gate import differences
from service.artifact.tensors import SEQUENCE, Array
from training import TrainingError
from training.recurrent_layers import MARKER, as_nodes, gru_node

#: The newest operator set of tf2onnx.
OPSET = 18
#: Largest difference between an output of the lowering and the same output of the SavedModel.
TOLERANCE = 1e-5
#: Inputs of an ONNX LSTM for the initial hidden and cell state; zero if absent.
INITIAL_STATES = (5, 6)

Shape = tuple[int | str, ...]


def write_lowering(attend: tf.types.experimental.GenericFunction, path: Path, sample: Array, target: Target) -> float:
    """Convert a function to ONNX, write it, and compare both on a sample `(n, timesteps, features)`.

    Return the largest difference on any output, in the units of `gate.differences`.

    Raises:
        TrainingError: the difference is larger than `TOLERANCE`.
    """
    with as_nodes():  # another function, as TensorFlow keeps what it has traced
        lowered = tf.function(attend.python_function, attend.input_signature, autograph=False)
        handlers: Any = {MARKER: (gru_node, [])}
        proto, _ = tf2onnx.convert.from_function(
            lowered, lowered.input_signature, opset=OPSET, custom_op_handlers=handlers
        )
    simplify(proto)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = attend(tf.constant(sample))
    lowered = dict(zip(expected, session.run(list(expected), {SEQUENCE: sample}), strict=True))
    # numpy's max: Python's max() may ignore NaN.
    error = float(np.max([differences(name, lowered[name], expected[name].numpy(), target).max() for name in expected]))
    if not error <= TOLERANCE:
        raise TrainingError(f"the lowering differs from the SavedModel by {error:.2g}, expected at most {TOLERANCE:g}")
    return error


def simplify(model: onnx.ModelProto) -> None:
    """Remove the arithmetic on shapes, which ONNX does not need.

    It is half of the nodes of a small model, and half of the time.
    """
    graph = model.graph
    if any(attribute.HasField("g") or attribute.graphs for node in graph.node for attribute in node.attribute):
        return  # a subgraph may use any value; no architecture here has one
    producers = {output: node for node in graph.node for output in node.output if output}
    inputs = {value.name for value in graph.input}  # an initializer of an input is only its default
    constants = {initializer.name: initializer for initializer in graph.initializer if initializer.name not in inputs}
    shapes = _shapes(model)
    for node in graph.node:
        if node.op_type == "LSTM":
            _leave_out_zero_states(node, producers, constants)
        elif node.op_type == "Reshape":
            _multiply_without_reshaping(node, producers, shapes)
    _drop_unused(graph)


def _shapes(model: onnx.ModelProto) -> Mapping[str, Shape]:
    """Return the shape of each value, as far as ONNX can infer it. Dimensions of equal name are equal."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {initializer.name: tuple(initializer.dims) for initializer in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dimensions = value.type.tensor_type.shape.dim
        shapes[value.name] = tuple(
            dimension.dim_value if dimension.HasField("dim_value") else dimension.dim_param or f"{value.name}[{axis}]"
            for axis, dimension in enumerate(dimensions)
        )
    return shapes


def _leave_out_zero_states(
    node: onnx.NodeProto, producers: Mapping[str, onnx.NodeProto], constants: Mapping[str, onnx.TensorProto]
) -> None:
    """Remove the initial states of an LSTM if they are zeros expanded to the size of the batch."""
    for index in INITIAL_STATES:
        if index >= len(node.input):
            return
        state = node.input[index]
        while state in producers and producers[state].op_type in ("Unsqueeze", "Expand"):
            state = producers[state].input[0]
        if state in constants and not numpy_helper.to_array(constants[state]).any():
            node.input[index] = ""


def _multiply_without_reshaping(
    node: onnx.NodeProto, producers: Mapping[str, onnx.NodeProto], shapes: Mapping[str, Shape]
) -> None:
    """Replace Reshape(MatMul(Reshape(x), matrix)), TensorFlow's form of x @ matrix, by one MatMul."""
    product = producers.get(node.input[0])
    if product is None or product.op_type != "MatMul":
        return
    left, matrix = product.input
    flat = producers.get(left)
    if flat is None or flat.op_type != "Reshape":
        return
    x = flat.input[0]
    match shapes.get(x, ()), shapes.get(matrix, ()):
        case (*leading, last), (rows, columns) if last == rows:
            if shapes.get(node.output[0]) == (*leading, columns):
                node.op_type = "MatMul"
                del node.attribute[:]
                node.input[:] = [x, matrix]


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Remove the nodes and constants that no output depends on."""
    used = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):  # sorted topologically: users follow producers
        if used.intersection(node.output):
            used.update(filter(None, node.input))
            kept.append(node)
    constants = [initializer for initializer in graph.initializer if initializer.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(constants)
