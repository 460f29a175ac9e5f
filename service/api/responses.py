"""What every native route documents about its errors, in one table."""

from typing import Any

from pydantic import BaseModel, Field

from service import errors


class ErrorDetail(BaseModel):
    """FastAPI's shape of an error."""

    detail: str = Field(
        description="What was expected, and what came.", examples=["sequence[3][1]: expected a finite number, got null"]
    )


def documented(*kinds: type[errors.ServiceError]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for the errors that a route can answer."""
    return {kind.status: {"model": ErrorDetail, "description": kind.__doc__} for kind in kinds}
