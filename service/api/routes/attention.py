"""`GET /attention`: the attention profiles of training and of the traffic, as numbers or as a chart."""

import asyncio
import csv
import io
from typing import Annotated, Final, Literal, Self

import mimeparse
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from service import errors
from service.api.error_answers import SELECTION_ERRORS, documented
from service.api.request_body import CSV, JSON
from service.api.security_headers import CHART_POLICY
from service.api.selection import Accepted, SelectedModel, only
from service.artifact.card import Agreement, AttentionProfile, Importance, ModelCard
from service.charts.card_charts import CARD_CHARTS, PEAK_COLOUR, TRAINING_COLOUR, CardChart
from service.charts.chart import Chart as Picture
from service.charts.fonts import NoFont
from service.charts.panels import Panel, Series, panels
from service.serving.dataplane import NO_ATTENTION
from service.serving.live_profile import LiveProfile
from service.serving.model import Model
from service.serving.tally import Totals, Window

router = APIRouter(tags=["attention"])

SVG: Final = "image/svg+xml"
#: Media types of charts, least preferred first.
CHARTS: Final = ("image/png", SVG)
#: The windows in titles of charts.
PERIODS: dict[Window, str] = {
    "1m": "in the last minute",
    "10m": "in the last 10 minutes",
    "1h": "in the last hour",
    "start": "since the start",
}

Chart = Literal[CardChart, "live"]


class LiveAttention(BaseModel):
    """Attention over the sequences of a window of time, and its distance from the training profile."""

    seconds: float = Field(description="Length of the window so far.", examples=[600.0])
    sequences: int = Field(description="Number of sequences.", examples=[1200])
    mean: list[float] | None = Field(
        description="Mean attention per timestep; null without sequences.", examples=[[0.1, 0.2, 0.6, 0.1]]
    )
    spread: list[float] | None = Field(
        description="Standard deviation of attention per timestep, over the sequences.",
        examples=[[0.01, 0.02, 0.05, 0.01]],
    )
    peak: int | None = Field(description="Index of the timestep with the highest mean attention.", examples=[2])
    total_variation: float | None = Field(
        description="Distance of the mean from the training profile's: the share of attention that lies elsewhere, "
        "from 0 to 1.",
        examples=[0.013],
    )
    jensen_shannon: float | None = Field(
        description="The same as Jensen–Shannon distance, the root of the divergence in bits, from 0 to 1.",
        examples=[0.02],
    )
    by_chance: float | None = Field(
        description="The expected total variation of as many sequences if nothing has changed.", examples=[0.011]
    )

    @classmethod
    def of(cls, totals: Totals, profile: AttentionProfile) -> Self:
        """Return the answer for a window, compared with the training profile."""
        if not totals.sequences:
            return cls(
                seconds=totals.seconds,
                sequences=0,
                mean=None,
                spread=None,
                peak=None,
                total_variation=None,
                jensen_shannon=None,
                by_chance=None,
            )
        return cls(
            seconds=totals.seconds,
            sequences=totals.sequences,
            mean=totals.mean.tolist(),
            spread=totals.spread.tolist(),
            peak=int(totals.mean.argmax()),
            **vars(totals.distance_from(profile)),
        )


class AttentionAnswer(AttentionProfile):
    """The timesteps that the model looks at, over the held-out sequences and over the traffic."""

    model: str = Field(description="Model that the profile belongs to.", examples=["after-lstm"])
    version: int = Field(description="Its version.", examples=[3])
    node: str | None = Field(
        description="Address of the node of a Ray cluster whose replicas `live` counts; null if `live` counts all "
        "processes of the service.",
        examples=[None],
    )
    timestep_labels: tuple[str, ...] = Field(description="Labels of the timesteps.", examples=[["0", "1", "2", "3"]])
    importance: Importance | None = Field(description="How much predictions depend on the timesteps, for comparison.")
    agreement: Agreement | None = Field(description="Whether attention lies where importance does.")
    live: dict[Window, LiveAttention] = Field(
        description="Attention over the sequences that were posted, in all worker processes: in the last minute, "
        "10 minutes and hour, and since the start.",
        examples=[
            {
                "start": {
                    "seconds": 3600.0,
                    "sequences": 1200,
                    "mean": [0.1, 0.21, 0.58, 0.11],
                    "spread": [0.01, 0.02, 0.05, 0.01],
                    "peak": 2,
                    "total_variation": 0.02,
                    "jensen_shannon": 0.02,
                    "by_chance": 0.001,
                }
            }
        ],
    )


@router.get(
    "/attention",
    name="get_attention",
    summary="Which timesteps the model looks at",
    response_model=AttentionAnswer,
    responses={
        200: {
            "content": {
                **{media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in CHARTS},
                CSV: {"schema": {"type": "string"}},
            }
        },
        **documented(*SELECTION_ERRORS, errors.NotAcceptable),
    },
    dependencies=[only("model", "version", "chart", "window")],
)
async def attention(  # noqa: PLR0913, PLR0917 - FastAPI passes them by name
    model: SelectedModel,
    request: Request,
    response: Response,
    accept: Accepted,
    chart: Annotated[
        Chart,
        Query(
            description="Content of a chart: `training`, attention over the held-out sequences, with importance beside "
            "it; `importance` by itself; `live`, attention of the traffic, beside training's; `confusion`, the "
            "confusion matrix over the held-out sequences, for classes; `features`, importance of the features; "
            "`cells`, importance of each feature at each timestep; `faithfulness`, how far predictions move when "
            "timesteps are taken away or kept; `learning`, losses after each epoch; `diagram`, the model's layers."
        ),
    ] = "training",
    window: Annotated[
        Window, Query(description="Window of time of a live chart, and of the live attention in CSV.")
    ] = "start",
) -> AttentionAnswer | Response:
    """Answers the attention profiles as JSON or as CSV, or a chart as SVG or PNG, by the `Accept` header.

    A model without attention has no profiles, and only the charts that do not show them. A chart is not available as
    PNG if no installed font has all characters of its labels: it is SVG then, if the header allows that.
    """
    media_types = [*CHARTS, CSV, JSON]
    try:
        chosen = mimeparse.best_match(media_types, accept)
    except mimeparse.MimeTypeParseException:
        chosen = ""
    if not chosen:
        raise errors.NotAcceptable(f"expected Accept to allow one of {', '.join(media_types)}, got {accept!r}")
    if chosen in CHARTS:
        picture = await _picture(model, chart, window)
        return await _answer(picture, chosen, accept)
    response.headers["Vary"] = "Accept"
    card, (profile, live_profile) = model.card, _profiles(model)
    totals = await live_profile.totals()
    if chosen == CSV:
        return Response(csv_of(card, profile, totals[window]), media_type=CSV, headers={"Vary": "Accept"})
    return AttentionAnswer(
        **dict(profile),
        model=card.name,
        version=model.version,
        node=request.app.state.node,
        timestep_labels=card.timestep_labels,
        importance=card.importance,
        agreement=card.agreement,
        live={window: LiveAttention.of(one, profile) for window, one in totals.items()},
    )


def csv_of(card: ModelCard, profile: AttentionProfile, live: Totals) -> str:
    """Return CSV of one row for each timestep: its label, the profile of training, importance and live attention.

    Cells are empty where importance was not measured, and where no sequences were posted.
    """
    nothing = [""] * card.timesteps
    columns = {
        "timestep": card.timestep_labels,
        "mean": profile.mean,
        "spread": profile.spread,
        "importance": nothing if card.importance is None else card.importance.drop,
        "live_mean": live.mean.tolist() if live.sequences else nothing,
    }
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(columns)
    rows.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _profiles(model: Model) -> tuple[AttentionProfile, LiveProfile]:
    """Return the attention profiles of a model: over held-out data, and over the traffic.

    Raises:
        InvalidInput: the model has no attention.
    """
    if model.card.attention is None or model.live_profile is None:
        raise errors.InvalidInput(f"{model.card.name} version {model.version}: {NO_ATTENTION}")
    return model.card.attention, model.live_profile


async def _picture(model: Model, chart: Chart, window: Window) -> Picture:
    """Return a chart of a model.

    Raises:
        InvalidInput: the model lacks what the chart shows.
    """
    name = f"{model.card.name} version {model.version}"
    if chart == "live":
        profile, live_profile = _profiles(model)
        title, series = _live_chart(profile, window, (await live_profile.totals())[window])
        drawn = [Panel("attention", series)]
        return await asyncio.to_thread(panels, f"{name}: {title}", model.card.timestep_labels, drawn, "timestep")
    if chart == "training":
        _profiles(model)
    picture = await asyncio.to_thread(CARD_CHARTS[chart].draw, model.card, name)
    if picture is None:
        raise errors.InvalidInput(f"{name} has no {CARD_CHARTS[chart].shows} on its card")
    return picture


async def _answer(picture: Picture, media_type: str, accept: str) -> Response:
    """Return a chart in a media type; as SVG, if that is accepted and no installed font can draw a PNG.

    Raises:
        NotAcceptable: it cannot be drawn as PNG.
    """
    headers = {"Vary": "Accept", "Content-Security-Policy": CHART_POLICY}
    if media_type == SVG:
        return Response(picture.svg, media_type=SVG, headers=headers)
    try:
        content = await asyncio.to_thread(picture.png)
    except NoFont as error:
        if mimeparse.best_match([SVG], accept):
            return await _answer(picture, SVG, accept)
        raise errors.NotAcceptable(f"expected Accept to allow {SVG}: {error}") from error
    return Response(content, media_type=media_type, headers=headers)


def _live_chart(profile: AttentionProfile, window: Window, totals: Totals) -> tuple[str, list[Series]]:
    """Return title and series of a chart of the traffic."""
    training = Series("training", profile.mean, TRAINING_COLOUR)
    if not totals.sequences:
        return f"no sequences {PERIODS[window]}", [training]
    distance = totals.distance_from(profile)
    title = (
        f"attention of {totals.sequences:,} sequences {PERIODS[window]}; "
        f"{distance.total_variation:.3f} of it elsewhere than in training (by chance {distance.by_chance:.3f})"
    )
    return title, [Series("live", totals.mean.tolist(), PEAK_COLOUR), training]
