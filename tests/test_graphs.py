"""Graphs that only compute pass. Others are refused, even if they hide their operations."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from tensorflow.core.framework.attr_value_pb2 import AttrValue
from tensorflow.core.framework.function_pb2 import FunctionDef
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from service.artifact.graphs import DEEPEST, check_onnx, check_saved_model
from service.artifact.version import Artifact


@pytest.fixture
def saved_model(artifacts: Path) -> SavedModel:
    """Parse the graph of after-lstm, for a test to change."""
    model = SavedModel()
    model.ParseFromString((artifacts / "after-lstm" / "1" / "saved_model.pb").read_bytes())
    return model


@pytest.fixture
def lowering(artifacts: Path) -> onnx.ModelProto:
    """Parse the lowering of after-lstm, for a test to change."""
    return onnx.load(Artifact(artifacts / "after-lstm" / "1").lowering_path)


@pytest.mark.parametrize("name", ["after-lstm", "before-lstm", "three"])
def test_exported_models_pass(artifacts: Path, name: str) -> None:
    """Each operation of the architectures is allowed."""
    artifact = Artifact(artifacts / name / "1")
    check_saved_model((artifact.directory / "saved_model.pb").read_bytes())
    check_onnx(artifact.lowering_path.read_bytes())


def function_of(graph: MetaGraphDef, name: str) -> FunctionDef:
    """Return the first function whose name contains a text."""
    return next(one for one in graph.graph_def.library.function if name in one.signature.name)


def into_a_signature(graph: MetaGraphDef) -> None:
    function_of(graph, "predict").node_def.add(name="evil", op="ReadFile")


def into_the_main_graph(graph: MetaGraphDef) -> None:
    graph.graph_def.node.add(name="evil", op="ReadFile")


def into_the_main_graph_without_a_name(graph: MetaGraphDef) -> None:
    graph.graph_def.node.add(op="RestoreV2")


def into_a_function_without_callers(graph: MetaGraphDef) -> None:
    graph.graph_def.library.function.add(signature={"name": "unused"}).node_def.add(name="evil", op="WriteFile")


def into_a_saver(graph: MetaGraphDef) -> None:
    function_of(graph, "traced_restore").node_def.add(name="evil", op="PyFunc")


def by_a_function_of_that_name(graph: MetaGraphDef) -> None:
    graph.graph_def.library.function.add(signature={"name": "ReadFile"})
    into_a_signature(graph)


def reading_weights_in_a_signature(graph: MetaGraphDef) -> None:
    function_of(graph, "predict").node_def.add(name="evil", op="RestoreV2")


def calling_the_saver_in_a_signature(graph: MetaGraphDef) -> None:
    saver = function_of(graph, "traced_save")
    node = function_of(graph, "predict").node_def.add(name="evil", op="StatefulPartitionedCall")
    node.attr["f"].func.name = saver.signature.name


def calling_the_saver_through_an_attribute_of_an_attribute(graph: MetaGraphDef) -> None:
    saver = function_of(graph, "traced_save")
    node = function_of(graph, "predict").node_def.add(name="evil", op="Case")
    node.attr["branches"].list.func.add(name="branch").attr["f"].func.name = saver.signature.name


@pytest.mark.parametrize(
    ("hide", "operation"),
    [
        (into_a_signature, "ReadFile"),
        (into_the_main_graph, "ReadFile"),
        (into_the_main_graph_without_a_name, "RestoreV2"),
        (into_a_function_without_callers, "WriteFile"),
        (into_a_saver, "PyFunc"),
        (by_a_function_of_that_name, "ReadFile"),
        (reading_weights_in_a_signature, "RestoreV2"),
        (calling_the_saver_in_a_signature, "MergeV2Checkpoints|SaveV2|ShardedFilename|StaticRegexFullMatch|StringJoin"),
        (
            calling_the_saver_through_an_attribute_of_an_attribute,
            "MergeV2Checkpoints|SaveV2|ShardedFilename|StaticRegexFullMatch|StringJoin",
        ),
    ],
)
def test_an_operation_that_may_reach_outside_is_found_wherever_it_hides(
    saved_model: SavedModel, hide: Callable[[MetaGraphDef], None], operation: str
) -> None:
    """Operations that read and write weights are allowed only where saving needs them."""
    hide(saved_model.meta_graphs[0])
    with pytest.raises(ValueError, match=rf"holds the operation '({operation})', which may reach outside the model"):
        check_saved_model(saved_model.SerializeToString())


def field_2(*contents: bytes) -> bytes:
    """Return a message with several occurrences of field 2."""
    message: bytes = AttrValue.ListValue(s=contents).SerializeToString()
    return message


def test_each_occurrence_of_a_field_is_checked(saved_model: SavedModel) -> None:
    """If a field is repeated, one reader takes the first and another the last."""
    good = saved_model.meta_graphs[0].graph_def.SerializeToString()
    into_a_signature(saved_model.meta_graphs[0])
    evil = saved_model.meta_graphs[0].graph_def.SerializeToString()
    saved_model.meta_graphs[0].ClearField("graph_def")
    rest = saved_model.meta_graphs[0].SerializeToString()

    for graphs in ((good, evil), (evil, good)):
        both = field_2(*graphs)
        with pytest.raises(ValueError, match=r"holds the operation 'ReadFile'"):
            check_saved_model(field_2(both + rest))


def test_several_meta_graphs_are_refused(saved_model: SavedModel) -> None:
    """TensorFlow loads them as TensorFlow 1 did."""
    saved_model.meta_graphs.add().CopyFrom(saved_model.meta_graphs[0])
    with pytest.raises(ValueError, match="holds 2 graphs, expected 1"):
        check_saved_model(saved_model.SerializeToString())


def test_a_saved_model_of_tensorflow_1_is_refused(saved_model: SavedModel) -> None:
    """On loading, TensorFlow runs the node that such a model names for restoring."""
    saved_model.meta_graphs[0].ClearField("object_graph_def")
    with pytest.raises(ValueError, match="lists no functions: expected a SavedModel of TensorFlow 2"):
        check_saved_model(saved_model.SerializeToString())


def test_deeply_nested_attributes_are_refused(saved_model: SavedModel) -> None:
    """Deep nesting could exhaust the stack, here or in the runtime."""
    function = next(one for one in saved_model.meta_graphs[0].graph_def.library.function if one.node_def)
    attributes = function.node_def.add(name="deep", op="Case").attr
    for _ in range(DEEPEST):
        called = attributes["f"].func
        called.name = "f"
        attributes = called.attr
    saved_model.meta_graphs[0].object_graph_def.concrete_functions[function.signature.name].SetInParent()
    with pytest.raises(ValueError, match="more than 16 deep"):
        check_saved_model(saved_model.SerializeToString())


@pytest.mark.parametrize("content", [b"", b"\x12\xff", b"text", b"\xff" * 11, b"\x12\x05\x12"])
def test_other_bytes_are_refused(content: bytes) -> None:
    """They may be a truncated SavedModel or anything else."""
    with pytest.raises(ValueError, match=r"holds 0 graphs|starts no field|ends no number|expected .* bytes"):
        check_saved_model(content)


def in_another_file(model: onnx.ModelProto) -> None:
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="/etc/passwd")


def in_another_file_of_a_subgraph(model: onnx.ModelProto) -> None:
    elsewhere = onnx.ModelProto(graph={"initializer": [model.graph.initializer[0]]})
    in_another_file(elsewhere)
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=elsewhere.graph))


def in_another_file_of_a_constant(model: onnx.ModelProto) -> None:
    elsewhere = onnx.ModelProto(graph={"initializer": [model.graph.initializer[0]]})
    in_another_file(elsewhere)
    model.graph.node.append(helper.make_node("Constant", [], ["y"], value=elsewhere.graph.initializer[0]))


@pytest.mark.parametrize("hide", [in_another_file, in_another_file_of_a_subgraph, in_another_file_of_a_constant])
def test_weights_in_another_file_are_found(lowering: onnx.ModelProto, hide: Callable[[onnx.ModelProto], None]) -> None:
    """Otherwise an answer could reveal the content of any file."""
    hide(lowering)
    with pytest.raises(ValueError, match="keeps weights in another file"):
        check_onnx(lowering.SerializeToString())


def test_functions_and_training_are_refused(lowering: onnx.ModelProto) -> None:
    """A lowering is one graph of operators."""
    check_onnx(lowering.SerializeToString())
    for field in (lowering.functions, lowering.training_info):
        field.add()
        with pytest.raises(ValueError, match="holds functions, expected one graph of operators"):
            check_onnx(lowering.SerializeToString())
        del field[:]


@pytest.mark.parametrize(
    "tag",
    [
        b"\xba\x80\x80\x80\x10",  # field 7 for a reader that keeps 32 bits
        b"\xba\x80\x80\x80\x80\x00",  # longer than a number of 32 bits
        b"\x02",  # field 0
    ],
)
def test_a_tag_that_readers_disagree_about_is_refused(lowering: onnx.ModelProto, tag: bytes) -> None:
    """ONNX Runtime would find a graph where this reader finds an unknown field."""
    content = lowering.SerializeToString()
    with pytest.raises(ValueError, match=r"ends no number|starts no field"):
        check_onnx(content + tag + b"\x00")
    with pytest.raises(ValueError, match="holds 0 graphs, expected 1"):
        check_onnx(b"")


def test_operators_of_libraries_are_found(lowering: onnx.ModelProto) -> None:
    """Their code is outside ONNX."""
    lowering.graph.node.append(helper.make_node("Read", [], ["y"], domain="evil"))
    with pytest.raises(ValueError, match="holds an operator of the library 'evil'"):
        check_onnx(lowering.SerializeToString())


@pytest.mark.parametrize("name", ["\x1b[2J", "line\n", "n" * 1001])
def test_names_that_change_a_log_are_refused(lowering: onnx.ModelProto, name: str) -> None:
    """ONNX Runtime's errors show them."""
    lowering.graph.node[3].name = name
    with pytest.raises(ValueError, match="expected at most 1000 printable characters"):
        check_onnx(lowering.SerializeToString())


def test_random_operations_are_refused(lowering: onnx.ModelProto) -> None:
    """A check of one run would say nothing about the next."""
    branch = helper.make_graph([helper.make_node("RandomUniform", [], ["z"], shape=[1])], "branch", [], [])
    lowering.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=branch))
    with pytest.raises(ValueError, match="holds the operation 'RandomUniform', whose outputs differ from run to run"):
        check_onnx(lowering.SerializeToString())


def test_deeply_nested_graphs_are_refused(lowering: onnx.ModelProto) -> None:
    """Deep nesting could exhaust the stack, here or in the runtime."""
    graph = lowering.graph
    for _ in range(DEEPEST):
        outer = onnx.GraphProto()
        outer.node.append(helper.make_node("If", ["x"], ["y"], then_branch=graph))
        graph = outer
    with pytest.raises(ValueError, match="has graphs more than 16 deep"):
        check_onnx(onnx.ModelProto(graph=graph).SerializeToString())
