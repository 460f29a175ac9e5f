"""Versions of ONNX alone, as an import makes them: small graphs made by hand, and cards with an origin."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from service.artifact.card import AttentionProfile, Lowering, ModelCard, Origin, Target
from service.artifact.layout import CHARTS
from service.artifact.tensors import ATTENTION, ATTENTION_VEC, PREDICTION, SEQUENCE, Array
from service.artifact.version import Artifact

TIMESTEPS, FEATURES, UNITS = 4, 2, 3
ORIGIN: Final = Origin(format="onnx", file="theirs.onnx", digest="a" * 64, libraries={"onnx": "1.20.1"})


def imported_card(name: str, *, timesteps: int = TIMESTEPS, features: int = FEATURES, **fields: Any) -> ModelCard:
    """Return the card of an imported model with default fields."""
    defaults: dict[str, Any] = {
        "name": name,
        "created": datetime(2026, 1, 1, tzinfo=UTC),
        "architecture": "imported",
        "timestep_labels": tuple(map(str, range(timesteps))),
        "feature_labels": tuple(map(str, range(features))),
        "target": Target(task="binary", classes=("no", "yes")),
        "metrics": {},
        "attention": AttentionProfile(
            sequences=1, mean=(1 / timesteps,) * timesteps, spread=(0.0,) * timesteps, peak=0, sum_error=0
        ),
        "origin": ORIGIN,
        "lowering": Lowering(opset=18, error=0.0),
    }
    return ModelCard(**{**defaults, **fields}, timesteps=timesteps, features=features)


def model_of(
    nodes: list[onnx.NodeProto], outputs: Mapping[str, tuple[int, ...]], shape: tuple[int, ...], **constants: Any
) -> onnx.ModelProto:
    """Return a model that takes `sequence (batch, *shape)` and has outputs of these shapes behind the batch."""
    graph = helper.make_graph(
        nodes,
        "imported",
        [helper.make_tensor_value_info(SEQUENCE, TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *sizes]) for name, sizes in outputs.items()],
        [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def attentive(
    nodes: list[onnx.NodeProto], states: str, shape: tuple[int, ...], units: int = UNITS, **constants: Any
) -> onnx.ModelProto:
    """Return a model whose attention is the softmax over time of `states (batch, timesteps, units)`.

    The prediction is the sigmoid of the attention on the first timestep.
    """
    timesteps = shape[0]
    return model_of(
        [
            *nodes,
            helper.make_node("Softmax", [states], [ATTENTION_VEC], axis=1),
            helper.make_node("ReduceMean", [ATTENTION_VEC, "last"], [ATTENTION], keepdims=0),
            helper.make_node("Slice", [ATTENTION, "at", "end", "one"], ["there"]),
            helper.make_node("Sigmoid", ["there"], [PREDICTION]),
        ],
        {PREDICTION: (1,), ATTENTION: (timesteps,), ATTENTION_VEC: (timesteps, units)},
        shape,
        last=np.array([2]),
        at=np.array([0]),
        end=np.array([1]),
        one=np.array([1]),
        **constants,
    )


def of_numbers(units: int = UNITS) -> onnx.ModelProto:
    """Return a model of sequences `(4, 2)`, whose states are a projection of the features."""
    weights = np.random.default_rng(0).standard_normal((FEATURES, units)).astype(np.float32)
    project = helper.make_node("MatMul", [SEQUENCE, "weights"], ["states"])
    return attentive([project], "states", (TIMESTEPS, FEATURES), units, weights=weights)


def of_tokens(timesteps: int = 6, tokens: int = 10, units: int = UNITS) -> onnx.ModelProto:
    """Return a model of tokens `(timesteps, 1)`, whose states are an embedding. Absent timesteps have the token 0."""
    embedding = np.random.default_rng(0).standard_normal((tokens, units)).astype(np.float32)
    nodes = [
        helper.make_node("IsNaN", [SEQUENCE], ["absent"]),
        helper.make_node("Where", ["absent", "zero", SEQUENCE], ["filled"]),
        helper.make_node("Cast", ["filled"], ["integers"], to=TensorProto.INT64),
        helper.make_node("Squeeze", ["integers", "last"], ["tokens"]),
        helper.make_node("Gather", ["embedding", "tokens"], ["embedded"]),
        helper.make_node("Where", ["absent", "lowest", "embedded"], ["states"]),
    ]
    constants = {"embedding": embedding, "zero": np.float32(0), "lowest": np.float32(-1e9)}
    return attentive(nodes, "states", (timesteps, 1), units, **constants)


def of_steps(steps: int, outputs: int) -> onnx.ModelProto:
    """Return a model of sequences `(4, 2)` with one unit and one prediction `(outputs,)` for each output step."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", [SEQUENCE, "weights"], ["states"]),
        helper.make_node("Softmax", ["states"], [ATTENTION_VEC], axis=1),
        helper.make_node("ReduceMean", [ATTENTION_VEC, "last"], [ATTENTION], keepdims=0),
        helper.make_node("Transpose", [ATTENTION_VEC], ["by step"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["by step", SEQUENCE], ["context"]),
        helper.make_node("MatMul", ["context", "classes"], ["scores"]),
        helper.make_node("Softmax", ["scores"], [PREDICTION], axis=2)
        if outputs > 1
        else helper.make_node("Sigmoid", ["scores"], [PREDICTION]),
    ]
    return model_of(
        nodes,
        {PREDICTION: (steps, outputs), ATTENTION: (TIMESTEPS,), ATTENTION_VEC: (TIMESTEPS, steps)},
        (TIMESTEPS, FEATURES),
        last=np.array([2]),
        weights=4 * rng.standard_normal((FEATURES, steps)).astype(np.float32),
        classes=rng.standard_normal((FEATURES, outputs)).astype(np.float32),
    )


def without_attention() -> onnx.ModelProto:
    """Return a model of sequences `(4, 2)` whose only output is a prediction: the sigmoid of a weighted sum."""
    weights = np.random.default_rng(0).standard_normal((TIMESTEPS * FEATURES, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Reshape", [SEQUENCE, "flat"], ["values"]),
        helper.make_node("MatMul", ["values", "weights"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], [PREDICTION]),
    ]
    flat = np.array([-1, TIMESTEPS * FEATURES])
    return model_of(nodes, {PREDICTION: (1,)}, (TIMESTEPS, FEATURES), weights=weights, flat=flat)


def numbers(n: int = 5) -> Array:
    """Return sequences `(n, 4, 2)`."""
    return np.random.default_rng(1).standard_normal((n, TIMESTEPS, FEATURES)).astype(np.float32)


def run(model: onnx.ModelProto, sequences: Array) -> dict[str, Array]:
    """Return all outputs of a model in plain ONNX Runtime."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, {SEQUENCE: sequences}), strict=True))


def write_imported(folder: Path, model: onnx.ModelProto, card: ModelCard, sequences: Array) -> Artifact:
    """Write version 1 of a model: its graph, and what ONNX Runtime answers to sequences as the golden example."""
    artifact = Artifact(folder / card.name / "1")
    artifact.card_path.parent.mkdir(parents=True)
    artifact.lowering_path.write_bytes(model.SerializeToString())
    artifact.card_path.write_text(card.model_dump_json())
    outputs = run(model, sequences)
    recorded: dict[str, Any] = {SEQUENCE: sequences}
    recorded |= {name: outputs[name] for name in (PREDICTION, ATTENTION_VEC) if name in outputs}
    np.savez(artifact.golden_path, **recorded)
    for suffix in CHARTS if card.attention is not None else ():
        artifact.chart_path(suffix).write_text(f"chart in {suffix}")
    artifact.write_sums()
    return artifact
