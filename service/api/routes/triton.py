"""`/v2`: Triton's extensions of the Open Inference Protocol for model configuration and statistics.

See https://github.com/triton-inference-server/server/tree/main/docs/protocol, `extension_model_configuration.md` and
`extension_statistics.md`.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from service.api.codecs.tensors import DATATYPE
from service.api.error_answers import SELECTION_ERRORS, documented_in_protocol
from service.api.routes.oip import PLATFORMS, output_names, shape
from service.api.selection import model_in_path
from service.artifact.layout import LOWERING, SAVED_MODEL
from service.artifact.tensors import SEQUENCE
from service.serving.dataplane import DataPlane
from service.serving.model import Model
from service.serving.repository import Repository
from service.serving.statistics import Counts, Duration
from service.settings import Settings

#: Triton's names of the engines, and the file that each reads.
BACKENDS = {"onnx": ("onnxruntime", LOWERING), "tensorflow": ("tensorflow", SAVED_MODEL)}
DATA_TYPE = f"TYPE_{DATATYPE}"

router = APIRouter(prefix="/v2/models", tags=["open_inference"])


class ConfigTensor(BaseModel):
    """A tensor of a configuration."""

    name: str = Field(description="Its name.", examples=[SEQUENCE])
    data_type: str = Field(DATA_TYPE, description=f"Always `{DATA_TYPE}`.", examples=[DATA_TYPE])
    dims: list[int] = Field(
        description="Its shape without the number of sequences, -1 for the number of timesteps if that varies.",
        examples=[[20, 2]],
    )


class LatestVersions(BaseModel):
    """The newest versions are served."""

    num_versions: int = Field(description="How many.", examples=[2])


class VersionPolicy(BaseModel):
    """The versions that are served."""

    latest: LatestVersions = Field(description="The newest.")


class QueuePolicy(BaseModel):
    """What happens to requests that wait."""

    timeout_action: Literal["REJECT"] = Field("REJECT", description="A request that waits too long is refused.")
    default_timeout_microseconds: int = Field(description="Longest time to wait.", examples=[30_000_000])
    allow_timeout_override: Literal[True] = Field(
        default=True, description="The parameter `timeout` of a request may shorten it."
    )


class DynamicBatching(BaseModel):
    """How requests are joined into calls."""

    preferred_batch_size: list[int] = Field([], description="Always empty.", examples=[[]])
    max_queue_delay_microseconds: Literal[0] = Field(0, description="Always 0: an idle engine waits for no requests.")
    default_queue_policy: QueuePolicy = Field(description="What happens to requests that wait.")


class InstanceGroup(BaseModel):
    """The instances of the model, one in each worker process."""

    name: str = Field(description="Name of the model.", examples=["after-lstm"])
    kind: Literal["KIND_CPU"] = Field("KIND_CPU", description="Always `KIND_CPU`.")
    count: int = Field(description="How many.", examples=[1])


class ModelConfig(BaseModel):
    """The configuration of a model: those of Triton's fields that apply."""

    name: str = Field(description="Name of the model.", examples=["after-lstm"])
    platform: str = Field(description="The engine, as in the metadata of the model.", examples=["onnx_onnxv1"])
    backend: str = Field(description="The engine.", examples=["onnxruntime"])
    version_policy: VersionPolicy = Field(description="The versions that are served.")
    max_batch_size: int = Field(description="Most sequences of one request.", examples=[8192])
    input: list[ConfigTensor] = Field(description="Its inputs.")
    output: list[ConfigTensor] = Field(description="Its outputs.")
    dynamic_batching: DynamicBatching = Field(description="How requests are joined into calls.")
    instance_group: list[InstanceGroup] = Field(description="Its instances.")
    default_model_filename: str = Field(description="The file that the engine reads.", examples=[LOWERING])


class StatisticDuration(BaseModel):
    """A count, and a total time."""

    count: int = Field(description="How often.", examples=[42])
    ns: int = Field(description="How long altogether, in nanoseconds.", examples=[7_000_000])

    @classmethod
    def of(cls, duration: Duration) -> "StatisticDuration":
        """Return the answer for a duration."""
        return cls(count=duration.count, ns=round(duration.seconds * 1e9))


class InferStatistics(BaseModel):
    """Where the time of the requests went."""

    success: StatisticDuration = Field(
        description="Answered requests, from the arrival of the body to the encoded answer."
    )
    fail: StatisticDuration = Field(
        description="Requests that were refused for lack of room, and those that were read but not answered. Bodies "
        "that cannot be read do not count."
    )
    queue: StatisticDuration = Field(description="Waiting for a call of the engine.")
    compute_input: StatisticDuration = Field(description="Reading tensors from the body.")
    compute_infer: StatisticDuration = Field(
        description="Calls of the engine; requests that share a call count its whole duration each."
    )
    compute_output: StatisticDuration = Field(description="Writing the answer.")
    cache_hit: StatisticDuration = Field(description="Always 0: there is no cache.")
    cache_miss: StatisticDuration = Field(description="Always 0: there is no cache.")


class BatchStatistics(BaseModel):
    """The calls of one size."""

    batch_size: int = Field(description="Sequences of each call.", examples=[1])
    compute_input: StatisticDuration = Field(description="How many calls. Their `ns` are in `compute_infer`.")
    compute_infer: StatisticDuration = Field(description="How many calls, and how long they took.")
    compute_output: StatisticDuration = Field(description="How many calls. Their `ns` are in `compute_infer`.")


class ModelStatistics(BaseModel):
    """The statistics of one version, over all worker processes."""

    name: str = Field(description="Name of the model.", examples=["after-lstm"])
    version: str = Field(description="Its version.", examples=["3"])
    last_inference: int = Field(
        description="End of the last call of the engine, in milliseconds since the epoch; 0 without one.",
        examples=[1_700_000_000_000],
    )
    inference_count: int = Field(description="Sequences of the answered requests.", examples=[42])
    execution_count: int = Field(description="Calls of the engine.", examples=[7])
    inference_stats: InferStatistics = Field(description="Where the time of the requests went.")
    response_stats: dict[str, Any] = Field({}, description="Always empty: each request has one answer.", examples=[{}])
    batch_stats: list[BatchStatistics] = Field(description="The calls of the engine, by their number of sequences.")
    memory_usage: list[Any] = Field([], description="Always empty: it is not measured.", examples=[[]])


class ModelStatisticsResponse(BaseModel):
    """The statistics of some versions."""

    model_stats: list[ModelStatistics] = Field(description="One entry a version.")


CONFIG: Any = {"summary": "Triton: model configuration", "responses": documented_in_protocol(*SELECTION_ERRORS)}


@router.get("/{model}/config", name="get_model_config", **CONFIG)
@router.get("/{model}/versions/{version}/config", name="get_model_config_version", **CONFIG)
async def model_config(request: Request) -> ModelConfig:
    """The configuration of a model."""
    model = model_in_path(request)
    plane: DataPlane = request.app.state.plane
    settings: Settings = request.app.state.settings
    backend, file = BACKENDS[model.engine.name]
    longest = round(model.limits.timeout * 1e6)
    return ModelConfig(
        name=model.card.name,
        platform=PLATFORMS[model.engine.name],
        backend=backend,
        version_policy=VersionPolicy(latest=LatestVersions(num_versions=settings.keep_versions)),
        max_batch_size=plane.most_sequences(model.card),
        input=[ConfigTensor(name=SEQUENCE, dims=shape(model, SEQUENCE)[1:])],
        output=[ConfigTensor(name=name, dims=shape(model, name)[1:]) for name in output_names(model)],
        dynamic_batching=DynamicBatching(default_queue_policy=QueuePolicy(default_timeout_microseconds=longest)),
        instance_group=[InstanceGroup(name=model.card.name, count=settings.workers)],
        default_model_filename=file,
    )


@router.get("/stats", name="get_statistics", summary="Triton: statistics of all models")
async def statistics(request: Request) -> ModelStatisticsResponse:
    """The statistics of every version of every model, since the service began."""
    repository: Repository = request.app.state.repository
    return await _answer(
        model for _, one in sorted(repository.models.items()) for _, model in sorted(one.served.items())
    )


@router.get(
    "/{model}/stats",
    name="get_model_statistics",
    summary="Triton: statistics of a model",
    responses=documented_in_protocol(*SELECTION_ERRORS),
)
async def model_statistics(request: Request) -> ModelStatisticsResponse:
    """The statistics of every served version of a model, since the service began."""
    name = model_in_path(request).card.name
    repository: Repository = request.app.state.repository
    return await _answer(model for _, model in sorted(repository.models[name].served.items()))


@router.get(
    "/{model}/versions/{version}/stats",
    name="get_model_statistics_version",
    summary="Triton: statistics of a version",
    responses=documented_in_protocol(*SELECTION_ERRORS),
)
async def version_statistics(request: Request) -> ModelStatisticsResponse:
    """The statistics of a version, since the service began."""
    return await _answer([model_in_path(request)])


async def _answer(models: Iterable[Model]) -> ModelStatisticsResponse:
    chosen = list(models)
    counts = await asyncio.to_thread(lambda: [model.statistics.counts() for model in chosen])
    return ModelStatisticsResponse(model_stats=list(map(_statistics, chosen, counts)))


def _statistics(model: Model, counts: Counts) -> ModelStatistics:
    none = StatisticDuration(count=0, ns=0)
    batches = [
        BatchStatistics(
            batch_size=rows,
            compute_input=StatisticDuration(count=calls.count, ns=0),
            compute_infer=StatisticDuration.of(calls),
            compute_output=StatisticDuration(count=calls.count, ns=0),
        )
        for rows, calls in counts.calls.items()
    ]
    return ModelStatistics(
        name=model.card.name,
        version=str(model.version),
        last_inference=int(counts.last_call * 1e3),
        inference_count=counts.sequences,
        execution_count=sum(calls.count for calls in counts.calls.values()),
        inference_stats=InferStatistics(
            success=StatisticDuration.of(counts.success),
            fail=StatisticDuration.of(counts.failure),
            queue=StatisticDuration.of(counts.queue),
            compute_input=StatisticDuration.of(counts.decode),
            compute_infer=StatisticDuration.of(counts.inference),
            compute_output=StatisticDuration.of(counts.encode),
            cache_hit=none,
            cache_miss=none,
        ),
        batch_stats=batches,
    )
