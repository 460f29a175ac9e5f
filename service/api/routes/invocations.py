"""The routes of the clients of MLflow, SageMaker and Vertex AI, for the default model.

See
https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally,
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html and
https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements.
"""

from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

from service import __version__, errors
from service.api.codecs.instances import Instances, SignatureChoice
from service.api.codecs.padding import Lengths, PaddedSequences
from service.api.codecs.records import loads_records
from service.api.codecs.sequences import NamedFeatures
from service.api.codecs.tables import (
    MORE_COLUMNS,
    decode_csv_table,
    decode_table,
    require_size,
    table_of_records,
    table_of_split,
)
from service.api.error_answers import INFERENCE_ERRORS, documented, documented_in_protocol
from service.api.inference import Encoder, JsonResponse, infer
from service.api.openapi import takes
from service.api.request_body import (
    CSV,
    LARGE_BODY,
    KnownFields,
    RequestBody,
    media_type_of,
    parse_json,
    require_structure,
    validated,
)
from service.api.selection import NO_SELECTION
from service.artifact.card import ModelCard
from service.errors import InvalidInput
from service.serving.dataplane import DataPlane, Question
from service.serving.model import Model
from service.serving.request_queue import Outputs

inference_router, router = APIRouter(tags=["mlflow"]), APIRouter(tags=["mlflow"])


class Params(KnownFields, SignatureChoice):
    """The parameters of the answer."""


class Invocation(KnownFields, Instances):
    """Sequences or a table, and the parameters of the answer."""

    dataframe_split: Any = Field(
        None,
        description="A table: its `columns`, and the rows of its `data`. Columns are matched with the labels of the "
        "card by name.",
        examples=[{"columns": ["0", "1"], "data": [[0.1, -0.2]] * 20}],
    )
    dataframe_records: Any = Field(
        None, description="A table: one object a row.", examples=[[{"0": 0.1, "1": -0.2}] * 20]
    )
    params: Params | None = Field(None, description="Parameters of the answer.")
    parameters: Params | None = Field(None, description="Vertex AI: the same as `params`.")

    def decode(self, card: ModelCard, limit: int) -> PaddedSequences:
        _ = self.outputs  # an unknown signature is refused first
        forms = ("instances", "inputs", "dataframe_split", "dataframe_records")
        given = [form for form in forms if getattr(self, form) is not None]
        if len(given) != 1:
            raise InvalidInput(f"expected one of {', '.join(forms)}, got {' and '.join(given) or 'none'}")
        if self.dataframe_split is not None:
            return decode_table(table_of_split(self.dataframe_split), card, limit)
        if self.dataframe_records is not None:
            if isinstance(self.dataframe_records, list) and any(
                type(row) is dict for row in self.dataframe_records[:1]
            ):
                raise NamedFeatures("dataframe_records: expected rows whose repeated names are known")
            return decode_table(table_of_records(self.dataframe_records), card, limit)
        return super().decode(card, limit)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs of the signature that the parameters name.

        Raises:
            InvalidInput: there is no such signature, or the parameters are there twice.
        """
        if self.params is not None and self.parameters is not None:
            raise InvalidInput("expected either 'params' or 'parameters', got both")
        return (self.params or self.parameters or Params()).outputs


class Predictions(BaseModel):
    """The outputs of the model."""

    predictions: Any = Field(
        description="All entries of an output for `inputs`; else one entry a sequence.",
        examples=[[[0.98]]],
    )


class Pong(BaseModel):
    """The default model is loaded."""


@inference_router.post(
    "/invocations",
    summary="MLflow and SageMaker: predict",
    response_model=Predictions,
    responses=documented_in_protocol(*INFERENCE_ERRORS),
    openapi_extra=takes(Invocation, lambda sequence: {"instances": [sequence]}),
)
async def invocations(request: Request) -> Response:
    """Predictions of the default model; with `{"params": {"signature_name": "attention"}}` the attention, too.

    The body may also be a table as `text/csv`, whose columns have the names of the card's features.
    """
    read = decode_csv if media_type_of(request) == CSV else decode
    return await infer(request, NO_SELECTION.of(request), read, by_name=True)


def decode(body: RequestBody, model: Model, most: int) -> tuple[Question, Encoder]:
    """Turn a body of at most `most` sequences into a question and the encoder of its answer."""
    text = b"".join(body.chunks)
    if b'"dataframe_' in text:
        require_size(text, model.card, most)
        if body.size > LARGE_BODY:
            require_structure(text, most, model.card, model.card.timesteps * model.card.features + MORE_COLUMNS)
        fields = validated(Invocation, parse_json(text, loads_records), "body")
        sequences = fields.decode(model.card, most)
    else:
        fields, sequences = body.decode(Invocation, model.card, most)
    return Question(sequences.array, fields.outputs), partial(encode, fields, sequences.lengths)


def decode_csv(body: RequestBody, model: Model, most: int) -> tuple[Question, Encoder]:
    """Turn CSV of at most `most` sequences into a question and the encoder of its answer, as `decode` does."""
    fields, sequences = Invocation(), decode_csv_table(b"".join(body.chunks), model.card, most)
    return Question(sequences.array, fields.outputs), partial(encode, fields, sequences.lengths)


def encode(body: Invocation, lengths: Lengths, outputs: Outputs) -> JsonResponse:
    """Return the answer, from outputs `(n, …)`."""
    return JsonResponse(b'{"predictions":%b}' % body.encode(lengths, outputs))


@router.get(
    "/ping", summary="MLflow and SageMaker: can it be asked?", responses=documented_in_protocol(errors.Unavailable)
)
async def ping(request: Request) -> Pong:
    """Answer 200 while the default model is loaded, and 503 while it is not and while the service stops."""
    plane: DataPlane = request.app.state.plane
    plane.require_ready(plane.model())
    return Pong()


router.add_api_route(
    "/health",
    ping,
    name="get_health",
    methods=["GET"],
    summary="MLflow: can it be asked?",
    responses=documented(errors.Unavailable),
)


@router.get("/version", name="get_version", summary="MLflow: version of the server", response_class=PlainTextResponse)
async def version() -> str:
    """The version of this service, as text."""
    return __version__


def inference_router_of_vertex(path: str) -> APIRouter:
    """Return the router of Vertex AI's route for predictions, which is in no document."""
    router = APIRouter(include_in_schema=False)
    router.add_api_route(path, invocations, methods=["POST"], name="vertex_predict")
    return router


def router_of_vertex(path: str) -> APIRouter:
    """Return the router of Vertex AI's route for health, which is in no document."""
    router = APIRouter(include_in_schema=False)
    router.add_api_route(path, ping, methods=["GET"], name="vertex_health")
    return router
