"""`GET /attention`: the model's attention profile, as numbers or as a chart."""

from typing import Annotated

import mimeparse
from fastapi import APIRouter, Header, Response
from pydantic import Field

from service import errors
from service.api.failures import ASKING, documented
from service.api.routing import JSON
from service.api.selection import SelectedModel
from service.inference.card import AttentionProfile

router = APIRouter(tags=["attention"])

#: Media types of the profile, least preferred first, and the suffix of the chart that each is.
CHARTS = {"image/png": "png", "image/svg+xml": "svg"}


class AttentionAnswer(AttentionProfile):
    """Which timesteps the model looks at, over the held-out sequences it was evaluated on."""

    model: str = Field(description="Model that the profile belongs to.", examples=["after-lstm"])
    version: int = Field(description="Its version.", examples=[3])
    timestep_labels: tuple[str, ...] = Field(
        description="What the entries of `mean` and `spread` stand for.", examples=[["0", "1", "2", "3"]]
    )


@router.get(
    "/attention",
    summary="Which timesteps the model looks at",
    response_model=AttentionAnswer,
    responses={
        200: {"content": {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in CHARTS}},
        **documented(*ASKING, errors.NotAcceptable),
    },
)
async def attention(
    model: SelectedModel,
    response: Response,
    accept: Annotated[
        str, Header(description=f"`{JSON}`, `image/svg+xml` or `image/png`.", examples=["image/svg+xml"])
    ] = JSON,
) -> AttentionAnswer | Response:
    """The attention profile: numbers as JSON, or a bar chart as SVG or PNG, by the `Accept` header."""
    media_types = [*CHARTS, JSON]
    try:
        chosen = mimeparse.best_match(media_types, accept.lower() or "*/*")
    except mimeparse.MimeTypeParseException:
        chosen = ""
    if not chosen:
        raise errors.NotAcceptable(f"expected Accept to allow one of {', '.join(media_types)}, got {accept!r}")
    if suffix := CHARTS.get(chosen):
        return Response(model.charts[suffix], media_type=chosen, headers={"Vary": "Accept"})
    response.headers["Vary"] = "Accept"
    return AttentionAnswer(
        **dict(model.card.attention),
        model=model.card.name,
        version=model.version,
        timestep_labels=model.card.timestep_labels,
    )
