"""`/v1`: what KServe's V1 protocol has beside TensorFlow Serving's: the list of models, and `:explain`.

See https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol.
"""

import time
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from service.api.codecs.instances import Instances, sequences_of
from service.api.codecs.padding import Lengths
from service.api.codecs.predictions import Prediction, rows
from service.api.error_answers import POSTING, documented_in_protocol
from service.api.routing import BodyRequest, ModelRoute, off_loop, respond
from service.api.selection import NAMED, VERSIONED, PathModel
from service.artifact.card import Target
from service.artifact.tensors import ATTENTION, PREDICTION
from service.serving.batcher import Outputs
from service.serving.repository import Repository

asking = APIRouter(tags=["KServe V1"], route_class=ModelRoute)
router = APIRouter(tags=["KServe V1"])


class ModelList(BaseModel):
    """The models that can be asked for."""

    models: list[str] = Field(description="Their names.", examples=[["after-lstm"]])


class ExplainBody(Instances):
    """Sequences, and what to say of them."""

    importance: bool = Field(default=False, description="As of `POST /predict`.", examples=[False])


class Explanations(BaseModel):
    """What the model says of each sequence, and where it looked."""

    explanations: list[Prediction] = Field(description="One for each sequence.")


EXPLAIN: Any = {
    "summary": "KServe: explain",
    "response_model": Explanations,
    "response_model_exclude_none": True,
    "responses": documented_in_protocol(*POSTING),
}


@asking.post("/v1/models/{model}:explain", **EXPLAIN, dependencies=NAMED)
@asking.post("/v1/models/{model}/versions/{version}:explain", **EXPLAIN, dependencies=VERSIONED)
async def explain(body: ExplainBody, model: PathModel, request: BodyRequest) -> Response:
    """Predictions, each with the attention of the same forward pass, and with importance where asked for."""
    limit = request.most_sequences(model.card)
    sequences = await off_loop(sequences_of, body, model.card, limit, large=request.large)
    decoded = time.perf_counter()
    ask = model.explain if body.importance else model.predict
    result = await ask(sequences.array, (PREDICTION, ATTENTION))
    return await respond(request, decoded, result, partial(encode, model.card.target, sequences.lengths))


def encode(target: Target, lengths: Lengths, outputs: Outputs) -> bytes:
    """Outputs of a model to the JSON of an answer."""
    return b'{"explanations":[%b]}' % b",".join(rows(outputs, ATTENTION, target, lengths))


@router.get("/v1/models", summary="KServe: models")
async def models(request: Request) -> ModelList:
    """The names of all models, whether they can be asked or not."""
    repository: Repository = request.app.state.repository
    return ModelList(models=sorted(repository.models))
