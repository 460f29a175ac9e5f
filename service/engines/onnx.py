"""The engine that runs the lowering in ONNX Runtime."""

import logging
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from service.artifact.engine import Signature, TensorType
from service.artifact.tensors import SEQUENCE, Array
from service.engines.runtime import first_line, import_runtime
from service.errors import ArtifactError

DTYPES: Final = {"tensor(float)": "float32"}

logger = logging.getLogger(__name__)


class OnnxEngine:
    """Runs the lowering in ONNX Runtime.

    Args:
        path: path of the lowering, for errors.
        lowering: the ONNX model.
        threads: number of threads that one call may use.
        seconds: a run ends with an error after this time; without it, runs take as long as they take.

    Raises:
        ArtifactError: ONNX Runtime cannot open the lowering.
    """

    name = "onnx"

    def __init__(self, path: Path, lowering: bytes, threads: int, seconds: float | None = None) -> None:
        onnxruntime = import_runtime("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        if threads > 1:
            _share_threads(onnxruntime, threads)
            options.use_per_session_threads = False
        # ONNX Runtime would keep a memory plan for each batch size, which takes more memory than it saves.
        options.enable_mem_pattern = False
        options.log_severity_level = 4  # errors are exceptions; the log would have the names of nodes as they are
        try:
            session = onnxruntime.InferenceSession(
                lowering, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
            inputs, outputs = (
                {
                    node.name: TensorType(DTYPES.get(node.type, node.type), tuple(map(_axis, node.shape)))
                    for node in nodes
                }
                for nodes in (session.get_inputs(), session.get_outputs())
            )
        except Exception as error:  # ONNX Runtime's exceptions share no narrower base than Exception
            raise ArtifactError(f"{path} cannot be opened by ONNX Runtime: {first_line(error)}") from error
        self._session = session
        self.signatures: Mapping[str, Signature] = {"attention": Signature(inputs, outputs)}
        self._seconds = seconds
        self._new_options = onnxruntime.RunOptions
        self._run_options = self._options()

    def run(self, sequences: Array, outputs: Collection[str]) -> dict[str, Array]:
        """Execute one forward pass, as `Engine.run` documents it."""
        if self._seconds is None:
            return self._run(sequences, outputs, self._run_options)
        options = self._options()
        timer = threading.Timer(self._seconds, setattr, (options, "terminate", True))
        timer.daemon = True
        timer.start()
        try:
            return self._run(sequences, outputs, options)
        finally:
            timer.cancel()

    def _run(self, sequences: Array, outputs: Collection[str], options: Any) -> dict[str, Array]:
        names = list(outputs)
        return dict(zip(names, self._session.run(names, {SEQUENCE: sequences}, options), strict=True))

    def _options(self) -> Any:
        options = self._new_options()
        options.only_execute_path_to_fetches = True  # by default it computes all outputs
        return options


def _share_threads(onnxruntime: Any, threads: int) -> None:
    """Set the size of the thread pool that all models share. It can be set only once in a process."""
    try:
        onnxruntime.set_global_thread_pool_sizes(threads, 1)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions share no narrower base
        logger.debug("ONNX Runtime keeps the threads that it has: %s", error)


def _axis(size: object) -> int | None:
    """Return the size of an axis. For open axes ONNX Runtime gives a name or None."""
    return size if isinstance(size, int) else None
