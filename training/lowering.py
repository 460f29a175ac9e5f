"""The lowering: the SavedModel's graph as ONNX, without what only TensorFlow needs, and checked against it."""

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx
from onnx import numpy_helper

from service.artifact.card import Lowering, Target
from service.artifact.gate import differences
from service.artifact.tensors import SEQUENCE, Array
from service.artifact.version import Artifact, saved_model_digest
from training import TrainingError

#: The newest operator set that tf2onnx writes.
OPSET = 18
#: How far the lowering may be from the SavedModel on any output.
TOLERANCE = 1e-5
#: Inputs of an ONNX LSTM: its initial hidden and cell state, zero where they are left out.
INITIAL_STATES = (5, 6)

Shape = tuple[int | str, ...]


def write_lowering(
    attend: tf.types.experimental.GenericFunction, artifact: Artifact, sample: Array, target: Target
) -> Lowering:
    """Derive the lowering from a function, write it, and compare both.

    Args:
        attend: from `sequence (batch, timesteps, features)` to outputs by name.
        artifact: where the SavedModel is written already.
        sample: `(n, timesteps, features)` to compare on.
        target: what is predicted.

    Raises:
        TrainingError: the lowering computes something else.
    """
    proto, _ = tf2onnx.convert.from_function(attend, attend.input_signature, opset=OPSET)
    simplify(proto)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, artifact.lowering_path)
    session = onnxruntime.InferenceSession(artifact.lowering_path, providers=["CPUExecutionProvider"])
    expected = attend(tf.constant(sample))
    lowered = dict(zip(expected, session.run(list(expected), {SEQUENCE: sample}), strict=True))
    # Of all outputs at once: Python's own max() may pass over what is not a number.
    distances = [differences(name, lowered[name], expected[name].numpy(), target).max() for name in expected]
    error = float(np.max(distances))
    if not error <= TOLERANCE:
        raise TrainingError(f"the lowering differs from the SavedModel by {error:.2g}, expected at most {TOLERANCE:g}")
    return Lowering(opset=OPSET, error=error, source_digest=saved_model_digest(artifact.digests()))


def simplify(model: onnx.ModelProto) -> None:
    """Remove the arithmetic on shapes that TensorFlow needs and ONNX does not.

    For a small model it takes as long as the model itself: half of the nodes.
    """
    graph = model.graph
    if any(attribute.HasField("g") or attribute.graphs for node in graph.node for attribute in node.attribute):
        return  # control flow, which no architecture here has, may use any value
    producers = {output: node for node in graph.node for output in node.output if output}
    inputs = {value.name for value in graph.input}  # may come with a default, which is no constant
    constants = {initializer.name: initializer for initializer in graph.initializer if initializer.name not in inputs}
    shapes = _shapes(model)
    for node in graph.node:
        if node.op_type == "LSTM":
            _leave_out_zero_states(node, producers, constants)
        elif node.op_type == "Reshape":
            _multiply_without_reshaping(node, producers, shapes)
    _drop_unused(graph)


def _shapes(model: onnx.ModelProto) -> Mapping[str, Shape]:
    """Shapes of all values, as far as they can be told; dimensions of equal name are equal."""
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
    """Let an LSTM start from zero by itself, rather than from zeros expanded to the size of the batch."""
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
    """Turn Reshape(MatMul(Reshape(x), matrix)), which is how TensorFlow writes x @ matrix, into just that."""
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
    """Remove nodes and constants that no output depends on."""
    wanted = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):  # sorted topologically: whoever uses a node comes after it
        if wanted.intersection(node.output):
            wanted.update(filter(None, node.input))
            kept.append(node)
    constants = [initializer for initializer in graph.initializer if initializer.name in wanted]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(constants)
