"""Models without attention: predictions and importance through every protocol, and no attention anywhere."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import ValidationError

from service.app import create_app
from service.artifact.card import Agreement, Importance, ModelCard
from service.artifact.gate import open_verified
from service.artifact.layout import CHARTS
from service.artifact.version import Artifact
from service.engines import opener
from service.errors import ArtifactError
from service.serving.loading import ModelLoader
from service.serving.model import Limits
from service.settings import Settings
from tests.conftest import connect
from tests.imported import imported_card, numbers, of_numbers, run, without_attention, write_imported
from tests.infer import as_json, binary, tensors

pytestmark = pytest.mark.anyio

EXPECTED = run(without_attention(), numbers())["prediction"]
BASELINE = ((0.5, -0.5),) * 4


def card(**fields: Any) -> ModelCard:
    """Return the card of the model `m`."""
    measured = Importance(metric="accuracy", drop=(0.1,) * 4, spread=(0.0,) * 4, sequences=9, repetitions=1)
    return imported_card("m", **{"attention": None, "baseline": BASELINE, "importance": measured, **fields})


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    """A version without attention."""
    return write_imported(tmp_path, without_attention(), card(), numbers())


@pytest.fixture
async def client(artifact: Artifact) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the service over this version and over a model with attention, `other`."""
    folder = artifact.directory.parent.parent
    write_imported(folder, of_numbers(), imported_card("other"), numbers())
    async with connect(create_app(Settings(artifacts=folder, model="m"))) as client:
        yield client


async def test_predictions_come_without_attention(client: httpx.AsyncClient) -> None:
    """`mean`, which is the default, is answered as `none` is; JSON and tables are the same."""
    body = {"sequences": numbers().tolist()}
    plain = (await client.post("/predict", json=body)).json()["predictions"]
    assert [one["prediction"] for one in plain] == pytest.approx(EXPECTED[:, 0], abs=1e-6)
    assert all(one.keys() == {"prediction", "label"} for one in plain)
    for detail in ("mean", "none"):
        assert (await client.post("/predict", json={**body, "attention": detail})).json()["predictions"] == plain
    text = "0,1\n" + "\n".join(f"{a},{b}" for a, b in numbers(1)[0].tolist())
    table = await client.post("/predict", content=text, headers={"Content-Type": "text/csv"})
    assert table.json()["predictions"] == plain[:1]


@pytest.mark.parametrize("detail", ["full", {"layer": 0}])
async def test_attention_that_is_asked_for_is_refused(client: httpx.AsyncClient, detail: Any) -> None:
    """The message says why."""
    answer = await client.post("/predict", json={"sequence": numbers()[0].tolist(), "attention": detail})
    assert (answer.status_code, answer.json()["detail"]) == (422, "attention: the model has no attention")


async def test_importance_is_answered_without_its_correlation_with_attention(client: httpx.AsyncClient) -> None:
    """It is the difference that occlusion makes."""
    for n in (1, 3):
        body = {"sequences": numbers(n).tolist(), "importance": True}
        predictions = (await client.post("/predict", json=body)).json()["predictions"]
        for sequence, before, one in zip(numbers(n), EXPECTED[:, 0], predictions, strict=False):
            occluded = np.repeat(sequence[np.newaxis], 4, axis=0)
            occluded[range(4), range(4)] = BASELINE
            moved = np.abs(run(without_attention(), occluded)["prediction"][:, 0] - before)
            assert one["importance"] == pytest.approx(moved, abs=1e-6)
            assert "rank_correlation" not in one


async def test_tensorflow_serving_and_kserve_have_one_signature(client: httpx.AsyncClient) -> None:
    """`:explain` answers predictions, and importance on request."""
    rows = {"instances": numbers().tolist()}
    answer = await client.post("/v1/models/m:predict", json=rows)
    assert np.array(answer.json()["predictions"]) == pytest.approx(EXPECTED, abs=1e-6)
    answer = await client.post("/v1/models/m:predict", json={**rows, "signature_name": "attention"})
    assert (answer.status_code, answer.json()["error"]) == (400, "the model has no attention")
    metadata = (await client.get("/v1/models/m/metadata")).json()["metadata"]["signature_def"]["signature_def"]
    assert list(metadata) == ["serving_default"]
    explained = (await client.post("/v1/models/m:explain", json={**rows, "importance": True})).json()["explanations"]
    assert all(one.keys() == {"prediction", "label", "importance"} for one in explained)


async def test_the_open_inference_protocol_has_no_output_of_attention(client: httpx.AsyncClient) -> None:
    """Neither its metadata nor its answers; other models keep theirs."""
    url = "/v2/models/m/infer"
    outputs = (await client.post(url, json=as_json(numbers()))).json()["outputs"]
    assert [one["name"] for one in outputs] == ["prediction"]
    answer = await client.post(url, **binary(numbers(), parameters={"binary_data_output": True}))
    assert tensors(answer)["prediction"] == pytest.approx(EXPECTED, abs=1e-6)
    wanted = [{"name": "prediction"}, {"name": "importance"}]
    assert (await client.post(url, json=as_json(numbers(), outputs=wanted))).status_code == 200
    refused = await client.post(url, json=as_json(numbers(), outputs=[{"name": "attention"}]))
    assert refused.status_code == 400
    assert refused.json()["error"].startswith("outputs: expected each of prediction, importance, feature_importance, ")
    assert refused.json()["error"].endswith(" at most once, got 'attention'")
    described = (await client.get("/v2/models/m")).json()
    explanations = ["importance", "feature_importance", "cell_importance", "importance_faithfulness"]
    assert [one["name"] for one in described["outputs"]] == ["prediction", *explanations]
    configured = (await client.get("/v2/models/m/config")).json()
    assert [one["name"] for one in configured["output"]] == ["prediction", *explanations]
    other = (await client.get("/v2/models/other")).json()
    assert [one["name"] for one in other["outputs"]] == ["prediction", "attention", "attention_vec"]


@pytest.mark.parametrize(
    ("query", "accept"),
    [("", "application/json"), ("", "image/svg+xml"), ("chart=live", "image/png"), ("chart=training", "image/png")],
)
async def test_there_is_no_profile(client: httpx.AsyncClient, query: str, accept: str) -> None:
    """Neither of training nor of the traffic, as numbers or as a chart."""
    answer = await client.get(f"/attention?{query}", headers={"Accept": accept})
    assert (answer.status_code, answer.json()["detail"]) == (422, "m version 1: the model has no attention")


async def test_the_chart_of_importance_is_drawn(client: httpx.AsyncClient) -> None:
    """It needs no attention."""
    answer = await client.get("/attention?chart=importance", headers={"Accept": "image/svg+xml"})
    assert answer.status_code == 200
    assert "importance over 9 examples" in answer.text


async def test_the_metrics_leave_it_out(client: httpx.AsyncClient) -> None:
    """The other model keeps its own."""
    await client.post("/predict", json={"sequence": numbers()[0].tolist()})
    text = (await client.get("/metrics")).text
    series = [line for line in text.splitlines() if line.startswith("attention_")]
    assert series
    assert not any('model="m"' in line for line in series if line.startswith(("attention_seq", "attention_training")))
    assert any('model="other"' in line for line in series if line.startswith("attention_training_mean"))


async def test_the_card_says_so(client: httpx.AsyncClient) -> None:
    """`GET /model` has null in place of a profile."""
    assert (await client.get("/model")).json()["attention"] is None


async def test_attention_does_not_move_between_versions_with_and_without_it(artifact: Artifact, tmp_path: Path) -> None:
    """A version with attention may follow one without, and the reverse."""
    loader = ModelLoader(opener("onnx", threads=1), Limits(max_batch=8, max_queue=64, timeout=30))
    other = write_imported(tmp_path / "other", of_numbers(), imported_card("m"), numbers())
    without, with_attention = loader.load(artifact), loader.load(other)
    assert with_attention.attention_moved_from(without) is None
    assert without.attention_moved_from(with_attention) is None
    assert with_attention.attention_moved_from(with_attention) == 0
    for model in (without, with_attention):
        model.retire()
        await model.close()


def test_the_card_and_the_golden_example_agree(tmp_path: Path) -> None:
    """A version with attention needs it in both."""
    described = imported_card("a")
    for model, card_of_it, message in (
        (without_attention(), described, r"card\.json describes attention, .* has no attention_vec"),
        (
            of_numbers(),
            imported_card("b", attention=None),
            r"card\.json describes no attention, .* has an attention_vec",
        ),
    ):
        artifact = write_imported(tmp_path, model, card_of_it, numbers())
        for suffix in CHARTS:
            artifact.chart_path(suffix).write_text("chart")
        artifact.write_sums()
        with pytest.raises(ArtifactError, match=message):
            open_verified(artifact.read(), opener("onnx", threads=1))


def test_a_graph_with_attention_is_refused(artifact: Artifact) -> None:
    """The card would hide it."""
    artifact.lowering_path.write_bytes(of_numbers().SerializeToString())
    artifact.write_sums()
    with pytest.raises(ArtifactError, match="expected outputs prediction, got prediction, attention, attention_vec"):
        open_verified(artifact.read(), opener("onnx", threads=1))


@pytest.mark.parametrize(
    "fields",
    [
        {"attention_from": [{"tensor": "a", "axes": {}}]},
        {"agreement": Agreement(rank_correlation=None, top=(0,), attention=0.1, importance=0.1)},
    ],
)
def test_a_card_without_attention_describes_none(fields: dict[str, Any]) -> None:
    """Its units and its agreement with importance would contradict it."""
    with pytest.raises(ValidationError, match="attention_from, agreement: expected none in a model without attention"):
        card(**fields)
