"""A function of TensorFlow: its own program, and its graph as ONNX."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from service.engines.runtime import first_line
from training import TrainingError
from training.importing.half_precision import to_single_precision
from training.importing.original import HALF_TOLERANCE, TOLERANCE, Original, Values, batches
from training.lowering import OPSET, simplify
from training.recurrent_layers import MARKER, as_nodes, gru_node

#: Maps the tensors of the inputs, by name, to those of the outputs.
Call = Callable[[Mapping[str, Any]], Mapping[str, Any]]
#: How the lines of a message begin that say where in the graph an error is.
WHERE: Final = ("Graph execution error", "Detected at", "File ", "<stack", "[[")


def traced(call: Call, examples: Values, outputs: Sequence[str], exposed: Sequence[str]) -> Original:
    """Return a function of TensorFlow with the sizes of examples as an original.

    Args:
        call: the function.
        examples: some values of each input.
        outputs: the names of the outputs that the author gave the model.
        exposed: the names of its other outputs.

    Raises:
        TrainingError: TensorFlow cannot run the function, or it reaches outside of the model.
    """
    names = list(examples)
    signature = [
        tf.TensorSpec((None, *array.shape[1:]), array.dtype, name=f"input_{place}")
        for place, array in enumerate(examples.values())
    ]

    def flat(*tensors: Any) -> dict[str, Any]:
        return dict(call(dict(zip(names, tensors, strict=True))))

    try:
        concrete = tf.function(flat, autograph=False).get_concrete_function(*signature)
    except Exception as error:  # the author's code may raise anything
        raise TrainingError(f"TensorFlow cannot run the model on the examples: {reason(error)}") from error
    _refuse_outside(concrete)
    is_half = _is_half(concrete.graph.as_graph_def())
    inner = _InnerTensors(concrete, names)

    def convert() -> onnx.ModelProto:
        handlers: Any = {"Erfc": (_complement_of_erf, []), MARKER: (gru_node, [])}
        proto: onnx.ModelProto
        try:
            with as_nodes():  # another function, as TensorFlow keeps what it has traced
                lowered = tf.function(flat, autograph=False)
                specific = lowered.get_concrete_function(*signature)
                proto, _ = tf2onnx.convert.from_function(lowered, signature, opset=OPSET, custom_op_handlers=handlers)
        except Exception as error:
            raise TrainingError(f"the model cannot be converted to ONNX: {first_line(error)}") from error
        _rename_inputs(proto, dict(zip((one.name for one in signature), names, strict=True)))
        _keep_constants(proto, specific)
        if is_half:
            to_single_precision(proto)
        simplify(proto)
        return proto

    def run(values: Values, wanted: Collection[str]) -> dict[str, NDArray[Any]]:
        try:
            parts = [concrete(*(tf.constant(some[name]) for name in names)) for some in batches(values)]
        except tf.errors.OpError as error:
            raise TrainingError(f"TensorFlow cannot run the model on the examples: {reason(error)}") from error
        known = {name: np.concatenate([_array(part[name]) for part in parts]) for name in wanted if name in parts[0]}
        return known | inner.run(values, [name for name in wanted if name not in known])

    return Original(tuple(outputs), tuple(exposed), convert, run, HALF_TOLERANCE if is_half else TOLERANCE)


class _InnerTensors:
    """The tensors inside a function, by the names that conversion keeps."""

    def __init__(self, concrete: Any, names: Sequence[str]) -> None:
        self._concrete, self._names = concrete, names
        self._session: Any = None

    def run(self, values: Values, wanted: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return tensors by name; those that TensorFlow's graph does not have are left out."""
        if not wanted:
            return {}
        captured = len(self._concrete.captured_inputs)
        inputs = self._concrete.inputs[: len(self._concrete.inputs) - captured]
        if self._session is None:
            all_inputs = [one.name for one in self._concrete.inputs if one.dtype != tf.resource]
            outputs = [one.name for one in self._concrete.outputs]
            frozen = tf2onnx.tf_loader.from_function(self._concrete, all_inputs, outputs)
            with tf.Graph().as_default() as graph:
                tf.graph_util.import_graph_def(frozen, name="")
            self._session = tf.compat.v1.Session(graph=graph)
        graph = self._session.graph
        operations = {one.name for one in graph.get_operations()}
        known = [name for name in wanted if name.partition(":")[0] in operations and ":" in name]
        constants = {
            one.name: value.numpy()
            for one, value in zip(self._concrete.inputs[len(inputs) :], self._concrete.captured_inputs, strict=True)
            if one.dtype != tf.resource
        }
        parts = [
            self._session.run(
                known, {**{one.name: some[name] for one, name in zip(inputs, self._names, strict=True)}, **constants}
            )
            for some in batches(values)
        ]
        return {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(known)}


def reason(error: Exception) -> str:
    """Return the line of a message of TensorFlow that says what is wrong: it has lines on where the graph is, too."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if line and not line.startswith(WHERE)), type(error).__name__)


def _array(tensor: Any) -> NDArray[Any]:
    array: NDArray[Any] = (tf.cast(tensor, tf.float32) if tensor.dtype == tf.bfloat16 else tensor).numpy()
    return array


def _refuse_outside(concrete: Any) -> None:
    """Refuse operations that run Python, or read or write anything."""
    for operation in _operations(concrete.graph.as_graph_def()):
        if operation in ("PyFunc", "EagerPyFunc", "PyFuncStateless", "ReadFile", "WriteFile", "Print", "PrintV2"):
            raise TrainingError(f"the model has the operation {operation}, which reaches outside of it")


def _operations(graph: Any) -> set[str]:
    return {node.op for node in _nodes(graph)}


def _is_half(graph: Any) -> bool:
    """Return whether a graph computes in half precision, at least in part."""
    half = (tf.float16.as_datatype_enum, tf.bfloat16.as_datatype_enum)
    return any(attribute.type in half for node in _nodes(graph) for attribute in node.attr.values())


def _nodes(graph: Any) -> Iterator[Any]:
    """Yield the nodes of a graph and of its functions."""
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _rename_inputs(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Give the inputs of a graph their original names."""
    for value in model.graph.input:
        value.name = names.get(value.name, value.name)
    for node in model.graph.node:
        _rename(node, names)


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    node.input[:] = [names.get(name, name) for name in node.input]
    for attribute in node.attribute:
        for inner in attribute.g.node:
            _rename(inner, names)


def _keep_constants(model: onnx.ModelProto, concrete: Any) -> None:
    """Turn the constants that a function captured, which conversion made inputs, into constants of the graph."""
    captured = concrete.captured_inputs
    values = dict(
        zip((one.name for one in concrete.inputs[len(concrete.inputs) - len(captured) :]), captured, strict=True)
    )
    kept = []
    for value in model.graph.input:
        if value.name in values and values[value.name].dtype != tf.resource:
            model.graph.initializer.append(numpy_helper.from_array(values[value.name].numpy(), value.name))
        else:
            kept.append(value)
    del model.graph.input[:]
    model.graph.input.extend(kept)


def _complement_of_erf(context: Any, node: Any, name: str, _: Any) -> None:
    """Write Erfc, which ONNX does not have, as 1 - Erf."""
    result = node.output[0]
    shape, dtype = context.get_shape(result), context.get_dtype(result)
    context.remove_node(name)
    erf = context.make_node("Erf", [node.input[0]], name=f"{name}/erf")
    one = context.make_const(f"{name}/one", np.array(1, onnx.helper.tensor_dtype_to_np_dtype(dtype)))
    difference = [one.output[0], erf.output[0]]
    context.make_node("Sub", difference, name=name, outputs=[result], shapes=[shape], dtypes=[dtype])
