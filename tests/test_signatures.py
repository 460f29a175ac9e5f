"""The signature definitions are those that TensorFlow reads."""

from pathlib import Path

import pytest
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

from service.artifact.signatures import DATA_TYPES, SignatureDefinition, TensorInfo, read_signatures


def test_the_signatures_of_an_exported_model(artifacts: Path) -> None:
    """Each tensor has its name in the graph, its data type and its shape."""
    content = (artifacts / "after-lstm" / "1" / "saved_model.pb").read_bytes()
    definitions = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].signature_def

    def infos(tensors: object) -> dict[str, TensorInfo]:
        return {
            name: TensorInfo(
                info.name,
                types_pb2.DataType.Name(info.dtype),
                None if info.tensor_shape.unknown_rank else tuple(axis.size for axis in info.tensor_shape.dim),
            )
            for name, info in dict(tensors).items()  # type: ignore[call-overload] # protobuf has no types
        }

    assert read_signatures(content) == {
        name: SignatureDefinition(infos(one.inputs), infos(one.outputs), one.method_name)
        for name, one in definitions.items()
    }
    assert {"serving_default", "attention"} <= definitions.keys()


def test_the_data_types_have_tensorflows_numbers() -> None:
    """The place of a name in the list is its number."""
    for number, name in enumerate(DATA_TYPES):
        assert types_pb2.DataType.Name(number) == name


def test_an_unknown_data_type_is_given_by_its_number() -> None:
    """The rest of the definition is read."""
    saved_model = saved_model_pb2.SavedModel()
    saved_model.meta_graphs.add().signature_def["new"].inputs["x"].dtype = types_pb2.DT_FLOAT8_E5M2
    assert read_signatures(saved_model.SerializeToString())["new"].inputs["x"].dtype == "DT_24"


def test_other_bytes_are_refused() -> None:
    """The gate turns the ValueError into the reason of a refusal."""
    with pytest.raises(ValueError, match="expected"):
        read_signatures(b"\x12\x7f")
