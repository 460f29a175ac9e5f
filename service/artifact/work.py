"""The work of an ONNX graph where it follows from the graph alone: without loops, and with shapes that are constant.

These are the operations that training exports. Each rule returns the shapes of a node's outputs.
Source: https://onnx.ai/onnx/operators. A graph that is not unambiguous here has no known work.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple, TypeVar

import numpy as np

from service.artifact.protobuf import fields, integers, messages, strings

T = TypeVar("T")
Shape = tuple[int, ...]

#: ONNX's data types of shapes and axes by number: how NumPy reads their bytes, and the field of their values otherwise.
INTEGERS: Final = {6: ("<i4", 5), 7: ("<i8", 7)}
#: Most entries of a constant whose values are read. Shapes and axes have fewer.
MOST_ENTRIES: Final = 64


class UnknownWork(ValueError):
    """The work of a graph does not follow from the graph. The message names the operation."""


class Work(NamedTuple):
    """The work of one run of a graph.

    Attributes:
        numbers: numbers in all inputs and outputs of all nodes.
        products: products of two numbers that are added up.
    """

    numbers: int
    products: int


class _Node(NamedTuple):
    """A node of a graph.

    Attributes:
        shapes: the shapes of its inputs; empty for inputs that are left out.
        constants: the values of its inputs that are constant, by position.
        attributes: the integers in its attributes.
    """

    shapes: list[Shape]
    constants: Mapping[int, list[int]]
    attributes: Mapping[str, list[int]]


def work_of(model: bytes, sequences: int) -> Work:
    """Return the work of one run of an ONNX model.

    Args:
        model: the model.
        sequences: the size of its input's first axis.

    Raises:
        UnknownWork: it has an operation or a shape without a rule.
        ValueError: it is not an ONNX model.
    """
    graph = _only(messages(model, 7), "graph")
    shapes, constants = _inputs(graph, sequences), dict[str, list[int]]()
    for tensor in messages(graph, 5):
        name = _only(strings(tensor, 8), "name")
        shapes[name] = tuple(integers(tensor, 1))
        kind = _only(integers(tensor, 2), "data type")
        if kind in INTEGERS and math.prod(shapes[name]) <= MOST_ENTRIES:
            bytes_as, field = INTEGERS[kind]
            data = b"".join(map(bytes, messages(tensor, 9)))
            constants[name] = [*np.frombuffer(data, bytes_as).tolist(), *integers(tensor, field)]
    numbers = products = 0
    for message in messages(graph, 1):
        operation = _only(strings(message, 4), "operation")
        names = list(strings(message, 1))
        try:
            node = _Node(
                [shapes[name] if name else () for name in names],
                {position: constants[name] for position, name in enumerate(names) if name in constants},
                _attributes(message),
            )
            outputs = RULES[operation](node)
        except (KeyError, IndexError, ValueError) as error:
            raise UnknownWork(f"the operation {operation[:80]!r}, whose work is not known") from error
        named = {name: shape for name, shape in zip(strings(message, 2), outputs, strict=False) if name}
        shapes |= named
        numbers += sum(map(math.prod, (*node.shapes, *named.values())))
        products += math.prod(outputs[0]) * _products_of_a_number(operation, node)
    return Work(numbers, products)


def _only(values: Iterator[T], what: str) -> T:
    """Return the only value. Of several, readers may take the first or the last, or join them."""
    found = list(values)
    if len(found) != 1:
        raise UnknownWork(f"a part with {len(found)} of one {what}")
    return found[0]


def _inputs(graph: memoryview, sequences: int) -> dict[str, Shape]:
    """Return the shape of each input, whose first axis may be open."""
    shapes = {}
    for declared in messages(graph, 11):
        tensor = _only(messages(_only(messages(declared, 2), "type"), 1), "tensor type")
        sizes = [list(integers(axis, 1)) for axis in messages(_only(messages(tensor, 2), "shape"), 1)]
        first, *others = sizes or [[]]
        if any(len(size) != 1 for size in others):
            raise UnknownWork("an input with several open axes")
        shapes[_only(strings(declared, 1), "name")] = (first[0] if first else sequences, *(size[0] for size in others))
    return shapes


def _attributes(node: memoryview) -> dict[str, list[int]]:
    attributes: dict[str, list[int]] = {}
    for attribute in messages(node, 5):
        name = _only(strings(attribute, 1), "name")
        if name in attributes or any(number in {6, 11} for number, _ in fields(attribute)):  # a graph
            raise UnknownWork(f"the attribute {name!r}")
        attributes[name] = [*integers(attribute, 3), *integers(attribute, 8)]
    return attributes


def _products_of_a_number(operation: str, node: _Node) -> int:
    """Return how many products each number of the first output takes."""
    if operation == "MatMul":
        return node.shapes[0][-1]
    if operation == "Conv":
        return math.prod(node.shapes[1][1:])
    if operation == "MaxPool":
        return math.prod(node.attributes["kernel_shape"])
    if operation == "LSTM":  # each state takes four gates
        return 4 * (node.shapes[1][-1] + node.shapes[2][-1])
    return 1


def _same(node: _Node) -> list[Shape]:
    return [node.shapes[0]]


def _broadcast(node: _Node) -> list[Shape]:
    return [np.broadcast_shapes(*node.shapes)]


def _transpose(node: _Node) -> list[Shape]:
    shape = node.shapes[0]
    order = node.attributes["perm"]
    if sorted(order) != list(range(len(shape))):
        raise ValueError(order)
    return [tuple(shape[axis] for axis in order)]


def _matmul(node: _Node) -> list[Shape]:
    first, second = node.shapes
    if first[-1] != second[-2]:
        raise ValueError(first, second)
    return [(*np.broadcast_shapes(first[:-2], second[:-2]), first[-2], second[-1])]


def _reshape(node: _Node) -> list[Shape]:
    shape, wanted = node.shapes[0], node.constants[1]
    if "allowzero" in node.attributes:
        raise ValueError(wanted)
    sizes = [shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = math.prod(shape) // math.prod(size for size in sizes if size != -1)
    if math.prod(sizes) != math.prod(shape) or min(sizes, default=0) < 0:
        raise ValueError(wanted)
    return [tuple(sizes)]


def _axes(node: _Node, rank: int) -> set[int]:
    """Return the axes that an input, or in older operator sets an attribute, lists."""
    axes = node.constants[1] if len(node.shapes) > 1 else node.attributes["axes"]
    return {range(rank)[axis] for axis in axes}


def _squeeze(node: _Node) -> list[Shape]:
    shape = node.shapes[0]
    axes = _axes(node, len(shape))
    if any(shape[axis] != 1 for axis in axes):
        raise ValueError(axes)
    return [tuple(size for axis, size in enumerate(shape) if axis not in axes)]


def _unsqueeze(node: _Node) -> list[Shape]:
    rest = iter(node.shapes[0])
    rank = len(node.shapes[0]) + len(node.constants[1])
    axes = _axes(node, rank)
    return [tuple(1 if axis in axes else next(rest, 1) for axis in range(rank))]


def _reduce(node: _Node) -> list[Shape]:
    shape = node.shapes[0]
    axes, kept = _axes(node, len(shape)), node.attributes.get("keepdims", [1]) != [0]
    if not axes:  # all of them, or none
        raise ValueError(axes)
    return [tuple(1 if axis in axes else size for axis, size in enumerate(shape) if kept or axis not in axes)]


def _slice(node: _Node) -> list[Shape]:
    sizes = list(node.shapes[0])
    starts, ends, axes = (node.constants[position] for position in (1, 2, 3))
    if any(step != 1 for step in (node.constants[4] if len(node.shapes) > 4 else ())):
        raise ValueError(node.constants)
    for start, end, axis in zip(starts, ends, axes, strict=True):
        sizes[axis] = len(range(sizes[axis])[start:end])
    return [tuple(sizes)]


def _concat(node: _Node) -> list[Shape]:
    axis, first = node.attributes["axis"][0], node.shapes[0]
    return [
        tuple(
            sum(shape[axis] for shape in node.shapes) if at == range(len(first))[axis] else size
            for at, size in enumerate(first)
        )
    ]


def _pad(node: _Node) -> list[Shape]:
    shape, pads = node.shapes[0], node.constants[1]
    if len(node.shapes) > 3 or len(pads) != 2 * len(shape) or min(pads) < 0:  # with axes, or cutting
        raise ValueError(pads)
    return [tuple(size + pads[axis] + pads[axis + len(shape)] for axis, size in enumerate(shape))]


def _convolution(node: _Node) -> list[Shape]:
    batch, channels, *_ = node.shapes[0]
    filters, depth, *kernel = node.shapes[1]
    if depth != channels or kernel != node.attributes["kernel_shape"]:
        raise ValueError(node.shapes)
    return [(batch, filters, *_slid(node))]


def _pool(node: _Node) -> list[Shape]:
    return [(*node.shapes[0][:2], *_slid(node))]


def _slid(node: _Node) -> list[int]:
    """Return the sizes of the axes along which a kernel slides, by one step at a time."""
    sizes, kernel = node.shapes[0][2:], node.attributes["kernel_shape"]
    others = {name: node.attributes.get(name, [1]) for name in ("strides", "dilations", "group")}
    if any(set(values) != {1} for values in others.values()) or {"auto_pad", "ceil_mode"} & node.attributes.keys():
        raise ValueError(node.attributes)
    pads = node.attributes.get("pads", [0] * 2 * len(sizes))
    found = [
        size + sum(pads[at :: len(sizes)]) - width + 1
        for at, (size, width) in enumerate(zip(sizes, kernel, strict=True))
    ]
    if min(pads) < 0 or min(found) < 1 or len(pads) != 2 * len(sizes):
        raise ValueError(pads)
    return found


def _gather(node: _Node) -> list[Shape]:
    shape, indices = node.shapes
    axis = range(len(shape))[node.attributes.get("axis", [0])[0]]
    return [(*shape[:axis], *indices, *shape[axis + 1 :])]


def _lstm(node: _Node) -> list[Shape]:
    (timesteps, batch, _), (directions, _, _), (_, _, units) = node.shapes[:3]
    if "layout" in node.attributes:
        raise ValueError(node.attributes)
    return [(timesteps, directions, batch, units), *[(directions, batch, units)] * 2]


#: How the shapes of the outputs follow from the inputs, by operation.
RULES: Final[Mapping[str, Callable[[_Node], list[Shape]]]] = {
    **dict.fromkeys(("Abs", "Cast", "Clip", "IsNaN", "Not", "Relu", "Sigmoid", "Softmax", "Tanh"), _same),
    **dict.fromkeys(("Add", "And", "Div", "Equal", "Greater", "Less", "Max", "Mul", "Where"), _broadcast),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceSum"), _reduce),
    "Concat": _concat,
    "Conv": _convolution,
    "Gather": _gather,
    "LSTM": _lstm,
    "MatMul": _matmul,
    "MaxPool": _pool,
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
