"""The graph of the contract around a model's own graph."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from service.artifact.tensors import ATTENTION, ATTENTION_VEC, PREDICTION, SEQUENCE
from training import TrainingError
from training.importing.feeding import PRESENT
from training.importing.interpretation import Interpretation
from training.importing.reading import Reading

#: The oldest operator set in which all nodes below have their form.
OLDEST_OPSET = 13
#: From this operator set on, the axes of a sum are an input.
AXES_AS_INPUT = 18
#: Prefix of all names of the model's own graph, which may be those of the contract.
OWN = "model/"
#: Operators that change only the shape or the type of a value.
PASSING = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})

Piece = onnx.NodeProto | onnx.TensorProto


def wrapped(model: onnx.ModelProto, interpretation: Interpretation) -> onnx.ModelProto:
    """Return the model's graph with the inputs and outputs of the contract.

    Without sources of attention, the prediction is its only output.

    Args:
        model: the model's own graph.
        interpretation: which of its tensors are those of the contract.

    Raises:
        TrainingError: the operator set is too old or not ONNX's own.
    """
    feeding, reading = interpretation.feeding, interpretation.reading
    own = onnx.GraphProto()
    own.CopyFrom(model.graph)
    _add_prefix(own)
    opset = opset_of(model)
    features, timesteps = feeding.features, feeding.timesteps
    before = [_renamed(piece, {part.name: OWN + part.name for part in feeding.parts}) for piece in feeding.nodes()]
    after: list[Piece] = list(reading.nodes(OWN + reading.output, PREDICTION))
    outputs = [_float_value(PREDICTION, ["batch", *_prediction_sizes(reading)])]
    if interpretation.sources:
        after += _attention(interpretation, opset)
        outputs += [
            _float_value(ATTENTION, ["batch", timesteps]),
            _float_value(ATTENTION_VEC, ["batch", timesteps, interpretation.units]),
        ]
    graph = helper.make_graph(
        [*_nodes(before), *own.node, *_nodes(after)],
        "imported",
        [_float_value(SEQUENCE, ["batch", timesteps, features])],
        outputs,
        [*_constants(before), *own.initializer, *_constants(after)],
        sparse_initializer=list(own.sparse_initializer),
    )
    complete = helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
    drop_unused(complete)
    return complete


def _add_prefix(graph: onnx.GraphProto) -> None:
    """Put the prefix before the names of all values of a graph, and of the graphs within it.

    `onnx.compose.add_prefix` passes over constants that graphs within nodes take from the graph around them.
    """
    for node in graph.node:
        node.input[:] = [name and OWN + name for name in node.input]  # an input that is left out has no name
        node.output[:] = [name and OWN + name for name in node.output]
        for inner in _graphs(node):
            _add_prefix(inner)
    sparse = (one.values for one in graph.sparse_initializer)
    for value in (*graph.input, *graph.output, *graph.initializer, *sparse):
        value.name = OWN + value.name
    del graph.value_info[:]


def _graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs within a node: the bodies of loops, and the branches of conditions."""
    for attribute in node.attribute:
        yield from ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs)


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's operators in a model.

    Raises:
        TrainingError: it is too old, or the model uses operators of a library.
    """
    versions = {one.domain: one.version for one in model.opset_import}
    used = sorted({node.domain for node in model.graph.node} - {"", "ai.onnx"})
    if used:
        raise TrainingError(f"the graph uses operators of {', '.join(used)}: expected ONNX's own operators only")
    opset: int = versions.get("", versions.get("ai.onnx", 0))
    if opset < OLDEST_OPSET:
        raise TrainingError(f"the graph has operator set {opset}: export it with {OLDEST_OPSET} or later")
    if opset > (newest := onnx.defs.onnx_opset_version()):
        raise TrainingError(f"the graph has operator set {opset}: export it with one from {OLDEST_OPSET} to {newest}")
    return opset


def drop_unused(model: onnx.ModelProto) -> None:
    """Remove the nodes and constants that no output depends on. Graphs within nodes count as users."""
    graph = model.graph
    used = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):  # sorted topologically: users follow producers
        if used.intersection(node.output):
            used.update(_inputs(node))
            kept.append(node)
    constants = [one for one in graph.initializer if one.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(constants)


def _inputs(node: onnx.NodeProto) -> set[str]:
    """Return the values that a node uses, with those that graphs within it may use."""
    names = set(filter(None, node.input))
    for graph in _graphs(node):
        names.update(*map(_inputs, graph.node), (output.name for output in graph.output))
    return names


def _attention(interpretation: Interpretation, opset: int) -> Iterable[Piece]:
    """Yield the nodes that compute `attention_vec` and `attention`, as `Interpretation.attention_vec` does."""
    feeding, parts = interpretation.feeding, []
    if feeding.pad is not None:
        yield from _present(opset)
    for index, source in enumerate(interpretation.sources):
        name, label = OWN + source.name, f"source_{index}"
        shape = source.shape
        if source.folded > 1:
            shape = (-1, source.folded, *shape[1:])
            yield _constant(f"{label}/unfolded", shape)
            yield helper.make_node("Reshape", [name, f"{label}/unfolded"], [f"{label}/reshape"])
            name = f"{label}/reshape"
        axis = source.axis
        others = [one for one in range(1, len(shape)) if one != axis]
        if [axis, *others] != list(range(1, len(shape))):
            yield helper.make_node("Transpose", [name], [f"{label}/transpose"], perm=[0, axis, *others])
            name = f"{label}/transpose"
        yield _constant(f"{label}/shape", (-1, feeding.timesteps, len(source.units)))
        yield helper.make_node("Reshape", [name, f"{label}/shape"], [f"{label}/units"])
        yield helper.make_node("Cast", [f"{label}/units"], [label], to=TensorProto.FLOAT)
        if source.is_self_attention and feeding.pad is not None:
            yield from _of_present_queries(label, feeding.timesteps, len(source.units))
            label = f"{label}/present"
        parts.append(label)
    result = ATTENTION_VEC if feeding.pad is None else "weights"
    yield helper.make_node("Concat", parts, [result], axis=2)
    if feeding.pad is not None:
        yield helper.make_node("Mul", ["weights", PRESENT], [ATTENTION_VEC])
    yield from _reduced("ReduceMean", ATTENTION_VEC, ATTENTION, opset, keep=False)


def _of_present_queries(source: str, timesteps: int, units: int) -> Iterable[Piece]:
    """Yield the nodes that replace the units of absent queries by the mean of the others, `{source}/present`."""

    def node(operator: str, inputs: Sequence[str], result: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(operator, inputs, [f"{source}/{result}"], **attributes)

    queries, here, axes = f"{source}/queries", f"{source}/here", f"{source}/last"
    yield _constant(f"{source}/by_query", (-1, timesteps, units // timesteps, timesteps))
    yield _constant(f"{source}/of_query", (-1, 1, 1, timesteps))
    yield _constant(f"{source}/by_unit", (-1, timesteps, units))
    yield _constant(axes, (-1,))
    yield numpy_helper.from_array(np.array(0, np.float32), f"{source}/zero")
    yield node("Reshape", [source, f"{source}/by_query"], "queries")
    yield node("Reshape", [PRESENT, f"{source}/of_query"], "here")
    yield node("Cast", [here], "is_here", to=TensorProto.BOOL)
    yield node("Where", [f"{source}/is_here", queries, f"{source}/zero"], "known")  # an absent query may have NaN
    yield node("ReduceSum", [f"{source}/known", axes], "sum", keepdims=1)
    yield node("ReduceSum", [here, axes], "count", keepdims=1)
    yield node("Div", [f"{source}/sum", f"{source}/count"], "mean")
    yield node("Where", [f"{source}/is_here", queries, f"{source}/mean"], "filled")
    yield node("Reshape", [f"{source}/filled", f"{source}/by_unit"], "present")


def _present(opset: int) -> Iterable[Piece]:
    """Yield the nodes that compute `present (batch, timesteps, 1)`, 1 where a timestep has a value, else 0."""
    yield helper.make_node("Not", ["is_missing"], ["is_there"])
    yield helper.make_node("Cast", ["is_there"], ["is_there/float"], to=TensorProto.FLOAT)
    yield from _reduced("ReduceMax", "is_there/float", PRESENT, opset, keep=True)


def _reduced(operator: str, source: str, result: str, opset: int, *, keep: bool) -> Iterable[Piece]:
    """Yield the nodes that reduce the last axis."""
    if opset < AXES_AS_INPUT:
        yield helper.make_node(operator, [source], [result], axes=[-1], keepdims=int(keep))
        return
    yield _constant(f"{result}/axes", (-1,))
    yield helper.make_node(operator, [source, f"{result}/axes"], [result], keepdims=int(keep))


def _prediction_sizes(reading: Reading) -> list[int | str]:
    outputs = reading.target.outputs or "outputs"
    steps = reading.target.steps
    return [outputs] if steps is None else [steps, outputs]


def _float_value(name: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _renamed(piece: Piece, names: dict[str, str]) -> Piece:
    """Give the outputs of a node other names."""
    if isinstance(piece, onnx.NodeProto):
        piece.output[:] = [names.get(name, name) for name in piece.output]
    return piece


def _nodes(pieces: Iterable[Piece]) -> list[onnx.NodeProto]:
    return [one for one in pieces if isinstance(one, onnx.NodeProto)]


def _constants(pieces: Iterable[Piece]) -> list[onnx.TensorProto]:
    return [one for one in pieces if isinstance(one, onnx.TensorProto)]


def _constant(name: str, shape: Sequence[int]) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(shape, np.int64), name)


def operator_of(model: onnx.ModelProto, name: str) -> str:
    """Return the operator that computes a value, before nodes that only change its shape or type; "" for none."""
    producers = {output: node for node in model.graph.node for output in node.output}
    while name in producers and producers[name].op_type in PASSING:
        name = producers[name].input[0]
    return producers[name].op_type if name in producers else ""
