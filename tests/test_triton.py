"""Triton's extensions for model configuration and statistics; on both engines."""

import asyncio
import shutil
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.engines import EngineChoice
from service.settings import Settings
from tests.conftest import connect
from tests.fakes import IN_THREAD, answer_nan, engine_of, held, interceptable, until
from tests.infer import as_json

pytestmark = pytest.mark.anyio

URL = "/v2/models/after-lstm"
PARTS = ("queue", "compute_input", "compute_infer", "compute_output")


def zeros(sequences: int) -> dict[str, Any]:
    return as_json(np.zeros((sequences, 20, 2)))


async def test_the_configuration_of_a_model(client: httpx.AsyncClient, engine: EngineChoice) -> None:
    """The shapes leave out the number of sequences, which `max_batch_size` limits."""
    backend, file = {
        "onnx": ("onnxruntime", "assets.extra/model.onnx"),
        "tensorflow": ("tensorflow", "saved_model.pb"),
    }[engine]
    for path in (URL, f"{URL}/versions/1"):
        assert (await client.get(f"{path}/config")).json() == {
            "name": "after-lstm",
            "platform": (await client.get(path)).json()["platform"],
            "backend": backend,
            "version_policy": {"latest": {"num_versions": 2}},
            "max_batch_size": 8192,
            "input": [{"name": "sequence", "data_type": "TYPE_FP32", "dims": [20, 2]}],
            "output": [
                {"name": "prediction", "data_type": "TYPE_FP32", "dims": [1]},
                {"name": "attention", "data_type": "TYPE_FP32", "dims": [20]},
                {"name": "attention_vec", "data_type": "TYPE_FP32", "dims": [20, 32]},
                {"name": "importance", "data_type": "TYPE_FP32", "dims": [20]},
                {"name": "feature_importance", "data_type": "TYPE_FP32", "dims": [2]},
                {"name": "cell_importance", "data_type": "TYPE_FP32", "dims": [20, 2]},
                {"name": "attention_faithfulness", "data_type": "TYPE_FP32", "dims": [2]},
                {"name": "importance_faithfulness", "data_type": "TYPE_FP32", "dims": [2]},
            ],
            "dynamic_batching": {
                "preferred_batch_size": [],
                "max_queue_delay_microseconds": 0,
                "default_queue_policy": {
                    "timeout_action": "REJECT",
                    "default_timeout_microseconds": 30_000_000,
                    "allow_timeout_override": True,
                },
            },
            "instance_group": [{"name": "after-lstm", "kind": "KIND_CPU", "count": 1}],
            "default_model_filename": file,
        }


async def test_the_configuration_fits_the_metadata(asking: httpx.AsyncClient) -> None:
    """The number of timesteps is -1 in both if it varies."""
    for name in ("both", "shorter", "gaps"):
        metadata, config = [(await asking.get(f"/v2/models/{name}{end}")).json() for end in ("", "/config")]
        for kind in ("input", "output"):
            assert {one["name"]: [-1, *one["dims"]] for one in config[kind]} == {
                one["name"]: one["shape"] for one in metadata[f"{kind}s"]
            }


async def test_statistics_count_sequences_calls_and_time(client: httpx.AsyncClient) -> None:
    """They grow with every protocol. The parts of the duration add up to at most the whole."""

    async def stats() -> dict[str, Any]:
        answer = (await client.get(f"{URL}/stats")).json()
        for path in (f"{URL}/versions/1/stats", "/v2/models/stats"):
            assert answer["model_stats"][0] in (await client.get(path)).json()["model_stats"]
        (one,) = answer["model_stats"]
        assert (one["name"], one["version"], one["response_stats"], one["memory_usage"]) == ("after-lstm", "1", {}, [])
        return dict(one)

    before = await stats()
    now = time.time()
    sequences = [[[0.0] * 2] * 20] * 3
    for request in (
        client.post(f"{URL}/infer", json=zeros(2)),
        client.post("/predict", json={"sequences": sequences}),
        client.post("/v1/models/after-lstm:predict", json={"instances": sequences}),
    ):
        assert (await request).status_code == 200
    after = await stats()
    assert now - 1 <= after["last_inference"] / 1e3 <= time.time() + 1
    assert after["inference_count"] - before["inference_count"] == 8
    assert after["execution_count"] - before["execution_count"] == 3
    was, now_is = before["inference_stats"], after["inference_stats"]
    for part in ("success", *PARTS):
        assert now_is[part]["count"] - was[part]["count"] == 3
    grown = {part: now_is[part]["ns"] - was[part]["ns"] for part in ("success", *PARTS)}
    assert 0 < sum(grown[part] for part in PARTS) <= grown["success"] < 60e9
    assert grown["compute_infer"] > 0
    assert now_is["fail"] == was["fail"]
    assert now_is["cache_hit"] == now_is["cache_miss"] == {"count": 0, "ns": 0}
    calls = [
        {batch["batch_size"]: batch["compute_infer"]["count"] for batch in one["batch_stats"]}
        for one in (before, after)
    ]
    assert calls[1][3] - calls[0].get(3, 0) == 2
    assert calls[1][2] - calls[0].get(2, 0) == 1


async def test_failures_are_requests_that_were_read_but_not_answered(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These are refused by a full queue, too late, broken in the engine, or not finite. Wrong bodies do not count."""
    app = create_app(
        Settings(artifacts=artifacts, model="after-lstm", max_queue=2, max_sequences=2),
        open_engine=interceptable(seconds=IN_THREAD),
    )
    async with connect(app) as client:

        async def failed() -> int:
            stats = (await client.get(f"{URL}/stats")).json()["model_stats"][0]
            assert stats["inference_count"] == stats["inference_stats"]["success"]["count"]
            return int(stats["inference_stats"]["fail"]["count"])

        for content in (b"{", b"[]", b'{"inputs": []}'):
            assert (await client.post(f"{URL}/infer", content=content)).status_code == 400
        assert (await client.post(f"{URL}/infer", json=zeros(3))).status_code == 413
        assert await failed() == 0
        with held(app) as calls:
            running = asyncio.create_task(client.post(f"{URL}/infer", json=zeros(1)))
            await until(lambda: bool(calls))
            assert (await client.post(f"{URL}/infer", json=zeros(2))).status_code == 429
            assert await failed() == 1
            late = client.post(f"{URL}/infer", json={**zeros(1), "parameters": {"timeout": 1000}})
            assert (await late).status_code == 504
            assert await failed() == 2
            # Its place is free again after the call that runs.
            assert (await client.post(f"{URL}/infer", content=b"refused unread")).status_code == 429
            assert await failed() == 3
        assert (await running).status_code == 200
        with monkeypatch.context() as patch:
            answer_nan(patch, app, sequence=0, timestep=3)
            assert (await client.post(f"{URL}/infer", json=zeros(1))).status_code == 400
        assert await failed() == 4

        def broken(*_: object) -> Any:
            raise RuntimeError("broken")

        monkeypatch.setattr(engine_of(app), "intercept", broken)
        assert (await client.post(f"{URL}/infer", json=zeros(1))).status_code == 500
        assert await failed() == 5
        await app.state.repository.close()


async def test_each_served_version_has_its_statistics(artifacts: Path, tmp_path: Path) -> None:
    """A model that is unloaded has none."""
    home = Path(shutil.copytree(artifacts / "three", tmp_path / "artifacts" / "three")).parent
    shutil.copytree(home / "three" / "1", home / "three" / "2")
    app = create_app(Settings(artifacts=home, model_control=True))
    app.state.repository.update()
    async with connect(app) as client:
        await client.post("/v2/models/three/versions/1/infer", json=as_json(np.zeros((1, 6, 3))))
        for path in ("/v2/models/three/stats", "/v2/models/stats"):
            stats = (await client.get(path)).json()["model_stats"]
            assert [(one["version"], one["inference_count"]) for one in stats] == [("1", 1), ("2", 0)]
        assert (await client.post("/v2/repository/models/three/unload")).status_code == 200
        assert (await client.get("/v2/models/stats")).json() == {"model_stats": []}
        assert (await client.get("/v2/models/three/stats")).status_code == 503
        assert (await client.get("/v2/models/three/config")).status_code == 503


async def test_worker_processes_add_up_their_statistics(artifacts: Path, tmp_path: Path) -> None:
    """Each answers for all."""
    settings = Settings(artifacts=artifacts, model="after-lstm")
    apps: list[FastAPI] = [create_app(settings, tmp_path) for _ in range(2)]
    for number, app in enumerate(apps, 1):
        async with connect(app) as client:
            await client.post(f"{URL}/infer", json=zeros(number))
    for app in apps:
        async with connect(app) as client:
            (stats,) = (await client.get(f"{URL}/stats")).json()["model_stats"]
        assert (stats["inference_count"], stats["execution_count"]) == (3, 2)
        assert [batch["batch_size"] for batch in stats["batch_stats"]] == [1, 2]


async def test_unknown_models_have_neither(client: httpx.AsyncClient) -> None:
    """It is answered 404, in the protocol's shape. In `/v2/models/stats`, `stats` is no model."""
    for end in ("config", "stats"):
        response = await client.get(f"/v2/models/four/{end}")
        assert (response.status_code, response.json()) == (
            404,
            {"error": "no model 'four': expected one of after-lstm, before-lstm, three"},
        )
        response = await client.get(f"{URL}/versions/7/{end}")
        assert response.json() == {"error": "model 'after-lstm' has no version 7: expected 1"}
    assert (await client.get("/v2/models/stats/ready")).json()["error"].startswith("no model 'stats'")
