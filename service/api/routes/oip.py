"""`/v2`: the Open Inference Protocol, https://github.com/kserve/open-inference-protocol, and binary tensor data."""

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Literal

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from starlette.types import Receive, Scope, Send

from service import __version__, errors
from service.api.codecs.arrays import require_finite
from service.api.codecs.sequences import shown
from service.api.codecs.tensors import DATATYPE, Parameters, RequestInput, decode_tensor
from service.api.error_answers import ASKING, POSTING, documented_in_protocol
from service.api.routing import LARGE_BINARY, LARGE_BODY, BodyRequest, JsonResponse, ModelRoute, are_large, off_loop
from service.api.selection import NAMED, VERSIONED, PathModel
from service.api.timing import server_timing
from service.artifact.card import ModelCard
from service.artifact.tensors import ATTENTION, IMPORTANCE, OVER_TIME, PREDICTION, SEQUENCE, SIGNATURES, Array, shape_of
from service.errors import InvalidInput
from service.serving.model import Model
from service.serving.repository import Repository

HEADER_LENGTH: Final = b"inference-header-content-length"
#: What is answered where no outputs are named, and what may be.
OUTPUTS: Final = SIGNATURES["attention"]
NAMED_OUTPUTS: Final = (*OUTPUTS, IMPORTANCE)
#: Bytes of an answer that are not worth copying.
LARGE_ANSWER: Final = 16 * 2**10

#: What the protocol calls what executes a model.
PLATFORMS: Final = {"onnx": "onnx_onnxv1", "tensorflow": "tensorflow_savedmodel"}


class RequestOutput(BaseModel):
    """An output that is asked for."""

    name: str = Field(description=f"One of {', '.join(NAMED_OUTPUTS)}.", examples=[ATTENTION])
    parameters: Parameters = Field(
        default_factory=dict, description="`binary_data`: whether to answer it as bytes after the JSON.", examples=[{}]
    )


class InferRequest(BaseModel):
    """Sequences, and which outputs to answer."""

    id: str | None = Field(None, description="Answered as it came.", examples=["42"])
    parameters: Parameters = Field(
        default_factory=dict,
        description="`binary_data_output`: whether to answer all outputs as bytes after the JSON.",
        examples=[{}],
    )
    inputs: list[RequestInput] = Field(
        min_length=1, max_length=1, description=f"One tensor, `{SEQUENCE}`.", examples=[]
    )
    outputs: list[RequestOutput] = Field(
        default_factory=list,
        max_length=len(NAMED_OUTPUTS),
        description=f"Which outputs to answer; where there are none, all but `{IMPORTANCE}`, which takes more runs.",
    )


class ResponseOutput(BaseModel):
    """A tensor that is answered."""

    name: str = Field(description="Which output this is.", examples=[ATTENTION])
    shape: list[int] = Field(description="Its shape.", examples=[[1, 20]])
    datatype: str = Field(description=f"Always `{DATATYPE}`.", examples=[DATATYPE])
    parameters: Parameters | None = Field(
        None,
        description="`timestep_labels` of attention, `classes` or `names` of the prediction: a JSON array, as a string "
        "because parameters are no lists. `binary_data_size`: bytes of it after the JSON.",
        examples=[{"timestep_labels": '["0", "1", "2"]'}],
    )
    data: list[float] | None = Field(
        None, description="Its elements, row by row; absent where they are binary.", examples=[[0.005, 0.99, 0.005]]
    )


class InferResponse(BaseModel):
    """The outputs that were asked for."""

    model_name: str = Field(description="Model that answered.", examples=["after-lstm"])
    model_version: str = Field(description="Version that answered.", examples=["3"])
    id: str | None = Field(None, description="As it came.", examples=["42"])
    outputs: list[ResponseOutput] = Field(description="In the order in which they were asked for.")


class ServerMetadata(BaseModel):
    """What serves."""

    name: Literal["attention-service"] = Field("attention-service", description="Name of the server.")
    version: str = Field(__version__, description="Its version.", examples=[__version__])
    extensions: tuple[str, ...] = Field(
        ("binary_tensor_data", "model_repository"),
        description="What it speaks beside the protocol itself.",
        examples=[["binary_tensor_data"]],
    )


class ServerLive(BaseModel):
    """The process answers."""

    live: Literal[True] = Field(default=True, description="Always true.")


class ServerReady(BaseModel):
    """The default model can be asked."""

    ready: Literal[True] = Field(default=True, description="Always true; a service that is not ready answers 503.")


class ModelReady(BaseModel):
    """The model can be asked."""

    name: str = Field(description="Name of the model.", examples=["after-lstm"])
    ready: Literal[True] = Field(default=True, description="Always true; a model that is not ready answers 503 or 404.")


class MetadataTensor(BaseModel):
    """What a tensor looks like."""

    name: str = Field(description="Its name.", examples=[SEQUENCE])
    datatype: str = Field(description=f"Always `{DATATYPE}`.", examples=[DATATYPE])
    shape: list[int] = Field(
        description="Its shape, -1 for the number of sequences, and of timesteps if that varies.",
        examples=[[-1, 20, 2]],
    )


class ModelMetadata(BaseModel):
    """What a model takes and answers."""

    name: str = Field(description="Name of the model.", examples=["after-lstm"])
    versions: list[str] = Field(description="Versions that can be asked, newest first.", examples=[["3", "2"]])
    platform: str = Field(description="What executes it.", examples=["onnx_onnxv1"])
    inputs: list[MetadataTensor] = Field(description="Tensors that it takes.")
    outputs: list[MetadataTensor] = Field(description="Tensors that it answers.")


class InferRoute(ModelRoute):
    """`/infer`, whose body may have bytes after its JSON."""

    async def parse(self, request: BodyRequest, model: Model, chunks: list[bytes]) -> BaseModel:
        declared = [value for name, value in request.scope["headers"] if name == HEADER_LENGTH]
        if not declared:
            return await super().parse(request, model, chunks)
        length, size = _header_length(declared), sum(map(len, chunks))
        if length > size:
            raise InvalidInput(
                f"Inference-Header-Content-Length: expected at most {size}, the size of the body, got {length}"
            )
        text, request.binary = cut(chunks, length)
        if not length:
            return raw_request(model.card, len(request.binary))
        request.large = length > LARGE_BODY or size - length > LARGE_BINARY
        return await self.parse_json(request, model, text)


def _header_length(declared: list[bytes]) -> int:
    text = b", ".join(declared)
    if not text.isdigit() or len(text) > 18:
        raise InvalidInput(
            "Inference-Header-Content-Length: expected the number of bytes that the JSON has, "
            f"got {text[:80].decode('latin-1')!r}"
        )
    return int(text)


def cut(chunks: list[bytes], length: int) -> tuple[bytes, bytes]:
    """The first `length` bytes of what came in pieces, and the rest; each put together once, so that it is aligned."""
    first: list[memoryview] = []
    rest: list[memoryview] = []
    for chunk in (memoryview(chunk) for chunk in chunks):
        first.append(chunk[:length])
        rest.append(chunk[length:])
        length = max(0, length - len(chunk))
    return b"".join(first), b"".join(rest)


def raw_request(card: ModelCard, size: int) -> InferRequest:
    """The request that bytes without any JSON stand for: as many sequences as they hold, and all outputs as bytes.

    Raises:
        InvalidInput: they do not hold whole sequences.
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


class TensorResponse(Response):
    """JSON and the bytes of the tensors that it describes, large ones sent from where they are."""

    def __init__(self, text: bytes, tensors: list[memoryview], timing: str) -> None:
        self.status_code = 200
        self.background = None
        self.parts: list[bytes | memoryview] = [text, *tensors]
        size = sum(map(len, self.parts))
        if size < LARGE_ANSWER:
            self.parts = [b"".join(self.parts)]  # to send one thing takes less time than to send three
        self.raw_headers = [
            (b"content-type", b"application/octet-stream"),
            (HEADER_LENGTH, b"%d" % len(text)),
            (b"content-length", b"%d" % size),
            (b"server-timing", timing.encode()),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for part in self.parts[:-1]:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": self.parts[-1]})


asking = APIRouter(prefix="/v2/models", tags=["Open Inference Protocol"], route_class=InferRoute)
router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

BINARY: Any = {"schema": {"type": "string", "format": "binary"}}
INFER: Any = {
    "summary": "Open Inference Protocol: infer",
    "response_model": InferResponse,
    "response_model_exclude_none": True,
    "responses": {200: {"content": {"application/octet-stream": BINARY}}, **documented_in_protocol(*POSTING)},
    "openapi_extra": {
        "parameters": [
            {
                "name": "Inference-Header-Content-Length",
                "in": "header",
                "description": "Bytes of the JSON, where tensors follow it.",
                "schema": {"type": "integer", "minimum": 0},
            }
        ],
        "requestBody": {"content": {"application/octet-stream": BINARY}},
    },
}


@asking.post("/{model}/infer", **INFER, dependencies=NAMED)
@asking.post("/{model}/versions/{version}/infer", **INFER, dependencies=VERSIONED)
async def infer(body: InferRequest, model: PathModel, request: BodyRequest) -> Response:
    """Outputs of the model, all from the same forward pass; tensors are JSON, or bytes after it."""
    wanted = requested_outputs(body)
    limit = request.most_sequences(model.card)
    sequences = await off_loop(decode_tensor, body.inputs[0], request.binary, model.card, limit, large=request.large)
    decoded = time.perf_counter()
    if IMPORTANCE in wanted:
        result = await model.explain(sequences, wanted.keys() - {IMPORTANCE})
    else:
        result = await model.predict(sequences, wanted)
    answered = time.perf_counter()
    as_json = (result.outputs[name] for name, binary in wanted.items() if not binary)
    large = are_large(as_json) or sum(output.nbytes for output in result.outputs.values()) > LARGE_BINARY
    length = body.inputs[0].shape[1]
    text, tensors = await off_loop(encode, model, body.id, length, result.outputs, wanted, large=large)
    timing = server_timing(request.received, decoded, result, answered)
    return TensorResponse(text, tensors, timing) if tensors else JsonResponse(text, timing)


def requested_outputs(body: InferRequest) -> dict[str, bool]:
    """The outputs to answer, and whether as bytes.

    Raises:
        InvalidInput: there is no such output, or it cannot be answered like that.
    """
    default = _flag(body.parameters, "binary_data_output", default=False)
    if not body.outputs:
        return dict.fromkeys(OUTPUTS, default)
    wanted: dict[str, bool] = {}
    for output in body.outputs:
        if output.name not in NAMED_OUTPUTS or output.name in wanted:
            raise InvalidInput(
                f"outputs: expected each of {', '.join(NAMED_OUTPUTS)} at most once, got {output.name[:80]!r}"
            )
        for parameter in ("classification", "shared_memory_region"):
            if parameter in output.parameters:
                raise InvalidInput(
                    f"outputs.{output.name}: expected no parameter {parameter}, which is not spoken here"
                )
        wanted[output.name] = _flag(output.parameters, "binary_data", default=default)
    return wanted


def _flag(parameters: Parameters, name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidInput(f"parameters.{name}: expected true or false, got {shown(value)}")
    return value


def encode(
    model: Model, request_id: str | None, length: int, outputs: Mapping[str, Array], wanted: Mapping[str, bool]
) -> tuple[bytes, list[memoryview]]:
    """Outputs of a model to the JSON of an answer, and to the bytes that follow it.

    Args:
        model: what answered.
        request_id: what the client calls its request.
        length: how many timesteps the sequences were sent with.
        outputs: `(n, …)` each.
        wanted: the outputs to answer, and whether as bytes.

    Raises:
        InvalidInput: a sequence is so large that its answer is not finite.
    """
    tensors: list[memoryview] = []
    described = []
    for name, binary in wanted.items():
        output = outputs[name][:, :length] if name in OVER_TIME else outputs[name]
        array = np.ascontiguousarray(output, dtype="<f4")
        require_finite(array)
        parameters: Parameters = labels(name, model.card, length)
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
    return orjson.dumps({**answer, "outputs": described}, option=orjson.OPT_SERIALIZE_NUMPY), tensors


def labels(name: str, card: ModelCard, length: int) -> Parameters:
    """What the entries of an output stand for; as JSON in a string, as the protocol has no lists here."""
    if name in OVER_TIME:
        return {"timestep_labels": dumps_list(card.timestep_labels[:length])}
    named = {"classes": card.target.classes, "names": card.target.names} if name == PREDICTION else {}
    return {kind: dumps_list(names) for kind, names in named.items() if names is not None}


@lru_cache(1024)
def dumps_list(names: tuple[str, ...]) -> str:
    """The JSON of names."""
    return orjson.dumps(names).decode()


@router.get("", summary="Open Inference Protocol: server")
@router.get("/", include_in_schema=False)
async def server_metadata() -> ServerMetadata:
    """What serves, and which extensions it speaks."""
    return ServerMetadata()


@router.get("/health/live", summary="Open Inference Protocol: is the process alive?")
async def live() -> ServerLive:
    """Answers as long as the process does."""
    return ServerLive()


@router.get(
    "/health/ready",
    summary="Open Inference Protocol: can the service be asked?",
    responses=documented_in_protocol(errors.Unavailable),
)
async def ready(request: Request) -> ServerReady:
    """Answers 200 while the default model can be asked, else 503."""
    repository: Repository = request.app.state.repository
    repository.get()
    return ServerReady()


READY: Any = {
    "summary": "Open Inference Protocol: can the model be asked?",
    "responses": documented_in_protocol(*ASKING),
}


@router.get("/models/{model}/ready", **READY, dependencies=NAMED)
@router.get("/models/{model}/versions/{version}/ready", **READY, dependencies=VERSIONED)
async def model_ready(model: PathModel) -> ModelReady:
    """Answers 200 while it can, else 503, or 404 where it is not known."""
    return ModelReady(name=model.card.name)


METADATA: Any = {"summary": "Open Inference Protocol: model", "responses": documented_in_protocol(*ASKING)}


@router.get("/models/{model}", **METADATA, dependencies=NAMED)
@router.get("/models/{model}/versions/{version}", **METADATA, dependencies=VERSIONED)
async def model_metadata(model: PathModel, request: Request) -> ModelMetadata:
    """What a model takes and answers."""
    repository: Repository = request.app.state.repository
    versions = repository.models.get(model.card.name)
    statuses = versions.statuses() if versions else []
    sizes = model.golden.sizes
    if model.card.variable_length:
        del sizes["timesteps"]
    tensors = {
        name: MetadataTensor(name=name, datatype=DATATYPE, shape=[-1 if size is None else size for size in shape])
        for name, shape in ((name, shape_of(name, sizes)) for name in (SEQUENCE, *NAMED_OUTPUTS))
    }
    return ModelMetadata(
        name=model.card.name,
        versions=[str(status.version) for status in statuses if status.state == "live"],
        platform=PLATFORMS[model.engine.name],
        inputs=[tensors[SEQUENCE]],
        outputs=[tensors[name] for name in (NAMED_OUTPUTS if model.card.baseline else OUTPUTS)],
    )
