"""`/v1`: TensorFlow Serving's REST API, as https://www.tensorflow.org/tfx/serving/api_rest documents it."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal, NoReturn

from fastapi import APIRouter, HTTPException, Path, Request, Response
from pydantic import BaseModel, Field
from starlette.convertors import StringConvertor, register_url_convertor

from service.api.codecs.instances import Instances, SignatureChoice
from service.api.codecs.padding import Lengths, PaddedSequences
from service.api.error_answers import INFERENCE_ERRORS, SELECTION_ERRORS, documented_in_protocol
from service.api.inference import Encoder, JsonResponse, infer
from service.api.openapi import takes
from service.api.request_body import RequestBody, validated
from service.api.selection import Selection, Version
from service.artifact.card import ModelCard
from service.artifact.signatures import SignatureDefinition, TensorInfo
from service.artifact.tensors import SIGNATURES
from service.errors import InvalidInput, Unavailable, UnknownModel
from service.serving.dataplane import DataPlane, Question
from service.serving.model import Model
from service.serving.repository import Repository
from service.serving.request_queue import Outputs
from service.serving.versions import State, Status

#: TensorFlow Serving's names of the states of a version.
STATES: Mapping[State, Literal["LOADING", "AVAILABLE", "END"]] = {
    "loading": "LOADING",
    "live": "AVAILABLE",
    "rejected": "END",
    "retired": "END",
    "unloaded": "END",
}

#: The verbs that are answered.
VERBS = ("predict", "explain")
#: Verbs of TensorFlow Serving that are refused.
EXAMPLE_VERBS = ("classify", "regress")


class PredictBody(Instances, SignatureChoice):
    """Sequences, and the signature to answer."""

    def decode(self, card: ModelCard, limit: int) -> PaddedSequences:
        _ = self.outputs  # an unknown signature is refused first
        return super().decode(card, limit)


class PredictRows(BaseModel):
    """Answer to `instances`."""

    predictions: list[Any] = Field(
        description="One entry a sequence: the output where the signature has one, else an object of outputs.",
        examples=[[[0.98]]],
    )


class PredictColumns(BaseModel):
    """Answer to `inputs`."""

    outputs: Any = Field(
        description="The output where the signature has one, else an object of outputs.", examples=[[[0.98]]]
    )


class StatusProto(BaseModel):
    """Health of a version."""

    error_code: Literal["OK", "INVALID_ARGUMENT"] = Field(description="`OK` unless it failed.", examples=["OK"])
    error_message: str = Field(description="The reason.", examples=[""])


class ModelVersionStatus(BaseModel):
    """The state of one version."""

    version: str = Field(description="Its number.", examples=["3"])
    state: Literal["LOADING", "AVAILABLE", "END"] = Field(
        description="`AVAILABLE` while it can be asked.", examples=["AVAILABLE"]
    )
    status: StatusProto = Field(description="Its health.")

    @classmethod
    def of(cls, status: Status) -> "ModelVersionStatus":
        """Return the answer for a status."""
        rejected = status.state == "rejected"
        return cls(
            version=str(status.version),
            state=STATES[status.state],
            status=StatusProto(
                error_code="INVALID_ARGUMENT" if rejected else "OK",
                error_message=(status.reason or "") if rejected else "",
            ),
        )


class GetModelStatusResponse(BaseModel):
    """The versions of a model, newest first."""

    model_version_status: list[ModelVersionStatus] = Field(description="One entry a version.")


class ModelStatus(GetModelStatusResponse):
    """The versions of a model, and the fields of KServe's answer, which has the same address."""

    name: str = Field(description="KServe: the model.", examples=["after-lstm"])
    ready: bool = Field(description="KServe: whether it can be asked.", examples=[True])


class ModelSpec(BaseModel):
    """The version that is described."""

    name: str = Field(description="Name of the model.", examples=["after-lstm"])
    signature_name: str = Field("", description="Always empty.", examples=[""])
    version: str = Field(description="Its version.", examples=["3"])


class GetModelMetadataResponse(BaseModel):
    """The signatures of a version."""

    model_spec: ModelSpec = Field(description="The version.")
    metadata: dict[str, Any] = Field(
        description="`signature_def`: the SavedModel's own definitions, as protobuf writes them in JSON; of a version "
        "without a SavedModel, those of its ONNX graph.",
        examples=[{"signature_def": {"signature_def": {}}}],
    )


class _ModelName(StringConvertor):
    """The name of a model, without a verb: `/v1/models/m:predict` takes POST alone."""

    regex = "[^/:]+"


class _UnknownVerb(StringConvertor):
    """A verb that no route has."""

    regex = rf"(?!({'|'.join((*VERBS, *EXAMPLE_VERBS))})$).*"


register_url_convertor("model_name", _ModelName())
register_url_convertor("unknown_verb", _UnknownVerb())

inference_router = APIRouter(prefix="/v1/models", tags=["tensorflow_serving"])
router = APIRouter(prefix="/v1/models", tags=["tensorflow_serving"])


def find(request: Request) -> Model:
    """Return the model in the path, with TensorFlow Serving's message if there is none.

    Raises:
        UnknownModel: there is no such model or version.
    """
    selection = validated(Selection, request.path_params, "path")
    try:
        return selection.of(request)
    except UnknownModel as error:
        wanted = "Latest" if selection.version is None else "Specific"
        names = [str(part) for part in (selection.model, selection.version) if part is not None]
        raise UnknownModel(f"Servable not found for request: {wanted}({', '.join(names)})") from error


PREDICT: Any = {
    "summary": "TensorFlow Serving: predict",
    "response_model": PredictRows | PredictColumns,
    "responses": documented_in_protocol(*INFERENCE_ERRORS),
    "openapi_extra": takes(PredictBody, lambda sequence: {"instances": [sequence]}),
}


@inference_router.post("/{model}:predict", name="predict_v1", **PREDICT)
@inference_router.post("/{model}/versions/{version}:predict", name="predict_v1_version", **PREDICT)
async def predict(request: Request) -> Response:
    """Predictions of a signature: `serving_default`, or `attention` for the attention of the same forward pass."""
    return await infer(request, find(request), decode, by_name=True)


def decode(body: RequestBody, model: Model, most: int) -> tuple[Question, Encoder]:
    """Turn a body of at most `most` sequences into a question and the encoder of its answer."""
    fields, sequences = body.decode(PredictBody, model.card, most)
    return Question(sequences.array, fields.outputs), partial(encode, fields, sequences.lengths)


def encode(body: PredictBody, lengths: Lengths, outputs: Outputs) -> JsonResponse:
    """Return the answer: outputs `(n, …)` in rows or in columns, as the sequences were posted."""
    field = "outputs" if body.instances is None else "predictions"
    return JsonResponse(b'{"%b":%b}' % (field.encode(), body.encode(lengths, outputs)))


#: The methods by which an unknown verb is not found.
METHODS = ["GET", "HEAD", "OPTIONS", "POST"]
#: Routes that only refuse have no place in a generated client.
UNSUPPORTED: Any = {"response_model": None, "include_in_schema": False}


@router.post("/{model}:classify", **UNSUPPORTED)
@router.post("/{model}:regress", **UNSUPPORTED)
@router.post("/{model}/versions/{version}:classify", **UNSUPPORTED)
@router.post("/{model}/versions/{version}:regress", **UNSUPPORTED)
async def refuse_examples(request: Request) -> NoReturn:
    """Answer 400: the method takes Example protos, for which no model here has a signature. Use `:predict`."""
    find(request)
    method = request.url.path.rpartition(":")[2]
    raise InvalidInput(
        f"expected :predict, got :{method}: it takes Example protos, and no signature of the model does; "
        f"its signatures are {', '.join(SIGNATURES)}"
    )


@router.get("/{model}/labels/{label}", **UNSUPPORTED)
@router.get("/{model}/labels/{label}/metadata", **UNSUPPORTED)
@router.post("/{model}/labels/{label}:{method}", **UNSUPPORTED)
async def refuse_label(label: Annotated[str, Path(description="Label of a version.")], request: Request) -> NoReturn:
    """Answer 400: versions have numbers, not labels."""
    verb = request.path_params.get("method")
    if verb is not None and verb not in (*VERBS, *EXAMPLE_VERBS):
        raise _unknown_verb(verb)
    raise InvalidInput(f"Unrecognized servable version label: {label}")


@router.api_route("/{model}:{method:unknown_verb}", methods=METHODS, **UNSUPPORTED)
@router.api_route("/{model}/versions/{version}:{method:unknown_verb}", methods=METHODS, **UNSUPPORTED)
async def refuse_verb(request: Request) -> NoReturn:
    """Answer 404: there is no such verb."""
    raise _unknown_verb(request.path_params["method"])


def _unknown_verb(verb: str) -> HTTPException:
    return HTTPException(404, f"expected one of {', '.join(f':{known}' for known in VERBS)}, got :{verb[:80]}")


@router.get(
    "/{model:model_name}",
    name="get_model_status_v1",
    summary="TensorFlow Serving and KServe: status of a model",
    responses={
        **documented_in_protocol(*SELECTION_ERRORS),
        503: {"model": ModelStatus, "description": "No version of the model can be asked."},
    },
)
async def status(
    model: Annotated[str, Path(description="Name of the model.")], request: Request, response: Response
) -> ModelStatus:
    """The state of each version of a model. Answer 200 if it can be asked, else 503, as probes read it."""
    statuses = _statuses(model, request)
    if not statuses:
        raise UnknownModel(f"Could not find any versions of model {model}")
    plane: DataPlane = request.app.state.plane
    try:
        plane.require_ready(plane.model(model))
        ready = True
    except Unavailable:
        ready = False
        response.status_code = Unavailable.status
    return ModelStatus(model_version_status=[ModelVersionStatus.of(one) for one in statuses], name=model, ready=ready)


@router.get(
    "/{model}/versions/{version}",
    name="get_model_status_v1_version",
    summary="TensorFlow Serving: status of a version",
    responses={
        **documented_in_protocol(*SELECTION_ERRORS),
        503: {"model": GetModelStatusResponse, "description": "The version cannot be asked."},
    },
)
async def version_status(
    model: Annotated[str, Path(description="Name of the model.")],
    version: Annotated[Version, Path(lt=10**18, description="Version of the model.")],
    request: Request,
    response: Response,
) -> GetModelStatusResponse:
    """The state of one version of a model. Answer 200 if it can be asked, else 503, as probes read it."""
    chosen = [ModelVersionStatus.of(one) for one in _statuses(model, request) if one.version == version]
    if not chosen:
        raise UnknownModel(f"Could not find version {version} of model {model}")
    if chosen[0].state != "AVAILABLE":
        response.status_code = Unavailable.status
    return GetModelStatusResponse(model_version_status=chosen)


def _statuses(model: str, request: Request) -> list[Status]:
    repository: Repository = request.app.state.repository
    versions = repository.models.get(model)
    return versions.statuses() if versions else []


METADATA: Any = {"summary": "TensorFlow Serving: signatures", "responses": documented_in_protocol(*SELECTION_ERRORS)}


@router.get("/{model}/metadata", name="get_model_metadata_v1", **METADATA)
@router.get("/{model}/versions/{version}/metadata", name="get_model_metadata_v1_version", **METADATA)
async def metadata(request: Request) -> GetModelMetadataResponse:
    """The signatures of the version."""
    model = find(request)
    signatures = {name: _definition(signature) for name, signature in model.signatures.items()}
    return GetModelMetadataResponse(
        model_spec=ModelSpec(name=model.card.name, version=str(model.version)),
        metadata={"signature_def": {"signature_def": signatures}},
    )


def _definition(signature: SignatureDefinition) -> dict[str, Any]:
    return {
        "inputs": {name: _tensor_info(info) for name, info in signature.inputs.items()},
        "outputs": {name: _tensor_info(info) for name, info in signature.outputs.items()},
        "method_name": signature.method_name,
        "defaults": {},
    }


def _tensor_info(info: TensorInfo) -> dict[str, Any]:
    axes = [{"size": str(size), "name": ""} for size in info.shape or ()]
    return {"dtype": info.dtype, "tensor_shape": {"dim": axes, "unknown_rank": info.shape is None}, "name": info.name}
