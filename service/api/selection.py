"""Which model answers: `?model=` and `?version=`, shared by the native routes."""

from typing import Annotated

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from service.inference.model import Model
from service.inference.repository import Repository


class Selection(BaseModel):
    """What the query string says of the model to ask."""

    model_config = ConfigDict(frozen=True)

    model: str | None = Field(None, description="Model to ask; the default model if absent.")
    version: int | None = Field(None, description="Version to ask; the newest if absent.")

    def of(self, request: Request) -> Model:
        """The model selected, among those that the service has."""
        repository: Repository = request.app.state.repository
        return repository.get(self.model, self.version)


async def selected_model(query: Annotated[Selection, Query()], request: Request) -> Model:
    """The model that the query string names."""
    return query.of(request)


SelectedModel = Annotated[Model, Depends(selected_model)]
