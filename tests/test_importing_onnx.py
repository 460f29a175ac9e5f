"""ONNX files of other programs: what the service answers is what they compute."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.artifact.graphs import check_onnx
from service.artifact.layout import LOWERING
from tests.foreign import FEATURES, TIMESTEPS, examples, imported, labels, served
from tests.server import ROOT
from training import TrainingError

PYTORCH = ROOT / "tests" / "pytorch"
X = examples()


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
@pytest.mark.parametrize(
    ("model", "task", "heads"),
    [("recurrent", "binary", 0), ("returned", "auto", 0), ("self_attention", "regression", 2)],
)
def test_models_of_pytorch_are_served(tmp_path: Path, model: str, exporter: str, task: str, heads: int) -> None:
    """Attention is found, logits and logarithms become probabilities, and weights in another file are read."""
    pytorch = np.load(PYTORCH / f"{model}.npz")
    version = imported(PYTORCH / f"{model}_{exporter}.onnx", X, tmp_path, task=task)
    answers = served(version, pytorch["x"])
    expected = pytorch["attention"]
    if heads:  # (n, heads, queries, timesteps)
        expected = expected.reshape(len(expected), -1, TIMESTEPS).swapaxes(1, 2)
        np.testing.assert_allclose(answers.attention_vec, expected, rtol=0, atol=1e-5)
        expected = expected.mean(axis=-1)
    np.testing.assert_allclose(answers.prediction, pytorch["prediction"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(answers.attention, expected, rtol=0, atol=1e-5)
    check_onnx((version / LOWERING).read_bytes())


def attentive(shape: tuple[int | str, int, int] = ("n", TIMESTEPS, FEATURES), opset: int = 18) -> onnx.ModelProto:
    """Return a graph without weights: attention is the softmax of the first feature, and weighs the second."""
    parts: dict[str, Any] = {"num_outputs": 2} if opset >= 18 else {}
    nodes = [
        helper.make_node("Split", ["x"], ["scores", "values"], axis=2, **parts),
        helper.make_node("Softmax", ["scores"], ["weights"], axis=1),
        helper.make_node("Mul", ["weights", "values"], ["weighted"]),
        helper.make_node("Reshape", ["weighted", "flat"], ["columns"]),
        helper.make_node("MatMul", ["columns", "ones"], ["prediction"]),
    ]
    graph = helper.make_graph(
        nodes,
        "theirs",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, [shape[0], 1])],
        [
            numpy_helper.from_array(np.array([-1, shape[1]], np.int64), "flat"),
            numpy_helper.from_array(np.ones((shape[1], 1), np.float32), "ones"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
def test_old_and_new_operator_sets(tmp_path: Path, opset: int) -> None:
    """The graph around the model has the model's own operator set. The names of the contract may be the model's."""
    onnx.save(attentive(opset=opset), tmp_path / "theirs.onnx")
    answers = served(imported(tmp_path / "theirs.onnx", X, tmp_path, task="regression"), X)
    weights = np.exp(X[:, :, 0]) / np.exp(X[:, :, 0]).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answers.attention, weights, rtol=0, atol=1e-6)
    np.testing.assert_allclose(answers.prediction[:, 0], (weights * X[:, :, 1]).sum(axis=1), rtol=0, atol=1e-5)
    assert answers.card.lowering is not None
    assert answers.card.lowering.opset == opset


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (attentive(opset=11), "the graph has operator set 11: export it with 13 or later"),
        (attentive((1, TIMESTEPS, FEATURES)), r"input x: expected an open number of sequences, got 1: .*dynamic_axes"),
        (
            attentive(("n", 9, FEATURES)),
            r"expected examples of shape \(n, 9, 2\), as the model's input takes, got \(40, 6, 2\)",
        ),
    ],
)
def test_files_that_cannot_be_imported(tmp_path: Path, model: onnx.ModelProto, message: str) -> None:
    """The message says what to do, and nothing is published."""
    onnx.save(model, tmp_path / "theirs.onnx")
    with pytest.raises(TrainingError, match=message):
        imported(tmp_path / "theirs.onnx", X, tmp_path, task="regression", y=labels())
    assert not (tmp_path / "mine").exists()


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    """The message names the file."""
    (tmp_path / "theirs.onnx").write_bytes(b"nothing")
    with pytest.raises(TrainingError, match=re.escape(f"{tmp_path / 'theirs.onnx'} is not an ONNX model")):
        imported(tmp_path / "theirs.onnx", X, tmp_path)


def test_weights_in_a_missing_file(tmp_path: Path) -> None:
    """The message says that the weights are in another file."""
    content = (PYTORCH / "recurrent_dynamo.onnx").read_bytes()
    (tmp_path / "theirs.onnx").write_bytes(content)
    with pytest.raises(
        TrainingError, match=r"weights are in another file, which cannot be read: .*recurrent_dynamo.onnx.data"
    ):
        imported(tmp_path / "theirs.onnx", X, tmp_path)
