"""What executes a version's graph: ONNX Runtime on the lowering, or TensorFlow on the SavedModel itself.

Each engine imports its runtime when it is opened, so the service runs where only one of them is installed.
"""

import gc
import importlib
import importlib.util
import logging
import os
import sys
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol

from service.errors import ArtifactError
from service.inference.artifact import CARD, INPUT, LOWERING, SIGNATURES, Array, Contents, saved_model_digest
from service.inference.card import ModelCard

EngineChoice = Literal["auto", "onnx", "tensorflow"]

ONNX_DTYPES: Final = {"tensor(float)": "float32"}

logger = logging.getLogger(__name__)


class Tensor(NamedTuple):
    """What a graph says of an input or an output; axes that it leaves open are None."""

    dtype: str
    shape: tuple[int | None, ...]


class Signature(NamedTuple):
    """The inputs and outputs of a graph, by name."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


class Engine(Protocol):
    """One loaded graph. `run` is safe to call from several threads at a time."""

    @property
    def name(self) -> str: ...

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Those of the artifact's signatures that the graph has."""
        ...

    def run(self, sequences: Array, outputs: Collection[str]) -> dict[str, Array]:
        """Execute one forward pass.

        Args:
            sequences: `(batch, timesteps, features)`, NaN where a value is missing.
            outputs: which of `prediction (batch, outputs)`, `attention (batch, timesteps)` and
                `attention_vec (batch, timesteps, units)` to return.
        """
        ...


class OnnxEngine:
    """Runs the lowering in ONNX Runtime."""

    name = "onnx"

    def __init__(self, path: Path, lowering: bytes, threads: int) -> None:
        onnxruntime = _runtime("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        if threads > 1:
            _share_threads(onnxruntime, threads)
            options.use_per_session_threads = False
        # Plans of how to lay out memory, one for each size of batch, would take memory of their own and save little.
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(
                lowering, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
            # What `session.run` calls. Before that it checks, with each call, what `Model` knows: a tenth of the time
            # that one sequence takes.
            self._run = session._sess.run
            inputs, outputs = (
                {
                    node.name: Tensor(ONNX_DTYPES.get(node.type, node.type), tuple(map(_axis, node.shape)))
                    for node in nodes
                }
                for nodes in (session.get_inputs(), session.get_outputs())
            )
        except Exception as error:  # ONNX Runtime's exceptions share no narrower base than Exception
            raise ArtifactError(f"{path} cannot be opened by ONNX Runtime: {_first_line(error)}") from error
        self.signatures: Mapping[str, Signature] = {"attention": Signature(inputs, outputs)}
        self._run_options = onnxruntime.RunOptions()
        self._run_options.only_execute_path_to_fetches = True  # by default it computes what nobody asked for, too

    def run(self, sequences: Array, outputs: Collection[str]) -> dict[str, Array]:
        names = list(outputs)
        return dict(zip(names, self._run(names, {INPUT: sequences}, self._run_options), strict=True))


class TensorFlowEngine:
    """Runs the SavedModel in TensorFlow.

    Its signatures are concrete functions over any batch size, so no call ever traces again.
    """

    name = "tensorflow"

    def __init__(self, copy: Path, directory: Path, threads: int) -> None:
        # TensorFlow prints its search for GPUs as errors; what matters is raised as an exception.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        tensorflow = _runtime("tensorflow")
        _limit_threads(tensorflow, threads)
        self._constant = tensorflow.constant
        try:
            self._saved_model = tensorflow.saved_model.load(str(copy))
            self._signatures = {name: self._saved_model.signatures[name] for name in SIGNATURES}
            self.signatures: Mapping[str, Signature] = {
                name: Signature(_tensors(one.structured_input_signature[1]), _tensors(one.structured_outputs))
                for name, one in self._signatures.items()
            }
        except Exception as error:  # as above: TensorFlow raises whatever its parsers raise
            raise ArtifactError(
                f"{directory} is not a SavedModel with signatures {', '.join(SIGNATURES)}: {_first_line(error)}"
            ) from error

    def run(self, sequences: Array, outputs: Collection[str]) -> dict[str, Array]:
        wanted = set(outputs)
        signature = next(name for name, names in SIGNATURES.items() if wanted.issubset(names))
        results = self._signatures[signature](**{INPUT: self._constant(sequences)})
        return {name: results[name].numpy() for name in outputs}


def open_engine(contents: Contents, card: ModelCard, choice: EngineChoice, threads: int) -> Engine:
    """Open the engine that `choice` names for a version.

    `auto` runs the lowering where there is one and the SavedModel otherwise. A lowering that was not derived from
    the SavedModel beside it is refused rather than replaced by the slower engine: something happened to the files.

    Args:
        contents: the version's files.
        card: its card.
        choice: which engine.
        threads: how many threads one call may use.

    Raises:
        ArtifactError: the version has nothing that the choice can run.
    """
    _check_lowering(contents, card)
    lowering = contents.files.get(LOWERING)
    if lowering is not None and choice != "tensorflow":
        return OnnxEngine(contents.directory / LOWERING, lowering, threads)
    if choice == "onnx" or (choice == "auto" and not _installed("tensorflow")):
        raise ArtifactError(
            f"{contents.directory / LOWERING} is missing: export the version again, "
            "or install TensorFlow and use --engine tensorflow"
        )
    if not _installed("tensorflow"):
        raise ArtifactError(
            "engine tensorflow needs TensorFlow, which is not installed: "
            "pip install 'tensorflow>=2.21', or use --engine onnx"
        )
    # What TensorFlow reads must be what was checked, whatever happens to the version meanwhile.
    with tempfile.TemporaryDirectory() as private:
        contents.write_saved_model(Path(private))
        return TensorFlowEngine(Path(private), contents.directory, threads)


def _check_lowering(contents: Contents, card: ModelCard) -> None:
    if LOWERING not in contents.files:
        return
    path = contents.directory / LOWERING
    if card.lowering is None:
        raise ArtifactError(
            f"{path} is there, but {contents.directory / CARD} does not describe it: export the version again"
        )
    digest = saved_model_digest(contents.digests)
    if digest != card.lowering.source_digest:
        raise ArtifactError(
            f"{path} was not derived from the SavedModel beside it: expected digest "
            f"{card.lowering.source_digest[:12]}, got {digest[:12]}: export the version again"
        )


def _runtime(module: str) -> Any:
    """Import what executes graphs.

    What is loaded by then stays for good; models, which are opened afterwards, do not. Left among the objects that the
    garbage collector looks through, it stops every request for some 35 ms several times a second.
    """
    if module not in sys.modules:
        importlib.import_module(module)
        gc.collect()
        gc.freeze()
    return sys.modules[module]


def _share_threads(onnxruntime: Any, threads: int) -> None:
    """One thread pool for all models and versions; it belongs to the process and is sized once."""
    try:
        onnxruntime.set_global_thread_pool_sizes(threads, 1)
    except Exception as error:  # noqa: BLE001 - as above
        logger.debug("ONNX Runtime keeps the threads that it has: %s", error)


def _limit_threads(tensorflow: Any, threads: int) -> None:
    """TensorFlow's thread pools belong to the process and are sized once, before its first operation."""
    threading = tensorflow.config.threading
    try:
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        logger.info("TensorFlow is already running in this process; its thread pools stay as they are")


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _axis(size: object) -> int | None:
    """ONNX Runtime gives open axes a name, or none."""
    return size if isinstance(size, int) else None


def _tensors(specifications: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: Tensor(one.dtype.name, tuple(one.shape)) for name, one in specifications.items()}
