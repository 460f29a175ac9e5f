"""What KServe's V1 protocol has beside TensorFlow Serving's."""

import httpx
import pytest

pytestmark = pytest.mark.anyio

SEQUENCE = [[0.1, -0.2]] * 20


async def test_models_are_listed_and_say_whether_they_are_ready(client: httpx.AsyncClient) -> None:
    """By name."""
    assert (await client.get("/v1/models")).json() == {"models": ["after-lstm", "before-lstm", "three"]}
    answer = (await client.get("/v1/models/three")).json()
    assert (answer["name"], answer["ready"]) == ("three", True)


async def test_an_explanation_is_the_attention_beside_the_prediction(client: httpx.AsyncClient) -> None:
    """What `/predict` says of the same sequences."""
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


async def test_what_cannot_be_explained_is_told_why(client: httpx.AsyncClient) -> None:
    """In the protocol's shape."""
    response = await client.post("/v1/models/after-lstm:explain", json={"instances": [SEQUENCE[1:]]})
    assert (response.status_code, response.json()) == (400, {"error": "instances[0]: expected 20 timesteps, got 19"})
    response = await client.post("/v1/models/four:explain", json={"instances": [SEQUENCE]})
    assert response.status_code == 404
    assert response.json() == {"error": "no model 'four': expected one of after-lstm, before-lstm, three"}


async def test_the_root_is_a_sign_of_life(client: httpx.AsyncClient) -> None:
    """What KServe's client looks at."""
    assert (await client.get("/")).json() == {"status": "alive"}
