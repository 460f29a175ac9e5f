"""Which model answers: `?model=` and `?version=` of the native routes, or the path of a protocol's."""

from typing import Annotated

from fastapi import Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from service.api.validation import validated
from service.serving.model import Model
from service.serving.repository import Repository


class Selection(BaseModel):
    """What a request says of the model to ask."""

    model_config = ConfigDict(frozen=True)

    model: str | None = Field(None, description="Model to ask; the default model if absent.")
    version: int | None = Field(
        None, lt=10**18, description="Version to ask; the one that answers for the model if absent."
    )

    def of(self, request: Request) -> Model:
        """The model selected, among those that the service has."""
        repository: Repository = request.app.state.repository
        return repository.get(self.model, self.version)


async def selected_model(query: Annotated[Selection, Query()], request: Request) -> Model:
    """The model that the query string names."""
    return query.of(request)


SelectedModel = Annotated[Model, Depends(selected_model)]


def model_in_path(request: Request) -> Model:
    """The model that the path names."""
    return validated(Selection, request.path_params, "path").of(request)


PathModel = Annotated[Model, Depends(model_in_path)]


async def _named(model: Annotated[str, Path(description="Name of the model.")]) -> None:
    """Documents a part of the path."""


async def _versioned(version: Annotated[int, Path(lt=10**18, description="Version of the model.")]) -> None:
    """Documents a part of the path."""


#: Dependencies of routes whose path has `{model}`, and of those that have `{version}`, too.
NAMED = [Depends(_named)]
VERSIONED = [*NAMED, Depends(_versioned)]
