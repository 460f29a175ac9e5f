"""`/invocations` and `/ping`: what MLflow's and SageMaker's clients ask, of the default model.

See https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally.
"""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from service import errors
from service.api.codecs.instances import (
    DEFAULT_SIGNATURE,
    Instances,
    SignatureName,
    encode_outputs,
    outputs_of,
    sequences_of,
)
from service.api.codecs.padding import Lengths
from service.api.error_answers import POSTING, documented_in_protocol
from service.api.routing import BodyRequest, ModelRoute, off_loop, respond
from service.api.selection import PathModel
from service.artifact.tensors import Array
from service.serving.repository import Repository

asking = APIRouter(tags=["MLflow"], route_class=ModelRoute)
router = APIRouter(tags=["MLflow"])


class Params(BaseModel):
    """What to say of the sequences."""

    signature_name: SignatureName = DEFAULT_SIGNATURE


class Invocation(Instances):
    """Sequences, and what to say of them."""

    params: Params = Field(default_factory=Params, description="What to say of them.")


class Predictions(BaseModel):
    """What the model says."""

    predictions: Any = Field(
        description="As the sequences came: to `instances` one entry a sequence, to `inputs` all of an output.",
        examples=[[[0.98]]],
    )


class Pong(BaseModel):
    """The default model can be asked."""


@asking.post(
    "/invocations",
    summary="MLflow and SageMaker: predict",
    response_model=Predictions,
    responses=documented_in_protocol(*POSTING),
)
async def invocations(body: Invocation, model: PathModel, request: BodyRequest) -> Response:
    """Predictions of the default model; with `{"params": {"signature_name": "attention"}}` the attention, too."""
    outputs = outputs_of(body.params.signature_name)
    limit = request.most_sequences(model.card)
    sequences = await off_loop(sequences_of, body, model.card, limit, large=request.large)
    decoded = time.perf_counter()
    result = await model.predict(sequences.array, outputs)
    return await respond(request, decoded, result, partial(encode, body, sequences.lengths))


def encode(body: Invocation, lengths: Lengths, outputs: Mapping[str, Array]) -> bytes:
    """Outputs `(n, …)` to the JSON of an answer."""
    return b'{"predictions":%b}' % encode_outputs(body, lengths, outputs)


@router.get(
    "/ping", summary="MLflow and SageMaker: can it be asked?", responses=documented_in_protocol(errors.Unavailable)
)
async def ping(request: Request) -> Pong:
    """Answers 200 while the default model can be asked, else 503."""
    repository: Repository = request.app.state.repository
    repository.get()
    return Pong()
