"""`POST /predict`: predictions, each with the attention of the same forward pass."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from service.api.codecs.padding import Lengths
from service.api.codecs.predictions import Prediction, encode_predictions
from service.api.codecs.sequences import decode_sequences
from service.api.error_answers import INFERENCE_ERRORS, documented
from service.api.inference import Encoder, JsonResponse, infer
from service.api.openapi import query_parameters, takes
from service.api.request_body import RequestBody, require_json
from service.api.selection import Selection, model_in_query
from service.artifact.tensors import ATTENTION, ATTENTION_VEC, PREDICTION
from service.serving.dataplane import Question
from service.serving.model import Model
from service.serving.request_queue import Outputs

Detail = Literal["mean", "full", "none"]
#: The output that each detail of attention takes.
OUTPUTS: Mapping[Detail, str | None] = {"mean": ATTENTION, "full": ATTENTION_VEC, "none": None}

SEQUENCE_SCHEMA: dict[str, Any] = {"type": "array", "items": {"type": "array", "items": {"type": ["number", "null"]}}}
EXAMPLE_SEQUENCE: Any = [[0.1, -0.2]] * 20


class PredictRequest(BaseModel):
    """One sequence or many. The decoder checks their elements against the model's card."""

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
        description="Whether to answer how much each prediction depends on each timestep. It takes one more run of the "
        "model for each timestep.",
        examples=[False],
    )

    @model_validator(mode="before")
    @classmethod
    def _known_fields_and_one_of_both(cls, body: object) -> object:
        if not isinstance(body, dict):
            return body
        # Not extra="forbid", which makes an error of each unknown field: a body may have millions.
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


inference_router = APIRouter(tags=["predict"])


@inference_router.post(
    "/predict",
    summary="Predict, and show where the model looked",
    response_model=PredictResponse,
    response_model_exclude_none=True,
    responses=documented(*INFERENCE_ERRORS),
    openapi_extra={**takes(PredictRequest), "parameters": query_parameters(Selection)},
)
async def predict(request: Request) -> Response:
    """Answer each sequence with its prediction and, from the same forward pass, its attention."""
    require_json(request)
    return await infer(request, model_in_query(request), decode)


def decode(body: RequestBody, model: Model, most: int) -> tuple[Question, Encoder]:
    """Turn a body of at most `most` sequences into a question and the encoder of its answer."""
    fields = body.parse(PredictRequest, most, model.card)
    if fields.sequences is not None:
        sequences = decode_sequences(fields.sequences, model.card, most, "sequences[{}]")
    else:
        one = fields.sequence[np.newaxis] if isinstance(fields.sequence, np.ndarray) else [fields.sequence]
        sequences = decode_sequences(one, model.card, most, "sequence")
    attention = OUTPUTS[fields.attention]
    outputs = (PREDICTION, attention) if attention else (PREDICTION,)
    return Question(sequences.array, outputs, fields.importance), partial(encode, model, attention, sequences.lengths)


def encode(model: Model, attention: str | None, lengths: Lengths, outputs: Outputs) -> JsonResponse:
    """Return the answer.

    Args:
        model: the model that answered.
        attention: the output to answer as attention; None for none.
        lengths: how many timesteps each sequence was posted with.
        outputs: `(n, …)` each.

    Raises:
        InvalidInput: the answer to a sequence is not finite, as its values are too large.
    """
    head = orjson.dumps({"model": model.card.name, "version": model.version})
    predictions = encode_predictions(outputs, attention, model.card.target, lengths)
    return JsonResponse(b'%b,"predictions":[%b]}' % (head[:-1], b",".join(predictions)))
