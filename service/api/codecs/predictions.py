"""The answer to one sequence: its prediction and its attention; as a type, and as JSON."""

from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
import orjson
from pydantic import BaseModel, Field

from service.api.codecs.array_writer import dumps_rows, require_finite
from service.api.codecs.padding import Lengths
from service.artifact.card import Target
from service.artifact.classes import chosen
from service.artifact.tensors import MEASURES, OVER_TIME, PREDICTION, RANK_CORRELATION, Array
from service.artifact.tokens import word_of
from service.errors import InvalidInput
from service.serving.explanation import IMPORTANCES, ORDERS
from service.serving.request_queue import Outputs


class RemovedTimesteps(BaseModel):
    """How far the prediction moves without some timesteps, and with these alone."""

    comprehensiveness: float = Field(
        description="How far it moves when the top timesteps are replaced by the card's `baseline`, as the mean over "
        "the top 1, 5, 10, 20 and 50 % of the present timesteps. High is good.",
        examples=[0.48],
    )
    sufficiency: float = Field(
        description="How far it moves when all others are replaced, likewise. Low is good.", examples=[0.01]
    )


class AnswerFaithfulness(BaseModel):
    """Whether an order of the timesteps finds those that the prediction depends on."""

    attention: RemovedTimesteps | None = Field(None, description="By attention; absent for a model without attention.")
    importance: RemovedTimesteps | None = Field(
        None, description="By importance; absent if the request does not ask for that of timesteps."
    )


class Prediction(BaseModel):
    """The prediction for one sequence, and its attention."""

    key: str | None = Field(
        None,
        description="Of a table that names its sequences, in the card's sequence column: the name.",
        examples=["pump-7"],
    )
    prediction: float | list[float] | list[list[float]] = Field(
        description="Of two classes, the probability of the second in the card's `target.classes`; of more, one "
        "probability per class in that order, each by itself with the task `multilabel`; for regression, the number "
        "predicted (a list where there are several). With `steps` in the card's `target`, `(steps, outputs)`.",
        examples=[0.98],
    )
    label: str | list[str] | list[list[str]] | None = Field(
        None,
        description="The likeliest class; with the task `multilabel`, the classes with a probability of at least 0.5; "
        "with `steps`, a list of one for each step; absent for regression.",
        examples=["1"],
    )
    probabilities: dict[str, float] | list[dict[str, float]] | None = Field(
        None,
        description="On request: the probability of each class, by its name; with `steps`, for each step.",
        examples=[{"0": 0.02, "1": 0.98}],
    )
    tokens: list[str | None] | None = Field(
        None,
        description="The word of each posted token, or its number if it has none; absent without a `vocabulary` on "
        "the card.",
        examples=[["the", "cat", "[UNK]"]],
    )
    inputs: list[list[float | str | None]] | None = Field(
        None,
        description="On request: the sequence as the model's input, `(timesteps, features)` for the posted timesteps. "
        "A value is in raw units, the name of a category (for any other name, the number of names), or the word of a "
        "token (its number if it has none); null where it is missing.",
        examples=[[[20.1, "red"], [None, "red"], [19.7, "red"]]],
    )
    attention: list[float] | list[list[float]] | None = Field(
        None,
        description="Weight of each posted timestep, `(timesteps)`; with `full`, `(timesteps, units)`; absent "
        "with `none`.",
        examples=[[0.005, 0.99, 0.005]],
    )
    importance: list[float] | None = Field(
        None,
        description="On request: how far the prediction moves when a timestep is replaced, for each posted timestep. "
        "For classes it is the share of probability that moves to other classes, for numbers the absolute difference; "
        "of several numbers, each in units of its standard deviation, the mean.",
        examples=[[0.0, 0.49, 0.01]],
    )
    feature_importance: list[float] | None = Field(
        None,
        description="On request: the same when a feature is replaced at all timesteps, for each feature.",
        examples=[[0.49, 0.0]],
    )
    cell_importance: list[list[float]] | None = Field(
        None,
        description="On request: the same when a feature is replaced at one timestep, `(timesteps, features)`.",
        examples=[[[0.0, 0.0], [0.49, 0.0], [0.01, 0.0]]],
    )
    rank_correlation: float | None = Field(
        None,
        description="With importance: Spearman's rank correlation of mean attention and importance over the present "
        "timesteps; null where either is constant; absent for a model without attention.",
        examples=[0.87],
    )
    faithfulness: AnswerFaithfulness | None = Field(
        None, description="On request: whether attention and importance find what the prediction depends on."
    )


def require_classes(target: Target) -> None:
    """Check that a model can answer probabilities.

    Raises:
        InvalidInput: it predicts numbers.
    """
    if target.classes is None:
        raise InvalidInput("probabilities: expected a model of classes, got a regression")


def texts_of(sequences: Array, lengths: Lengths, texts: Mapping[int, str]) -> list[list[str | None]]:
    """Return the word of each token of sequences, or its number if it has none; None where it is missing.

    Args:
        sequences: `(n, timesteps, 1)`.
        lengths: how many timesteps each sequence was posted with.
        texts: the word of each token.
    """
    n, timesteps, _ = sequences.shape
    each = np.broadcast_to(timesteps if lengths is None else lengths, n)
    return [
        [None if (word := word_of(token, texts)) is None else str(word) for token in row[:length]]
        for row, length in zip(sequences[:, :, 0].tolist(), each.tolist(), strict=True)
    ]


def encode_predictions(  # noqa: PLR0913 - each by its name
    outputs: Outputs,
    attention: str | None,
    target: Target,
    lengths: Lengths = None,
    *,
    probabilities: bool = False,
    given: Mapping[str, Sequence[Any]] = MappingProxyType({}),
) -> list[bytes]:
    """Return the JSON of a `Prediction` for each sequence, without a Python object for each number.

    Args:
        outputs: the outputs of the model, `(n, …)` each: the prediction at least.
        attention: the output to answer as attention; None for none.
        target: the target of the model.
        lengths: how many timesteps each sequence was posted with.
        probabilities: whether to answer the probability of each class.
        given: what is known of each sequence without the model, by the field of the answer, `n` values each.

    Raises:
        InvalidInput: the answer to a sequence is not finite, as its values are too large.
    """
    predictions = outputs[PREDICTION]
    if len(predictions) == 1 and target.steps is None:
        length = lengths[0] if isinstance(lengths, np.ndarray) else lengths
        return [_row(outputs, attention, target, length, given, probabilities=probabilities)]
    if target.steps is not None:
        columns = _columns_of_steps(predictions, target, probabilities=probabilities)
    else:
        columns = {"prediction": dumps_rows(predictions[:, 0] if predictions.shape[1] == 1 else predictions)}
    if target.classes is not None and target.steps is None:
        if target.task == "multilabel":
            columns["label"] = [orjson.dumps(_label(row, target)) for row in predictions]
        else:
            labels = dumps_each(target.classes)
            columns["label"] = [labels[index] for index in chosen(predictions, target.task).tolist()]
        if probabilities:
            columns["probabilities"] = [
                orjson.dumps(_by_class(row, target), option=orjson.OPT_SERIALIZE_NUMPY) for row in predictions
            ]
    for name, values in given.items():
        columns[name] = [orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY) for value in values]
    if attention is not None:
        columns["attention"] = dumps_rows(outputs[attention], lengths)
    columns |= {
        name: dumps_rows(outputs[name], lengths if name in OVER_TIME else None)
        for name in IMPORTANCES
        if name in outputs
    }
    if RANK_CORRELATION in outputs:
        columns["rank_correlation"] = [orjson.dumps(value) for value in outputs[RANK_CORRELATION].tolist()]
    if not ORDERS.keys().isdisjoint(outputs):
        columns["faithfulness"] = _faithfulness(outputs)
    template = row_template(*columns)
    return [template % values for values in zip(*columns.values(), strict=True)]


def _columns_of_steps(predictions: Array, target: Target, *, probabilities: bool) -> dict[str, list[bytes]]:
    """Return the JSON of each sequence's prediction, label and probabilities, given `(n, steps, outputs)`."""
    columns = {"prediction": dumps_rows(predictions)}
    if target.classes is not None:
        columns["label"] = [orjson.dumps([_label(step, target) for step in row]) for row in predictions]
        if probabilities:
            columns["probabilities"] = [
                orjson.dumps([_by_class(step, target) for step in row], option=orjson.OPT_SERIALIZE_NUMPY)
                for row in predictions
            ]
    return columns


def _label(prediction: Array, target: Target) -> str | list[str]:
    """Return the label of a prediction `(outputs,)`."""
    classes, found = target.classes or (), chosen(prediction, target.task)
    if target.task == "multilabel":
        return [classes[index] for index in np.flatnonzero(found)]
    return classes[int(found)]


def _row(  # noqa: PLR0913 - private
    outputs: Outputs,
    attention: str | None,
    target: Target,
    length: int | None,
    given: Mapping[str, Sequence[Any]],
    *,
    probabilities: bool,
) -> bytes:
    """Return the JSON of one sequence, as `encode_predictions` does, in half of the time."""
    prediction = outputs[PREDICTION][0]
    row: dict[str, Any] = {"prediction": prediction[0] if len(prediction) == 1 else prediction}
    if target.classes is not None:
        row["label"] = _label(prediction, target)
        if probabilities:
            row["probabilities"] = _by_class(prediction, target)
    for name, values in given.items():
        row[name] = values[0]
    if attention is not None:
        row["attention"] = outputs[attention][0, :length]
    for name in IMPORTANCES:
        if name in outputs:
            row[name] = outputs[name][0, : length if name in OVER_TIME else None]
    if RANK_CORRELATION in outputs:
        row["rank_correlation"] = outputs[RANK_CORRELATION][0]
    if faithfulness := _faithfulness_of(outputs, 0):
        row["faithfulness"] = faithfulness
    text = orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY)
    if b"null" in text:
        for name in outputs.keys() - {RANK_CORRELATION}:
            require_finite(outputs[name])
    return text


def _faithfulness(outputs: Outputs) -> list[bytes]:
    """Return the JSON of each sequence's faithfulness."""
    for name in ORDERS.keys() & outputs.keys():
        require_finite(outputs[name])
    each = (_faithfulness_of(outputs, i) for i in range(len(outputs[PREDICTION])))
    return [orjson.dumps(one, option=orjson.OPT_SERIALIZE_NUMPY) for one in each]


def _faithfulness_of(outputs: Outputs, i: int) -> dict[str, dict[str, np.float32]]:
    """Return the measures of each order for a sequence, by their names."""
    return {
        order: dict(zip(MEASURES, outputs[name][i], strict=True)) for name, order in ORDERS.items() if name in outputs
    }


def _by_class(prediction: Array, target: Target) -> dict[str, np.float32]:
    """Return the probability of each class, given a prediction `(outputs,)`."""
    classes = target.classes or ()
    if target.task == "binary":
        return {classes[0]: np.float32(1) - prediction[0], classes[1]: prediction[0]}
    return dict(zip(classes, prediction, strict=True))


@cache
def dumps_each(names: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return the JSON of each name."""
    return tuple(map(orjson.dumps, names))


@cache
def row_template(*names: str) -> bytes:
    """Return the template of a JSON object with these fields, for the values to be filled in."""
    return b"{" + b",".join(b'"%b":%%b' % name.encode() for name in names) + b"}"
