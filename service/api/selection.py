"""Which model answers: `?model=` and `?version=`, shared by the native routes."""

from typing import Annotated

from fastapi import Depends, Query, Request

from service.inference.model import Model
from service.inference.repository import Repository


async def selected_model(
    request: Request,
    model: Annotated[str | None, Query(description="Model to ask; the default model if absent.")] = None,
    version: Annotated[int | None, Query(description="Version to ask; the newest if absent.")] = None,
) -> Model:
    """The model that the query string names."""
    repository: Repository = request.app.state.repository
    return repository.get(model, version)


SelectedModel = Annotated[Model, Depends(selected_model)]
