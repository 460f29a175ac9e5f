"""The app is extended as FastAPI and uvicorn document it: dependencies, middleware, TLS."""

import asyncio
import re
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
import trustme
import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.app import add_routes, create_app
from service.settings import Settings
from tests.conftest import connect
from tests.fakes import IN_THREAD, held, interceptable, until
from tests.server import free_port

pytestmark = pytest.mark.anyio

SEQUENCE = [[0.1, -0.2]] * 20
#: Routes that the OpenAPI document leaves out.
HIDDEN = [
    ("get", "/docs"),
    ("get", "/docs/swagger-ui.css"),
    ("get", "/openapi.json"),
    ("get", "/page/page.js"),
    ("get", "/redoc"),
    ("get", "/v1/models/after-lstm/labels/stable"),
    ("get", "/v1/models/after-lstm/labels/stable/metadata"),
    ("get", "/v2/"),
    ("post", "/v1/models/after-lstm/labels/stable:predict"),
    ("post", "/v1/models/after-lstm/versions/1:classify"),
    ("post", "/v1/models/after-lstm/versions/1:regress"),
    ("post", "/v1/models/after-lstm:classify"),
    ("post", "/v1/models/after-lstm:regress"),
]
VALUES = {"model": "after-lstm", "version": "1"}


def every_route(app: FastAPI) -> list[tuple[str, str]]:
    """Return the method and a path of each route."""
    documented = [
        (method, re.sub(r"\{(\w+)\}", lambda name: VALUES[name[1]], path))
        for path, operations in app.openapi()["paths"].items()
        for method in operations
    ]
    return documented + HIDDEN


@pytest.fixture
def app(artifacts: Path) -> FastAPI:
    """Return an app whose queue has room for one sequence, and whose engine a test can hold."""
    settings = Settings(
        artifacts=artifacts, model="after-lstm", max_queue=1, max_sequences=1, max_body=2**20, model_control=True
    )
    return create_app(settings, open_engine=interceptable(seconds=IN_THREAD))


async def require_key(key: Annotated[str, Header()] = "") -> None:
    """A dependency that answers 401 without the key."""
    if key != "secret":
        raise HTTPException(401)


async def test_a_dependency_of_an_inclusion_protects_every_route(app: FastAPI) -> None:
    """Another app includes the routes and adds the dependency."""
    other = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    other.state = app.state
    other.include_router(app.router, dependencies=[Depends(require_key)])
    async with connect(other) as client:
        for method, path in every_route(app):
            assert (await client.request(method, path)).status_code == 401, f"{method} {path}"
        answer = await client.post("/predict", json={"sequence": SEQUENCE}, headers={"Key": "secret"})
        assert answer.status_code == 200


async def test_an_app_level_dependency_protects_every_route(app: FastAPI) -> None:
    """Without the key, each route answers 401, even if the request has other errors."""
    protected = FastAPI(dependencies=[Depends(require_key)], openapi_url=None, docs_url=None, redoc_url=None)
    protected.state = app.state
    add_routes(protected)
    routes = every_route(protected)
    assert len(routes) > 40
    async with connect(protected) as client, connect(app) as unprotected:
        for method, path in routes:
            assert (await client.request(method, path)).status_code == 401, f"{method} {path}"
        key = {"Key": "secret"}
        body = {"sequence": SEQUENCE}
        assert (await client.post("/predict", json=body, headers=key)).status_code == 200
        for method, path in routes:
            if not path.endswith("/unload"):
                answers = [await one.request(method, path, headers=key) for one in (client, unprotected)]
                assert len({answer.status_code for answer in answers}) == 1, f"{method} {path}"
        with held(app):
            waiting = asyncio.create_task(client.post("/predict", json=body, headers=key))
            await until(lambda: app.state.repository.get().batcher.queue.rows == 1)
            assert (await client.post("/predict", json=body)).status_code == 401
            assert (await client.post("/predict", json=body, headers=key)).status_code == 429
        assert (await waiting).status_code == 200


class StatusRecorder:
    """Pure ASGI middleware that records the status of each answer, and the paths of the routes that answered."""

    def __init__(self, app: ASGIApp, statuses: list[tuple[str, int]], routes: set[str]) -> None:
        self.app, self.statuses, self.routes = app, statuses, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def record(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.statuses.append((scope["path"], message["status"]))
                if "route" in scope:
                    assert scope["endpoint"] is scope["route"].endpoint
                    self.routes.add(scope["route"].path)
            await send(message)

        await self.app(scope, receive, record)


async def test_middleware_sees_every_route_and_every_refusal(app: FastAPI) -> None:
    """Each answer to a client passes the middleware."""
    statuses: list[tuple[str, int]] = []
    routes: set[str] = set()
    app.add_middleware(StatusRecorder, statuses=statuses, routes=routes)
    received: list[tuple[str, int]] = []
    async with connect(app) as client:

        async def ask(method: str, path: str, **arguments: Any) -> int:
            answer = await client.request(method, path, **arguments)
            received.append((path.partition("?")[0], answer.status_code))
            return answer.status_code

        body = {"sequence": SEQUENCE}
        with held(app):
            waiting = asyncio.create_task(ask("POST", "/predict", json=body))
            await until(lambda: app.state.repository.get().batcher.queue.rows == 1)
            for path in ("/predict", "/v1/models/after-lstm:predict", "/v2/models/after-lstm/infer", "/invocations"):
                assert await ask("POST", path, json=body) == 429
        assert await waiting == 200
        for method, path in every_route(app):
            await ask(method.upper(), path)
        await ask("POST", "/v2/repository/models/after-lstm/load")
        refusals: list[tuple[int, dict[str, Any]]] = [
            (413, {"json": {"sequences": [SEQUENCE] * 2}}),
            (413, {"content": b" " * 2**21, "headers": {"Content-Type": "application/json"}}),
            (415, {"content": b"{}"}),
            (422, {"json": {"sequence": SEQUENCE[1:]}}),
        ]
        for status, arguments in refusals:
            assert await ask("POST", "/predict", **arguments) == status
        assert await ask("POST", "/predict?model=other", json=body) == 404
        assert await ask("GET", "/predict") == 405
        assert await ask("GET", "/nowhere") == 404
    assert sorted(statuses) == sorted(received)
    assert {"/predict", "/v1/models/{model}:predict", "/v2/models/{model}/infer", "/invocations"} <= routes


@pytest.fixture
def tls(app: FastAPI, tmp_path: Path) -> Iterator[tuple[str, ssl.SSLContext]]:
    """Serve the app behind uvicorn's own TLS; yield its address and a context that trusts it."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    port = free_port()
    config = uvicorn.Config(app, port=port, log_level="error", ssl_certfile=str(tmp_path / "server.pem"))
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield f"https://127.0.0.1:{port}", context
    server.should_exit = True
    thread.join(timeout=30)


async def test_overload_and_large_bodies_work_with_tls(app: FastAPI, tls: tuple[str, ssl.SSLContext]) -> None:
    """A connection stays usable after a refusal whose body was not read. Health stays green."""
    url, context = tls
    large = b'{"sequence": ' + b" " * 2**20
    headers = {"Content-Type": "application/json"}
    limits = httpx.Limits(max_connections=4)
    async with httpx.AsyncClient(base_url=url, verify=context, limits=limits, timeout=30) as client:
        with held(app):
            waiting = asyncio.create_task(client.post("/predict", json={"sequence": SEQUENCE}))
            await until(lambda: app.state.repository.get().batcher.queue.rows == 1)
            refused = await asyncio.gather(
                *(client.post("/predict", content=large[: 2**20], headers=headers) for _ in range(40))
            )
            assert {answer.status_code for answer in refused} == {429}
            for path in ("/health/live", "/health/ready"):
                assert (await client.get(path)).status_code == 200
        assert (await waiting).status_code == 200
        assert (await client.post("/predict", content=large, headers=headers)).status_code == 413
        assert (await client.post("/predict", json={"sequence": SEQUENCE})).status_code == 200
