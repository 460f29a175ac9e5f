"""Graphs that compute pass; whatever could reach outside the model does not, wherever it is hidden."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from service.artifact.graphs import DEEPEST, check_onnx, check_saved_model
from service.artifact.version import Artifact


@pytest.fixture
def saved_model(artifacts: Path) -> SavedModel:
    """The graph of after-lstm, to change."""
    model = SavedModel()
    model.ParseFromString((artifacts / "after-lstm" / "1" / "saved_model.pb").read_bytes())
    return model


@pytest.fixture
def lowering(artifacts: Path) -> onnx.ModelProto:
    """The lowering of after-lstm, to change."""
    return onnx.load(Artifact(artifacts / "after-lstm" / "1").lowering_path)


@pytest.mark.parametrize("name", ["after-lstm", "before-lstm", "three"])
def test_what_training_exports_passes(artifacts: Path, name: str) -> None:
    """Every operation of the architectures is one that computes."""
    artifact = Artifact(artifacts / name / "1")
    check_saved_model((artifact.directory / "saved_model.pb").read_bytes())
    check_onnx(artifact.lowering_path.read_bytes())


def into_a_signature(graph: MetaGraphDef) -> None:
    function = next(one for one in graph.graph_def.library.function if "predict" in one.signature.name)
    function.node_def.add(name="evil", op="ReadFile")


def into_the_main_graph(graph: MetaGraphDef) -> None:
    graph.graph_def.node.add(name="evil", op="ReadFile")


def into_the_main_graph_without_a_name(graph: MetaGraphDef) -> None:
    graph.graph_def.node.add(op="RestoreV2")


def into_a_function_that_nobody_calls(graph: MetaGraphDef) -> None:
    graph.graph_def.library.function.add(signature={"name": "unused"}).node_def.add(name="evil", op="WriteFile")


def into_a_saver(graph: MetaGraphDef) -> None:
    function = next(one for one in graph.graph_def.library.function if "traced_restore" in one.signature.name)
    function.node_def.add(name="evil", op="PyFunc")


def by_a_function_of_that_name(graph: MetaGraphDef) -> None:
    graph.graph_def.library.function.add(signature={"name": "ReadFile"})
    into_a_signature(graph)


def reading_weights_when_asked(graph: MetaGraphDef) -> None:
    function = next(one for one in graph.graph_def.library.function if "predict" in one.signature.name)
    function.node_def.add(name="evil", op="RestoreV2")


def calling_the_saver_when_asked(graph: MetaGraphDef) -> None:
    saver = next(one for one in graph.graph_def.library.function if "traced_save" in one.signature.name)
    function = next(one for one in graph.graph_def.library.function if "predict" in one.signature.name)
    node = function.node_def.add(name="evil", op="StatefulPartitionedCall")
    node.attr["f"].func.name = saver.signature.name


def calling_the_saver_through_an_attribute_of_an_attribute(graph: MetaGraphDef) -> None:
    saver = next(one for one in graph.graph_def.library.function if "traced_save" in one.signature.name)
    function = next(one for one in graph.graph_def.library.function if "predict" in one.signature.name)
    node = function.node_def.add(name="evil", op="Case")
    node.attr["branches"].list.func.add(name="branch").attr["f"].func.name = saver.signature.name


@pytest.mark.parametrize(
    ("hide", "operation"),
    [
        (into_a_signature, "ReadFile"),
        (into_the_main_graph, "ReadFile"),
        (into_the_main_graph_without_a_name, "RestoreV2"),
        (into_a_function_that_nobody_calls, "WriteFile"),
        (into_a_saver, "PyFunc"),
        (by_a_function_of_that_name, "ReadFile"),
        (reading_weights_when_asked, "RestoreV2"),
        (calling_the_saver_when_asked, "MergeV2Checkpoints|SaveV2|ShardedFilename|StaticRegexFullMatch|StringJoin"),
        (
            calling_the_saver_through_an_attribute_of_an_attribute,
            "MergeV2Checkpoints|SaveV2|ShardedFilename|StaticRegexFullMatch|StringJoin",
        ),
    ],
)
def test_an_operation_that_may_reach_outside_is_found_wherever_it_hides(
    saved_model: SavedModel, hide: Callable[[MetaGraphDef], None], operation: str
) -> None:
    """Anything but computing is refused; reading and writing weights is, but for whoever saves the model."""
    hide(saved_model.meta_graphs[0])
    with pytest.raises(ValueError, match=rf"holds the operation '({operation})', which may reach outside the model"):
        check_saved_model(saved_model.SerializeToString())


def test_every_occurrence_counts(saved_model: SavedModel) -> None:
    """Of a field that comes twice one reader takes the first and another the last; here both are looked at."""
    good = saved_model.meta_graphs[0].graph_def.SerializeToString()
    into_a_signature(saved_model.meta_graphs[0])
    evil = saved_model.meta_graphs[0].graph_def.SerializeToString()
    saved_model.meta_graphs[0].ClearField("graph_def")
    rest = saved_model.meta_graphs[0].SerializeToString()

    def field(number: int, content: bytes) -> bytes:
        size, length = len(content), bytearray()
        while size > 127:
            length.append(size & 127 | 128)
            size >>= 7
        return bytes([number << 3 | 2, *length, size]) + content

    for graphs in ((good, evil), (evil, good)):
        both = b"".join(field(2, graph) for graph in graphs)
        with pytest.raises(ValueError, match=r"holds the operation 'ReadFile'"):
            check_saved_model(field(2, both + rest))


def test_several_meta_graphs_are_refused(saved_model: SavedModel) -> None:
    """TensorFlow would load them as TensorFlow 1 did."""
    saved_model.meta_graphs.add().CopyFrom(saved_model.meta_graphs[0])
    with pytest.raises(ValueError, match="holds 2 graphs, expected 1"):
        check_saved_model(saved_model.SerializeToString())


def test_a_saved_model_of_tensorflow_1_is_refused(saved_model: SavedModel) -> None:
    """On loading it, TensorFlow would run the node that it names for restoring."""
    saved_model.meta_graphs[0].ClearField("object_graph_def")
    with pytest.raises(ValueError, match="lists no functions: expected a SavedModel of TensorFlow 2"):
        check_saved_model(saved_model.SerializeToString())


def test_attributes_that_lie_deep_in_each_other_are_refused(saved_model: SavedModel) -> None:
    """Neither here nor in the runtime do they get to exhaust the stack."""
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
def test_what_is_no_saved_model_is_said(content: bytes) -> None:
    """Cut off or made up."""
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
    """They could be anybody's file, and come out as an answer."""
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
        b"\xba\x80\x80\x80\x80\x00",  # longer than any reader of 32 bits looks
        b"\x02",  # field 0
    ],
)
def test_a_tag_that_others_may_read_otherwise_is_refused(lowering: onnx.ModelProto, tag: bytes) -> None:
    """ONNX Runtime would find a graph where there seems to be an unknown field."""
    content = lowering.SerializeToString()
    with pytest.raises(ValueError, match=r"ends no number|starts no field"):
        check_onnx(content + tag + b"\x00")
    with pytest.raises(ValueError, match="holds 0 graphs, expected 1"):
        check_onnx(b"")


def test_operators_of_libraries_are_found(lowering: onnx.ModelProto) -> None:
    """They may do whatever their library does."""
    lowering.graph.node.append(helper.make_node("Read", [], ["y"], domain="evil"))
    with pytest.raises(ValueError, match="holds an operator of the library 'evil'"):
        check_onnx(lowering.SerializeToString())


def test_graphs_that_lie_deep_in_each_other_are_refused(lowering: onnx.ModelProto) -> None:
    """Neither here nor in the runtime do they get to exhaust the stack."""
    graph = lowering.graph
    for _ in range(DEEPEST):
        outer = onnx.GraphProto()
        outer.node.append(helper.make_node("If", ["x"], ["y"], then_branch=graph))
        graph = outer
    with pytest.raises(ValueError, match="has graphs more than 16 deep"):
        check_onnx(onnx.ModelProto(graph=graph).SerializeToString())
