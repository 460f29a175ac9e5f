"""Where sequences come from: synthetic, the aeon package, or a .npz file."""

import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.inference.artifact import Array
from service.inference.card import Target
from training.errors import TrainingError
from training.options import Options

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Labelled sequences.

    Attributes:
        x: `(n, timesteps, features)`.
        y: `(n,)`, index of each sequence's class.
    """

    x: Array
    y: Indices

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: Indices | slice) -> "Split":
        """Some of the sequences, in the order given."""
        return Split(self.x[rows], self.y[rows])


@dataclass(frozen=True)
class Data:
    """What one run trains and is judged on.

    Attributes:
        train: sequences to fit.
        test: held-out sequences; nothing about the fit depends on them.
        target: what the labels mean.
        standardise: whether features need scaling; synthetic ones are standard normal already.
    """

    train: Split
    test: Split
    target: Target
    standardise: bool


def load(options: Options) -> Data:
    """Load what `--data` names.

    Raises:
        TrainingError: there is no such data, or it cannot be trained on.
    """
    rng = np.random.default_rng(options.seed)
    if options.data == "recurrent":
        return _recurrent(options, rng)
    scheme, _, name = options.data.partition(":")
    if scheme == "aeon" and name:
        return _aeon(name, rng)
    if options.data.endswith(".npz"):
        return _npz(Path(options.data), options.test_split, rng)
    raise TrainingError(f"--data: expected recurrent, aeon:NAME or a .npz file, got {options.data!r}")


def recurrent(n: int, timesteps: int, features: int, attention_column: int, rng: np.random.Generator) -> Split:
    """Standard normal sequences with their label, 0 or 1, written into every feature of one timestep.

    Source: `get_data_recurrent` of github.com/philipperemy/keras-attention-mechanism.
    """
    x = rng.standard_normal((n, timesteps, features), dtype=np.float32)
    y = rng.integers(0, 2, n)
    x[:, attention_column, :] = y[:, np.newaxis]
    return Split(x, y)


def _recurrent(options: Options, rng: np.random.Generator) -> Data:
    if options.attention_column >= options.timesteps:
        raise TrainingError(
            f"--attention-column: expected less than --timesteps ({options.timesteps}), got {options.attention_column}"
        )
    shape = (options.timesteps, options.features, options.attention_column)
    return Data(
        train=recurrent(options.sequences, *shape, rng),
        test=recurrent(options.sequences // 10, *shape, rng),
        target=Target(task="binary", classes=("0", "1")),
        standardise=False,
    )


def _aeon(name: str, rng: np.random.Generator) -> Data:
    from aeon.datasets import load_classification

    splits = {}
    for split in ("train", "test"):
        try:
            x, y = load_classification(name, split=split)
        except Exception as error:  # aeon downloads what it does not ship, and lets any failure through
            raise TrainingError(
                f"--data aeon:{name}: expected a classification data set that the aeon package ships, such "
                f"as ItalyPowerDemand, GunPoint or BasicMotions: {error}"
            ) from error
        if not isinstance(x, np.ndarray):
            raise TrainingError(f"--data aeon:{name}: expected sequences of one length, got several")
        splits[split] = (x.transpose(0, 2, 1), y)  # aeon keeps (n, features, timesteps)
    target = _target(f"aeon:{name}", np.concatenate([y for _, y in splits.values()]))
    train, test = (_checked(f"aeon:{name}", x, y, target) for x, y in splits.values())
    return Data(train.take(rng.permutation(len(train))), test, target, standardise=True)


def _npz(path: Path, test_split: float, rng: np.random.Generator) -> Data:
    where = f"--data {path}"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if missing := {"x", "y"} - set(arrays.files):
                raise TrainingError(f"{where}: expected arrays x and y, got no {' and no '.join(sorted(missing))}")
            x, y = arrays["x"], arrays["y"]
    except FileNotFoundError as error:
        raise TrainingError(f"{where}: no such file") from error
    except (
        AttributeError,
        OSError,
        RuntimeError,
        ValueError,
        TypeError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise TrainingError(f"{where}: not a readable .npz file: {error}") from error
    if x.ndim != 3 or y.shape != x.shape[:1]:
        raise TrainingError(f"{where}: expected x (n, timesteps, features) and y (n,), got {x.shape} and {y.shape}")
    target = _target(where, y)
    everything = _checked(where, x, y, target)
    order = rng.permutation(len(everything))
    held_out = round(len(everything) * test_split)
    if not 0 < held_out < len(everything):
        raise TrainingError(f"{where}: expected enough sequences to hold out {test_split:.0%}, got {len(everything)}")
    return Data(everything.take(order[held_out:]), everything.take(order[:held_out]), target, standardise=True)


def _target(where: str, labels: NDArray[np.generic]) -> Target:
    if labels.dtype.kind not in "biuSU":
        raise TrainingError(
            f"{where}: expected labels that are integers or strings, one value per class, got {labels.dtype}"
        )
    classes = _names(np.unique(labels))
    if len(classes) < 2:
        raise TrainingError(f"{where}: expected at least 2 classes, got {', '.join(classes) or 'no sequences'}")
    return Target(task="binary" if len(classes) == 2 else "multiclass", classes=tuple(classes))


def _checked(where: str, x: NDArray[np.generic], labels: NDArray[np.generic], target: Target) -> Split:
    if x.dtype.kind not in "biuf" or 0 in x.shape:
        raise TrainingError(f"{where}: expected x to hold numbers, got shape {x.shape} of {x.dtype}")
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, and is refused as such
        array = x.astype(np.float32)
    if len(wrong := np.argwhere(~np.isfinite(array))):
        place = "".join(f"[{index}]" for index in wrong[0])
        raise TrainingError(f"{where}: expected finite numbers, got {x[tuple(wrong[0])]} at x{place}")
    index = {name: position for position, name in enumerate(target.classes or ())}
    return Split(array, np.array([index[name] for name in _names(labels)]))


def _names(labels: Iterable[np.generic]) -> list[str]:
    return [label.decode(errors="backslashreplace") if isinstance(label, bytes) else str(label) for label in labels]
