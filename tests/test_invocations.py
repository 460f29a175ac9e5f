"""The routes of the clients of MLflow, SageMaker and Vertex AI."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import httpx
import pytest

from service import __version__
from service.app import create_app
from service.settings import Settings
from tests.conftest import connect
from tests.tables import OPTIONS

pytestmark = pytest.mark.anyio

SEQUENCE = [[0.1, -0.2]] * 20
ATTENTION = {"params": {"signature_name": "attention"}}
CSV = {"Content-Type": "text/csv"}


async def test_predictions_of_the_default_model(client: httpx.AsyncClient) -> None:
    """They equal the answer of `/predict` to the same sequences, in rows or in columns."""
    wanted = (await client.post("/predict", json={"sequences": [SEQUENCE] * 2})).json()["predictions"]
    for body in ({"instances": [SEQUENCE] * 2}, {"inputs": [SEQUENCE] * 2}):
        answer = (await client.post("/invocations", json=body)).json()
        assert answer == {"predictions": [[pytest.approx(row["prediction"], abs=1e-6)] for row in wanted]}


async def test_attention_beside_predictions(client: httpx.AsyncClient) -> None:
    """The parameters of the request ask for it."""
    (wanted,) = (await client.post("/predict", json={"sequence": SEQUENCE})).json()["predictions"]
    (row,) = (await client.post("/invocations", json={"instances": [SEQUENCE], **ATTENTION})).json()["predictions"]
    assert row["attention"] == pytest.approx(wanted["attention"], abs=1e-6)
    columns = (await client.post("/invocations", json={"inputs": {"sequence": [SEQUENCE]}, **ATTENTION})).json()
    assert columns["predictions"]["attention"] == [pytest.approx(wanted["attention"], abs=1e-6)]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "expected one of instances, inputs, dataframe_split, dataframe_records, got none"),
        ({"inputs": [SEQUENCE], "dataframe_records": []}, "got inputs and dataframe_records"),
        ({"instances": [SEQUENCE[1:]]}, "instances[0]: expected 20 timesteps, got 19"),
        ({"dataframe_split": {"columns": ["0"], "data": [[1]]}}, "dataframe_split.columns: missing column '1'"),
        (
            {"instances": [SEQUENCE], **ATTENTION, "parameters": {}},
            "expected either 'params' or 'parameters', got both",
        ),
        ({"instances": [SEQUENCE], "parameters": {"signature": "x"}}, "than signature_name, got 'signature'"),
        ({"instances": [SEQUENCE], "signature_name": "attention"}, "params, parameters, got 'signature_name'"),
        ({"instances": [SEQUENCE], "params": {"signature_name": "x"}}, 'Serving signature name: "x" not found'),
    ],
)
async def test_a_wrong_request_is_refused(client: httpx.AsyncClient, body: Any, message: str) -> None:
    """The error has the shape of the other protocols."""
    response = await client.post("/invocations", json=body)
    assert response.status_code == 400
    assert message in response.json()["error"]


@pytest.mark.parametrize("path", ["/ping", "/health"])
async def test_ping_and_health(client: httpx.AsyncClient, path: str) -> None:
    """The answer is 200 while the default model is loaded."""
    assert (await client.get(path)).status_code == 200
    assert (await client.post("/v2/repository/models/after-lstm/unload")).status_code == 200
    assert (await client.get(path)).status_code == 503
    assert (await client.post("/v2/repository/models/after-lstm/load")).status_code == 200
    assert (await client.get(path)).status_code == 200


async def test_version_is_text(client: httpx.AsyncClient) -> None:
    """MLflow's client reads it as it is."""
    response = await client.get("/version")
    assert (response.text, response.headers["Content-Type"]) == (__version__, "text/plain; charset=utf-8")


@pytest.mark.parametrize("name", OPTIONS)
async def test_the_table_of_the_training_is_answered(tabular: Path, name: str) -> None:
    """The very file is read as CSV, with identifier, target and ignored columns; as are the forms of MLflow."""
    text = (tabular / f"{name}.csv").read_text()
    columns, *rows = csv.reader(text.splitlines())
    data = [list(map(number_or_text, row)) for row in rows]
    split = {"index": list(range(len(data))), "columns": columns, "data": data}
    mirrored = {"columns": columns[::-1], "data": [row[::-1] for row in data]}
    records = [dict(zip(columns, row, strict=True)) for row in data]
    app = create_app(Settings(artifacts=tabular / "models", model=name))
    async with connect(app) as client:
        native = (await client.post("/predict", content=text, headers=CSV)).json()["predictions"]
        assert len(native) == 40
        wanted = [row["prediction"] for row in native]
        bodies = ({"dataframe_split": split}, {"dataframe_split": mirrored}, {"dataframe_records": records})
        for content in (text, *map(json.dumps, bodies)):
            headers = CSV if content is text else {}
            answer = (await client.post("/invocations", content=content, headers=headers)).json()["predictions"]
            assert [row[0] for row in answer] == pytest.approx(wanted, abs=1e-6)
        answer = await client.post("/invocations", content=json.dumps({"dataframe_split": split, **ATTENTION}))
        for row, expected in zip(answer.json()["predictions"], native, strict=True):
            assert row["attention"] == pytest.approx(expected["attention"], abs=1e-6)


def number_or_text(cell: str) -> float | str:
    """Return a cell as pandas reads it."""
    try:
        return float(cell or math.nan)
    except ValueError:
        return cell


async def test_vertex_ai_names_the_routes(artifacts: Path) -> None:
    """Its routes come before those of other protocols with the same path."""
    settings = Settings(
        artifacts=artifacts, model="after-lstm", vertex_predict_route="/predict", vertex_health_route="/v1/models/x"
    )
    async with connect(create_app(settings)) as client:
        assert (await client.get("/v1/models/x")).status_code == 200
        assert (await client.get("/v1/models/y")).status_code == 404
        wrong = await client.post("/predict", json={"instances": []})
        assert (wrong.status_code, wrong.json().keys()) == (400, {"error"})
        body = {"instances": [SEQUENCE], "parameters": {"signature_name": "attention"}}
        (row,) = (await client.post("/predict", json=body)).json()["predictions"]
        assert set(row) == {"prediction", "attention", "attention_vec"}
        plain = (await client.post("/predict", json={"instances": [SEQUENCE], "parameters": None})).json()
        assert plain == {"predictions": [pytest.approx(row["prediction"], abs=1e-6)]}
