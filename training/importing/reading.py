"""The meaning of a model's own output: the prediction of the contract and its target."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from service.artifact.card import Target, Task
from training import TrainingError
from training.importing.distributions import SUM_TOLERANCE
from training.importing.sample import Sample
from training.options import Import

#: What happens to the model's output on the way to the prediction.
Change = Literal["sigmoid", "softmax", "exp", "second class", "column"]
ONNX_OPERATORS: Final = {"sigmoid": "Sigmoid", "softmax": "Softmax", "exp": "Exp"}


@dataclass(frozen=True)
class Reading:
    """How a prediction is read from an output.

    Attributes:
        output: the name of the output.
        target: what it predicts.
        changes: what happens to it, in this order.
    """

    output: str
    target: Target
    changes: tuple[Change, ...]

    def prediction(self, output: NDArray[Any]) -> NDArray[np.float32]:
        """Return the prediction `(n, outputs)` or `(n, steps, outputs)` of the model's output."""
        p = output.astype(np.float64)
        for change in self.changes:
            if change == "sigmoid":
                p = 1 / (1 + np.exp(-p))
            elif change == "softmax":
                p = _softmax(p)
            elif change == "exp":
                p = np.exp(p)
            elif change == "second class":
                p = p[..., 1:]
            else:
                p = p[..., np.newaxis]
        return p.astype(np.float32)

    def nodes(self, source: str, result: str) -> Iterator[onnx.NodeProto | onnx.TensorProto]:
        """Yield the nodes and constants that compute `result` from the output with the name `source`."""
        yield helper.make_node("Cast", [source], ["output"], to=onnx.TensorProto.FLOAT)
        name = "output"
        for change in self.changes:
            changed = f"output/{change.replace(' ', '_')}"
            if change in ONNX_OPERATORS:
                axis: dict[str, Any] = {"axis": -1} if change == "softmax" else {}
                yield helper.make_node(ONNX_OPERATORS[change], [name], [changed], **axis)
            elif change == "second class":
                yield numpy_helper.from_array(np.array([1]), "output/second")
                yield numpy_helper.from_array(np.array([2]), "output/end")
                yield numpy_helper.from_array(np.array([-1]), "output/last_axis")
                inputs = [name, "output/second", "output/end", "output/last_axis"]
                yield helper.make_node("Slice", inputs, [changed])
            else:
                yield numpy_helper.from_array(np.array([-1, 1]), "output/one_column")
                yield helper.make_node("Reshape", [name, "output/one_column"], [changed])
            name = changed
        yield helper.make_node("Identity", [name], [result])


def reading_of(output: str, values: NDArray[Any], operator: str, sample: Sample, options: Import) -> Reading:
    """Return how to read a prediction.

    Args:
        output: the name of the output.
        values: its values on the examples, `(n,)`, `(n, outputs)` or `(n, steps, outputs)`.
        operator: the ONNX operator that computes it.
        sample: the examples, which may have labels.
        options: the task and the classes, if the person gave them.

    Raises:
        TrainingError: the task cannot be told, or the values or classes do not fit it.
    """
    labels, names, classes = sample.labels, sample.label_names, options.classes
    changes: list[Change] = []
    if values.ndim == 1:
        changes.append("column")
        values = values[:, np.newaxis]
    if values.ndim not in (2, 3):
        raise TrainingError(
            f"output {output}: expected a prediction (n, outputs), got {values.shape}: say --prediction"
        )
    if not np.isfinite(values).all():
        raise TrainingError(f"output {output}: expected finite numbers for the examples, got NaN or infinity")
    columns, steps = values.shape[-1], values.shape[1] if values.ndim == 3 else None
    if steps is not None:  # each step is a prediction
        values, labels = values.reshape(-1, columns), None if labels is None else _of_steps(labels, steps, columns)
    chosen = options.task if options.task != "auto" else _task(output, values, operator, labels, classes)
    if chosen == "regression":
        return Reading(output, _numbers(names, columns, steps), tuple(changes))
    if sample.labels is not None and chosen != "multilabel":
        _check_present(sample.labels)
    if chosen == "multilabel" or columns == 1:
        changes += [] if _are_fractions(values) else ["sigmoid"]
    else:
        changes += _to_probabilities(values)
        changes += ["second class"] if chosen == "binary" else []
    count = 2 if chosen == "binary" else columns
    if chosen == "binary" and columns > 2:
        raise TrainingError(f"--task binary: expected an output of 1 or 2 numbers, got {columns} of {output}")
    if chosen == "multiclass" and columns < 3:
        raise TrainingError(f"--task multiclass: expected an output of 3 or more numbers, got {columns} of {output}")
    target = Target(task=chosen, classes=_names_of(labels, classes, count, several=chosen == "multilabel", names=names))
    return Reading(output, _with_steps(target, steps), tuple(changes))


def class_indices(labels: NDArray[Any], target: Target) -> NDArray[Any]:
    """Return labels as training has them: `(n,)` int64 class indices, or `(n, outputs)` float32 numbers.

    Those of a model with output steps are `(n, steps)` or `(n, steps, outputs)`.

    Raises:
        TrainingError: a label is none of the classes, or none of the numbers.
    """
    if target.steps is not None:
        columns = len(target.classes or target.names or ())
        indices = class_indices(_of_steps(labels, target.steps, columns), target.model_copy(update={"steps": None}))
        return indices.reshape(-1, target.steps, *indices.shape[1:])
    if target.task in ("regression", "multilabel"):
        return _label_numbers(labels, target)
    classes = target.classes or ()
    if labels.ndim == 2:  # one column for each class
        labels = labels.argmax(axis=1)
    if labels.dtype.kind in "SUO" or not _are_indices(labels, len(classes)):
        known = {name: index for index, name in enumerate(classes)}
        found = [known.get(name_of(label)) for label in labels.tolist()]
        if None in found:
            unknown = name_of(labels[found.index(None)])
            raise TrainingError(
                f"y[{found.index(None)}]: expected one of the classes {', '.join(classes)}, got {unknown}"
            )
        return np.array(found, np.int64)
    return labels.astype(np.int64)


def _check_present(labels: NDArray[Any]) -> None:
    """Refuse labels without a value, which are no class: NaN and None."""
    for index, label in enumerate(labels.ravel().tolist()):
        if label is None or (isinstance(label, float) and math.isnan(label)):
            place = "".join(f"[{axis}]" for axis in np.unravel_index(index, labels.shape))
            raise TrainingError(f"y{place}: expected a class, got {label}: leave out examples without a label")


def _of_steps(labels: NDArray[Any], steps: int, columns: int) -> NDArray[Any]:
    """Return labels of each step, `(n, steps)` or `(n, steps, columns)`, as those of `n * steps` predictions."""
    if labels.shape[1:] not in ((steps,), (steps, 1), (steps, columns)):
        raise TrainingError(
            f"y: expected (n, {steps}) or (n, {steps}, {columns}), as the model's output has steps, got {labels.shape}"
        )
    return labels.reshape(-1, columns) if labels[0].size > steps else labels.reshape(-1)


def _label_numbers(labels: NDArray[Any], target: Target) -> NDArray[np.float32]:
    numbers = labels.reshape(len(labels), -1)
    if numbers.shape[1] != target.outputs:
        raise TrainingError(f"y: expected {target.outputs} numbers, as the model has outputs, got {numbers.shape[1]}")
    if numbers.dtype.kind not in "biuf" or not np.isfinite(numbers).all():
        raise TrainingError(f"y: expected finite numbers for --task {target.task}, got {_first_wrong(numbers)}")
    if target.task == "multilabel" and not np.isin(numbers, (0, 1)).all():
        wrong = numbers[~np.isin(numbers, (0, 1))][0]
        raise TrainingError(f"y: expected 0 or 1 for each class of --task multilabel, got {wrong:g}")
    return numbers.astype(np.float32)


def _first_wrong(values: NDArray[Any]) -> str:
    return repr(str(values.flat[0])) if values.dtype.kind not in "biuf" else f"{values[~np.isfinite(values)][0]:g}"


def name_of(label: object) -> str:
    """Return the name of a class."""
    if isinstance(label, bytes):
        return label.decode(errors="backslashreplace")
    return str(int(label)) if isinstance(label, bool | float) and float(label).is_integer() else str(label)


def _task(
    output: str, values: NDArray[Any], operator: str, labels: NDArray[Any] | None, classes: Sequence[str]
) -> Task:
    """Return the task that the values and the labels of the examples show."""
    columns = values.shape[-1]
    are_classes = bool(classes) or (labels is not None and (labels.dtype.kind in "biuSUO" or labels.ndim == 2))
    are_numbers = labels is not None and labels.dtype.kind == "f" and not (labels.ndim == 2 and columns > 1)
    if are_numbers and not classes and not (columns > 1 and _sum_to_one(values)):
        whole = labels is not None and bool(np.all(labels == np.round(labels)))
        if not (whole and _are_fractions(values)):
            return "regression"
    if columns > 1 and (_sum_to_one(values) or _sum_to_one(np.exp(values))):
        return "binary" if columns == 2 else "multiclass"
    is_sigmoid = operator == "Sigmoid"
    if columns == 1 and _are_fractions(values) and (are_classes or labels is not None or is_sigmoid):
        return "binary"
    if columns > 1 and is_sigmoid:
        return "multilabel"
    several = labels is not None and labels.ndim == 2 and labels.shape[1] == columns and columns > 1
    if several and labels is not None:
        zero_or_one = bool(np.isin(labels, (0, 1)).all())
        if zero_or_one and _are_fractions(values):
            return "multilabel"
        if not zero_or_one:
            return "regression"
    low, high = float(values.min()), float(values.max())
    kinds = "binary" if columns == 1 else "multiclass, multilabel" if columns > 2 else "binary, multilabel"
    if _are_fractions(values):
        raise TrainingError(
            f"output {output} is from {low:.3g} to {high:.3g}: probabilities (--task {kinds}) or numbers "
            "(--task regression)?"
        )
    beside = "" if columns == 1 else " and does not sum to 1"
    raise TrainingError(
        f"output {output} is from {low:.3g} to {high:.3g}{beside}: logits (--task {kinds}) or numbers "
        "(--task regression)?"
    )


def _to_probabilities(values: NDArray[Any]) -> list[Change]:
    if _sum_to_one(values):
        return []
    return ["exp"] if values.max() <= SUM_TOLERANCE and _sum_to_one(np.exp(values)) else ["softmax"]


def _numbers(names: Sequence[str], columns: int, steps: int | None) -> Target:
    given = tuple(names) if len(names) == columns else ("target",) if columns == 1 else tuple(map(str, range(columns)))
    return _with_steps(Target(task="regression", names=given), steps)


def _with_steps(target: Target, steps: int | None) -> Target:
    return target.model_copy(update={"steps": steps})


def _names_of(
    labels: NDArray[Any] | None, classes: Sequence[str], count: int, *, several: bool, names: Sequence[str]
) -> tuple[str, ...]:
    """Return the names of the classes: those of the person, those of the labels, or numbers."""
    if classes:
        if len(classes) != count:
            raise TrainingError(f"--classes: expected {count} names, as the model has outputs, got {len(classes)}")
        if len(set(classes)) < count or not all(classes):
            raise TrainingError(f"--classes: expected a name of its own for each class, got {', '.join(classes)}")
        return tuple(classes)
    if several:
        return tuple(names) if len(names) == count else tuple(map(str, range(count)))
    if labels is None or labels.ndim == 2 or _are_indices(labels, count):
        return tuple(map(str, range(count)))
    distinct = [
        name_of(label) for label in np.unique(labels.astype(str) if labels.dtype == object else labels).tolist()
    ]
    if len(distinct) != count:
        shown = ", ".join(distinct[:5])
        numbers = ": say --task regression if they are numbers" if labels.dtype.kind in "iuf" and count == 2 else ""
        raise TrainingError(
            f"--classes: say the {count} classes in the order of the model's outputs; the examples have "
            f"{len(distinct)} ({shown}){numbers}"
        )
    return tuple(distinct)


def _are_indices(labels: NDArray[Any], count: int) -> bool:
    """Return whether labels are the indices of so many classes."""
    if labels.dtype.kind not in "biuf":
        return False
    whole = labels.astype(np.float64)
    return bool(np.all(whole == np.round(whole)) and whole.min() >= 0 and whole.max() < count)


def _are_fractions(values: NDArray[Any]) -> bool:
    return bool(values.min() >= 0 and values.max() <= 1)


def _sum_to_one(values: NDArray[Any]) -> bool:
    with np.errstate(over="ignore"):
        return bool(values.min() >= -SUM_TOLERANCE and np.abs(values.sum(axis=-1) - 1).max() <= SUM_TOLERANCE)


def _softmax(values: NDArray[Any]) -> NDArray[Any]:
    e = np.exp(values - values.max(axis=-1, keepdims=True))
    shares: NDArray[Any] = e / e.sum(axis=-1, keepdims=True)
    return shares
