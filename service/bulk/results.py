"""The columns of the output, as pyarrow arrays."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from service.artifact.card import Target
from service.artifact.tensors import ATTENTION, ATTENTION_VEC, IMPORTANCE, OVER_TIME, PREDICTION, Array
from service.bulk.arrays import array_of, lists_of, nested, texts_of
from service.bulk.reading import Problem

#: The number of a row, where a sequence has no other key; and its file, where there are several.
ROW, FILE = "row", "file"
#: The names that a column of keys does not have.
NAMES: Final = (FILE, PREDICTION, "label", "probabilities", ATTENTION, IMPORTANCE)
#: The column of an output that has another name.
COLUMNS: Final = {ATTENTION_VEC: ATTENTION}


def scored(first: Mapping[str, Any], outputs: Mapping[str, Array], target: Target, lengths: NDArray[np.int64]) -> Any:
    """Return the table of some sequences.

    Args:
        first: the first columns by name: what identifies each sequence, pyarrow arrays `(n,)`.
        outputs: the prediction `(n, outputs)` or `(n, steps, outputs)`, and further columns `(n, …)` by name.
        target: the target of the model.
        lengths: `(n,)`, the timesteps of each sequence.
    """
    prediction = outputs[PREDICTION]
    columns = dict(first)
    columns[PREDICTION] = nested(prediction[..., 0] if prediction.shape[-1] == 1 else prediction)
    if target.classes is not None:
        columns["label"] = _labels(prediction, target, target.classes)
        binary = target.task == "binary"
        columns["probabilities"] = nested(
            np.concatenate([1 - prediction, prediction], axis=-1) if binary else prediction
        )
    for name, values in outputs.items():
        if name != PREDICTION:
            is_cut = name in OVER_TIME and bool((lengths < values.shape[1]).any())
            columns[COLUMNS.get(name, name)] = nested(values, lengths if is_cut else None)
    return pa.Table.from_arrays(list(columns.values()), list(columns))


def key_column(key: str) -> str:
    """Return the name of the column of keys: that of the key, with an underscore if another column has it."""
    return f"{key}_" if key in NAMES else key


def _labels(prediction: Array, target: Target, classes: Sequence[str]) -> Any:
    """Return the class of each prediction, or of each output step; with several labels at once, lists of classes."""
    if target.task == "multilabel":
        chosen = prediction >= 0.5
        labels = lists_of(_names(np.nonzero(chosen)[-1], classes), chosen.sum(axis=-1).ravel())
    else:
        binary = target.task == "binary"
        labels = _names((prediction[..., 0] >= 0.5 if binary else prediction.argmax(axis=-1)).ravel(), classes)
    if target.steps is None:
        return labels
    return lists_of(labels, np.full(len(prediction), target.steps))


def _names(indices: NDArray[Any], classes: Sequence[str]) -> Any:
    return pa.DictionaryArray.from_arrays(array_of(indices.astype(np.int32)), texts_of(classes))


def rejected(file: str, problems: Sequence[Problem], keys: Any) -> Any:
    """Return the table of what is wrong with some sequences, whose keys are a pyarrow array of text."""
    rows = np.array([problem.row for problem in problems], np.int64)
    reasons = texts_of([problem.reason for problem in problems])
    return pa.Table.from_arrays(
        [repeated(file, len(problems)), array_of(rows), keys, reasons], [FILE, ROW, "sequence", "reason"]
    )


def repeated(text: str, n: int) -> Any:
    """Return a text `n` times, as a pyarrow array."""
    return pa.DictionaryArray.from_arrays(array_of(np.zeros(n, np.int32)), texts_of([text]))
