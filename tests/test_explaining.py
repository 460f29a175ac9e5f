"""Importance on request: how far each prediction moves once a timestep is occluded; on every route, on both engines."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from scipy.stats import spearmanr

from service.app import create_app
from service.artifact.version import Artifact
from service.engines import EngineChoice
from service.settings import Settings
from tests.conftest import connect
from tests.fakes import IN_THREAD, held, interceptable
from tests.infer import as_json, binary, tensors

pytestmark = pytest.mark.anyio


async def posted(client: httpx.AsyncClient, sequences: Any, query: str = "", **more: Any) -> list[dict[str, Any]]:
    response = await client.post(f"/predict{query}", json={"sequences": sequences, **more})
    assert response.status_code == 200, response.text
    predictions: list[dict[str, Any]] = response.json()["predictions"]
    return predictions


async def occluded_by_hand(client: httpx.AsyncClient, sequence: list[Any], query: str) -> list[Any]:
    """Return the predictions with each timestep in turn replaced by the card's baseline."""
    baseline = (await client.get(f"/model{query}")).json()["baseline"]
    occluded = [[*sequence[:t], baseline[t], *sequence[t + 1 :]] for t in range(len(sequence))]
    return [one["prediction"] for one in await posted(client, occluded, query, attention="none")]


@pytest.mark.parametrize("name", ["after-lstm", "before-lstm", "three"])
async def test_importance_equals_occlusion_by_hand(client: httpx.AsyncClient, name: str) -> None:
    """Each sequence also has its prediction, its attention and their rank correlation."""
    query = f"?model={name}"
    sequences = (await client.get(f"/model/example{query}")).json()["sequences"][:4]
    plain = await posted(client, sequences, query)
    explained = await posted(client, sequences, query, importance=True)
    for sequence, before, one in zip(sequences, plain, explained, strict=True):
        assert one.keys() - before.keys() == {"importance", "rank_correlation"}
        assert one["prediction"] == pytest.approx(before["prediction"], abs=1e-6)
        assert one["attention"] == pytest.approx(before["attention"], abs=1e-6)
        moved = np.abs(np.array(await occluded_by_hand(client, sequence, query)) - before["prediction"])
        expected = moved.sum(axis=1) / 2 if moved.ndim == 2 else moved
        assert one["importance"] == pytest.approx(expected, abs=2e-6)
        assert one["rank_correlation"] == pytest.approx(spearmanr(one["attention"], one["importance"]).statistic)


@pytest.mark.parametrize("detail", ["none", "full"])
async def test_importance_does_not_change_which_attention_is_answered(client: httpx.AsyncClient, detail: str) -> None:
    """The rank correlation always uses mean attention."""
    sequences = (await client.get("/model/example")).json()["sequences"][:1]
    (mean,) = await posted(client, sequences, importance=True)
    (one,) = await posted(client, sequences, importance=True, attention=detail)
    assert one["importance"] == pytest.approx(mean["importance"], abs=1e-6)
    assert one["rank_correlation"] == mean["rank_correlation"]
    assert ("attention" in one) == (detail == "full")
    if detail == "full":
        np.testing.assert_allclose(np.mean(one["attention"], axis=1), mean["attention"], atol=1e-6)


async def test_importance_is_at_the_timestep_that_decides(client: httpx.AsyncClient) -> None:
    """For the default model that is timestep 10, for almost every sequence."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((500, 20, 2))
    x[:, 10] = rng.integers(0, 2, (500, 1))
    highest = [np.argmax(one["importance"]) for one in await posted(client, x.tolist(), importance=True)]
    assert np.mean(np.equal(highest, 10)) >= 0.99


async def test_only_present_timesteps_have_importance(asking: httpx.AsyncClient) -> None:
    """Importance covers the posted timesteps, and is 0 where every value is missing. Ranks leave such timesteps out."""
    sequences: list[Any] = [
        [[0.5, -1.5]],
        [[0.5, -1.5], [None, 2.0], [1.0, 0.5]],
        [[None, None], [0.1, None], [1.0, 1.0], [None, None], [-2.0, 0.0]],
    ]
    together = await posted(asking, sequences, importance=True)
    for sequence, one in zip(sequences, together, strict=True):
        (alone,) = await posted(asking, [sequence], importance=True)
        assert one["importance"] == pytest.approx(alone["importance"], abs=1e-6)
        there = [any(value is not None for value in step) for step in sequence]
        assert [value != 0 for value in one["importance"]] == there
        attention, importance = (np.array(one[name])[there] for name in ("attention", "importance"))
        if len(attention) == 1:
            assert one["rank_correlation"] is None
        else:
            assert one["rank_correlation"] == pytest.approx(spearmanr(attention, importance).statistic)


async def test_an_explanation_may_have_importance(client: httpx.AsyncClient) -> None:
    """The answer is the same as that of `/predict`."""
    sequences = (await client.get("/model/example")).json()["sequences"][:2]
    expected = await posted(client, sequences, importance=True)
    response = await client.post("/v1/models/after-lstm:explain", json={"instances": sequences, "importance": True})
    for got, one in zip(response.json()["explanations"], expected, strict=True):
        assert got.keys() == one.keys()
        assert got["importance"] == pytest.approx(one["importance"], abs=1e-6)
        assert got["rank_correlation"] == one["rank_correlation"]


@pytest.mark.parametrize("model", ["both", "gaps"])
async def test_importance_is_an_output_of_the_open_inference_protocol(asking: httpx.AsyncClient, model: str) -> None:
    """It is answered in JSON and in binary, with the labels of attention, but only if the request names it."""
    sequences = np.random.default_rng(0).standard_normal((3, 6, 2)).astype(np.float32)
    said = await posted(asking, sequences.tolist(), f"?model={model}", importance=True)
    expected = [one["importance"] for one in said]
    outputs = [{"name": "importance"}, {"name": "prediction"}]
    url = f"/v2/models/{model}/infer"
    body = as_json(sequences, outputs=outputs, parameters={"labels": True})
    importance, prediction = (await asking.post(url, json=body)).json()["outputs"]
    assert (importance["name"], importance["shape"], prediction["name"]) == ("importance", [3, 6], "prediction")
    assert json.loads(importance["parameters"]["timestep_labels"])[0] == "Mon"
    np.testing.assert_allclose(np.reshape(importance["data"], (3, 6)), expected, atol=1e-6)
    request = binary(sequences, outputs=outputs, parameters={"binary_data_output": True})
    found = tensors(await asking.post(url, **request))
    np.testing.assert_allclose(found["importance"], expected, atol=1e-6)
    unnamed = (await asking.post(url, json=as_json(sequences))).json()["outputs"]
    assert "importance" not in {output["name"] for output in unnamed}


async def test_importance_of_too_many_sequences_is_refused(artifacts: Path, engine: EngineChoice) -> None:
    """Each sequence takes one run, and one more for each of its timesteps."""
    app = create_app(Settings(artifacts=artifacts, model="three", engine=engine, max_queue=27, max_sequences=20))
    async with connect(app) as client:
        sequences = (await client.get("/model/example")).json()["sequences"]
        assert len(await posted(client, sequences[:3], importance=True)) == 3
        response = await client.post("/predict", json={"sequences": sequences[:4], "importance": True})
        assert response.status_code == 413
        assert response.json()["detail"] == (
            "expected at most 27 runs of the model for one request, got 28: 7 for each of 4 sequences, as explanations "
            "change and run them again"
        )
        assert len(await posted(client, sequences[:4])) == 4


async def test_a_card_without_a_baseline_has_no_importance(artifacts: Path, tmp_path: Path) -> None:
    """Versions without a baseline are served. Their error message says that the baseline is missing."""
    artifact = Artifact(Path(shutil.copytree(artifacts / "three" / "1", tmp_path / "three" / "1")))
    card = json.loads(artifact.card_path.read_text())
    del card["baseline"]
    artifact.card_path.write_text(json.dumps(card))
    artifact.write_sums()
    async with connect(create_app(Settings(artifacts=tmp_path))) as client:
        sequences = (await client.get("/model/example")).json()["sequences"]
        assert len(await posted(client, sequences)) == 32
        response = await client.post("/predict", json={"sequences": sequences, "importance": True})
        named = {output["name"] for output in (await client.get("/v2/models/three")).json()["outputs"]}
    assert response.status_code == 422
    assert response.json()["detail"] == (
        "three version 1 has no baseline on its card, which importance needs: train it again"
    )
    assert "importance" not in named


async def test_importance_that_is_refused_is_not_counted(artifacts: Path) -> None:
    """A request is admitted with all the rows that it runs, or not at all."""
    settings = Settings(artifacts=artifacts, model="three", max_queue=22, max_sequences=3)
    app = create_app(settings, open_engine=interceptable(seconds=IN_THREAD))
    async with connect(app) as client:
        sequences = (await client.get("/model/example")).json()["sequences"][:3]
        body = {"sequences": sequences, "importance": True}
        answers = await asyncio.gather(*(client.post("/predict", json=body) for _ in range(4)))
        counted = (await client.get("/attention")).json()["live"]["start"]["sequences"]
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 200
    assert statuses[-1] == 429
    assert counted == 3 * statuses.count(200)


async def test_importance_has_one_deadline(artifacts: Path) -> None:
    """The prediction and the occlusions share it."""
    settings = Settings(artifacts=artifacts, model="three", timeout=0.4)
    app = create_app(settings, open_engine=interceptable(seconds=IN_THREAD))
    async with connect(app) as client:
        sequences = (await client.get("/model/example")).json()["sequences"][:1]
        with held(app, fewest_rows=2):
            response = await client.post("/predict", json={"sequences": sequences, "importance": True})
        counted = (await client.get("/attention")).json()["live"]["start"]["sequences"]
    assert (response.status_code, counted) == (504, 0)


async def test_occlusions_run_among_other_requests(artifacts: Path, engine: EngineChoice) -> None:
    """Occlusions run through the same Batcher in pieces of at most one batch, and each request gets its own answer."""
    app = create_app(Settings(artifacts=artifacts, model="three", engine=engine, max_batch=4))
    async with connect(app) as client:
        sequences = (await client.get("/model/example")).json()["sequences"][:6]
        expected = [(await posted(client, [sequence], importance=True))[0] for sequence in sequences]
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(posted(client, [sequence], importance=index % 2 == 0))
                for index, sequence in enumerate(sequences)
            ]
    for index, (task, one) in enumerate(zip(asked, expected, strict=True)):
        (got,) = task.result()
        assert got["prediction"] == pytest.approx(one["prediction"], abs=1e-6)
        assert ("importance" in got) == (index % 2 == 0)
        if index % 2 == 0:
            assert got["importance"] == pytest.approx(one["importance"], abs=1e-6)
