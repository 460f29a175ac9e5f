"""The engine that runs the SavedModel in TensorFlow."""

import logging
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from service.artifact.engine import Signature, TensorType
from service.artifact.tensors import SEQUENCE, SIGNATURES, Array
from service.engines.runtime import first_line, import_runtime
from service.errors import ArtifactError

logger = logging.getLogger(__name__)


class TensorFlowEngine:
    """Runs the SavedModel in TensorFlow.

    Its signatures are concrete functions of an open batch size, so calls never trace again.

    Args:
        copy: a private copy of the SavedModel.
        directory: directory of the version, for errors.
        threads: number of threads that one call may use.

    Raises:
        ArtifactError: the copy is not a SavedModel with the signatures of the contract.
    """

    name = "tensorflow"

    def __init__(self, copy: Path, directory: Path, threads: int) -> None:
        # TensorFlow logs its search for GPUs as errors. Errors that matter are raised as exceptions.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        tensorflow = import_runtime("tensorflow")
        _limit_threads(tensorflow, threads)
        self._constant = tensorflow.constant
        try:
            self._saved_model = tensorflow.saved_model.load(str(copy))
            self._signatures = {name: self._saved_model.signatures[name] for name in SIGNATURES}
            self.signatures: Mapping[str, Signature] = {
                name: Signature(_types(one.structured_input_signature[1]), _types(one.structured_outputs))
                for name, one in self._signatures.items()
            }
        except Exception as error:  # TensorFlow documents no narrower exceptions
            raise ArtifactError(
                f"{directory} is not a SavedModel with signatures {', '.join(SIGNATURES)}: {first_line(error)}"
            ) from error

    def run(self, sequences: Array, outputs: Collection[str]) -> dict[str, Array]:
        """Execute one forward pass, as `Engine.run` documents it."""
        wanted = set(outputs)
        signature = next(name for name, names in SIGNATURES.items() if wanted.issubset(names))
        results = self._signatures[signature](**{SEQUENCE: self._constant(sequences)})
        return {name: results[name].numpy() for name in outputs}


def _limit_threads(tensorflow: Any, threads: int) -> None:
    """Set the size of TensorFlow's thread pools. It can be set only before the first operation in a process."""
    threading = tensorflow.config.threading
    try:
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        logger.info("TensorFlow is already running in this process; its thread pools stay as they are")


def _types(specifications: Mapping[str, Any]) -> dict[str, TensorType]:
    return {name: TensorType(one.dtype.name, tuple(one.shape)) for name, one in specifications.items()}
