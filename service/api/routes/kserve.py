"""`/v1`: the routes that KServe's V1 protocol adds to TensorFlow Serving's: the list of models, and `:explain`.

See https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, StrictBool

from service.api.codecs.explanations import ExplanationFields
from service.api.codecs.instances import Instances
from service.api.codecs.padding import Lengths
from service.api.codecs.predictions import Prediction, encode_predictions, require_classes, texts_of
from service.api.error_answers import INFERENCE_ERRORS, documented_in_protocol
from service.api.inference import Encoder, JsonResponse, infer
from service.api.openapi import takes
from service.api.request_body import RequestBody
from service.api.selection import model_in_path
from service.artifact.card import Target
from service.artifact.tensors import ATTENTION
from service.serving.dataplane import Question
from service.serving.model import Model
from service.serving.repository import Repository
from service.serving.request_queue import Outputs

inference_router, router = APIRouter(tags=["kserve_v1"]), APIRouter(tags=["kserve_v1"])


class ModelList(BaseModel):
    """The models of the folder."""

    models: list[str] = Field(description="Their names.", examples=[["after-lstm"]])


class ExplainBody(ExplanationFields, Instances):
    """Sequences, and the explanations to answer."""

    probabilities: StrictBool = Field(default=False, description="As of `POST /predict`.", examples=[False])


class Explanations(BaseModel):
    """The prediction and the attention of each sequence."""

    explanations: list[Prediction] = Field(description="One for each sequence.")


EXPLAIN: Any = {
    "summary": "KServe: explain",
    "response_model": Explanations,
    "response_model_exclude_none": True,
    "responses": documented_in_protocol(*INFERENCE_ERRORS),
    "openapi_extra": takes(ExplainBody, lambda sequence: {"instances": [sequence]}),
}


@inference_router.post("/v1/models/{model}:explain", name="explain_v1", **EXPLAIN)
@inference_router.post("/v1/models/{model}/versions/{version}:explain", name="explain_v1_version", **EXPLAIN)
async def explain(request: Request) -> Response:
    """Predictions, each with the attention of the same forward pass, and importance on request."""
    return await infer(request, model_in_path(request), decode, by_name=True)


def decode(body: RequestBody, model: Model, most: int) -> tuple[Question, Encoder]:
    """Turn a body of at most `most` sequences into a question and the encoder of its answer."""
    fields, sequences = body.decode(ExplainBody, model.card, most)
    if fields.probabilities:
        require_classes(model.card.target)
    question = Question(sequences.array, model.usual_outputs, fields.explanations(model), fields.replacement)
    given: dict[str, Sequence[Any]] = {}
    if model.texts is not None:
        given["tokens"] = texts_of(sequences.array, sequences.lengths, model.texts)
    return question, partial(encode, model.card.target, sequences.lengths, given, probabilities=fields.probabilities)


def encode(
    target: Target,
    lengths: Lengths,
    given: Mapping[str, Sequence[Any]],
    outputs: Outputs,
    *,
    probabilities: bool,
) -> JsonResponse:
    """Return the answer, from outputs `(n, …)`."""
    attention = ATTENTION if ATTENTION in outputs else None
    explanations = encode_predictions(outputs, attention, target, lengths, probabilities=probabilities, given=given)
    return JsonResponse(b'{"explanations":[%b]}' % b",".join(explanations))


@router.get("/v1/models", name="list_models_v1", summary="KServe: models")
async def models(request: Request) -> ModelList:
    """The names of all models, loaded or not."""
    repository: Repository = request.app.state.repository
    return ModelList(models=sorted(repository.models))
