"""`GET /metrics`: where the models look, for Prometheus to keep and to alert on."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Request, Response

from service.serving.model import Model
from service.serving.repository import Repository
from service.serving.tally import Seen, Window

router = APIRouter(tags=["operations"])

#: Of models with more timesteps there is no series for each: a store of series is not made for that many.
MOST_TIMESTEPS: Final = 1000

VERSION: Final = ("model", "version")
TIMESTEP: Final = (*VERSION, "timestep", "label")


@router.get(
    "/metrics",
    summary="Where the models look, as metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(
    request: Request,
    accept: Annotated[str, Header(description="`text/plain`, or `application/openmetrics-text`.")] = "text/plain",
) -> Response:
    """Attention of the traffic and of training, of every version that can be asked, over all worker processes."""
    repository: Repository = request.app.state.repository
    models = [model for versions in repository.models.values() for model in versions.live.values()]
    seen = [(model, await model.live.seen()) for model in models]
    content, content_type = await asyncio.to_thread(_written, seen, accept)
    return Response(content, headers={"Content-Type": content_type})


def _written(seen: Iterable[tuple[Model, Mapping[Window, Seen]]], accept: str) -> tuple[bytes, str]:
    """The metrics in a format that is accepted, and which that is."""
    from prometheus_client.exposition import choose_encoder

    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # a version that is none
        encode, content_type = choose_encoder("")
    return encode(_Collected(families_of(seen))), content_type


class _Collected:
    """What Prometheus' encoders take for a registry."""

    def __init__(self, families: Iterable[Any]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Any]:
        return iter(self._families)


def families_of(models: Iterable[tuple[Model, Mapping[Window, Seen]]]) -> list[Any]:
    """The metrics of some models, and of what was seen of each."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    sequences = CounterMetricFamily("attention_sequences", "Sequences whose attention was counted.", labels=VERSION)
    mass = CounterMetricFamily("attention_mass", "Attention on a timestep, summed over them.", labels=TIMESTEP)
    mean = GaugeMetricFamily("attention_training_mean", "Mean attention over held-out sequences.", labels=TIMESTEP)
    spread = GaugeMetricFamily(
        "attention_training_spread", "Standard deviation of attention over held-out sequences.", labels=TIMESTEP
    )
    held_out = GaugeMetricFamily("attention_training_sequences", "How many held-out sequences.", labels=VERSION)
    distance = GaugeMetricFamily(
        "attention_distance",
        "Distance of mean attention in a window of time from the training profile.",
        labels=(*VERSION, "window", "measure"),
    )
    by_chance = GaugeMetricFamily(
        "attention_distance_by_chance",
        "Total variation to expect of as many sequences if nothing has changed.",
        labels=(*VERSION, "window"),
    )
    for model, seen in models:
        card, version = model.card, (model.card.name, str(model.version))
        sequences.add_metric(version, seen["start"].sequences)
        held_out.add_metric(version, card.attention.sequences)
        if card.timesteps <= MOST_TIMESTEPS:
            for t, label in enumerate(card.timestep_labels):
                timestep = (*version, str(t), label)
                mass.add_metric(timestep, seen["start"].mass[t])
                mean.add_metric(timestep, card.attention.mean[t])
                spread.add_metric(timestep, card.attention.spread[t])
        for window, one in seen.items():
            if one.sequences:
                found = one.distance_from(card.attention)
                distance.add_metric((*version, window, "total_variation"), found.total_variation)
                distance.add_metric((*version, window, "jensen_shannon"), found.jensen_shannon)
                by_chance.add_metric((*version, window), found.by_chance)
    return [sequences, mass, mean, spread, held_out, distance, by_chance]
