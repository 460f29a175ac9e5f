"""Tests of `GET /metrics`: attention of the traffic and of training, as Prometheus reads it."""

from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from service.api.routes import prometheus as metrics
from service.app import create_app
from service.artifact.version import Artifact
from service.settings import Settings
from tests.conftest import connect

pytestmark = pytest.mark.anyio

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def quiet(artifacts: Path) -> FastAPI:
    """An app without any traffic before the test."""
    return create_app(Settings(artifacts=artifacts, model="three"))


def samples(text: str) -> Samples:
    """Return the value of each series, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return f"attention_{name}", frozenset({"model": "three", "version": "1", **labels}.items())


async def test_without_traffic_there_is_no_distance(quiet: FastAPI, artifacts: Path) -> None:
    """Counters are 0, and the training profile is complete."""
    async with connect(quiet) as client:
        response = await client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    found = samples(response.text)
    profile = Artifact(artifacts / "three" / "1").read().card().attention
    assert profile is not None
    assert found[of("sequences_total")] == 0
    for t in range(6):
        timestep = {"timestep": str(t), "label": str(t)}
        assert found[of("mass_total", **timestep)] == 0
        assert found[of("training_mean", **timestep)] == profile.mean[t]
        assert found[of("training_spread", **timestep)] == profile.spread[t]
    assert not any(name.startswith("attention_distance") for name, _ in found)


async def test_sequences_of_all_requests_are_counted(quiet: FastAPI) -> None:
    """The protocol and the outputs make no difference, and `/attention` answers the same."""
    async with connect(quiet) as client:
        sequences = (await client.get("/model/example")).json()["sequences"][:3]
        await client.post("/predict", json={"sequences": sequences})
        await client.post("/predict", json={"sequences": sequences, "attention": "none"})
        await client.post("/predict", json={"sequences": sequences, "attention": "full", "importance": True})
        await client.post("/v1/models/three:predict", json={"instances": sequences})
        found = samples((await client.get("/metrics")).text)
        live = (await client.get("/attention")).json()["live"]
    assert found[of("sequences_total")] == live["start"]["sequences"] == 12
    for t in range(6):
        mass = found[of("mass_total", timestep=str(t), label=str(t))]
        assert mass / 12 == pytest.approx(live["start"]["mean"][t])
    for window, one in live.items():
        for measure in ("total_variation", "jensen_shannon"):
            assert found[of("distance", window=window, measure=measure)] == pytest.approx(one[measure])
        assert found[of("distance_by_chance", window=window)] == pytest.approx(one["by_chance"])


async def test_openmetrics_is_supported(client: httpx.AsyncClient) -> None:
    """Prometheus asks for it in the `Accept` header."""
    response = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    families = parse_openmetrics(response.text)  # type: ignore[no-untyped-call] # it ships types for all else
    assert {family.name for family in families} > {"attention_mass", "attention_sequences"}


@pytest.mark.parametrize(
    "accept", ["text/plain; version=a.b", "application/openmetrics-text; version=x", "nonsense", ""]
)
async def test_the_answer_to_an_unknown_format_is_text(client: httpx.AsyncClient, accept: str) -> None:
    """Prometheus specifies this."""
    response = await client.get("/metrics", headers={"Accept": accept})
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain")
    assert text_string_to_metric_families(response.text)


async def test_long_sequences_have_no_series_for_each_timestep(quiet: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their distances are included all the same."""
    monkeypatch.setattr(metrics, "MOST_TIMESTEPS", 5)
    async with connect(quiet) as client:
        await client.post("/predict", json=(await client.get("/model/example")).json())
        names = {name for name, labels in samples((await client.get("/metrics")).text) if ("model", "three") in labels}
    assert {name for name in names if not name.startswith("attention_service_")} == {
        "attention_sequences_total",
        "attention_training_sequences",
        "attention_distance",
        "attention_distance_by_chance",
    }
