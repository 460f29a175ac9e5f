"""The golden example: inputs and outputs recorded at export. A version must replay them before it is served."""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np

from service.artifact.tensors import ATTENTION, ATTENTION_VEC, PREDICTION, SEQUENCE, Array, Axis, axes_of
from service.errors import ArtifactError

#: The tensors that the file holds. The last is left out for a model without attention.
RECORDED: Final = (SEQUENCE, PREDICTION, ATTENTION_VEC)
#: Limit of the bytes of all arrays, unpacked, and of the file.
MOST_BYTES: Final = 2**26
#: Limit of the bytes of the archive's directory. An entry has at least 46, and takes ten times as many once it is read.
MOST_DIRECTORY_BYTES: Final = 2**14


@dataclass(frozen=True)
class Golden:
    """Inputs and outputs recorded at export.

    Attributes:
        sequence: `(n, timesteps, features)`; NaN where a value is missing.
        prediction: `(n, outputs)`; of a sequence, `(n, steps, outputs)`.
        attention_vec: `(n, timesteps, units)`; 0 at absent timesteps; None for a model without attention.
    """

    sequence: Array
    prediction: Array
    attention_vec: Array | None

    @classmethod
    def parse(cls, content: bytes, path: Path) -> Self:
        """Parse a `golden.npz`.

        Args:
            content: the file.
            path: its path, for errors.

        Raises:
            ArtifactError: the file is damaged, pickled or too large, it lacks an array, or its arrays do not fit
                together.
        """
        try:
            _check_directory(content)
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                size = sum(member.file_size for member in archive.infolist())
            if size > MOST_BYTES:
                raise ValueError(f"expected at most {MOST_BYTES} bytes in it, got {size}")
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                golden = cls(arrays[SEQUENCE], arrays[PREDICTION], arrays.get(ATTENTION_VEC))
        except Exception as error:  # NumPy and zipfile raise many kinds for damaged files
            raise ArtifactError(f"{path} is not a golden example: {error}") from error
        sizes: dict[Axis, int] = {}
        for name, array in golden._arrays().items():
            axes = golden._axes(name)
            if array.dtype.name != "float32":
                raise ArtifactError(f"{path} is not a golden example: expected {name} of float32, got {array.dtype}")
            if array.ndim != len(axes) or any(
                sizes.setdefault(axis, size) != size for axis, size in zip(axes, array.shape, strict=True)
            ):
                expected = ", ".join(str(sizes.get(axis, axis)) for axis in axes)
                raise ArtifactError(
                    f"{path} is not a golden example: expected {name} of shape ({expected}), got {array.shape}"
                )
        return golden

    @property
    def sizes(self) -> dict[Axis, int]:
        """Size of each axis except the batch, which is open."""
        return {
            axis: size
            for name, array in self._arrays().items()
            for axis, size in zip(self._axes(name), array.shape, strict=True)
            if axis != "batch"
        }

    def _arrays(self) -> dict[str, Array]:
        arrays = {name: getattr(self, name) for name in RECORDED}
        return {name: array for name, array in arrays.items() if array is not None}

    def _axes(self, name: str) -> tuple[Axis, ...]:
        return axes_of(name, steps=self.prediction.ndim == 3)

    @property
    def outputs(self) -> Mapping[str, Array]:
        """Expected outputs for the recorded sequences, by name."""
        if self.attention_vec is None:
            return {PREDICTION: self.prediction}
        return {
            PREDICTION: self.prediction,
            ATTENTION: self.attention_vec.mean(axis=-1),
            ATTENTION_VEC: self.attention_vec,
        }


def _check_directory(content: bytes) -> None:
    """Check the size of a ZIP archive's directory before it is read.

    The last 22 bytes are the record that has this size, as NumPy writes no comment after it. Before the record, a
    locator would name another record, for archives of more than 4 GB.

    Source: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, sections 4.3.15 and 4.3.16.
    """
    record, locator = content[-22:], content[-42:-38]
    if not record.startswith(b"PK\x05\x06") or record[20:] != b"\0\0" or locator == b"PK\x06\x07":
        raise ValueError("expected an archive that NumPy wrote")
    size = int.from_bytes(record[12:16], "little")
    if size > MOST_DIRECTORY_BYTES:
        raise ValueError(
            f"expected {len(RECORDED)} arrays, got {int.from_bytes(record[10:12], 'little')} in a directory of {size} "
            f"bytes, which may have at most {MOST_DIRECTORY_BYTES}"
        )
