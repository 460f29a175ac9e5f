"""The app documents itself: every route, parameter and field."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.anyio


PROTOCOL_ROUTES = {
    "GET /v1/models",
    "GET /v1/models/{model}",
    "GET /v1/models/{model}/metadata",
    "GET /v1/models/{model}/versions/{version}",
    "GET /v1/models/{model}/versions/{version}/metadata",
    "GET /v2",
    "GET /v2/health/live",
    "GET /v2/health/ready",
    "GET /v2/models/stats",
    "GET /v2/models/{model}",
    "GET /v2/models/{model}/config",
    "GET /v2/models/{model}/stats",
    "GET /v2/models/{model}/versions/{version}/config",
    "GET /v2/models/{model}/versions/{version}/stats",
    "GET /v2/models/{model}/ready",
    "GET /v2/models/{model}/versions/{version}",
    "GET /v2/models/{model}/versions/{version}/ready",
    "POST /v1/models/{model}/versions/{version}:explain",
    "POST /v1/models/{model}/versions/{version}:predict",
    "POST /v1/models/{model}:explain",
    "POST /v1/models/{model}:predict",
    "GET /ping",
    "POST /invocations",
    "POST /v2/models/{model}/infer",
    "POST /v2/models/{model}/versions/{version}/infer",
    "POST /v2/repository/index",
    "POST /v2/repository/models/{model}/load",
    "POST /v2/repository/models/{model}/unload",
}
ROUTES = PROTOCOL_ROUTES | {
    "GET /",
    "GET /attention",
    "GET /health",
    "GET /health/live",
    "GET /health/ready",
    "GET /health/started",
    "GET /metrics",
    "GET /model",
    "GET /model/example",
    "GET /models",
    "GET /version",
    "POST /predict",
}


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    response = await client.get("/openapi.json")
    document: dict[str, Any] = response.json()
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


async def test_every_route_and_parameter_is_described(document: dict[str, Any]) -> None:
    """Every route has a summary and a description."""
    assert {name for name, _ in operations(document)} == ROUTES
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        for parameter in operation.get("parameters", ()):
            assert parameter["description"], f"{name} {parameter['name']}"
        for status, response in operation["responses"].items():
            assert response["description"], f"{name} {status}"
            contents = response.get("content", {})
            assert all(content["schema"] for content in contents.values()), f"{name} {status}"
            assert contents or status == "304", f"{name} {status}"
        assert ("422" in operation["responses"]) <= (name not in PROTOCOL_ROUTES), name


async def test_every_field_has_a_description_and_an_example(document: dict[str, Any]) -> None:
    """The exceptions are types that need no description: nested objects, fixed values, dates."""
    for name, schema in document["components"]["schemas"].items():
        if "properties" not in schema:
            continue
        assert schema["description"], name
        for field, content in schema["properties"].items():
            assert content.get("description") or "$ref" in content, f"{name}.{field}"
            kinds = [content, *content.get("anyOf", ())]
            kinds += [kind.get("items", {}) for kind in kinds]
            says_all = any(kind.keys() & {"$ref", "const", "format", "pattern"} for kind in kinds)
            assert says_all or "examples" in content, f"{name}.{field}"


async def test_predict_documents_the_errors_it_answers(document: dict[str, Any]) -> None:
    """The document has every status in the table of bad input."""
    assert set(document["paths"]["/predict"]["post"]["responses"]) == {
        "200", "404", "413", "415", "422", "429", "503", "504",
    }  # fmt: skip


async def test_the_documented_example_is_answered(client: httpx.AsyncClient, document: dict[str, Any]) -> None:
    """The example that `/docs` offers works unchanged."""
    (example,) = document["components"]["schemas"]["PredictRequest"]["examples"]
    assert (await client.post("/predict", json=example)).status_code == 200


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("/predictions", "POST /predict, POST /invocations"),
        ("/attention/", "GET /attention"),
        ("/Predict", "POST /predict"),
        ("/v2/models/three/infre", "POST /v2/models/{model}/infer"),
        ("/v1/model/three:predict", "POST /v1/models/{model}:predict"),
        ("/models/three", "GET /models"),
    ],
)
async def test_an_unknown_path_is_answered_with_the_routes_near_it(
    client: httpx.AsyncClient, path: str, near: str
) -> None:
    """The answer names the documentation, too."""
    response = await client.get(path)
    (message,) = response.json().values()
    assert response.status_code == 404
    assert f"no route {path!r}; near it: " in message
    assert near in message
    assert message.endswith("; all routes: GET /docs")


@pytest.mark.parametrize("path", ["/zzzzzzzzzz", "/" + "predict" * 100, "/%0d%0aSet-Cookie:x"])
async def test_nothing_is_near_some_paths(client: httpx.AsyncClient, path: str) -> None:
    """The answer is short."""
    response = await client.get(path)
    assert response.status_code == 404
    assert re.fullmatch(r"no route '.{1,110}'; all routes: GET /docs", response.json()["detail"])
