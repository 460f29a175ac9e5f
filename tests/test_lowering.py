"""The simplified lowering has no arithmetic on shapes, and computes the same."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import training
from training.lowering import simplify

UNITS, FEATURES = 3, 2


@pytest.mark.parametrize("name", ["after-lstm", "before-lstm", "three"])
def test_nothing_in_a_lowering_computes_shapes(artifacts: Path, name: str) -> None:
    """Each such node takes as long as any other node."""
    graph = onnx.load(artifacts / name / "1" / "assets.extra" / "model.onnx").graph
    kinds = [node.op_type for node in graph.node]
    assert "LSTM" in kinds
    assert not {"Shape", "Cast", "Gather", "Concat", "Expand"}.intersection(kinds)
    assert {initializer.name for initializer in graph.initializer} <= {
        name for node in graph.node for name in node.input
    }


@pytest.mark.parametrize("architecture", ["after_lstm", "before_lstm", "additive"])
def test_a_gru_is_one_node(tmp_path: Path, architecture: str) -> None:
    """A loop of many nodes would take ten times as long. The export compares it with the SavedModel."""
    x = np.random.default_rng(0).standard_normal((60, 5, 2))
    shape: dict[str, Any] = {"architecture": architecture, "cell": "gru", "units": 3, "layers": 2}
    result = training.train(x, x[:, 1, 0] > 0, artifacts=tmp_path, epochs=1, publish_anyway=True, **shape)
    graph = onnx.load(result.directory / "assets.extra" / "model.onnx").graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("GRU") == 2
    assert not {"LSTM", "Loop"}.intersection(kinds)


@pytest.mark.parametrize("start", [0.0, 0.5])
def test_only_zero_states_are_left_out(start: float) -> None:
    """An LSTM keeps an initial state that is not zero."""
    rng = np.random.default_rng(0)
    weights = {
        "W": rng.standard_normal((1, 4 * UNITS, FEATURES)),
        "R": rng.standard_normal((1, 4 * UNITS, UNITS)),
        "B": rng.standard_normal((1, 8 * UNITS)),
        "start": np.array(start),
    }
    nodes = [
        helper.make_node("Expand", ["start", "shape"], ["flat"]),
        helper.make_node("Unsqueeze", ["flat", "axis"], ["state"]),
        helper.make_node("LSTM", ["x", "W", "R", "B", "", "state", "state"], ["y"], hidden_size=UNITS),
    ]
    shapes = {"shape": np.array([5, UNITS]), "axis": np.array([0])}
    model = graph_of(nodes, weights, shapes, input_shape=(4, 5, FEATURES))
    before, after, kinds = run_before_and_after(model, rng.standard_normal((4, 5, FEATURES)))
    np.testing.assert_array_equal(after, before)
    assert kinds == (["LSTM"] if start == 0 else ["Expand", "Unsqueeze", "LSTM"])


@pytest.mark.parametrize("rows", [FEATURES, 2 * FEATURES])
def test_only_reshaping_that_multiplication_does_itself_is_left_out(rows: int) -> None:
    """A reshape that joins rows before the product stays."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Reshape", ["x", "flat_shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["product"]),
        helper.make_node("Reshape", ["product", "shape"], ["y"]),
    ]
    shapes = {"flat_shape": np.array([-1, rows]), "shape": np.array([4, -1, UNITS])}
    model = graph_of(nodes, {"matrix": rng.standard_normal((rows, UNITS))}, shapes, input_shape=(4, 6, FEATURES))
    before, after, kinds = run_before_and_after(model, rng.standard_normal((4, 6, FEATURES)))
    np.testing.assert_array_equal(after, before)
    assert kinds == (["MatMul"] if rows == FEATURES else ["Reshape", "MatMul", "Reshape"])


def test_an_lstm_may_have_no_states_at_all() -> None:
    """An LSTM without initial states stays as it is."""
    rng = np.random.default_rng(0)
    weights = {"W": rng.standard_normal((1, 4 * UNITS, FEATURES)), "R": rng.standard_normal((1, 4 * UNITS, UNITS))}
    nodes = [helper.make_node("LSTM", ["x", "W", "R"], ["y"], hidden_size=UNITS)]
    before, after, _ = run_before_and_after(
        graph_of(nodes, weights, {}, input_shape=(4, 5, FEATURES)), rng.standard_normal((4, 5, FEATURES))
    )
    np.testing.assert_array_equal(after, before)


def graph_of(
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    shapes: dict[str, np.ndarray],
    input_shape: tuple[int, ...],
) -> onnx.ModelProto:
    constants = {name: value.astype(np.float32) for name, value in weights.items()} | shapes
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run_before_and_after(model: onnx.ModelProto, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[str]]:
    def run() -> np.ndarray:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return np.asarray(session.run(["y"], {"x": x.astype(np.float32)})[0])

    before = run()
    simplify(model)
    return before, run(), [node.op_type for node in model.graph.node]
