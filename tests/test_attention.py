"""Tests of `GET /attention`: the profiles of training and of the traffic, as numbers or as a chart."""

import csv
import io
import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from service.app import create_app
from service.artifact.card import ModelCard
from service.artifact.version import Artifact
from service.charts.card_charts import CARD_CHARTS
from service.engines import EngineChoice
from service.settings import Settings
from tests.charts import described
from tests.conftest import connect

pytestmark = pytest.mark.anyio


@pytest.fixture
def quiet(artifacts: Path, engine: EngineChoice) -> FastAPI:
    """An app without any traffic before the test."""
    return create_app(Settings(artifacts=artifacts, model="three", engine=engine))


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"
IMAGE_ELEMENT = "image/avif,image/webp,image/svg+xml,image/*;q=0.8"


async def test_the_profile_is_the_cards(client: httpx.AsyncClient, artifacts: Path) -> None:
    """The answer has labels, mean, spread, peak and number of sequences, and importance for comparison."""
    card = Artifact(artifacts / "after-lstm" / "1").read().card()
    response = await client.get("/attention")
    assert response.headers["Content-Type"] == "application/json"
    answer = response.json()
    assert answer.pop("live").keys() == {"1m", "10m", "1h", "start"}
    assert card.importance is not None
    assert card.agreement is not None
    assert card.attention is not None
    assert answer == {
        "model": "after-lstm",
        "version": 1,
        "node": None,
        "timestep_labels": [str(t) for t in range(20)],
        **card.attention.model_dump(mode="json"),
        "importance": card.importance.model_dump(mode="json"),
        "agreement": card.agreement.model_dump(mode="json"),
    }
    assert answer["peak"] == 10


async def test_without_traffic_the_live_profile_is_null(quiet: FastAPI) -> None:
    """Only the number of sequences and the time are numbers."""
    async with connect(quiet) as client:
        live = (await client.get("/attention")).json()["live"]
    for one in live.values():
        assert one.pop("seconds") >= 0
        assert one.pop("sequences") == 0
        assert set(one.values()) == {None}


async def test_the_live_profile_is_the_attention_that_was_answered(quiet: FastAPI) -> None:
    """It covers every sequence of every request, but not the occluded ones that run for importance."""
    async with connect(quiet) as client:
        sequences = (await client.get("/model/example")).json()["sequences"]
        bodies = [{"sequence": sequences[0]}, {"sequences": sequences, "importance": True}]
        answers = [(await client.post("/predict", json=body)).json()["predictions"] for body in bodies]
        answer = (await client.get("/attention")).json()
    attention = np.array([one["attention"] for predictions in answers for one in predictions])
    for live in answer["live"].values():
        assert live["sequences"] == len(attention) == 1 + len(sequences)
        np.testing.assert_allclose(live["mean"], attention.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(live["spread"], attention.std(axis=0), atol=1e-4)
        assert live["peak"] == attention.mean(axis=0).argmax()
        away = np.abs(attention.mean(axis=0) - answer["mean"]).sum() / 2
        assert live["total_variation"] == pytest.approx(away, abs=1e-6)
        assert 0 < live["jensen_shannon"] < 1
        assert live["by_chance"] > 0


async def test_a_refused_request_is_not_counted(quiet: FastAPI) -> None:
    """Its valid sequences are not counted either."""
    async with connect(quiet) as client:
        body = {"sequences": [[[1.0, 1.0, 1.0]] * 6, [[None] * 3] * 6]}
        assert (await client.post("/predict", json=body)).status_code == 422
        assert (await client.get("/attention")).json()["live"]["start"]["sequences"] == 0


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("chart=live", "three version 1: no sequences since the start"),
        ("chart=live&window=10m", "three version 1: no sequences in the last 10 minutes"),
        ("chart=importance", "three version 1: importance over 48 held-out sequences"),
    ],
)
async def test_each_profile_has_a_chart(quiet: FastAPI, query: str, title: str) -> None:
    """It is an SVG or a PNG. The live chart exists even without traffic."""
    async with connect(quiet) as client:
        svg = await client.get(f"/attention?{query}", headers={"Accept": "image/svg+xml"})
        png = await client.get(f"/attention?{query}", headers={"Accept": "image/png"})
    assert svg.headers["Content-Type"] == "image/svg+xml"
    assert f"<title>{title}</title>" in svg.text
    assert png.headers["Content-Type"] == "image/png"
    assert Image.open(io.BytesIO(png.content)).width == 1600


async def asked(folder: Path, card: ModelCard, chart: str, accept: str = "image/svg+xml") -> httpx.Response:
    """Write the model three with another card, and return the answer to a question for its chart."""
    artifact = Artifact(folder / "three" / "1")
    artifact.card_path.write_text(card.model_dump_json())
    artifact.write_sums()
    app = create_app(Settings(artifacts=folder))
    async with app.router.lifespan_context(app), connect(app) as client:
        return await client.get(f"/attention?chart={chart}", headers={"Accept": accept})


@pytest.fixture
def three(artifacts: Path, tmp_path: Path) -> tuple[Path, ModelCard]:
    """A folder with the model three, and a card for it that has everything."""
    shutil.copytree(artifacts / "three", tmp_path / "three")
    card = Artifact(tmp_path / "three" / "1").read().card()
    full = described(list(card.timestep_labels), list(card.feature_labels))
    parts = ("feature_importance", "cell_importance", "faithfulness", "layers")
    return tmp_path, card.model_copy(update={name: getattr(full, name) for name in parts})


@pytest.mark.parametrize("chart", CARD_CHARTS)
async def test_each_part_of_the_card_has_a_chart(three: tuple[Path, ModelCard], chart: str) -> None:
    """It is drawn from the card, and its title begins with the version."""
    answer = await asked(*three, chart)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "image/svg+xml"
    title = ElementTree.fromstring(answer.content)[0].text or ""  # noqa: S314 - our own
    assert title.startswith("three version 1: ")


@pytest.mark.parametrize(
    ("part", "chart", "what"),
    [
        ("judgement", "confusion", "confusion matrix"),
        ("importance", "importance", "importance of timesteps"),
        ("feature_importance", "features", "importance of features"),
        ("cell_importance", "cells", "importance of features at timesteps"),
        ("faithfulness", "faithfulness", "measure of faithfulness"),
        ("layers", "diagram", "layers of a Keras model"),
    ],
)
async def test_a_card_without_a_part_has_no_chart_of_it(
    three: tuple[Path, ModelCard], part: str, chart: str, what: str
) -> None:
    """Versions of earlier releases lack some parts, and are served. The answer says what is missing."""
    folder, card = three
    answer = await asked(folder, card.model_copy(update={part: () if part == "layers" else None}), chart)
    assert answer.status_code == 422
    assert f"three version 1 has no {what} on its card" in answer.text


async def test_a_png_without_a_font_is_not_offered(
    three: tuple[Path, ModelCard], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is SVG, which has the labels, or 406 if the request does not accept that."""
    monkeypatch.setattr("service.charts.fonts.FOLDERS", ())
    folder, card = three
    korean = card.model_copy(update={"timestep_labels": tuple(f"{t}월" for t in range(card.timesteps))})
    refused = await asked(folder, korean, "training", "image/png")
    assert refused.status_code == 406
    assert "expected Accept to allow image/svg+xml" in refused.text
    assert "1월" in (await asked(folder, korean, "training")).text
    either = await asked(folder, korean, "training", "image/png, image/*;q=0.8")
    assert (either.status_code, either.headers["Content-Type"]) == (200, "image/svg+xml")


async def test_the_live_chart_says_how_far_attention_is_from_training(quiet: FastAPI) -> None:
    """It shows both side by side."""
    async with connect(quiet) as client:
        await client.post("/predict", json=(await client.get("/model/example")).json())
        svg = (await client.get("/attention?chart=live&window=1m", headers={"Accept": "image/svg+xml"})).text
        away = (await client.get("/attention")).json()["live"]["1m"]["total_variation"]
    title = ElementTree.fromstring(svg)[0].text or ""  # noqa: S314 - our own
    assert title.startswith("three version 1: attention of 32 sequences in the last minute; ")
    assert f"; {away:.3f} of it elsewhere than in training (by chance " in title
    assert ">live<" in svg
    assert ">training<" in svg


@pytest.mark.parametrize("query", ["chart=nonsense", "window=2m"])
async def test_an_unknown_chart_is_refused(client: httpx.AsyncClient, query: str) -> None:
    """The answer lists the charts."""
    response = await client.get(f"/attention?{query}")
    assert response.status_code == 422
    place, received = query.split("=")
    assert re.fullmatch(rf"{place}: expected '.*' or '.*', got \"{received}\"", response.json()["detail"])


@pytest.mark.parametrize(
    ("accept", "media_type", "start"),
    [
        ("image/svg+xml", "image/svg+xml", b"<svg"),
        ("image/png", "image/png", b"\x89PNG"),
        ("image/*", "image/svg+xml", b"<svg"),
        (IMAGE_ELEMENT, "image/svg+xml", b"<svg"),
        ("image/png, image/svg+xml;q=0.5", "image/png", b"\x89PNG"),
        ("application/json", "application/json", b"{"),
        ("*/*", "application/json", b"{"),
        ("", "application/json", b"{"),
        ("IMAGE/PNG", "image/png", b"\x89PNG"),
        (BROWSER, "application/json", b"{"),
    ],
)
async def test_accept_chooses_between_numbers_and_chart(
    client: httpx.AsyncClient, accept: str, media_type: str, start: bytes
) -> None:
    """The header `Vary` tells caches so."""
    response = await client.get("/attention", headers={"Accept": accept})
    assert response.status_code == 200
    assert response.headers["Content-Type"] == media_type
    assert response.headers["Vary"].startswith("Accept")
    assert response.content.startswith(start)


@pytest.mark.parametrize("accept", ["text/plain", "nonsense"])
async def test_an_unknown_media_type_is_refused(client: httpx.AsyncClient, accept: str) -> None:
    """The answer is 406 and lists the media types."""
    response = await client.get("/attention", headers={"Accept": accept})
    assert response.status_code == 406
    assert "image/png, image/svg+xml, text/csv, application/json" in response.json()["detail"]


async def test_profiles_are_a_table(quiet: FastAPI) -> None:
    """Each row is a timestep. Without traffic the last column is empty; its window may be chosen."""
    async with connect(quiet) as client:
        empty = await client.get("/attention", headers={"Accept": "text/csv"})
        await client.post("/predict", json=(await client.get("/model/example")).json())
        text = (await client.get("/attention?window=1m", headers={"Accept": "text/csv"})).text
        answer = (await client.get("/attention")).json()
    assert empty.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert [row["live_mean"] for row in csv.DictReader(io.StringIO(empty.text))] == [""] * 6
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["timestep"] for row in rows] == answer["timestep_labels"]
    for name, expected in {
        "mean": answer["mean"],
        "spread": answer["spread"],
        "importance": answer["importance"]["drop"],
        "live_mean": answer["live"]["1m"]["mean"],
    }.items():
        assert [float(row[name]) for row in rows] == expected


async def test_labels_are_quoted_in_the_table(artifacts: Path, tmp_path: Path) -> None:
    """A label may have commas, quotes and line breaks. A version without importance has none."""
    artifact = Artifact(Path(shutil.copytree(artifacts / "three" / "1", tmp_path / "three" / "1")))
    card = json.loads(artifact.card_path.read_text())
    labels = ["1,5", 'a "b"', "two\nlines", "월", "", "6"]
    artifact.card_path.write_text(
        json.dumps({**card, "timestep_labels": labels, "importance": None, "agreement": None})
    )
    artifact.write_sums()
    async with connect(create_app(Settings(artifacts=tmp_path))) as client:
        text = (await client.get("/attention", headers={"Accept": "text/csv"})).text
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["timestep"] for row in rows] == labels
    assert {row["importance"] for row in rows} == {""}


async def test_another_model_has_another_profile(client: httpx.AsyncClient) -> None:
    """The query selects the model, also for charts."""
    charts = [
        (await client.get(f"/attention?model={name}", headers={"Accept": "image/svg+xml"})).text
        for name in ("after-lstm", "three")
    ]
    assert charts[0] != charts[1]
    assert (await client.get("/attention?model=three")).json()["peak"] == 2
    assert (await client.get("/attention?model=four")).status_code == 404
