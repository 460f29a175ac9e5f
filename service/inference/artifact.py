"""One version on disk: where its files are, how they are read, and the digest that ties them together."""

import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from service.errors import ArtifactError
from service.inference.card import ModelCard

Array = NDArray[np.float32]

INPUT: Final = "sequence"
PREDICTION: Final = "prediction"
ATTENTION: Final = "attention"
ATTENTION_VEC: Final = "attention_vec"
#: The SavedModel's signatures and the outputs that each names.
SIGNATURES: Final = {
    "serving_default": (PREDICTION,),
    "attention": (PREDICTION, ATTENTION, ATTENTION_VEC),
}


@dataclass(frozen=True)
class Golden:
    """Inputs and outputs recorded at export.

    Attributes:
        sequence: `(n, timesteps, features)`.
        prediction: `(n, outputs)`.
        attention_vec: `(n, timesteps, units)`.
    """

    sequence: Array
    prediction: Array
    attention_vec: Array


@dataclass(frozen=True)
class Artifact:
    """The directory of one version."""

    directory: Path

    @property
    def extra(self) -> Path:
        """TensorFlow's own place for files that travel with a SavedModel without being loaded by it."""
        return self.directory / "assets.extra"

    @property
    def card_path(self) -> Path:
        return self.extra / "card.json"

    @property
    def golden_path(self) -> Path:
        return self.extra / "golden.npz"

    @property
    def lowering_path(self) -> Path:
        return self.extra / "model.onnx"

    def chart_path(self, suffix: str) -> Path:
        """The profile as a bar chart; `suffix` is `svg` or `png`."""
        return self.extra / f"attention.{suffix}"

    def read_card(self) -> ModelCard:
        """Read and validate the card.

        Raises:
            ArtifactError: the card is missing, is no JSON, or lacks or contradicts something.
        """
        try:
            return ModelCard.model_validate_json(self.read(self.card_path))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise ArtifactError(f"{self.card_path} is not a valid card: {field or 'card'}: {first['msg']}") from error

    def read_golden(self) -> Golden:
        """Read the golden example.

        Raises:
            ArtifactError: the file is missing, damaged, pickled, or lacks an array.
        """
        try:
            with np.load(io.BytesIO(self.read(self.golden_path)), allow_pickle=False) as arrays:
                golden = Golden(*(arrays[name].astype(np.float32) for name in (INPUT, PREDICTION, ATTENTION_VEC)))
        except (
            AttributeError,
            RuntimeError,
            ValueError,
            KeyError,
            TypeError,
            EOFError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise ArtifactError(f"{self.golden_path} is not a golden example: {error}") from error
        axes = (golden.sequence.ndim, golden.prediction.ndim, golden.attention_vec.ndim)
        if axes != (3, 2, 3):
            raise ArtifactError(
                f"{self.golden_path} is not a golden example: expected arrays of 3, 2 and 3 axes, got {axes}"
            )
        return golden

    def read(self, path: Path) -> bytes:
        """Read one of the version's files.

        Raises:
            ArtifactError: it cannot be read.
        """
        try:
            return path.read_bytes()
        except OSError as error:
            raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error

    def saved_model_digest(self) -> str:
        """SHA-256 over the files that decide what the SavedModel computes, their names included.

        `fingerprint.pb` is left out: it holds a random number.

        Raises:
            ArtifactError: there is no SavedModel here.
        """
        files = [self.directory / "saved_model.pb", *sorted((self.directory / "variables").glob("*"))]
        digest = hashlib.sha256()
        for file in files:
            digest.update(f"{file.relative_to(self.directory).as_posix()}\0".encode())
            digest.update(hashlib.sha256(self.read(file)).digest())
        return digest.hexdigest()
