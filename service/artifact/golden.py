"""The golden example: inputs and outputs recorded at export, which a version must replay before it is served."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np

from service.artifact.tensors import ATTENTION, ATTENTION_VEC, AXES, PREDICTION, SEQUENCE, Array, Axis
from service.errors import ArtifactError

#: The tensors that the file holds.
RECORDED: Final = (SEQUENCE, PREDICTION, ATTENTION_VEC)
#: Most bytes of all its arrays.
MOST_BYTES: Final = 2**26


@dataclass(frozen=True)
class Golden:
    """Inputs and outputs recorded at export.

    Attributes:
        sequence: `(n, timesteps, features)`; NaN where a value is missing.
        prediction: `(n, outputs)`.
        attention_vec: `(n, timesteps, units)`; 0 at absent timesteps.
    """

    sequence: Array
    prediction: Array
    attention_vec: Array

    @classmethod
    def parse(cls, content: bytes, path: Path) -> Self:
        """Parse a `golden.npz`.

        Args:
            content: the file.
            path: its path, for errors.

        Raises:
            ArtifactError: the file is damaged, pickled or too large, or it lacks an array.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                size = sum(member.file_size for member in archive.infolist())
            if size > MOST_BYTES:
                raise ValueError(f"expected at most {MOST_BYTES} bytes in it, got {size}")
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                golden = cls(*(arrays[name] for name in RECORDED))
        except (
            AttributeError,
            RuntimeError,
            ValueError,
            KeyError,
            TypeError,
            EOFError,
            MemoryError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise ArtifactError(f"{path} is not a golden example: {error}") from error
        dtypes = {array.dtype.name for array in vars(golden).values()}
        if dtypes != {"float32"}:
            raise ArtifactError(f"{path} is not a golden example: expected float32, got {', '.join(sorted(dtypes))}")
        axes = tuple(array.ndim for array in vars(golden).values())
        if axes != tuple(len(AXES[name]) for name in RECORDED):
            raise ArtifactError(f"{path} is not a golden example: expected arrays of 3, 2 and 3 axes, got {axes}")
        return golden

    @property
    def sizes(self) -> dict[Axis, int]:
        """The size of each axis but the batch, which is open."""
        arrays = zip(RECORDED, vars(self).values(), strict=True)
        return {
            axis: size for name, array in arrays for axis, size in zip(AXES[name][1:], array.shape[1:], strict=True)
        }

    @property
    def outputs(self) -> Mapping[str, Array]:
        """The outputs that the recorded sequences must give, by name."""
        return {
            PREDICTION: self.prediction,
            ATTENTION: self.attention_vec.mean(axis=-1),
            ATTENTION_VEC: self.attention_vec,
        }
