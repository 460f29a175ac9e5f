"""The routes that KServe's V1 protocol adds to TensorFlow Serving's."""

import httpx
import pytest

pytestmark = pytest.mark.anyio

SEQUENCE = [[0.1, -0.2]] * 20


async def test_models_are_listed_with_their_readiness(client: httpx.AsyncClient) -> None:
    """The list has their names."""
    assert (await client.get("/v1/models")).json() == {"models": ["after-lstm", "before-lstm", "three"]}
    answer = (await client.get("/v1/models/three")).json()
    assert (answer["name"], answer["ready"]) == ("three", True)


async def test_an_explanation_is_the_attention_beside_the_prediction(client: httpx.AsyncClient) -> None:
    """It equals the answer of `/predict` to the same sequences."""
    predictions = (await client.post("/predict", json={"sequences": [SEQUENCE] * 2})).json()["predictions"]
    for body in ({"instances": [SEQUENCE] * 2}, {"inputs": {"sequence": [SEQUENCE] * 2}}):
        response = await client.post("/v1/models/after-lstm:explain", json=body)
        assert response.status_code == 200
        answer = response.json()
        assert answer.keys() == {"explanations"}
        for explained, predicted in zip(answer["explanations"], predictions, strict=True):
            assert explained["label"] == predicted["label"]
            assert explained["prediction"] == pytest.approx(predicted["prediction"], abs=1e-6)
            assert explained["attention"] == pytest.approx(predicted["attention"], abs=1e-6)


async def test_the_error_says_why_there_is_no_explanation(client: httpx.AsyncClient) -> None:
    """The error has the protocol's shape."""
    response = await client.post("/v1/models/after-lstm:explain", json={"instances": [SEQUENCE[1:]]})
    assert (response.status_code, response.json()) == (400, {"error": "instances[0]: expected 20 timesteps, got 19"})
    response = await client.post("/v1/models/four:explain", json={"instances": [SEQUENCE]})
    assert response.status_code == 404
    assert response.json() == {"error": "no model 'four': expected one of after-lstm, before-lstm, three"}


async def test_the_root_answers_that_the_service_is_alive(client: httpx.AsyncClient) -> None:
    """KServe's client asks this route."""
    assert (await client.get("/")).json() == {"status": "alive"}
