"""An ONNX graph that ONNX Runtime runs."""

import math
from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from service.engines.runtime import first_line
from training import TrainingError
from training.importing.original import ModelInput, Values, batches

#: ONNX Runtime's names of data types, and NumPy's.
DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int16)": "int16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}


class OnnxProgram:
    """Runs a graph.

    Attributes:
        inputs: the graph's inputs.
        outputs: the names of its outputs with a data type of NumPy.
        parameters: the number of weights that a run reads: all but the tables in which tokens are looked up.

    Raises:
        TrainingError: ONNX Runtime cannot open the graph.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors are exceptions
        self._options = onnxruntime.RunOptions()
        self._options.only_execute_path_to_fetches = True  # by default it computes all outputs
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no narrower base
            raise TrainingError(f"ONNX Runtime cannot open the model: {first_line(error)}") from error
        self.inputs = tuple(
            ModelInput(one.name, DTYPES.get(one.type, one.type), tuple(map(_size, one.shape)))
            for one in self._session.get_inputs()
        )
        self.outputs = tuple(one.name for one in self._session.get_outputs() if one.type in DTYPES)
        tables = {node.input[0] for node in model.graph.node if node.op_type == "Gather"}
        self.parameters = sum(math.prod(one.dims) for one in model.graph.initializer if one.name not in tables)

    def run(self, values: Values, names: Collection[str]) -> dict[str, NDArray[Any]]:
        """Return outputs by name, for any number of examples.

        Raises:
            TrainingError: the graph cannot run on the values.
        """
        wanted = [name for name in names if name in self.outputs]
        try:
            parts = [self._session.run(wanted, dict(some), self._options) for some in batches(values)]
        except Exception as error:
            raise TrainingError(f"ONNX Runtime cannot run the model: {first_line(error)}") from error
        if len(parts) == 1:  # tensors inside the graph may have no batch
            return dict(zip(wanted, parts[0], strict=True))
        return {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(wanted)}


def with_all_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a model with every tensor as an output, except constants and those inside loops."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    kept = {value.name for value in model.graph.output}
    inner = (output for node in model.graph.node if node.op_type != "Constant" for output in node.output if output)
    names = [name for name in dict.fromkeys(inner) if name not in kept]
    copy.graph.output.extend(map(onnx.helper.make_empty_tensor_value_info, names))
    return copy


def _size(size: object) -> int | None:
    """Return the size of an axis. For open axes ONNX Runtime gives a name or None."""
    return size if isinstance(size, int) else None
