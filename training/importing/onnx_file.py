"""A model in an ONNX file."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import inliner

from service.artifact.card import Layer
from training import TrainingError
from training.importing.onnx_program import OnnxProgram, with_all_outputs
from training.importing.original import HALF_TOLERANCE, TOLERANCE, ModelInput, Original, Values
from training.importing.wrapping import opset_of


class OnnxFile:
    """A model in an ONNX file, with its weights in the graph and without functions.

    Args:
        path: the file. Weights in other files are read, too.

    Raises:
        TrainingError: the file is no ONNX model, or a file of weights is missing.
    """

    libraries = ("onnx", "onnxruntime")
    layers: tuple[Layer, ...] = ()

    def __init__(self, path: Path) -> None:
        try:
            model = onnx.load(path)
        except DecodeError as error:
            raise TrainingError(f"{path} is not an ONNX model: {error}") from error
        except (onnx.checker.ValidationError, FileNotFoundError, ValueError) as error:
            raise TrainingError(f"{path}: its weights are in another file, which cannot be read: {error}") from error
        if not model.graph.node:
            raise TrainingError(f"{path} is not an ONNX model: it has no graph")
        self._model = inliner.inline_local_functions(model) if model.functions else model
        opset_of(self._model)  # early, to name the reason
        del self._model.graph.value_info[:]  # shapes of open sizes
        self._program = OnnxProgram(self._model)
        for noun, found in (("input", self._program.inputs), ("output", self._program.outputs)):
            if not found:
                raise TrainingError(f"{path}: expected an {noun} of numbers, got none")

    @property
    def inputs(self) -> tuple[ModelInput, ...]:
        return self._program.inputs

    def trace(self, examples: Values, named: Sequence[str], timesteps: int) -> Original:
        """Return the model with the sizes of the examples, as `Opened.trace` documents it."""
        for one in self.inputs:
            if one.shape and one.shape[0] is not None:
                raise TrainingError(
                    f"input {one.name}: expected an open number of sequences, got {one.shape[0]}: export the model "
                    "with an open batch (PyTorch: dynamic_axes, or dynamic_shapes)"
                )
        inner: list[OnnxProgram] = []

        def run(values: Values, wanted: Collection[str]) -> dict[str, NDArray[Any]]:
            if set(wanted) <= set(self._program.outputs):
                return self._program.run(values, wanted)
            if not inner:
                inner.append(OnnxProgram(with_all_outputs(self._model)))
            return inner[0].run(values, wanted)

        return Original(self._program.outputs, (), lambda: self._model, run, _tolerance(self._model))


def _tolerance(model: onnx.ModelProto) -> float:
    """Return how far the graph may differ. With half precision, fused nodes round differently."""
    half = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    casts = (one.i for node in model.graph.node if node.op_type == "Cast" for one in node.attribute)
    weights = (one.data_type for one in model.graph.initializer)
    return HALF_TOLERANCE if any(one in half for one in (*casts, *weights)) else TOLERANCE
