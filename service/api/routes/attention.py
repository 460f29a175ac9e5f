"""`GET /attention`: the attention profiles of training and of the traffic, as numbers or as a chart."""

import asyncio
import csv
import io
from typing import Annotated, Literal, Self

import mimeparse
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from service import errors
from service.api.bar_chart import Series, bar_chart
from service.api.error_answers import SELECTION_ERRORS, documented
from service.api.request_body import CSV, JSON
from service.api.security_headers import CHART_POLICY
from service.api.selection import Accepted, SelectedModel, only
from service.artifact.card import Agreement, AttentionProfile, Importance, ModelCard
from service.serving.dataplane import NO_ATTENTION
from service.serving.live_profile import LiveProfile
from service.serving.model import Model
from service.serving.tally import Totals, Window

router = APIRouter(tags=["attention"])

#: File suffix of each media type of charts, least preferred first.
CHARTS = {"image/png": "png", "image/svg+xml": "svg"}
LIVE_COLOUR, TRAINING_COLOUR, IMPORTANCE_COLOUR = "#4c8bd6", "#c3d2e6", "#e2a35c"
#: The windows in titles of charts.
PERIODS: dict[Window, str] = {
    "1m": "in the last minute",
    "10m": "in the last 10 minutes",
    "1h": "in the last hour",
    "start": "since the start",
}

Chart = Literal["training", "importance", "live", "confusion"]


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
async def attention(
    model: SelectedModel,
    response: Response,
    accept: Accepted,
    chart: Annotated[
        Chart,
        Query(
            description="Content of a chart: `training`, attention over the held-out sequences, with importance beside "
            "it; `importance` by itself; `live`, attention of the traffic, beside training's; `confusion`, the "
            "confusion matrix over the held-out sequences, for classes."
        ),
    ] = "training",
    window: Annotated[
        Window, Query(description="Window of time of a live chart, and of the live attention in CSV.")
    ] = "start",
) -> AttentionAnswer | Response:
    """Answers the attention profiles as JSON or as CSV, or a chart as SVG or PNG, by the `Accept` header.

    A model without attention has none of these, except the charts of importance and of confusion.
    """
    media_types = [*CHARTS, CSV, JSON]
    try:
        chosen = mimeparse.best_match(media_types, accept)
    except mimeparse.MimeTypeParseException:
        chosen = ""
    if not chosen:
        raise errors.NotAcceptable(f"expected Accept to allow one of {', '.join(media_types)}, got {accept!r}")
    if suffix := CHARTS.get(chosen):
        content = await _chart(model, chart, window, suffix)
        return Response(content, media_type=chosen, headers={"Vary": "Accept", "Content-Security-Policy": CHART_POLICY})
    response.headers["Vary"] = "Accept"
    card, (profile, live_profile) = model.card, _profiles(model)
    totals = await live_profile.totals()
    if chosen == CSV:
        return Response(csv_of(card, profile, totals[window]), media_type=CSV, headers={"Vary": "Accept"})
    return AttentionAnswer(
        **dict(profile),
        model=card.name,
        version=model.version,
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


async def _chart(model: Model, chart: Chart, window: Window, suffix: str) -> bytes:
    if chart == "training":
        _profiles(model)
        return model.charts[suffix]
    if chart == "confusion":
        if suffix not in model.confusions:
            raise errors.InvalidInput(f"{model.card.name} version {model.version} has no chart of a confusion matrix")
        return model.confusions[suffix]
    if chart == "importance":
        title, series, axis = _importance_chart(model)
    else:
        profile, live_profile = _profiles(model)
        title, series, axis = _live_chart(profile, window, (await live_profile.totals())[window])
    title = f"{model.card.name} version {model.version}: {title}"
    return await asyncio.to_thread(bar_chart, suffix, title, model.card.timestep_labels, series, axis)


def _importance_chart(model: Model) -> tuple[str, list[Series], str]:
    """Return title, series and axis of a chart of importance.

    Raises:
        InvalidInput: importance was not measured.
    """
    found = model.card.importance
    if found is None:
        raise errors.InvalidInput(f"{model.card.name} version {model.version} has no importance on its card")
    title = f"importance over {found.sequences:,} held-out sequences"
    return title, [Series("importance", found.drop, IMPORTANCE_COLOUR, found.spread)], f"drop of {found.metric}"


def _live_chart(profile: AttentionProfile, window: Window, totals: Totals) -> tuple[str, list[Series], str]:
    """Return title, series and axis of a chart of the traffic."""
    training = Series("training", profile.mean, TRAINING_COLOUR)
    if not totals.sequences:
        return f"no sequences {PERIODS[window]}", [training], "attention"
    distance = totals.distance_from(profile)
    title = (
        f"attention of {totals.sequences:,} sequences {PERIODS[window]}; "
        f"{distance.total_variation:.3f} of it elsewhere than in training (by chance {distance.by_chance:.3f})"
    )
    return title, [Series("live", totals.mean.tolist(), LIVE_COLOUR), training], "attention"
