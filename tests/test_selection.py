"""Query parameters and versions in paths."""

from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.settings import Settings

pytestmark = pytest.mark.anyio

BODY = {"sequence": [[0.1, -0.2]] * 20}
#: Native routes that read parameters, and those that they know.
KNOWN = {
    "POST /predict": "model, version",
    "GET /attention": "model, version, chart, window",
    "GET /model": "model, version",
    "GET /model/example": "model, version",
    "GET /health/ready": "model, version",
}
NO_VERSIONS = ["1_0", "+1", " 1", "1.0", "-1", "1e0", "one", "", "\N{ARABIC-INDIC DIGIT ONE}", "9" * 19]


@pytest.fixture(scope="module")
def app(artifacts: Path) -> FastAPI:
    """Return an app on one engine, as the engine does not matter here."""
    return create_app(Settings(artifacts=artifacts, model="after-lstm", max_body=2**20))


async def ask(client: httpx.AsyncClient, route: str, query: dict[str, str | list[str]]) -> httpx.Response:
    """Send a request with a query string."""
    method, path = route.split()
    return await client.request(method, path, params=query, json=BODY if method == "POST" else None)


@pytest.mark.parametrize("route", KNOWN)
async def test_an_unknown_parameter_is_refused(client: httpx.AsyncClient, route: str) -> None:
    """Otherwise a misspelt one would be ignored. The message names it and the known ones."""
    for name in ("verson", "Model", "atention"):
        response = await ask(client, route, {"model": "three", name: "9"})
        message = f"expected only the query parameters {KNOWN[route]}, got {name!r}"
        assert (response.status_code, response.json()) == (422, {"detail": message})


@pytest.mark.parametrize("route", KNOWN)
async def test_a_repeated_parameter_is_refused(client: httpx.AsyncClient, route: str) -> None:
    """One of the two would be ignored."""
    response = await ask(client, route, {"version": ["1", "2"]})
    message = "expected the query parameter version once, got it twice"
    assert (response.status_code, response.json()) == (422, {"detail": message})


async def test_a_route_without_parameters_says_so(client: httpx.AsyncClient) -> None:
    """It lists all models."""
    response = await client.get("/models?model=three")
    assert (response.status_code, response.json()) == (422, {"detail": "expected no query parameters, got 'model'"})


@pytest.mark.parametrize(
    "path", ["/", "/metrics", "/health/live", "/docs", "/v1/models/after-lstm", "/v2/models/after-lstm", "/ping"]
)
async def test_other_routes_ignore_parameters(client: httpx.AsyncClient, path: str) -> None:
    """Gateways and scrapers add some."""
    assert (await client.get(f"{path}?api-version=2&trace=1")).status_code == 200


@pytest.mark.parametrize("route", KNOWN)
@pytest.mark.parametrize("version", NO_VERSIONS)
async def test_a_version_in_a_query_is_plain_digits(client: httpx.AsyncClient, route: str, version: str) -> None:
    """Python reads more as a number than is one."""
    response = await ask(client, route, {"version": version})
    assert response.status_code == 422
    assert response.json()["detail"].startswith("version: expected ")


@pytest.mark.parametrize("version", [*filter(None, NO_VERSIONS)])
async def test_a_version_in_a_path_is_plain_digits(client: httpx.AsyncClient, version: str) -> None:
    """There is no other version, so the answer is 404."""
    for method, path in (
        ("POST", "/v1/models/after-lstm/versions/{}:predict"),
        ("POST", "/v1/models/after-lstm/versions/{}:explain"),
        ("GET", "/v1/models/after-lstm/versions/{}"),
        ("GET", "/v1/models/after-lstm/versions/{}/metadata"),
        ("POST", "/v2/models/after-lstm/versions/{}/infer"),
        ("GET", "/v2/models/after-lstm/versions/{}/ready"),
    ):
        response = await client.request(method, path.format(version), json=BODY if method == "POST" else None)
        assert response.status_code == 404, path
        assert response.json().keys() == {"error"}
