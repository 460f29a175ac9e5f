"""What is answered for each sequence: its prediction and where the model looked; as a type, and as JSON."""

from functools import cache

import orjson
from pydantic import BaseModel, Field

from service.api.numbers import dumps_rows
from service.api.sequences import Lengths
from service.inference.artifact import Array
from service.inference.card import Target


class Prediction(BaseModel):
    """What the model says of one sequence, and where it looked."""

    prediction: float | list[float] = Field(
        description="Probability of the second class (binary), one probability per class (multiclass), or the number "
        "predicted (regression; a list where there are several).",
        examples=[0.98],
    )
    label: str | None = Field(None, description="The likeliest class; absent for regression.", examples=["1"])
    attention: list[float] | list[list[float]] | None = Field(
        None,
        description="Weight of each timestep that was posted, `(timesteps)`; with `full`, `(timesteps, units)`; absent "
        "with `none`.",
        examples=[[0.005, 0.99, 0.005]],
    )


def rows(predictions: Array, attention: Array | None, target: Target, lengths: Lengths = None) -> list[bytes]:
    """The JSON of a `Prediction` for each sequence, made without a Python object for each number.

    Args:
        predictions: `(n, outputs)`.
        attention: `(n, timesteps)`, `(n, timesteps, units)` or none.
        target: what the outputs mean.
        lengths: how many timesteps each sequence was posted with.
    """
    columns = {"prediction": dumps_rows(predictions[:, 0] if predictions.shape[1] == 1 else predictions)}
    if target.classes is not None:
        labels = dumps_each(target.classes)
        if target.task == "binary":
            columns["label"] = [labels[probability >= 0.5] for probability in predictions[:, 0].tolist()]
        else:
            columns["label"] = [labels[index] for index in predictions.argmax(axis=1).tolist()]
    if attention is not None:
        columns["attention"] = dumps_rows(attention, lengths)
    template = row_template(*columns)
    return [template % values for values in zip(*columns.values(), strict=True)]


@cache
def dumps_each(names: tuple[str, ...]) -> tuple[bytes, ...]:
    """The JSON of each name."""
    return tuple(map(orjson.dumps, names))


@cache
def row_template(*names: str) -> bytes:
    """An object with these fields, their values left to be filled in."""
    return b"{" + b",".join(b'"%b":%%b' % name.encode() for name in names) + b"}"
