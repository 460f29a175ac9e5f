"""The work of a graph is known exactly, or not at all."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from service.artifact.tensors import SEQUENCE
from service.artifact.work import UnknownWork, work_of
from tests.onnx_graphs import graph_of, loop, numbers_in

node = helper.make_node


@pytest.mark.parametrize(
    ("nodes", "constants", "products"),
    [
        ([node("Tanh", [SEQUENCE], ["y"])], {}, 40),
        ([node("Mul", [SEQUENCE, "c"], ["y"])], {"c": np.ones((6, 1, 1, 1), np.float32)}, 240),
        ([node("MatMul", [SEQUENCE, "c"], ["y"])], {"c": np.ones((7, 1, 2, 3), np.float32)}, 7 * 5 * 4 * 3 * 2),
        ([node("Reshape", [SEQUENCE, "c"], ["y"])], {"c": [2, -1, 0]}, 40),
        ([node("Reshape", [SEQUENCE, "c"], ["y"])], {"c": [5, 1, -1]}, 40),
        ([node("Unsqueeze", [SEQUENCE, "c"], ["x"]), node("Squeeze", ["x", "c"], ["y"])], {"c": [-1, 1]}, 80),
        ([node("Slice", [SEQUENCE, "a", "b", "c"], ["y"])], {"a": [-3, 1], "b": [9, -1], "c": [1, 0]}, 3 * 3 * 2),
        ([node("Slice", [SEQUENCE, *"abbb"], ["y"])], {"a": np.array([3], np.int32), "b": np.array([1], np.int32)}, 0),
        ([node("Concat", [SEQUENCE, SEQUENCE, SEQUENCE], ["y"], axis=-2)], {}, 120),
        ([node("ReduceSum", [SEQUENCE, "c"], ["y"], keepdims=0)], {"c": [-1]}, 20),
        ([node("ReduceMean", [SEQUENCE, "c"], ["y"])], {"c": [0, 2]}, 4),
        ([node("Transpose", [SEQUENCE], ["y"], perm=[2, 0, 1])], {}, 40),
        ([node("Gather", [SEQUENCE, "c"], ["y"], axis=-1)], {"c": np.zeros((3, 2), np.int64)}, 5 * 4 * 3 * 2),
        ([node("Pad", [SEQUENCE, "c"], ["y"])], {"c": [0, 1, 2, 0, 3, 0]}, 5 * 8 * 4),
        (
            [node("Conv", [SEQUENCE, "c"], ["y"], kernel_shape=[2], pads=[1, 0])],
            {"c": np.ones((3, 4, 2), np.float32)},
            5 * 3 * 2 * 4 * 2,
        ),
        ([node("MaxPool", [SEQUENCE], ["y"], kernel_shape=[2])], {}, 20 * 2),
        ([node("Gather", [SEQUENCE, "c"], ["y"], axis=-2)], {"c": [[0, 3, 1], [1, 0, 2]]}, 5 * 2 * 3 * 2),
        ([node("Max", [SEQUENCE, "c"], ["y"])], {"c": np.ones((6, 1, 1, 1), np.float32)}, 240),
        ([node("Clip", [SEQUENCE, "c", "c"], ["y"])], {"c": np.float32(1)}, 40),
        (
            [node("LSTM", [SEQUENCE, "w", "r", ""], ["y", "", "z"], hidden_size=3, direction="bidirectional")],
            {"w": np.ones((2, 12, 2), np.float32), "r": np.ones((2, 12, 3), np.float32)},
            5 * 2 * 4 * 3 * 4 * (2 + 3),
        ),
    ],
)  # fmt: skip
def test_the_work_is_that_of_the_runtime(nodes: list[onnx.NodeProto], constants: Any, products: int) -> None:
    """All inputs and outputs of all nodes have the sizes that ONNX Runtime finds."""
    model = graph_of(nodes, **constants)
    assert work_of(model.SerializeToString(), 5) == (numbers_in(model, 5), products)


def test_growing_outputs_are_counted() -> None:
    """Few nodes may have very many numbers."""
    nodes = [node("Reshape", [SEQUENCE, "c"], ["0"])]
    for n in range(4):
        nodes += [
            node("Transpose", [f"{n}"], [f"row {n}"], perm=[1, 0]),
            node("Mul", [f"{n}", f"row {n}"], [f"all {n}"]),
            node("Reshape", [f"all {n}", "c"], [f"{n + 1}"]),
        ]
    assert work_of(graph_of(nodes, c=[-1, 1]).SerializeToString(), 1).numbers > 8**16


TANH = node("Tanh", [SEQUENCE], ["y"])


def open_axis() -> onnx.ModelProto:
    model = graph_of([TANH])
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "timesteps"
    return model


def two_attributes() -> onnx.ModelProto:
    model = graph_of([TANH])
    model.graph.node[0].attribute.extend([helper.make_attribute("axis", 1)] * 2)
    return model


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([graph_of([TANH]), graph_of([TANH])], "2 of one graph"),  # one after the other in one file
        ([open_axis()], "several open axes"),
        ([two_attributes()], "'Tanh'"),
        ([graph_of([node("Tanh", ["nowhere"], ["y"])])], "'Tanh'"),
        ([graph_of([node("Shape", [SEQUENCE], ["s"]), node("Reshape", [SEQUENCE, "s"], ["y"])])], "'Shape'"),
        ([graph_of([loop("body")], trips=2**62)], "'Loop'"),
    ],
)
def test_the_work_of_other_graphs_is_not_known(models: list[onnx.ModelProto], message: str) -> None:
    """The message names the part of the graph."""
    with pytest.raises(UnknownWork, match=message):
        work_of(b"".join(model.SerializeToString() for model in models), 5)
