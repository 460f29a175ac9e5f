"""What the native routes document about their errors, in one table."""

from typing import Any

from pydantic import BaseModel, Field

from service import errors


class Problem(BaseModel):
    """One thing that is wrong with the form of a request, in FastAPI's shape."""

    type: str = Field(description="Kind of problem.", examples=["json_invalid"])
    loc: list[str | int] = Field(description="Where in the request it is.", examples=[["body", 14]])
    msg: str = Field(description="What was expected.", examples=["Input should be 'mean', 'full' or 'none'"])


class ErrorAnswer(BaseModel):
    """An error of the native API, in FastAPI's shape."""

    detail: str | list[Problem] = Field(
        description="What was expected, and what came; a list where the form of the request is wrong.",
        examples=["sequence[3][1]: expected a finite number, got null"],
    )


def documented(*more: type[errors.ServiceError]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for the errors of a route that asks a model, and for those it adds."""
    kinds: tuple[type[errors.ServiceError], ...] = (errors.UnknownModel, errors.InvalidInput, errors.Unavailable, *more)
    return {kind.status: {"model": ErrorAnswer, "description": kind.__doc__} for kind in kinds}
