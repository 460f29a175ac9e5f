"""`/v2`: the Open Inference Protocol, https://github.com/kserve/open-inference-protocol, and binary tensor data."""

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Final, Literal

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from service import __version__, errors
from service.api.answer_memory import ResponseInParts
from service.api.codecs.array_writer import require_finite
from service.api.codecs.tensors import DATATYPE, Parameters, RequestInput, decode_tensor
from service.api.error_answers import INFERENCE_ERRORS, SELECTION_ERRORS, documented_in_protocol
from service.api.inference import Encoder, JsonResponse, infer
from service.api.openapi import takes
from service.api.request_body import RequestBody, parse_sequences
from service.api.selection import model_in_path
from service.artifact.card import ModelCard
from service.artifact.occlusion import REPLACEMENTS, Replacement
from service.artifact.tensors import ATTENTION, AXES, MEASURES, OVER_TIME, PREDICTION, SEQUENCE, SIGNATURES, shape_of
from service.errors import InvalidInput
from service.problems import shown
from service.serving.dataplane import DataPlane, Question
from service.serving.explanation import EXPLANATIONS, answerable
from service.serving.model import Model
from service.serving.repository import Repository
from service.serving.request_queue import Outputs

LENGTH_HEADER: Final = "Inference-Header-Content-Length"
#: The outputs that are answered by default, and those that a request may name. Some models have no attention.
OUTPUTS: Final = SIGNATURES["attention"]
NAMED_OUTPUTS: Final = (*OUTPUTS, *EXPLANATIONS)
#: Answers of fewer bytes are sent in one piece; copying them costs less than sending several pieces.
LARGE_ANSWER: Final = 16 * 2**10

NO_PARAMETERS: Final[Parameters] = {}

#: The protocol's names of the engines.
PLATFORMS: Final = {"onnx": "onnx_onnxv1", "tensorflow": "tensorflow_savedmodel"}


class RequestOutput(BaseModel):
    """A requested output."""

    name: str = Field(description=f"One of {', '.join(NAMED_OUTPUTS)}.", examples=[ATTENTION])
    parameters: Parameters | None = Field(
        None, description="`binary_data`: whether to answer it as bytes after the JSON.", examples=[{}]
    )


class InferRequest(BaseModel):
    """Sequences, and the outputs to answer."""

    id: str | None = Field(None, description="Repeated in the answer.", examples=["42"])
    parameters: Parameters | None = Field(
        None,
        description="`binary_data_output`: whether to answer all outputs as bytes after the JSON. `labels`: whether "
        "JSON outputs have labels, too. `replacement`: as of `POST /predict`. `timeout`: longest time to wait for the "
        "outputs, in microseconds, if shorter than the service's.",
        examples=[{}],
    )
    inputs: list[RequestInput] = Field(
        min_length=1, max_length=1, description=f"One tensor, `{SEQUENCE}`.", examples=[]
    )
    outputs: list[RequestOutput] | None = Field(
        None,
        max_length=len(NAMED_OUTPUTS),
        description=f"Which outputs to answer; where there are none, all but explanations "
        f"({', '.join(EXPLANATIONS)}), which take more runs.",
    )


class ResponseOutput(BaseModel):
    """A tensor of the answer."""

    name: str = Field(description="Name of the output.", examples=[ATTENTION])
    shape: list[int] = Field(description="Its shape.", examples=[[1, 20]])
    datatype: str = Field(description=f"Always `{DATATYPE}`.", examples=[DATATYPE])
    parameters: Parameters | None = Field(
        None,
        description="`binary_data_size`: bytes of it after the JSON. In binary outputs, and in JSON on request, "
        "`timestep_labels`, `feature_labels` and `measures`, `classes` or `names` of the prediction: a JSON array, as "
        "a string because parameters are no lists.",
        examples=[{"timestep_labels": '["0", "1", "2"]'}],
    )
    data: list[float] | None = Field(
        None, description="Its elements, row by row; absent where they are binary.", examples=[[0.005, 0.99, 0.005]]
    )


class InferResponse(BaseModel):
    """The requested outputs."""

    model_name: str = Field(description="Model that answered.", examples=["after-lstm"])
    model_version: str = Field(description="Version that answered.", examples=["3"])
    id: str | None = Field(None, description="The id of the request.", examples=["42"])
    outputs: list[ResponseOutput] = Field(description="In the order of the request.")


class ServerMetadata(BaseModel):
    """The server."""

    name: Literal["attention-service"] = Field("attention-service", description="Name of the server.")
    # No default in the document, which must not change with each build.
    version: str = Field(default_factory=lambda: __version__, description="Its version.", examples=["1.0.0"])
    extensions: tuple[str, ...] = Field(
        ("binary_tensor_data", "model_repository", "model_configuration", "statistics"),
        description="Extensions of the protocol that it supports.",
        examples=[["binary_tensor_data"]],
    )


class ServerLive(BaseModel):
    """The process is alive."""

    live: Literal[True] = Field(default=True, description="Always true.")


class ServerReady(BaseModel):
    """The default model is loaded."""

    ready: Literal[True] = Field(default=True, description="Always true; a service that is not ready answers 503.")


class ModelReady(BaseModel):
    """The model is loaded."""

    name: str = Field(description="Name of the model.", examples=["after-lstm"])
    ready: Literal[True] = Field(default=True, description="Always true; a model that is not ready answers 503 or 404.")


class MetadataTensor(BaseModel):
    """The name, type and shape of a tensor."""

    name: str = Field(description="Its name.", examples=[SEQUENCE])
    datatype: str = Field(description=f"Always `{DATATYPE}`.", examples=[DATATYPE])
    shape: list[int] = Field(
        description="Its shape, -1 for the number of sequences, and of timesteps if that varies.",
        examples=[[-1, 20, 2]],
    )


class ModelMetadata(BaseModel):
    """The inputs and outputs of a model."""

    name: str = Field(description="Name of the model.", examples=["after-lstm"])
    versions: list[str] = Field(description="Loaded versions, newest first.", examples=[["3", "2"]])
    platform: str = Field(description="The engine.", examples=["onnx_onnxv1"])
    inputs: list[MetadataTensor] = Field(description="Its inputs.")
    outputs: list[MetadataTensor] = Field(description="Its outputs.")


def tensor_response(text: bytes, tensors: list[memoryview]) -> Response:
    """Return JSON and the bytes of the tensors that it describes. Large tensors are sent without being copied."""
    headers, media_type = {LENGTH_HEADER: str(len(text))}, "application/octet-stream"
    parts: list[bytes | memoryview] = [text, *tensors]
    if sum(map(len, parts)) < LARGE_ANSWER:
        return Response(b"".join(parts), headers=headers, media_type=media_type)
    return ResponseInParts(parts, headers, media_type)


inference_router = APIRouter(prefix="/v2", tags=["open_inference"])
router = APIRouter(prefix="/v2", tags=["open_inference"])


def example(sequence: list[list[float]]) -> dict[str, Any]:
    """Return the body that infers one sequence."""
    shape = [1, len(sequence), len(sequence[0])]
    return {"inputs": [{"name": SEQUENCE, "shape": shape, "datatype": DATATYPE, "data": [sequence]}]}


INFER: Any = {
    "summary": "Open Inference Protocol: infer",
    "response_model": InferResponse,
    "response_model_exclude_none": True,
    "responses": documented_in_protocol(*INFERENCE_ERRORS),
    # JSON alone: generators of clients do not cope with an operation that takes or answers either JSON or bytes.
    "openapi_extra": takes(InferRequest, example),
}


@inference_router.post("/models/{model}/infer", name="infer_v2", **INFER)
@inference_router.post("/models/{model}/versions/{version}/infer", name="infer_v2_version", **INFER)
async def infer_v2(request: Request) -> Response:
    """Outputs of the model, all from the same forward pass.

    Tensors may also be bytes after the JSON, as Triton's extension for binary tensor data says.
    """
    return await infer(request, model_in_path(request), decode)


def decode(body: RequestBody, model: Model, most: int) -> tuple[Question, Encoder]:
    """Turn a body of at most `most` sequences into a question and the encoder of its answer.

    Raises:
        InvalidInput: the header that gives the length of the JSON does not fit the body.
    """
    text, binary = split_body(body)
    if text or not body.size:
        fields = parse_sequences(text, InferRequest, most, model.card)
    else:
        fields = raw_request(model.card, len(binary))
    parameters = fields.parameters or NO_PARAMETERS
    wanted = requested_outputs(fields, parameters, model.outputs)
    tensor = fields.inputs[0]
    sequences = decode_tensor(tensor, binary, model.card, most)
    timeout = requested_timeout(parameters, model.limits.timeout) if parameters else None
    explanations = [name for name in EXPLANATIONS if name in wanted]
    outputs = wanted.keys() - set(explanations)
    question = Question(sequences, outputs, explanations, requested_replacement(parameters), timeout)
    labelled = _flag(parameters, "labels", default=False)
    return question, partial(encode, model, fields.id, tensor.shape[1], wanted, labelled)


def split_body(body: RequestBody) -> tuple[bytes, bytes]:
    """Return the JSON of a body and the bytes that follow it, each contiguous, so that numbers are aligned.

    Raises:
        InvalidInput: the header that gives the length of the JSON is wrong.
    """
    declared = [value for name, value in body.headers if name == LENGTH_HEADER.lower().encode()]
    length = _header_length(declared) if declared else body.size
    if length > body.size:
        raise InvalidInput(f"{LENGTH_HEADER}: expected at most {body.size}, the size of the body, got {length}")
    return cut(body.chunks, length)


def _header_length(declared: list[bytes]) -> int:
    text = b", ".join(declared)
    if not text.isdigit() or len(text) > 18:
        raise InvalidInput(
            f"{LENGTH_HEADER}: expected the number of bytes that the JSON has, got {text[:80].decode('latin-1')!r}"
        )
    return int(text)


def cut(chunks: list[bytes], length: int) -> tuple[bytes, bytes]:
    """Return the first `length` bytes of chunks, and the rest. Each is joined once, so that numbers are aligned."""
    first: list[memoryview] = []
    rest: list[memoryview] = []
    for chunk in (memoryview(chunk) for chunk in chunks):
        first.append(chunk[:length])
        rest.append(chunk[length:])
        length = max(0, length - len(chunk))
    return b"".join(first), b"".join(rest)


def raw_request(card: ModelCard, size: int) -> InferRequest:
    """Return the request that a body without JSON stands for: all its sequences, and all outputs as bytes.

    Raises:
        InvalidInput: the body does not hold whole sequences.
    """
    each = card.timesteps * card.features * 4
    if not size or size % each:
        raise InvalidInput(
            f"expected {DATATYPE} sequences of {each} bytes, {card.timesteps} timesteps of {card.features} features, "
            f"got {size} bytes"
        )
    tensor = RequestInput(
        name=SEQUENCE,
        shape=[size // each, card.timesteps, card.features],
        datatype=DATATYPE,
        parameters={"binary_data_size": size},
    )
    return InferRequest(id=None, inputs=[tensor], parameters={"binary_data_output": True})


def requested_outputs(body: InferRequest, parameters: Parameters, outputs: Sequence[str]) -> dict[str, bool]:
    """Return the outputs to answer, and whether as bytes.

    Args:
        body: the request.
        parameters: its parameters.
        outputs: the outputs that are answered by default.

    Raises:
        InvalidInput: an output is unknown or repeated, or a parameter of it is not supported.
    """
    default = _flag(parameters, "binary_data_output", default=False)
    if not body.outputs:
        return dict.fromkeys(outputs, default)
    wanted: dict[str, bool] = {}
    for output in body.outputs:
        if output.name not in (*outputs, *EXPLANATIONS) or output.name in wanted:
            raise InvalidInput(
                f"outputs: expected each of {', '.join((*outputs, *EXPLANATIONS))} at most once, "
                f"got {output.name[:80]!r}"
            )
        for parameter in ("classification", "shared_memory_region"):
            if output.parameters and output.parameters.get(parameter) is not None:
                raise InvalidInput(
                    f"outputs.{output.name}: expected no parameter {parameter}, which is not spoken here"
                )
        wanted[output.name] = _flag(output.parameters or NO_PARAMETERS, "binary_data", default=default)
    return wanted


def requested_timeout(parameters: Parameters, longest: float) -> float | None:
    """Return the seconds after which the request fails; None if the service's limit holds.

    The other parameters that Triton defines are checked only: there are no priorities and no stateful models.

    Args:
        parameters: the parameters of the request.
        longest: the service's limit, in seconds.

    Raises:
        InvalidInput: a parameter of Triton's is of another type.
    """
    for name in ("priority", "timeout"):
        value = parameters.get(name)
        if value is not None and not (type(value) is int and value >= 0):
            raise InvalidInput(f"parameters.{name}: expected an integer of at least 0, got {shown(value)}")
    sequence = parameters.get("sequence_id")
    if sequence is not None and not (type(sequence) is int and sequence >= 0) and not isinstance(sequence, str):
        raise InvalidInput(
            f"parameters.sequence_id: expected an integer of at least 0, or a string, got {shown(sequence)}"
        )
    for name in ("sequence_start", "sequence_end"):
        _flag(parameters, name, default=False)
    microseconds = parameters.get("timeout")
    return microseconds / 1e6 if microseconds and microseconds < longest * 1e6 else None


def requested_replacement(parameters: Parameters) -> Replacement:
    """Return what replaces parts of sequences.

    Raises:
        InvalidInput: the parameter is none of the replacements.
    """
    value = parameters.get("replacement")
    if value is not None and value not in REPLACEMENTS:
        raise InvalidInput(
            f"parameters.replacement: expected {' or '.join(map(repr, REPLACEMENTS))}, got {shown(value)}"
        )
    return value or "baseline"


def _flag(parameters: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InvalidInput(f"parameters.{name}: expected true or false, got {shown(value)}")
    return value


def encode(  # noqa: PLR0913, PLR0917 - `partial` gives all but the last
    model: Model,
    request_id: str | None,
    length: int,
    wanted: Mapping[str, bool],
    labelled: bool,  # noqa: FBT001
    outputs: Outputs,
) -> Response:
    """Return the answer.

    Args:
        model: the model that answered.
        request_id: the id that the client gave the request.
        length: how many timesteps the sequences were posted with.
        wanted: the outputs to answer, and whether as bytes.
        labelled: whether outputs in JSON have labels. Triton's client for C++ refuses such parameters.
        outputs: `(n, …)` each.

    Raises:
        InvalidInput: the answer to a sequence is not finite, as its values are too large.
    """
    tensors: list[memoryview] = []
    described = []
    for name, binary in wanted.items():
        output = outputs[name][:, :length] if name in OVER_TIME else outputs[name]
        array = np.ascontiguousarray(output, dtype="<f4")
        require_finite(array)
        parameters: Parameters = labels(name, model.card, length) if binary or labelled else {}
        content: dict[str, Any] = {}
        if binary:
            tensors.append(array.data.cast("B"))
            parameters["binary_data_size"] = array.nbytes
        else:
            content["data"] = array.ravel()
        if parameters:
            content["parameters"] = parameters
        described.append({"name": name, "shape": array.shape, "datatype": DATATYPE, **content})
    answer = {"model_name": model.card.name, "model_version": str(model.version)}
    if request_id is not None:
        answer["id"] = request_id
    text = orjson.dumps({**answer, "outputs": described}, option=orjson.OPT_SERIALIZE_NUMPY)
    return tensor_response(text, tensors) if tensors else JsonResponse(text)


def labels(name: str, card: ModelCard, length: int) -> Parameters:
    """Return the labels of an output's entries, as JSON in a string: parameters of the protocol cannot be lists."""
    named = {
        "timestep_labels": card.timestep_labels[:length] if "timesteps" in AXES[name] else None,
        "feature_labels": card.feature_labels if "features" in AXES[name] else None,
        "measures": MEASURES if "measures" in AXES[name] else None,
        "classes": card.target.classes if name == PREDICTION else None,
        "names": card.target.names if name == PREDICTION else None,
    }
    return {kind: dumps_list(names) for kind, names in named.items() if names is not None}


@lru_cache(1024)
def dumps_list(names: tuple[str, ...]) -> str:
    """Return the JSON of names."""
    return orjson.dumps(names).decode()


@router.get("", name="get_server_v2", summary="Open Inference Protocol: server")
@router.get("/", include_in_schema=False)
async def server_metadata() -> ServerMetadata:
    """Name, version and extensions of the server."""
    return ServerMetadata()


@router.get("/health/live", name="get_live_v2", summary="Open Inference Protocol: is the process alive?")
async def live() -> ServerLive:
    """Answer 200 while the process is alive."""
    return ServerLive()


@router.get(
    "/health/ready",
    name="get_ready_v2",
    summary="Open Inference Protocol: can the service be asked?",
    responses=documented_in_protocol(errors.Unavailable),
)
async def ready(request: Request) -> ServerReady:
    """Answer 200 while the default model is loaded, and 503 while it is not and while the service stops."""
    plane: DataPlane = request.app.state.plane
    plane.require_ready(plane.model())
    return ServerReady()


READY: Any = {
    "summary": "Open Inference Protocol: can the model be asked?",
    "responses": documented_in_protocol(*SELECTION_ERRORS),
}


@router.get("/models/{model}/ready", name="get_model_ready_v2", **READY)
@router.get("/models/{model}/versions/{version}/ready", name="get_model_ready_v2_version", **READY)
async def model_ready(request: Request) -> ModelReady:
    """Answer 200 while the model is loaded, 503 while it is not and while the service stops; 404 if it is unknown."""
    model = model_in_path(request)
    plane: DataPlane = request.app.state.plane
    plane.require_ready(model)
    return ModelReady(name=model.card.name)


METADATA: Any = {"summary": "Open Inference Protocol: model", "responses": documented_in_protocol(*SELECTION_ERRORS)}


@router.get("/models/{model}", name="get_model_v2", **METADATA)
@router.get("/models/{model}/versions/{version}", name="get_model_v2_version", **METADATA)
async def model_metadata(request: Request) -> ModelMetadata:
    """The inputs and outputs of a model."""
    model = model_in_path(request)
    repository: Repository = request.app.state.repository
    versions = repository.models.get(model.card.name)
    statuses = versions.statuses() if versions else []
    return ModelMetadata(
        name=model.card.name,
        versions=[str(status.version) for status in statuses if status.state == "live"],
        platform=PLATFORMS[model.engine.name],
        inputs=[_metadata_of(model, SEQUENCE)],
        outputs=[_metadata_of(model, name) for name in output_names(model)],
    )


def output_names(model: Model) -> tuple[str, ...]:
    """Return the outputs that a model has, and the explanations that it can answer."""
    return (*model.outputs, *answerable(model))


def shape(model: Model, name: str) -> list[int]:
    """Return the shape of a tensor, -1 for the number of sequences, and of timesteps if that varies."""
    sizes = model.golden.sizes
    if model.card.variable_length:
        del sizes["timesteps"]
    return [-1 if size is None else size for size in shape_of(name, sizes)]


def _metadata_of(model: Model, name: str) -> MetadataTensor:
    return MetadataTensor(name=name, datatype=DATATYPE, shape=shape(model, name))
