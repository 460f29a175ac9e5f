"""Health: what keeps the service running asks it."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from service.api.responses import documented
from service.api.selection import SelectedModel

router = APIRouter(tags=["operations"])


class Live(BaseModel):
    """The process answers."""

    status: Literal["live"] = Field("live", description="Always `live`.")


class Ready(BaseModel):
    """The model can be asked."""

    status: Literal["ready"] = Field("ready", description="Always `ready`; a service that is not answers 503.")
    model: str = Field(description="Model that is ready.", examples=["after-lstm"])
    version: int = Field(description="Its version.", examples=[3])


@router.get("/health/live", summary="Is the process alive?")
async def live() -> Live:
    """Answers as long as the process does; a full queue changes nothing here."""
    return Live()


@router.get("/health/ready", summary="Can the model be asked?", responses=documented())
async def ready(model: SelectedModel) -> Ready:
    """Answers 200 once a verified model is loaded, and 503 before that and while the service stops."""
    return Ready(model=model.card.name, version=model.version)
