"""Tests of `/v2/repository`: models are listed, loaded and unloaded."""

import asyncio
import shutil
import threading
from collections.abc import Collection
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.artifact.tensors import Array
from service.settings import Settings
from tests.conftest import connect
from tests.fakes import engine_of, interceptable
from tests.infer import as_json

pytestmark = pytest.mark.anyio

BODY = as_json(np.zeros((1, 20, 2)))


@pytest.fixture
def app(artifacts: Path, tmp_path: Path) -> FastAPI:
    home = Path(shutil.copytree(artifacts, tmp_path / "artifacts"))
    return create_app(Settings(artifacts=home, model="after-lstm", model_control=True), open_engine=interceptable())


def entry(name: str, state: str = "READY", reason: str = "") -> dict[str, str]:
    return {"name": name, "version": "1", "state": state, "reason": reason}


async def test_an_unloaded_model_is_not_served_until_it_is_loaded(client: httpx.AsyncClient, app: FastAPI) -> None:
    """The others are served. Requests, readiness and statuses report the unloaded model."""
    others = [entry("before-lstm"), entry("three")]
    assert (await client.post("/v2/repository/index")).json() == [entry("after-lstm"), *others]
    response = await client.post("/v2/repository/models/after-lstm/unload")
    assert (response.status_code, response.json()) == (200, {"name": "after-lstm"})
    unloaded = entry("after-lstm", "UNAVAILABLE", "unloaded")
    assert (await client.post("/v2/repository/index")).json() == [unloaded, *others]
    assert (await client.post("/v2/repository/index", json={"ready": True})).json() == others
    message = "model 'after-lstm' is unloaded"
    response = await client.post("/v2/models/after-lstm/infer", json=BODY)
    assert (response.status_code, response.json()) == (503, {"error": message})
    response = await client.post("/predict", json={"sequence": [[0.0, 0.0]] * 20})
    assert (response.status_code, response.json()) == (503, {"detail": message})
    assert (await client.get("/health/ready")).status_code == 503
    assert (await client.get("/health/live")).status_code == 200
    response = await client.get("/v1/models/after-lstm")
    assert response.status_code == 503, "probes read the status"
    status = response.json()
    assert (status["ready"], status["model_version_status"][0]["state"]) == (False, "END")
    response = await client.get("/v1/models/after-lstm/versions/1")
    assert (response.status_code, response.json()["model_version_status"][0]["state"]) == (503, "END")
    app.state.repository.update()  # the next update changes nothing
    assert (await client.get("/v2/models/after-lstm/ready")).status_code == 503
    response = await client.post("/v2/repository/models/after-lstm/load", json={"parameters": None})
    assert (response.status_code, response.json()) == (200, {"name": "after-lstm"})
    assert (await client.post("/v2/models/after-lstm/infer", json=BODY)).status_code == 200


async def test_requests_accepted_before_unloading_are_answered(client: httpx.AsyncClient, app: FastAPI) -> None:
    """Accepted requests finish on the unloaded model, and other models are served meanwhile."""
    engine = engine_of(app)
    run, begun, released = engine.intercept, threading.Event(), threading.Event()

    def wait(sequences: Array, outputs: Collection[str]) -> dict[str, Array]:
        begun.set()
        assert released.wait(timeout=30)
        return run(sequences, outputs)

    engine.intercept = wait
    many = as_json(np.zeros((2000, 20, 2)), outputs=[{"name": "prediction"}])  # so many run in a thread
    accepted = asyncio.create_task(client.post("/v2/models/after-lstm/infer", json=many))
    assert await asyncio.to_thread(begun.wait, 30)
    assert (await client.post("/v2/repository/models/after-lstm/unload")).status_code == 200
    assert (await client.post("/v2/models/after-lstm/infer", json=BODY)).status_code == 503
    assert (await client.post("/v2/models/three/infer", json=as_json(np.zeros((1, 6, 3))))).status_code == 200
    assert not accepted.done()
    released.set()
    assert (await accepted).status_code == 200


async def test_loading_looks_for_new_versions_at_once(client: httpx.AsyncClient, app: FastAPI, retrained: Path) -> None:
    """It does not wait for the next update."""
    shutil.copytree(retrained, app.state.settings.artifacts / "after-lstm" / "2")
    assert (await client.post("/v2/repository/models/after-lstm/load")).status_code == 200
    assert (await client.get("/v2/models/after-lstm")).json()["versions"] == ["2", "1"]


async def test_a_model_that_cannot_be_loaded_is_answered_with_the_reason(
    client: httpx.AsyncClient, app: FastAPI
) -> None:
    """The reason is why its newest version is rejected."""
    await client.post("/v2/repository/models/three/unload")
    (app.state.settings.artifacts / "three" / "1" / "saved_model.pb").write_bytes(b"")
    response = await client.post("/v2/repository/models/three/load")
    assert response.status_code == 503
    assert "version 1 is rejected: " in response.json()["error"]
    assert "saved_model.pb is not what was published" in response.json()["error"]


async def test_a_damaged_newest_version_is_named_when_it_is_loaded(
    client: httpx.AsyncClient, app: FastAPI, retrained: Path
) -> None:
    """The version before answers meanwhile."""
    damaged = shutil.copytree(retrained, app.state.settings.artifacts / "after-lstm" / "2")
    (damaged / "saved_model.pb").write_bytes(b"")
    response = await client.post("/v2/repository/models/after-lstm/load")
    assert response.status_code == 503
    error = response.json()["error"]
    assert error.startswith("model 'after-lstm': version 2 cannot be loaded: ")
    assert "2/saved_model.pb is not what was published" in error
    assert error.endswith("; version 1 answers")
    assert (await client.get("/v2/models/after-lstm")).json()["versions"] == ["1"]


async def test_touching_a_live_version_changes_nothing(client: httpx.AsyncClient, app: FastAPI) -> None:
    """The files hold the same, so the live profile goes on."""
    for _ in range(2):
        assert (await client.post("/predict", json={"sequence": [[0.0, 0.0]] * 20})).status_code == 200
        for path in (app.state.settings.artifacts / "after-lstm" / "1").rglob("*"):
            path.touch()
        app.state.repository.update()
    assert (await client.get("/attention")).json()["live"]["start"]["sequences"] == 2


async def test_models_can_be_unloaded_while_the_folder_is_gone(client: httpx.AsyncClient, app: FastAPI) -> None:
    """They can be loaded again once the folder is back."""
    home = app.state.settings.artifacts
    home.rename(home.with_name("away"))
    assert (await client.post("/v2/repository/models/after-lstm/unload")).status_code == 200
    assert (await client.get("/v2/models/after-lstm/ready")).status_code == 503
    assert (await client.get("/v2/models/three/ready")).status_code == 200
    assert entry("after-lstm", "UNAVAILABLE", "unloaded") in (await client.post("/v2/repository/index")).json()
    response = await client.post("/v2/repository/models/after-lstm/load")
    assert (response.status_code, response.json()["error"]) == (
        404,
        "no model 'after-lstm': expected one of none",
    )
    home.with_name("away").rename(home)
    assert (await client.post("/v2/repository/models/after-lstm/load")).status_code == 200
    assert (await client.get("/v2/models/after-lstm/ready")).status_code == 200


async def test_the_size_of_bodies_is_limited(client: httpx.AsyncClient) -> None:
    """The limit is far below that of predictions."""
    for path in ("index", "models/three/load", "models/three/unload"):
        response = await client.post(f"/v2/repository/{path}", content=b" " * (64 * 2**10 + 1))
        assert response.status_code == 413


@pytest.mark.parametrize("action", ["load", "unload"])
async def test_unknown_models_and_malformed_bodies_are_refused(client: httpx.AsyncClient, action: str) -> None:
    """The answer names the expected form."""
    response = await client.post(f"/v2/repository/models/four/{action}")
    error = "no model 'four': expected one of after-lstm, before-lstm, three"
    assert (response.status_code, response.json()) == (404, {"error": error})
    for content in ("[]", '{"parameters": 1}', "{"):
        response = await client.post(f"/v2/repository/models/three/{action}", content=content)
        assert response.status_code == 400
        assert response.json()["error"]


async def test_a_model_cannot_be_sent(client: httpx.AsyncClient) -> None:
    """Models come from the folder alone, so Triton's overrides are refused rather than ignored."""
    response = await client.post("/v2/repository/models/three/load", json={"parameters": {"file:1/model.onnx": "AA=="}})
    assert response.status_code == 400
    assert "expected no parameters, as models are loaded as they were published" in response.json()["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},  # as a form with enctype=text/plain
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "text/plain; charset=application/json"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Content-Type": "application/json"},
        {"Origin": "https://other.example"},
        {"Origin": "http://localhost:81"},
        {"Origin": "null", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://viewer.example", "Content-Type": "text/plain"},
    ],
)
async def test_another_site_cannot_control_models(
    client: httpx.AsyncClient, app: FastAPI, headers: dict[str, str]
) -> None:
    """A page that an operator visits can make the browser post; the answer is 403, and the model stays."""
    app.state.settings = app.state.settings.model_copy(update={"cors_origins": "https://viewer.example,*"})
    for action in ("unload", "load"):
        response = await client.post(
            f"/v2/repository/models/three/{action}", content='{"parameters": {"a": "="}}', headers=headers
        )
        assert response.status_code == 403
        assert "expected " in response.json()["error"]
    assert (await client.get("/v2/models/three/ready")).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json; charset=utf-8"},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://viewer.example", "Sec-Fetch-Site": "cross-site", "Content-Type": "application/json"},
    ],
)
async def test_programs_and_allowed_sites_control_models(
    client: httpx.AsyncClient, app: FastAPI, headers: dict[str, str]
) -> None:
    """Programs send no such headers; this host and the origins in `cors_origins` may do it."""
    app.state.settings = app.state.settings.model_copy(update={"cors_origins": "https://viewer.example"})
    for action in ("unload", "load"):
        response = await client.post(f"/v2/repository/models/three/{action}", content="{}", headers=headers)
        assert response.status_code == 200


async def test_control_is_off_by_default(artifacts: Path) -> None:
    """A setting allows it. Models are still listed and served."""
    app = create_app(Settings(artifacts=artifacts, model="after-lstm"))
    async with connect(app) as client:
        for action in ("load", "unload"):
            response = await client.post(f"/v2/repository/models/three/{action}")
            assert response.status_code == 403
            assert "--model-control" in response.json()["error"]
        assert (await client.post("/v2/repository/index")).status_code == 200
        assert (await client.get("/v2/models/three/ready")).status_code == 200
