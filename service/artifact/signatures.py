"""The signature definitions of a version, which TensorFlow Serving publishes as metadata."""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from service.artifact.engine import Signature, TensorType
from service.artifact.protobuf import fields, messages, strings
from service.artifact.tensors import SIGNATURES

#: TensorFlow's data types by number, as in its types.proto.
DATA_TYPES: Final = (
    "DT_INVALID", "DT_FLOAT", "DT_DOUBLE", "DT_INT32", "DT_UINT8", "DT_INT16", "DT_INT8", "DT_STRING", "DT_COMPLEX64",
    "DT_INT64", "DT_BOOL", "DT_QINT8", "DT_QUINT8", "DT_QINT32", "DT_BFLOAT16", "DT_QINT16", "DT_QUINT16", "DT_UINT16",
    "DT_COMPLEX128", "DT_HALF", "DT_RESOURCE", "DT_VARIANT", "DT_UINT32", "DT_UINT64",
)  # fmt: skip


class TensorInfo(NamedTuple):
    """Declaration of an input or output.

    Attributes:
        name: name of the tensor in the graph.
        dtype: data type, such as `DT_FLOAT`.
        shape: size of each axis, -1 if it is open; None if the number of axes is open.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] | None


class SignatureDefinition(NamedTuple):
    """One signature.

    Attributes:
        inputs: the inputs, by the names that clients use.
        outputs: the outputs, by the names that clients use.
        method_name: the method of TensorFlow Serving that the signature is for.
    """

    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    method_name: str


def read_signatures(saved_model: bytes) -> dict[str, SignatureDefinition]:
    """Return the signature definitions in a `saved_model.pb`, by name.

    Raises:
        ValueError: the bytes are not a SavedModel.
    """
    return {
        name: SignatureDefinition(
            inputs={key: _tensor_info(info) for key, info in _entries(definition, 1)},
            outputs={key: _tensor_info(info) for key, info in _entries(definition, 2)},
            method_name=_last_string(definition, 3),
        )
        for meta_graph in messages(saved_model, 2)
        for name, definition in _entries(meta_graph, 5)
    }


def signatures_of(lowering: Signature) -> dict[str, SignatureDefinition]:
    """Return the signature definitions that the SavedModel of a lowering would have, by name.

    Args:
        lowering: the inputs and outputs of the lowering, of float32.
    """
    inputs = {name: _declared(name, tensor) for name, tensor in lowering.inputs.items()}
    outputs = {name: _declared(name, tensor) for name, tensor in lowering.outputs.items()}
    return {
        signature: SignatureDefinition(inputs, {name: outputs[name] for name in names}, "tensorflow/serving/predict")
        for signature, names in SIGNATURES.items()
        if outputs.keys() >= set(names)
    }


def _declared(name: str, tensor: TensorType) -> TensorInfo:
    return TensorInfo(name, "DT_FLOAT", tuple(-1 if size is None else size for size in tensor.shape))


def _entries(message: memoryview, field: int) -> Iterator[tuple[str, memoryview]]:
    """Yield the entries of a map from strings to messages."""
    for entry in messages(message, field):
        *_, value = (memoryview(b""), *messages(entry, 2))
        yield _last_string(entry, 1), value


def _tensor_info(info: memoryview) -> TensorInfo:
    number = _last_number(info, 2)
    dtype = DATA_TYPES[number] if 0 <= number < len(DATA_TYPES) else f"DT_{number}"
    *_, shape = (memoryview(b""), *messages(info, 3))
    axes = tuple(_last_number(axis, 1) for axis in messages(shape, 2))
    return TensorInfo(_last_string(info, 1), dtype, None if _last_number(shape, 3) else axes)


def _last_string(message: memoryview, field: int) -> str:
    *_, last = ("", *strings(message, field))
    return last


def _last_number(message: memoryview, field: int) -> int:
    """Return the number in a field, 0 without the field. Negative numbers are stored as their two's complement."""
    *_, last = (0, *(value for number, value in fields(message) if number == field and isinstance(value, int)))
    return last - 2**64 if last >> 63 else last
