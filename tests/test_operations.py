"""Tests of the routes for operators: health, the models and their versions, and the model card."""

import shutil
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.artifact.version import Artifact
from service.engines import EngineChoice
from service.serving.batcher import Batcher
from service.settings import Settings
from tests.conftest import connect
from tests.fakes import engine_of

pytestmark = pytest.mark.anyio


async def test_a_loaded_service_is_live_and_ready(client: httpx.AsyncClient) -> None:
    """Readiness names the model and its version."""
    assert (await client.get("/health/live")).json() == {"status": "live"}
    assert (await client.get("/health/started")).json() == {"status": "started"}
    assert (await client.get("/health/ready")).json() == {"status": "ready", "model": "after-lstm", "version": 1}


async def test_readiness_of_a_model_that_is_not_served(client: httpx.AsyncClient) -> None:
    """The query selects the model."""
    assert (await client.get("/health/ready?model=three")).json()["model"] == "three"
    assert (await client.get("/health/ready?model=four")).status_code == 404


@pytest.mark.parametrize(
    "path", ["/health/ready", "/v2/health/ready", "/v2/models/three/ready", "/v1/models/three", "/ping", "/health"]
)
async def test_a_service_that_stops_or_is_stuck_is_not_ready(
    client: httpx.AsyncClient, app: FastAPI, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is alive and answers."""
    assert (await client.get(path)).status_code == 200
    with monkeypatch.context() as stopping:
        stopping.setattr(app.state.plane, "draining", True)
        assert (await client.get(path)).status_code == 503
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.post("/predict", json={"sequence": [[0.1, -0.2]] * 20})).status_code == 200
    monkeypatch.setattr(Batcher, "stuck_for", 3.2)
    answer = await client.get(path)
    assert answer.status_code == 503
    if path == "/ping":
        assert answer.json() == {"error": "no call of 'after-lstm' has ended for 3 s longer than any should take"}


async def test_a_request_without_memory_is_answered_503(
    client: httpx.AsyncClient, app: FastAPI, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has a line for it, without data. The next request is answered."""
    engine, body = engine_of(app), {"sequence": [[0.123456, -0.2]] * 20}

    def fail(*_: object) -> None:
        raise MemoryError("Unable to allocate 71 MiB")

    with monkeypatch.context() as without_memory, caplog.at_level("ERROR"):
        without_memory.setattr(engine, "intercept", fail)
        answer = await client.post("/predict", json=body)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert caplog.messages == ["POST /predict: out of memory: Unable to allocate 71 MiB"]
    assert (await client.post("/predict", json=body)).status_code == 200


async def test_the_model_is_its_card_with_version_and_engine(
    client: httpx.AsyncClient, artifacts: Path, engine: EngineChoice
) -> None:
    """The answer is the card, with the version and the engine that serve it."""
    card = Artifact(artifacts / "three" / "1").read().card()
    response = await client.get("/model?model=three")
    assert response.json() == {**card.model_dump(mode="json"), "version": 1, "engine": engine, "rejected": []}


async def test_every_model_and_version_is_listed(artifacts: Path, retrained: Path, tmp_path: Path) -> None:
    """The list has states and reasons."""
    home = Path(shutil.copytree(artifacts, tmp_path / "artifacts"))
    shutil.copytree(retrained, home / "after-lstm" / "2")
    shutil.copytree(retrained, home / "after-lstm" / "3")
    (home / "after-lstm" / "3" / "saved_model.pb").write_bytes(b"")
    shutil.rmtree(home / "before-lstm")
    app = create_app(Settings(artifacts=home, model="after-lstm", keep_versions=1, pin={"after-lstm": 1}))
    async with connect(app) as client:
        after, three = (await client.get("/models")).json()["models"]
        assert (after["name"], after["default"], after["version"]) == ("after-lstm", True, 1)
        assert [(one["version"], one["state"]) for one in after["versions"]] == [
            (3, "retired"),
            (2, "retired"),
            (1, "live"),
        ]
        assert (three["name"], three["default"], three["version"]) == ("three", False, 1)
    app = create_app(Settings(artifacts=home, model="after-lstm"))
    app.state.repository.update()
    async with connect(app) as client:
        after = (await client.get("/models")).json()["models"][0]
        broken, newest, older = after["versions"]
        assert (broken["version"], broken["state"], broken["engine"]) == (3, "rejected", None)
        assert "saved_model.pb is not what was published" in broken["reason"]
        assert (newest["version"], newest["state"], newest["engine"]) == (2, "live", "onnx")
        assert (older["version"], older["state"]) == (1, "live")
        assert (await client.get("/model")).json()["rejected"] == [broken]
        assert (await client.get("/model?version=1")).json()["version"] == 1
        shutil.rmtree(home / "after-lstm" / "2")
        app.state.repository.update()
        after = (await client.get("/models")).json()["models"][0]
        assert after["version"] == 1
        assert 0 < after["versions"][1]["attention_moved"] < 1
