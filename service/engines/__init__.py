"""The engines: ONNX Runtime runs the lowering, and TensorFlow runs the SavedModel.

Each engine imports its runtime when it is opened, so that the service needs only one of them installed.
"""

import importlib.util
import tempfile
from functools import partial
from pathlib import Path
from typing import Literal

from service.artifact.card import ModelCard
from service.artifact.engine import Engine
from service.artifact.gate import OpenEngine
from service.artifact.graphs import may_loop
from service.artifact.layout import CARD, LOWERING, SAVED_MODEL
from service.artifact.version import Contents, saved_model_digest
from service.errors import ArtifactError

EngineChoice = Literal["auto", "onnx", "tensorflow"]


def opener(choice: EngineChoice, threads: int, seconds: float | None = None) -> OpenEngine:
    """Return the function with which the gate opens a version's engine.

    Args:
        choice: the engine. `auto` runs the lowering if the version has one, and the SavedModel otherwise.
        threads: number of threads that one call may use.
        seconds: a call of a lowering with loops ends with an error after this time; None for no limit.
    """
    return partial(_open, choice, threads, seconds)


def runs_lowering(choice: EngineChoice, contents: Contents) -> bool:
    """Return whether ONNX Runtime runs a version, rather than TensorFlow."""
    return LOWERING in contents.files and choice != "tensorflow"


def _open(choice: EngineChoice, threads: int, seconds: float | None, contents: Contents, card: ModelCard) -> Engine:
    """Open the chosen engine for a version.

    A lowering that was not derived from the SavedModel beside it is refused with each choice, as files have been
    mixed up.

    Raises:
        ArtifactError: the chosen engine cannot run the version.
    """
    _check_lowering(contents, card)
    if runs_lowering(choice, contents):
        from service.engines.onnx import OnnxEngine

        lowering = contents.file(LOWERING)
        return OnnxEngine(contents.directory / LOWERING, lowering, threads, seconds if may_loop(lowering) else None)
    if choice == "onnx" or (choice == "auto" and not _installed("tensorflow")):
        raise ArtifactError(
            f"{contents.directory / LOWERING} is missing: export the version again, "
            "or install TensorFlow and use --engine tensorflow"
        )
    if not contents.has_saved_model:
        raise ArtifactError(
            f"{contents.directory} has no SavedModel, which engine tensorflow runs: use --engine onnx or auto"
        )
    if not _installed("tensorflow"):
        raise ArtifactError(
            "engine tensorflow needs TensorFlow, which is not installed: "
            "pip install 'tensorflow>=2.21', or use --engine onnx"
        )
    from service.engines.tensorflow import TensorFlowEngine

    # TensorFlow reads the files itself. A private copy cannot change after the check.
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
    expected = card.lowering.source_digest
    if expected is not None and not contents.has_saved_model:
        raise ArtifactError(
            f"{contents.directory / SAVED_MODEL} is missing: {contents.directory / CARD} says that {LOWERING} was "
            "derived from it"
        )
    digest = saved_model_digest(contents.digests) if contents.has_saved_model else None
    if digest != expected:
        raise ArtifactError(
            f"{path} was not derived from the SavedModel beside it: expected digest "
            f"{(expected or 'none')[:12]}, got {(digest or 'none')[:12]}: export the version again"
        )


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
