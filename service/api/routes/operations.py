"""The native routes for operators: health, the models with their versions, and the model card."""

import asyncio
from typing import Any, Literal

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from service import errors
from service.api.error_answers import SELECTION_ERRORS, documented
from service.api.request_body import JSON
from service.api.selection import SelectedModel, only
from service.artifact.card import ModelCard
from service.artifact.missing import absent
from service.artifact.tensors import Array
from service.artifact.tokens import are_plain, word_of, words_of
from service.serving.dataplane import DataPlane
from service.serving.repository import Repository
from service.serving.versions import State, Status, Versions

router = APIRouter(tags=["operations"])


class Live(BaseModel):
    """The process answers."""

    status: Literal["live"] = Field("live", description="Always `live`.")


class Started(BaseModel):
    """A model has been loaded."""

    status: Literal["started"] = Field("started", description="Always `started`.")


class Ready(BaseModel):
    """The model can answer."""

    status: Literal["ready"] = Field("ready", description="Always `ready`; otherwise the status is 503.")
    model: str = Field(description="Model that is ready.", examples=["after-lstm"])
    version: int = Field(description="Its version.", examples=[3])


class Version(BaseModel):
    """The state of one version of a model."""

    version: int = Field(description="Its number.", examples=[3])
    state: State = Field(
        description="`loading`: being verified. `live`: served. `rejected`: failed, see `reason`; tried again once its "
        "files change. `retired`: replaced by newer versions. `unloaded`: unloaded by a client.",
        examples=["live"],
    )
    reason: str | None = Field(
        description="Why it was rejected; of a live version, why its files cannot be loaded as they are now.",
        examples=[None],
    )
    engine: str | None = Field(description="Engine of a live version.", examples=["onnx"])
    attention_moved: float | None = Field(
        description="When it took over, how far attention lay from the version before: total variation from 0 to 1, "
        "mean over its golden example.",
        examples=[0.031],
    )

    @classmethod
    def of(cls, status: Status) -> "Version":
        """Return the answer for a status."""
        return cls(**vars(status))


class ServedModel(BaseModel):
    """One model, and its versions."""

    name: str = Field(description="Name of the model.", examples=["after-lstm"])
    default: bool = Field(description="Whether it answers requests that name no model.", examples=[True])
    version: int | None = Field(description="Version that answers requests that name none.", examples=[3])
    problem: str | None = Field(description="Why another version answers than intended.", examples=[None])
    versions: list[Version] = Field(description="All versions in its directory, newest first.")


class ModelsAnswer(BaseModel):
    """The models of the folder, as the worker process that answers sees them."""

    models: list[ServedModel] = Field(description="In alphabetical order.")


class ModelAnswer(ModelCard):
    """The model card, with the version and the engine that serve it."""

    version: int = Field(description="Version that is served.", examples=[3])
    engine: str = Field(description="Its engine: `onnx` or `tensorflow`.", examples=["onnx"])
    rejected: list[Version] = Field(description="Rejected versions of the model, with reasons.")


class ExampleAnswer(BaseModel):
    """Sequences that can be posted to the model as they are."""

    sequences: list[list[list[float | None] | float | str | None]] = Field(
        description="The sequences of its golden example, held out from training. Tokens are integers, or words if the "
        "card has a vocabulary.",
        examples=[[[[0.1, -0.2]] * 4]],
    )


@router.get("/health/live", name="get_live", summary="Is the process alive?")
async def live() -> Live:
    """Answers 200 as long as the process runs, even if the queue is full."""
    return Live()


@router.get("/health/started", name="get_started", summary="Has the service started?")
async def started() -> Started:
    """Answers 200 once a model has been loaded. Before that, connections are refused."""
    return Started()


#: A model is selected by the query string, and nothing else is.
SELECTED: Any = {"responses": documented(*SELECTION_ERRORS), "dependencies": [only("model", "version")]}


@router.get("/health/ready", name="get_ready", summary="Can the model answer?", **SELECTED)
async def ready(model: SelectedModel, request: Request) -> Ready:
    """Answers 200 while the model is loaded and its calls end, and 503 from the signal on that stops the service.

    A full queue is ready: it answers 429 at once.
    """
    plane: DataPlane = request.app.state.plane
    plane.require_ready(model)
    return Ready(model=model.card.name, version=model.version)


@router.get(
    "/models",
    name="list_models",
    summary="The models and their versions",
    responses=documented(errors.InvalidInput),
    dependencies=[only()],
)
async def models(request: Request) -> ModelsAnswer:
    """Answers every model, and the state of each version on disk."""
    repository: Repository = request.app.state.repository
    return ModelsAnswer(
        models=[
            ServedModel(
                name=name,
                default=name == repository.default,
                version=versions.current.version if versions.current else None,
                problem=versions.problem,
                versions=_listed(versions),
            )
            for name, versions in sorted(repository.models.items())
        ]
    )


@router.get("/model", name="get_model", summary="The model card", **SELECTED)
async def model(model: SelectedModel, request: Request) -> ModelAnswer:
    """Answers shapes, labels, classes, held-out metrics, attention profile, and how the version was trained."""
    repository: Repository = request.app.state.repository
    versions = _listed(repository.models.get(model.card.name))
    rejected = [version for version in versions if version.state == "rejected"]
    return ModelAnswer(**dict(model.card), version=model.version, engine=model.engine.name, rejected=rejected)


@router.get("/model/example", name="get_example", summary="Sequences to try", response_model=ExampleAnswer, **SELECTED)
async def example(model: SelectedModel) -> Response:
    """Answers some sequences that were held out from training, as `POST /predict` takes them."""
    dumps = dumps_sequences if model.card.tokens is None else dumps_tokens
    content = await asyncio.to_thread(dumps, model.golden.sequence, model.card)
    return Response(b'{"sequences":%b}' % content, media_type=JSON)


def dumps_sequences(sequences: Array, card: ModelCard) -> bytes:
    """Encode sequences `(n, timesteps, features)` as JSON: missing values are null, absent ends are left out."""
    if not card.variable_length:
        return orjson.dumps(sequences, option=orjson.OPT_SERIALIZE_NUMPY)
    return orjson.dumps(_trimmed(sequences), option=orjson.OPT_SERIALIZE_NUMPY)


def dumps_tokens(sequences: Array, card: ModelCard) -> bytes:
    """Encode tokens `(n, timesteps, features)` as JSON: words where there are, and one feature without its list."""
    words = words_of(card) or {}

    def posted(step: list[float]) -> Any:
        values = [word_of(value, words) for value in step]
        return values[0] if are_plain(card) else values

    kept = _trimmed(sequences) if card.variable_length else sequences
    return orjson.dumps([[posted(step) for step in sequence.tolist()] for sequence in kept])


def _trimmed(sequences: Array) -> list[Array]:
    """Return sequences without the absent timesteps at their ends."""
    ends = sequences.shape[1] - absent(sequences)[:, ::-1].argmin(axis=1)
    return [sequence[:end] for sequence, end in zip(sequences, ends.tolist(), strict=True)]


def _listed(versions: Versions | None) -> list[Version]:
    return [Version.of(status) for status in versions.statuses()] if versions else []
