"""Selecting the model of a request: by `?model=` and `?version=`, or by the path of a protocol."""

from typing import Annotated

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from service.api.request_body import validated
from service.serving.dataplane import DataPlane
from service.serving.model import Model


class Selection(BaseModel):
    """The model and the version that a request names."""

    model_config = ConfigDict(frozen=True)

    model: str | None = Field(None, description="Model to ask; the default model if absent.")
    version: int | None = Field(
        None, lt=10**18, description="Version to ask; the one that answers for the model if absent."
    )

    def of(self, request: Request) -> Model:
        """Return the selected model."""
        plane: DataPlane = request.app.state.plane
        return plane.model(self.model, self.version)


NO_SELECTION = Selection()


def model_in_query(request: Request) -> Model:
    """Return the model that the query string names."""
    if not request.scope["query_string"]:
        return NO_SELECTION.of(request)
    return validated(Selection, dict(request.query_params), "query").of(request)


def model_in_path(request: Request) -> Model:
    """Return the model that the path names; the default model where the path names none."""
    return validated(Selection, request.path_params, "path").of(request)


async def _selected(query: Annotated[Selection, Query()], request: Request) -> Model:
    return query.of(request)


#: The model of a native route that FastAPI injects.
SelectedModel = Annotated[Model, Depends(_selected)]
