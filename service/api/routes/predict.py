"""`POST /predict`: predictions, each with the attention of the same forward pass."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from service.api.codecs.padding import Lengths
from service.api.codecs.predictions import Prediction, rows
from service.api.codecs.sequences import decode
from service.api.error_answers import POSTING, documented
from service.api.routing import BodyRequest, JsonRoute, off_loop, respond
from service.api.selection import SelectedModel
from service.artifact.tensors import ATTENTION, ATTENTION_VEC, PREDICTION
from service.serving.batcher import Outputs
from service.serving.model import Model

router = APIRouter(route_class=JsonRoute, tags=["predict"])

Detail = Literal["mean", "full", "none"]
#: The output that each detail of attention needs.
OUTPUTS: Mapping[Detail, str | None] = {"mean": ATTENTION, "full": ATTENTION_VEC, "none": None}

SEQUENCE_SCHEMA: dict[str, Any] = {"type": "array", "items": {"type": "array", "items": {"type": ["number", "null"]}}}
EXAMPLE_SEQUENCE: Any = [[0.1, -0.2]] * 20


class PredictRequest(BaseModel):
    """One sequence or many. Their elements are checked against the model's card, not here."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"sequence": EXAMPLE_SEQUENCE}]})

    sequence: Annotated[
        Any,
        WithJsonSchema(SEQUENCE_SCHEMA),
        Field(
            description="One sequence: a list of timesteps, each a list of features, in raw units. It has the "
            "`timesteps` of the model's card, or fewer if that says `variable_length`. `null` is a missing value, if "
            "the card says `missing_values`; a timestep without any value gets no attention.",
            examples=[EXAMPLE_SEQUENCE],
        ),
    ] = None
    sequences: Annotated[
        Any,
        WithJsonSchema({"type": "array", "items": SEQUENCE_SCHEMA}),
        Field(description="Many sequences, instead of `sequence`.", examples=[[EXAMPLE_SEQUENCE]]),
    ] = None
    attention: Detail = Field(
        "mean",
        description="`mean`: one weight per timestep, summing to 1. `full`: `attention_vec`, one distribution over the "
        "timesteps per unit. `none`: predictions alone.",
        examples=["mean"],
    )
    importance: bool = Field(
        default=False,
        description="Whether to tell how much each prediction depends on each timestep, too. It takes one more run of "
        "the model for each timestep.",
        examples=[False],
    )

    @model_validator(mode="before")
    @classmethod
    def _known_fields_and_one_of_both(cls, body: object) -> object:
        if not isinstance(body, dict):
            return body
        # Rather than extra="forbid", which makes an error of each: a body may hold millions.
        if not body.keys() <= cls.model_fields.keys():
            unknown = next(name for name in body if name not in cls.model_fields)
            raise ValueError(f"expected no other field than {', '.join(cls.model_fields)}, got {unknown[:80]!r}")
        one, many = body.get("sequence") is not None, body.get("sequences") is not None
        if one == many:
            raise ValueError(f"expected either 'sequence' or 'sequences', got {'both' if one else 'neither'}")
        return body


class PredictResponse(BaseModel):
    """Predictions in the order of the sequences."""

    model: str = Field(description="Model that answered.", examples=["after-lstm"])
    version: int = Field(description="Version that answered.", examples=[3])
    predictions: list[Prediction] = Field(description="One for each sequence.")


@router.post(
    "/predict",
    summary="Predict, and show where the model looked",
    response_model=PredictResponse,
    response_model_exclude_none=True,
    responses=documented(*POSTING),
)
async def predict(body: PredictRequest, model: SelectedModel, request: BodyRequest) -> Response:
    """Answer each sequence with its prediction and, from the same forward pass, its attention."""
    large, limit = request.large, request.most_sequences(model.card)
    if body.sequences is not None:
        sequences = await off_loop(decode, body.sequences, model.card, limit, "sequences[{}]", large=large)
    else:
        one = body.sequence[np.newaxis] if isinstance(body.sequence, np.ndarray) else [body.sequence]
        sequences = await off_loop(decode, one, model.card, limit, "sequence", large=large)
    decoded = time.perf_counter()
    attention = OUTPUTS[body.attention]
    ask = model.explain if body.importance else model.predict
    result = await ask(sequences.array, (PREDICTION, attention) if attention else (PREDICTION,))
    return await respond(request, decoded, result, partial(encode, model, attention, sequences.lengths))


def encode(model: Model, attention: str | None, lengths: Lengths, outputs: Outputs) -> bytes:
    """Outputs of a model to the JSON of an answer.

    Args:
        model: what answered.
        attention: the output to answer as such.
        lengths: how many timesteps each sequence was posted with.
        outputs: `(n, …)` each.

    Raises:
        InvalidInput: a sequence is so large that its answer is not finite.
    """
    head = orjson.dumps({"model": model.card.name, "version": model.version})
    predictions = rows(outputs, attention, model.card.target, lengths)
    return b'%b,"predictions":[%b]}' % (head[:-1], b",".join(predictions))
