"""A SavedModel of TensorFlow: of Keras, of a tf.Module, or of TensorFlow 1."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import tensorflow as tf

from service.artifact.card import Layer
from service.engines.runtime import first_line
from training import TrainingError
from training.importing.original import ModelInput, Original, Values
from training.importing.tensorflow_program import traced

#: The signatures that are asked for, in this order; then the only one.
PREFERRED: Final = ("serving_default", "serve", "predict")


class SavedModel:
    """A SavedModel, or one of its signatures.

    Args:
        path: its directory.

    Raises:
        TrainingError: TensorFlow cannot load it, or it has no signature.
    """

    libraries = ("tensorflow", "tf2onnx")
    layers: tuple[Layer, ...] = ()

    def __init__(self, path: Path) -> None:
        try:
            self._loaded = tf.saved_model.load(str(path))  # the variables live as long as this object
        except Exception as error:  # TensorFlow raises many kinds
            raise TrainingError(f"{path} cannot be opened by TensorFlow: {first_line(error)}") from error
        signatures = {**self._loaded.signatures}
        chosen = next((name for name in PREFERRED if name in signatures), None)
        if chosen is None and len(signatures) == 1:
            chosen = next(iter(signatures))
        if chosen is None:
            listed = ", ".join(sorted(signatures)) or "none"
            raise TrainingError(
                f"{path}: expected a signature serving_default, got {listed}: save it with "
                "tf.saved_model.save(module, path, signatures=module.function)"
            )
        self._signature = signatures[chosen]

    @property
    def inputs(self) -> tuple[ModelInput, ...]:
        _, keywords = self._signature.structured_input_signature
        return tuple(ModelInput(name, one.dtype.name, tuple(one.shape)) for name, one in keywords.items())

    def trace(self, examples: Values, named: Sequence[str], timesteps: int) -> Original:
        """Return the model with the sizes of the examples, as `Opened.trace` documents it."""

        def call(values: Mapping[str, Any]) -> Mapping[str, Any]:
            outputs: Mapping[str, Any] = self._signature(**values)
            return outputs

        return traced(call, examples, list(self._signature.structured_outputs), ())
