"""The model that a person gives: a file, a directory or a Keras model in memory."""

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from service.artifact.card import Origin
from training import TrainingError
from training.importing.original import Opened, digest_of

Format = Literal["keras", "savedmodel", "onnx"]
#: The formats of files, by suffix.
FORMATS: Final[dict[str, Format]] = {".keras": "keras", ".h5": "keras", ".hdf5": "keras", ".onnx": "onnx"}
#: What to do with files that hold no whole model, by suffix.
ADVICE: Final = {
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".bin", ".safetensors"), "holds weights: export the model with "
                    "torch.onnx.export(model, examples, 'model.onnx')"),
    **dict.fromkeys((".pkl", ".joblib", ".pickle"), "is a pickle, which may run anything: export the model as ONNX"),
    ".tflite": "is TensorFlow Lite: give the model that it was made from",
    ".pb": "is a part of a SavedModel: give its directory",
}  # fmt: skip


class Given(NamedTuple):
    """An opened model and its origin."""

    opened: Opened
    origin: Origin


def open_model(model: Any, custom: str | None) -> Given:
    """Open a model: the path of a file or directory, or a Keras model in memory.

    Raises:
        TrainingError: it is none, or cannot be opened.
    """
    if not isinstance(model, str | Path):
        return _in_memory(model)
    path = Path(model)
    if not path.exists():
        raise TrainingError(f"{path}: no such file or directory")
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise TrainingError(f"{path}: expected a SavedModel, which has a file saved_model.pb")
        from training.importing.saved_model import SavedModel

        return _given(SavedModel(path), "savedmodel", path)
    if path.suffix in ADVICE:
        raise TrainingError(f"{path} {ADVICE[path.suffix]}")
    if path.name.endswith(".weights.h5"):
        raise TrainingError(f"{path} holds weights alone: save the whole model with model.save('model.keras')")
    if path.suffix not in FORMATS:
        raise TrainingError(f"{path}: expected a .keras, .h5 or .onnx file or the directory of a SavedModel")
    if FORMATS[path.suffix] == "onnx":
        from training.importing.onnx_file import OnnxFile

        return _given(OnnxFile(path), "onnx", path)
    from training.importing.keras_model import open_file

    return _given(open_file(path, custom), "keras", path)


def _given(opened: Opened, kind: Format, path: Path) -> Given:
    return Given(opened, _origin(opened, kind, path.resolve().name, digest_of(path)))


def _refuse_text(opened: Opened) -> None:
    """Refuse a model that splits text into words by itself. ONNX has no such operator."""
    for one in opened.inputs:
        if "string" in one.dtype:
            raise TrainingError(
                f"input {one.name}: expected numbers, got text: import the model that follows its TextVectorization "
                "layer, with examples of tokens and --vocabulary of layer.get_vocabulary()"
            )


def _in_memory(model: Any) -> Given:
    import keras

    from training.importing.keras_model import KerasModel

    if not isinstance(model, keras.Model):
        raise TrainingError(f"model: expected a path or a Keras model, got {type(model).__name__}")
    if keras.backend.backend() != "tensorflow":
        raise TrainingError(
            f"Keras runs on {keras.backend.backend()} here: save the model, and import the file with "
            "KERAS_BACKEND=tensorflow"
        )
    digest = hashlib.sha256(type(model).__name__.encode())
    for weight in model.weights:
        digest.update(f"{weight.path}\0".encode())
        digest.update(weight.numpy().tobytes())
    opened = KerasModel(model)
    return Given(opened, _origin(opened, "keras", model.name, digest.hexdigest()))


def _origin(opened: Opened, kind: Format, name: str, digest: str) -> Origin:
    _refuse_text(opened)
    libraries = {name: version(name) for name in opened.libraries}
    return Origin(format=kind, file=name, digest=digest, libraries=libraries)
