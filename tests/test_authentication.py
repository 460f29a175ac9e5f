"""Keys of clients: which routes need which right, and no way around it."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.routing import iter_route_contexts
from starlette.types import Message

from service.api.authentication import KEY_ID
from service.api.rights import GROUP_OF, RIGHT_OF
from service.app import create_app
from service.keys import RIGHTS
from service.settings import Settings
from tests.conftest import connect

pytestmark = pytest.mark.anyio

KEYS: dict[str, str] = {right: f"key-of-{right}" for right in RIGHTS}
OPEN = {"probes", "page"}
VIEWER = "https://viewer.example"
VALUES = {"model": "after-lstm", "version": "1", "label": "one", "method": "other", "name": "page.js"}
BODY = {"sequence": [[0.1, -0.2]] * 20}


def bearer(right: str) -> dict[str, str]:
    """Return the header of a key with a right."""
    return {"Authorization": f"Bearer {KEYS[right]}"}


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with one key for each right."""
    path = tmp_path_factory.mktemp("keys") / "keys"
    lines = [f"{right}er {right} sha256:{hashlib.sha256(key.encode()).hexdigest()}\n" for right, key in KEYS.items()]
    path.write_text("".join(lines))
    return path


@pytest.fixture(scope="module")
def protected(artifacts: Path, key_file: Path) -> FastAPI:
    """An app with keys, below a prefix, and with all configured routes."""
    return create_app(
        Settings(
            artifacts=artifacts,
            model="after-lstm",
            keys=key_file,
            model_control=True,
            root_path="/some/where",
            vertex_predict_route="/vertex/predict",
            vertex_health_route="/vertex/health",
        )
    )


@pytest.fixture
async def client(protected: FastAPI) -> Any:
    """Yield a client without a key."""
    async with connect(protected) as client:
        yield client


def routes(app: FastAPI) -> Iterator[tuple[str, str, str]]:
    """Yield the method, a path and the name of each route."""
    for route in iter_route_contexts(app.routes):
        assert route.path_format
        assert route.name
        for method in route.methods or ():
            yield method, re.sub(r"\{(\w+)\}", lambda found: VALUES[found[1]], route.path_format), route.name


def test_every_route_has_a_decision(protected: FastAPI) -> None:
    """A new route belongs into `service/api/rights.py`, and no other name does."""
    assert {name for _, _, name in routes(protected)} == set(GROUP_OF)


async def test_every_route_needs_its_right(client: httpx.AsyncClient, protected: FastAPI) -> None:
    """Without a key or with a wrong one: 401. With a key of another right: 403. In the form of the route's protocol."""
    for prefix in ("", "/some/where"):
        for method, path, name in routes(protected):
            group = GROUP_OF[name]
            for headers in ({}, {"Authorization": "Bearer nonsense"}):
                response = await client.request(method, prefix + path, headers=headers)
                assert (response.status_code == 401) == (group not in OPEN), (method, path)
                if group not in OPEN:
                    assert response.headers["WWW-Authenticate"] == "Bearer"
                    assert response.headers["X-Content-Type-Options"] == "nosniff"
                    of_protocol = path.startswith(("/v1", "/v2", "/invocations", "/vertex/predict"))
                    shape = [] if method == "HEAD" else ["error" if of_protocol else "detail"]
                    assert list(response.json() if response.content else ()) == shape
            for right in RIGHTS:
                if (prefix and right == "control") or method == "OPTIONS":
                    continue  # it would unload the model; any key may list the methods
                response = await client.request(method, prefix + path, headers=bearer(right))
                allowed = group in OPEN or right == RIGHT_OF[group]
                assert (response.status_code == 403) != allowed, (method, path, right)
                assert response.status_code != 401
        assert (await client.post("/v2/repository/models/after-lstm/load", headers=bearer("control"))).is_success


async def test_predictions_with_a_key_are_answered(client: httpx.AsyncClient) -> None:
    """The scheme's name may have any case."""
    for scheme in ("Bearer", "bearer", "BEARER "):
        response = await client.post("/predict", json=BODY, headers={"Authorization": f"{scheme} {KEYS['predict']}"})
        assert response.status_code == 200


@pytest.mark.parametrize(
    "values",
    [
        [KEYS["predict"]],
        ["Basic " + KEYS["predict"]],
        ["Bearer"],
        ["Bearer "],
        [f"Bearer {KEYS['predict']}x"],
        [f"Bearer {KEYS['predict'][:-1]}"],
        [f"Bearer {KEYS['predict']}", f"Bearer {KEYS['predict']}"],
        ["Bearer \xff"],
    ],
)
async def test_other_forms_of_the_header_are_no_key(client: httpx.AsyncClient, values: list[str]) -> None:
    """The answer has no part of the header."""
    headers = [(b"Authorization", value.encode("latin-1")) for value in values]
    response = await client.post("/predict", json=BODY, headers=headers)
    assert response.status_code == 401
    assert KEYS["predict"] not in response.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nowhere"),
        ("GET", "/models/"),
        ("GET", "/models//"),
        ("GET", "/%6dodels"),
        ("GET", "/models%0a"),
        ("GET", "/page/../models"),
        ("GET", "/page/%2e%2e/models"),
        ("GET", "/page%2f..%2fmodels"),
        ("GET", "/health/live/../../models"),
        ("GET", "/some/where/models"),
        ("GET", "/some/where/some/where/models"),
        ("GET", "/some/whereelse"),
        ("HEAD", "/models"),
        ("OPTIONS", "/models"),
        ("OPTIONS", "/nowhere"),
        ("OPTIONS", "/predict"),
        ("PUT", "/health/live"),
        ("POST", "/health/live"),
        ("get", "/models"),
        ("GET", "/predict"),
        ("POST", "/%70redict"),
        ("POST", "/predict%0A"),
        ("POST", "/some/where/predict"),
        ("POST", "/v1/models/after-lstm%3Apredict"),
        ("POST", "/v1/models/after-lstm:nothing/at/all"),
        ("POST", "/v2/repository/models/after-lstm/unload"),
        ("GET", "/v2/"),
        ("GET", "/" + "x" * 300),
    ],
)
async def test_there_is_no_way_around(client: httpx.AsyncClient, method: str, path: str) -> None:
    """Without a key, an unknown path or method is answered like a known one, so nobody learns which there are."""
    headers = {"Origin": VIEWER, "Access-Control-Request-Method": "POST"} if method == "OPTIONS" else {}
    response = await client.request(method, path, json=BODY if method == "POST" else None, headers=headers)
    assert response.status_code == 401
    assert "allow" not in response.headers
    assert path not in response.text


async def test_options_of_the_server_need_a_key(protected: FastAPI) -> None:
    """`OPTIONS *` would list all methods."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    scope: dict[str, Any] = {"type": "http", "method": "OPTIONS", "path": "*", "query_string": b"", "headers": []}
    await protected(scope, receive, send)
    assert sent[0]["status"] == 401


async def test_any_key_may_learn_which_routes_there_are(client: httpx.AsyncClient) -> None:
    """A key has typing errors, too. Probes by HEAD and OPTIONS need none where GET needs none."""
    for right in RIGHTS:
        assert "near it: POST /some/where/predict" in (await client.get("/predictt", headers=bearer(right))).text
        assert (await client.put("/predict", headers=bearer(right))).headers["Allow"] == "OPTIONS, POST"
    for path in ("/", "/health/live", "/some/where/"):
        assert (await client.head(path)).status_code == 200
        assert (await client.options(path)).status_code == 204


async def test_the_page_of_another_origin_uses_a_key(artifacts: Path, key_file: Path) -> None:
    """Browsers send the preflight request without it, and the page can read why a request is refused."""
    settings = Settings(artifacts=artifacts, model="after-lstm", keys=key_file, cors_origins=VIEWER)
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    async with connect(create_app(settings)) as client:
        preflight = await client.options("/predict", headers={"Origin": VIEWER, **asks})
        assert preflight.status_code == 200
        assert "authorization" in preflight.headers["Access-Control-Allow-Headers"]
        for headers, status in (({}, 401), (bearer("read"), 403), (bearer("predict"), 200)):
            response = await client.post("/predict", json=BODY, headers={"Origin": VIEWER, **headers})
            assert response.status_code == status
            assert response.headers["Access-Control-Allow-Origin"] == VIEWER


async def test_a_setting_opens_routes(artifacts: Path, key_file: Path) -> None:
    """Every group of the setting. Keys are not looked at there, as they may be those of a proxy."""
    settings = Settings(artifacts=artifacts, model="after-lstm", keys=key_file, open_routes="metrics,predict")
    async with connect(create_app(settings)) as client:
        for headers in ({}, {"Authorization": "Basic x"}):
            assert (await client.post("/predict", json=BODY, headers=headers)).status_code == 200
            assert (await client.get("/metrics", headers=headers)).status_code == 200
        for path in ("/models", "/", "/health/live"):
            assert (await client.get(path)).status_code == 401


async def test_the_page_below_a_prefix_is_open_with_and_without_a_slash(artifacts: Path, key_file: Path) -> None:
    """The path without a slash leads to the one with it."""
    settings = Settings(artifacts=artifacts, model="after-lstm", keys=key_file, root_path="/p")
    async with connect(create_app(settings)) as client:
        assert [(await client.get(path)).status_code for path in ("/p", "/p/", "/p/models")] == [307, 200, 401]


async def test_control_needs_the_setting_as_well(artifacts: Path, key_file: Path) -> None:
    """The right alone is not enough."""
    async with connect(create_app(Settings(artifacts=artifacts, model="after-lstm", keys=key_file))) as client:
        response = await client.post("/v2/repository/models/after-lstm/unload", headers=bearer("control"))
        assert response.status_code == 403
        assert "--model-control" in response.json()["error"]


async def test_the_log_may_have_the_id_of_the_key(artifacts: Path, key_file: Path) -> None:
    """A route that nobody has decided about needs the right `control`."""
    app = create_app(Settings(artifacts=artifacts, model="after-lstm", keys=key_file))

    @app.get("/seen")
    async def seen(request: Request) -> str:
        return str(request.scope[KEY_ID])

    async with connect(app) as client:
        assert (await client.get("/seen", headers=bearer("read"))).status_code == 403
        assert (await client.get("/seen", headers=bearer("control"))).json() == "controler"


async def test_the_document_describes_the_key(client: httpx.AsyncClient) -> None:
    """Open routes need none. Generated clients take the scheme from there."""
    document = (await client.get("/openapi.json", headers=bearer("read"))).json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert document["security"] == [{"key": []}]
    assert document["paths"]["/health/live"]["get"]["security"] == []
    predict = document["paths"]["/predict"]["post"]
    assert "security" not in predict
    assert {"401", "403"} <= predict["responses"].keys()
