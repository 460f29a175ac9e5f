"""`/v2/repository`: Triton's model repository extension, to list, load and unload models.

See https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field, StrictBool

from service import errors
from service.api.codecs.tensors import Parameters
from service.api.error_answers import SELECTION_ERRORS, documented_in_protocol
from service.api.openapi import takes
from service.api.protection import require_host
from service.api.request_body import JSON, M, parse_json, read_body, validated
from service.errors import Forbidden, InvalidInput
from service.serving.repository import Repository
from service.serving.versions import State
from service.settings import Settings, listed

#: Largest request body.
MOST_BYTES: Final = 64 * 2**10

router = APIRouter(prefix="/v2/repository", tags=["model_repository"])

#: Triton's names for the states of a version.
STATES: Mapping[State, Literal["READY", "LOADING", "UNAVAILABLE"]] = {
    "loading": "LOADING",
    "live": "READY",
    "rejected": "UNAVAILABLE",
    "retired": "UNAVAILABLE",
    "unloaded": "UNAVAILABLE",
}


class IndexRequest(BaseModel):
    """Which versions to list."""

    ready: StrictBool = Field(default=False, description="Only served versions.", examples=[True])


class IndexEntry(BaseModel):
    """The state of one version of a model."""

    name: str = Field(description="Name of the model.", examples=["after-lstm"])
    version: str = Field(description="Its version.", examples=["3"])
    state: Literal["READY", "LOADING", "UNAVAILABLE"] = Field(description="Whether it is served.", examples=["READY"])
    reason: str = Field(description="Why it is not served.", examples=["unloaded"])


class ControlRequest(BaseModel):
    """The options of loading or unloading a model; none is supported."""

    parameters: Parameters = Field(
        default_factory=dict, description="Must be empty for loading; ignored for unloading.", examples=[{}]
    )


class Controlled(BaseModel):
    """The model that was loaded or unloaded."""

    name: str = Field(description="Name of the model.", examples=["after-lstm"])


@router.post(
    "/index",
    name="list_repository",
    summary="Model repository: list",
    openapi_extra=takes(IndexRequest, required=False),
    responses=documented_in_protocol(
        errors.InvalidInput, errors.TooLarge, errors.UnsupportedMediaType, errors.DeadlineExceeded
    ),
)
async def index(request: Request) -> list[IndexEntry]:
    """Answers every version on disk and whether it is served; with `{"ready": true}`, only the served ones."""
    only_ready = (await _optional_body(request, IndexRequest)).ready
    repository: Repository = request.app.state.repository
    return [
        IndexEntry(
            name=name,
            version=str(status.version),
            state=STATES[status.state],
            reason=status.reason or ("" if status.state in ("live", "loading") else status.state),
        )
        for name, versions in sorted(repository.models.items())
        for status in versions.statuses()
        if status.state == "live" or not only_ready
    ]


CONTROL: Any = {
    "openapi_extra": takes(ControlRequest, required=False),
    "responses": documented_in_protocol(
        *SELECTION_ERRORS,
        errors.TooLarge,
        errors.UnsupportedMediaType,
        errors.DeadlineExceeded,
        errors.Forbidden,
        errors.WrongHost,
    ),
}


@router.post("/models/{model}/load", name="load_model", summary="Model repository: load", **CONTROL)
async def load(model: Annotated[str, Path(description="Name of the model.")], request: Request) -> Controlled:
    """Serves the versions that are in the model's directory now, even if it was unloaded; answers when it is done."""
    settings = await _controllable(request)
    unknown = next(iter((await _optional_body(request, ControlRequest)).parameters), None)
    if unknown is not None:
        raise InvalidInput(f"expected no parameters, as models are loaded as they were published, got {unknown[:80]!r}")
    await request.app.state.repository.load(model, settings.timeout)
    return Controlled(name=model)


@router.post("/models/{model}/unload", name="unload_model", summary="Model repository: unload", **CONTROL)
async def unload(model: Annotated[str, Path(description="Name of the model.")], request: Request) -> Controlled:
    """Stops serving the model in all worker processes until it is loaded again; accepted requests are answered."""
    settings = await _controllable(request)
    await _optional_body(request, ControlRequest)  # accepts unload_dependents, as no model has dependents
    await request.app.state.repository.unload(model, settings.timeout)
    return Controlled(name=model)


async def _controllable(request: Request) -> Settings:
    """Return the settings, if they allow clients to load and unload models, and no other site sends the request.

    Raises:
        WrongHost: there are no keys, and the request is for a name that `allowed_hosts` has not.
        Forbidden: the settings, or what the browser says about the sender, forbid it.
    """
    settings: Settings = request.app.state.settings
    if not settings.model_control:
        raise Forbidden("models are loaded and unloaded by what is in their folder alone: see --model-control")
    if settings.keys is None:  # with keys, no browser sends one by itself
        require_host(request.scope, listed(settings.allowed_hosts))
    require_same_site(request, settings.cors_origins)
    return settings


def require_same_site(request: Request, allowed_origins: str) -> None:
    """Refuse a request that a page of another site can make a browser send.

    Args:
        request: the request.
        allowed_origins: the setting `cors_origins`. `*` allows no origin here: it is for reading.

    Raises:
        Forbidden: the request comes from another site, or could be a form of it.
    """
    headers = request.headers
    for name in ("origin", "content-type"):
        if len(headers.getlist(name)) > 1:
            raise Forbidden(f"expected one header {name}, got several")
    site, origin, content_type = (headers.get(name) for name in ("sec-fetch-site", "origin", "content-type"))
    if content_type is not None and content_type.partition(";")[0].strip().lower() != JSON:
        raise Forbidden(f"expected content type {JSON} or none, got {content_type[:80]}")
    if origin in listed(allowed_origins):
        return
    if site not in (None, "same-origin", "none"):
        raise Forbidden(f"expected a request of this site, got Sec-Fetch-Site: {site[:80]}")
    if origin is not None and origin.partition("://")[2] != headers.get("host", "").lower():
        raise Forbidden(f"expected a request of this host or of one of --cors-origins, got Origin: {origin[:80]}")


async def _optional_body(request: Request, expected: type[M]) -> M:
    """Return the JSON body; its defaults if it is empty or null."""
    settings: Settings = request.app.state.settings
    body = await read_body(request, MOST_BYTES, settings.timeout)
    text = b"".join(body.chunks)
    options = parse_json(text) if text.strip() else None
    return validated(expected, {} if options is None else options, "body")
