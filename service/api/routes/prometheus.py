"""`GET /metrics`: the metrics of the service, and attention of training and of the traffic, for Prometheus."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from service.api.counters import Counters
from service.api.metrics import families
from service.api.selection import Accepted
from service.serving.model import Model
from service.serving.repository import Repository
from service.serving.tally import Totals, Window
from service.settings import Settings

router = APIRouter(tags=["operations"])

#: Models with more timesteps have no series per timestep, as Prometheus is not made for so many series.
MOST_TIMESTEPS: Final = 1000

VERSION: Final = ("model", "version")
TIMESTEP: Final = (*VERSION, "timestep", "label")


@router.get(
    "/metrics",
    name="get_metrics",
    summary="Requests, models and where the models look, as metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request, accept: Accepted) -> Response:
    """Answers requests, models, processes, and attention of the traffic and of training, of all worker processes."""
    counters: Counters = request.app.state.counters
    repository: Repository = request.app.state.repository
    models = [model for versions in repository.models.values() for model in versions.served.values()]
    measured = [(model, await model.live_profile.totals()) for model in models if model.live_profile is not None]
    settings: Settings = request.app.state.settings

    def encoded() -> tuple[bytes, str]:
        return _encoded([*families(repository, counters, settings), *_families_of(measured)], accept)

    content, content_type = await asyncio.to_thread(encoded)
    return Response(content, headers={"Content-Type": content_type, "Vary": "Accept"})


def _encoded(families: Iterable[Any], accept: str) -> tuple[bytes, str]:
    """Return the metrics in an accepted format, and its content type."""
    from prometheus_client.exposition import choose_encoder

    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # the Accept header has a malformed version
        encode, content_type = choose_encoder("")
    return encode(_Collector(families)), content_type


class _Collector:
    """The part of a registry that Prometheus' encoders use."""

    def __init__(self, families: Iterable[Any]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Any]:
        return iter(self._families)


def _families_of(measured: Iterable[tuple[Model, Mapping[Window, Totals]]]) -> list[Any]:
    """Return the metrics of models and the totals of their live profiles."""
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
    for model, totals in measured:
        card, version = model.card, (model.card.name, str(model.version))
        profile = card.attention
        if profile is None:
            continue
        sequences.add_metric(version, totals["start"].sequences)
        held_out.add_metric(version, profile.sequences)
        if card.timesteps <= MOST_TIMESTEPS:
            for t, label in enumerate(card.timestep_labels):
                timestep = (*version, str(t), label)
                mass.add_metric(timestep, totals["start"].mass[t])
                mean.add_metric(timestep, profile.mean[t])
                spread.add_metric(timestep, profile.spread[t])
        for window, one in totals.items():
            if one.sequences:
                moved = one.distance_from(profile)
                distance.add_metric((*version, window, "total_variation"), moved.total_variation)
                distance.add_metric((*version, window, "jensen_shannon"), moved.jensen_shannon)
                by_chance.add_metric((*version, window), moved.by_chance)
    return [sequences, mass, mean, spread, held_out, distance, by_chance]
