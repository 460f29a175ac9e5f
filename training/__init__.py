"""Fit an attention model offline, evaluate it on held-out data, and publish it as an artifact for the service.

`train`, `publish` and `load` are the library for notebooks; `python -m training` is the same as a program.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import service  # noqa: F401 - disables ONNX Runtime's telemetry before any module here imports ONNX Runtime

if TYPE_CHECKING:
    from training.result import Result


class TrainingError(Exception):
    """The data, an option or the fit is wrong. The message gives the expected value and the actual one."""


def train(data: Any = None, y: Any = None, *, x: Any = None, target: Any = None, **options: Any) -> "Result":
    """Train a model, publish it as the next version of `<artifacts>/<name>/`, and return the result.

    Examples:
        >>> import numpy as np, training
        >>> x = np.random.default_rng(0).normal(size=(200, 6, 2))  # 200 sequences of 6 timesteps and 2 features
        >>> y = np.where(x[:, 3, 0] > 0, "high", "low")
        >>> options = {"architecture": "after_lstm", "epochs": 20, "batch_size": 16, "learning_rate": 0.01}
        >>> result = training.train(x, y, name="levels", **options)
        >>> result.predict(x)["attention"].shape
        (200, 6)

    Args:
        data: a frame of pandas or polars, or a table of pyarrow, with the columns that the options name; or the path
            of a file, or another source, as for `--data`; or the sequences `x`. Without data, it is the synthetic
            default of the command.
        y: labels `(n,)`, or numbers to predict, `(n,)` or `(n, numbers)`; only for sequences `x`.
        x: sequences `(n, timesteps, features)`, `(n, timesteps)` for one feature, or a list of `n` sequences
            `(timesteps, features)` of different lengths. NaN is a missing value.
        target: short for `target_column`, the column or the list of columns to predict.
        options: the options of `python -m training`, with `_` for `-`: `batch_size=16`; and `continue_` for
            `--continue`, as `continue` is a keyword.

    Raises:
        TrainingError: the data or an option is wrong, or the fit diverges.
        OSError: the version cannot be written.
    """
    from training import in_memory
    from training.frameworks import import_frameworks
    from training.options import Options
    from training.sources.loading import load as load_source

    if target is not None:
        options["target_column"] = target
    if x is not None or y is not None:
        if (x is not None and data is not None) or y is None:
            raise TrainingError("expected sequences x and labels y, or data alone")
        given = Options.from_keywords({**options, "data": in_memory.ARRAYS})
        dataset = in_memory.load_arrays(given, data if x is None else x, y)
    elif in_memory.is_frame(data):
        given = Options.from_keywords({**options, "data": in_memory.FRAME})
        dataset = in_memory.load_frame(given, data)
    else:
        if isinstance(data, str | Path):
            options["data"] = str(data)
        elif data is not None:
            raise TrainingError(f"data: expected a path, a frame or arrays x and y, got {type(data).__name__}")
        given = Options.from_keywords(options)
        dataset = load_source(given)
    import_frameworks()
    from training.result import Result
    from training.run import run

    return Result.of(run(given, dataset))


def publish(
    model: Any,
    *,
    examples: Any,
    name: str,
    y: Any = None,
    attention: "str | Sequence[str] | None" = None,
    **options: Any,
) -> "Result":
    """Import a model of your own: publish it as the next version of `<artifacts>/<name>/`, and return the result.

    Examples:
        >>> training.publish(model, attention="attention_vec", examples=x_test, y=y_test, name="mine")  # doctest: +SKIP

    Args:
        model: a Keras model, or the path of a model as for `python -m training import`.
        examples: sequences `(n, timesteps, features)` or tokens `(n, timesteps)` that the model was not trained on; a
            dictionary or a list of arrays for a model of several inputs; or the path of a file, as for `--data`.
        name: the name of the model in the service.
        y: labels `(n,)`, or numbers to predict, `(n,)` or `(n, numbers)`; without them there are no metrics.
        attention: the names of layers, outputs or tensors that are attention, or layers of Keras; "none" for a model
            without attention. Without it, attention is found.
        options: the other options of `python -m training import`, with `_` for `-`: `classes=["no", "yes"]`.

    Raises:
        TrainingError: the model cannot be imported.
        OSError: the version cannot be written.
    """
    from training.options import Import

    is_path = isinstance(examples, str | Path)
    if is_path and y is not None:
        raise TrainingError("y: expected none beside a file of examples, which has the labels")
    names = {"model": str(model) if isinstance(model, str | Path) else "model", "name": name}
    given = Import.from_keywords(
        {**options, **names, "attention": _names(attention), "data": str(examples) if is_path else "examples"}
    )
    from training.frameworks import import_frameworks

    import_frameworks()
    from training.importing.opening import open_model
    from training.importing.run import run
    from training.importing.sample import in_memory, read_sample
    from training.result import Result

    opened, origin = open_model(model, given.custom)
    sample = read_sample(given.reading, opened.inputs) if is_path else in_memory(examples, y, opened.inputs)
    return Result.of(run(opened, origin, sample, given))


def _names(attention: Any) -> tuple[str, ...]:
    """Return the names of attention: text, or objects of Keras with a name, one or several."""
    several = () if attention is None else attention if isinstance(attention, list | tuple) else (attention,)
    names: tuple[Any, ...] = tuple(getattr(one, "name", one) for one in several)
    if wrong := [one for one in names if not isinstance(one, str)]:
        raise TrainingError(f"attention: expected names of layers, outputs or tensors, got {wrong[0]!r:.80}")
    return names


def load(directory: "str | Path") -> "Result":
    """Return a published version: the directory of a version, or of a model for its newest version.

    Examples:
        >>> import training
        >>> result = training.load("artifacts/levels/1")

    Raises:
        TrainingError: the directory is neither.
        service.errors.ArtifactError: a file of the version is missing or was changed.
    """
    from training.result import Result

    return Result.of(Path(directory))
