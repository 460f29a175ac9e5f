"""What whoever runs the service asks of it: health, the models with their versions, and the model card."""

import asyncio
from typing import Literal

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from service.api.error_answers import ASKING, documented
from service.api.request_body import JSON
from service.api.selection import SelectedModel
from service.artifact.card import ModelCard
from service.artifact.missing import absent
from service.artifact.tensors import Array
from service.serving.repository import Repository
from service.serving.versions import State, Status, Versions

router = APIRouter(tags=["operations"])


class Live(BaseModel):
    """The process answers."""

    status: Literal["live"] = Field("live", description="Always `live`.")


class Ready(BaseModel):
    """The model can be asked."""

    status: Literal["ready"] = Field("ready", description="Always `ready`; a service that is not answers 503.")
    model: str = Field(description="Model that is ready.", examples=["after-lstm"])
    version: int = Field(description="Its version.", examples=[3])


class Version(BaseModel):
    """What has become of one version of a model."""

    version: int = Field(description="Its number.", examples=[3])
    state: State = Field(
        description="`loading`: being verified. `live`: can be asked. `rejected`: failed, see `reason`; tried again "
        "once its files change. `retired`: newer ones have taken its place. `unloaded`: somebody asked for that.",
        examples=["live"],
    )
    reason: str | None = Field(
        description="Why it was rejected; where it is live, why its files cannot be loaded as they are now.",
        examples=[None],
    )
    engine: str | None = Field(description="What executes it, where it is live.", examples=["onnx"])
    attention_moved: float | None = Field(
        description="When it took over, how far attention lay from the version before: total variation from 0 to 1, "
        "mean over its golden example.",
        examples=[0.031],
    )

    @classmethod
    def of(cls, status: Status) -> "Version":
        """The version with this status."""
        return cls(**vars(status))


class ServedModel(BaseModel):
    """One model, and its versions."""

    name: str = Field(description="Name of the model.", examples=["after-lstm"])
    default: bool = Field(description="Whether it answers where a request names no model.", examples=[True])
    version: int | None = Field(description="Version that answers where a request names none.", examples=[3])
    problem: str | None = Field(description="Why that is not the version that was meant to be.", examples=[None])
    versions: list[Version] = Field(description="All versions in its directory, newest first.")


class ModelsAnswer(BaseModel):
    """The models of the folder, as the worker process that answers sees them."""

    models: list[ServedModel] = Field(description="In alphabetical order.")


class ModelAnswer(ModelCard):
    """The model card, and what serves it."""

    version: int = Field(description="Version that is served.", examples=[3])
    engine: str = Field(description="What executes it: `onnx` or `tensorflow`.", examples=["onnx"])
    rejected: list[Version] = Field(description="Versions of the model that must not be served, and why.")


class ExampleAnswer(BaseModel):
    """What may be posted to a model, as it is."""

    sequences: list[list[list[float | None]]] = Field(
        description="The sequences of its golden example, held out from training.", examples=[[[[0.1, -0.2]] * 4]]
    )


@router.get("/health/live", summary="Is the process alive?")
async def live() -> Live:
    """Answers as long as the process does; a full queue changes nothing here."""
    return Live()


@router.get("/health/ready", summary="Can the model be asked?", responses=documented(*ASKING))
async def ready(model: SelectedModel) -> Ready:
    """Answers 200 once a verified model is loaded, and 503 before that and while the service stops."""
    return Ready(model=model.card.name, version=model.version)


@router.get("/models", summary="The models and their versions")
async def models(request: Request) -> ModelsAnswer:
    """Every version on disk and what has become of it."""
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


@router.get("/model", summary="The model card", responses=documented(*ASKING))
async def model(model: SelectedModel, request: Request) -> ModelAnswer:
    """Shapes, labels, classes, held-out metrics, attention profile, and how the version was trained."""
    repository: Repository = request.app.state.repository
    versions = _listed(repository.models.get(model.card.name))
    rejected = [version for version in versions if version.state == "rejected"]
    return ModelAnswer(**dict(model.card), version=model.version, engine=model.engine.name, rejected=rejected)


@router.get("/model/example", summary="Sequences to try", response_model=ExampleAnswer, responses=documented(*ASKING))
async def example(model: SelectedModel) -> Response:
    """Some of the sequences that the model was not fitted on, as `POST /predict` takes them."""
    content = await asyncio.to_thread(dumps_sequences, model.golden.sequence, model.card)
    return Response(b'{"sequences":%b}' % content, media_type=JSON)


def dumps_sequences(sequences: Array, card: ModelCard) -> bytes:
    """The JSON of sequences `(n, timesteps, features)`: null for what is missing, without the absent end of each."""
    if not card.variable_length:
        return orjson.dumps(sequences, option=orjson.OPT_SERIALIZE_NUMPY)
    ends = card.timesteps - absent(sequences)[:, ::-1].argmin(axis=1)
    each = [sequence[:end] for sequence, end in zip(sequences, ends.tolist(), strict=True)]
    return orjson.dumps(each, option=orjson.OPT_SERIALIZE_NUMPY)


def _listed(versions: Versions | None) -> list[Version]:
    return [Version.of(status) for status in versions.statuses()] if versions else []
