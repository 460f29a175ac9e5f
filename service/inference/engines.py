"""What executes a version's graph: ONNX Runtime on the lowering, or TensorFlow on the SavedModel itself.

Each engine imports its runtime when it is opened, so the service runs where only one of them is installed.
"""

import importlib.util
import logging
import os
from collections.abc import Collection
from pathlib import Path
from typing import Literal, Protocol

from service.errors import ArtifactError
from service.inference.artifact import INPUT, SIGNATURES, Array, Artifact
from service.inference.card import ModelCard

EngineChoice = Literal["auto", "onnx", "tensorflow"]

logger = logging.getLogger(__name__)


class Engine(Protocol):
    """One loaded graph. `run` is safe to call from any one thread at a time."""

    @property
    def name(self) -> str: ...

    def run(self, sequences: Array, outputs: Collection[str]) -> dict[str, Array]:
        """Execute one forward pass.

        Args:
            sequences: `(batch, timesteps, features)`.
            outputs: which of `prediction (batch, outputs)`, `attention (batch, timesteps)` and
                `attention_vec (batch, timesteps, units)` to return.
        """
        ...


class OnnxEngine:
    """Runs the lowering in ONNX Runtime."""

    name = "onnx"

    def __init__(self, lowering: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(lowering, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no narrower base than Exception
            raise ArtifactError(f"{lowering} cannot be opened by ONNX Runtime: {_first_line(error)}") from error
        self._run_options = onnxruntime.RunOptions()
        self._run_options.only_execute_path_to_fetches = True  # by default it computes what nobody asked for, too

    def run(self, sequences: Array, outputs: Collection[str]) -> dict[str, Array]:
        names = list(outputs)
        return dict(zip(names, self._session.run(names, {INPUT: sequences}, self._run_options), strict=True))


class TensorFlowEngine:
    """Runs the SavedModel in TensorFlow.

    Its signatures are concrete functions over any batch size, so no call ever traces again.
    """

    name = "tensorflow"

    def __init__(self, directory: Path, threads: int) -> None:
        # TensorFlow prints its search for GPUs as errors; what matters is raised as an exception.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import tensorflow

        _limit_threads(tensorflow, threads)
        self._constant = tensorflow.constant
        try:
            self._saved_model = tensorflow.saved_model.load(str(directory))
            self._signatures = {name: self._saved_model.signatures[name] for name in SIGNATURES}
        except Exception as error:  # as above: TensorFlow raises whatever its parsers raise
            raise ArtifactError(
                f"{directory} is not a SavedModel with signatures {', '.join(SIGNATURES)}: {_first_line(error)}"
            ) from error

    def run(self, sequences: Array, outputs: Collection[str]) -> dict[str, Array]:
        wanted = set(outputs)
        signature = next(name for name, names in SIGNATURES.items() if wanted.issubset(names))
        results = self._signatures[signature](**{INPUT: self._constant(sequences)})
        return {name: results[name].numpy() for name in outputs}


def open_engine(artifact: Artifact, card: ModelCard, choice: EngineChoice, threads: int) -> Engine:
    """Open the engine that `choice` names for a version.

    `auto` runs the lowering where there is one and the SavedModel otherwise. A lowering that was not derived from
    the SavedModel beside it is refused rather than replaced by the slower engine: something happened to the files.

    Args:
        artifact: the version.
        card: its card.
        choice: which engine.
        threads: how many threads one call may use.

    Raises:
        ArtifactError: the version has nothing that the choice can run.
    """
    if choice == "tensorflow":
        if not _installed("tensorflow"):
            raise ArtifactError(
                "engine tensorflow needs TensorFlow, which is not installed: "
                "pip install 'tensorflow>=2.21', or use --engine onnx"
            )
        return TensorFlowEngine(artifact.directory, threads)
    if artifact.lowering_path.exists():
        _check_lowering(artifact, card)
        return OnnxEngine(artifact.lowering_path, threads)
    if choice == "auto" and _installed("tensorflow"):
        return TensorFlowEngine(artifact.directory, threads)
    raise ArtifactError(
        f"{artifact.lowering_path} is missing: export the version again, "
        "or install TensorFlow and use --engine tensorflow"
    )


def _check_lowering(artifact: Artifact, card: ModelCard) -> None:
    if card.lowering is None:
        raise ArtifactError(
            f"{artifact.lowering_path} is there, but {artifact.card_path} does not describe it: "
            "export the version again, or use --engine tensorflow"
        )
    digest = artifact.saved_model_digest()
    if digest != card.lowering.source_digest:
        raise ArtifactError(
            f"{artifact.lowering_path} was not derived from the SavedModel beside it: expected digest "
            f"{card.lowering.source_digest[:12]}, got {digest[:12]}: "
            "export the version again, or use --engine tensorflow"
        )


def _limit_threads(tensorflow: object, threads: int) -> None:
    """TensorFlow's thread pools belong to the process and are sized once, before its first operation."""
    threading = tensorflow.config.threading  # type: ignore[attr-defined]  # TensorFlow ships no types
    try:
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        logger.info("TensorFlow is already running in this process; its thread pools stay as they are")


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
