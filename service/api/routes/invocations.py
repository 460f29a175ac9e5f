"""`/invocations` and `/ping`: the routes of MLflow's and SageMaker's clients, for the default model.

See https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally.
"""

from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from service import errors
from service.api.codecs.instances import Instances, SignatureChoice
from service.api.codecs.padding import Lengths
from service.api.error_answers import INFERENCE_ERRORS, documented_in_protocol
from service.api.inference import Encoder, JsonResponse, infer
from service.api.openapi import takes
from service.api.request_body import RequestBody
from service.api.selection import NO_SELECTION
from service.serving.dataplane import Question
from service.serving.model import Model
from service.serving.repository import Repository
from service.serving.request_queue import Outputs

inference_router, router = APIRouter(tags=["mlflow"]), APIRouter(tags=["mlflow"])


class Params(SignatureChoice):
    """The parameters of the answer."""


class Invocation(Instances):
    """Sequences, and the parameters of the answer."""

    params: Params = Field(default_factory=Params, description="Parameters of the answer.")


class Predictions(BaseModel):
    """The outputs of the model."""

    predictions: Any = Field(
        description="One entry a sequence for `instances`; all entries of an output for `inputs`.",
        examples=[[[0.98]]],
    )


class Pong(BaseModel):
    """The default model is loaded."""


@inference_router.post(
    "/invocations",
    summary="MLflow and SageMaker: predict",
    response_model=Predictions,
    responses=documented_in_protocol(*INFERENCE_ERRORS),
    openapi_extra=takes(Invocation),
)
async def invocations(request: Request) -> Response:
    """Predictions of the default model; with `{"params": {"signature_name": "attention"}}` the attention, too."""
    return await infer(request, NO_SELECTION.of(request), decode)


def decode(body: RequestBody, model: Model, most: int) -> tuple[Question, Encoder]:
    """Turn a body of at most `most` sequences into a question and the encoder of its answer."""
    fields = body.parse(Invocation, most, model.card)
    outputs, sequences = fields.params.outputs, fields.decode(model.card, most)
    return Question(sequences.array, outputs), partial(encode, fields, sequences.lengths)


def encode(body: Invocation, lengths: Lengths, outputs: Outputs) -> JsonResponse:
    """Return the answer, from outputs `(n, …)`."""
    return JsonResponse(b'{"predictions":%b}' % body.encode(lengths, outputs))


@router.get(
    "/ping", summary="MLflow and SageMaker: can it be asked?", responses=documented_in_protocol(errors.Unavailable)
)
async def ping(request: Request) -> Pong:
    """Answer 200 while the default model is loaded, else 503."""
    repository: Repository = request.app.state.repository
    repository.get()
    return Pong()
