"""The routes of MLflow's and SageMaker's clients."""

import httpx
import pytest

pytestmark = pytest.mark.anyio

SEQUENCE = [[0.1, -0.2]] * 20
ATTENTION = {"params": {"signature_name": "attention"}}


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


async def test_a_wrong_request_is_refused(client: httpx.AsyncClient) -> None:
    """The error has the shape of the other protocols. Tables are refused, as they are no sequences."""
    response = await client.post("/invocations", json={"dataframe_split": {"data": [[1.0]]}})
    assert (response.status_code, response.json()) == (400, {"error": "Missing 'inputs' or 'instances' key"})
    response = await client.post("/invocations", json={"instances": [SEQUENCE[1:]]})
    assert (response.status_code, response.json()) == (400, {"error": "instances[0]: expected 20 timesteps, got 19"})


async def test_ping(client: httpx.AsyncClient) -> None:
    """The answer is 200 while the default model is loaded."""
    assert (await client.get("/ping")).status_code == 200
    assert (await client.post("/v2/repository/models/after-lstm/unload")).status_code == 200
    assert (await client.get("/ping")).status_code == 503
    assert (await client.post("/v2/repository/models/after-lstm/load")).status_code == 200
    assert (await client.get("/ping")).status_code == 200
