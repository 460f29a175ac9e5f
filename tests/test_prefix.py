"""The service below a path prefix of a proxy."""

from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.types import Receive, Scope, Send

from service.api.prefix import root_path
from service.app import create_app
from service.settings import Settings
from tests.conftest import connect

pytestmark = pytest.mark.anyio

HTML = {"Accept": "text/html"}
SEQUENCE = [[0.1, -0.2]] * 20


@pytest.fixture
def below(artifacts: Path) -> FastAPI:
    """Return an app below the prefix /some/where."""
    return create_app(Settings(artifacts=artifacts, model="after-lstm", root_path="/some/where/"))


@pytest.mark.parametrize("prefix", ["", "/some/where"])
async def test_paths_work_with_and_without_the_prefix(below: FastAPI, prefix: str) -> None:
    """A proxy may strip it or not. Errors have the shape of their protocol, and name paths below the prefix."""
    async with connect(below) as client:
        assert (await client.get(f"{prefix}/model")).status_code == 200
        assert (await client.post(f"{prefix}/predict", json={"sequence": SEQUENCE})).status_code == 200
        body = {"instances": [SEQUENCE]}
        assert (await client.post(f"{prefix}/v1/models/after-lstm:predict", json=body)).status_code == 200
        assert (await client.get(f"{prefix}/v2/models/four")).json().keys() == {"error"}
        missing = (await client.get(f"{prefix}/predictions")).json()["detail"]
        assert "near it: POST /some/where/predict" in missing
        assert missing.endswith("GET /some/where/docs")
        assert (await client.options(f"{prefix}/predict")).headers["Allow"] == "OPTIONS, POST"
        assert "/predict" in (await client.get(f"{prefix}/openapi.json")).json()["paths"]
        page = (await client.get(f"{prefix}/", headers=HTML)).text
        assert '<base href="/some/where/">' in page


async def test_the_prefix_without_a_slash_leads_to_the_page(below: FastAPI) -> None:
    """The links of the page are relative to the slash. The query, which selects a model, is kept."""
    async with connect(below) as client:
        response = await client.get("/some/where?model=three", headers=HTML)
        assert (response.status_code, response.headers["Location"]) == (307, "/some/where/?model=three")
        assert (await client.get("/some/whereelse")).status_code == 404


@pytest.fixture
def trusting(artifacts: Path) -> FastAPI:
    """Return an app that trusts two proxies."""
    return create_app(Settings(artifacts=artifacts, model="after-lstm", trusted_proxies="192.0.2.0/24, 2001:db8::1"))


def proxied(app: FastAPI, address: str | None) -> httpx.AsyncClient:
    """Return a client whose requests come from an address; from a Unix socket, which has none, if it is None."""

    async def received(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "client": (address, 1) if address else None}, receive, send)

    return httpx.AsyncClient(transport=httpx.ASGITransport(received), base_url="http://test")


@pytest.mark.parametrize(
    ("address", "forwarded", "prefix"),
    [
        ("192.0.2.7", "/a", "/a"),
        ("192.0.2.7", "/a/b-c.d/", "/a/b-c.d"),
        ("2001:db8::1", "/a", "/a"),
        ("::ffff:192.0.2.7", "/a", "/a"),
        ("192.0.3.7", "/a", ""),
        ("127.0.0.1", "/a", ""),
        (None, "/a", ""),
        ("192.0.2.7", "a", ""),
        ("192.0.2.7", "//evil.example", ""),
        ("192.0.2.7", "/a//b", ""),
        ("192.0.2.7", "/../b", ""),
        ("192.0.2.7", "/a\tb", ""),
        ("192.0.2.7", '/"><script>', ""),
        ("192.0.2.7", "/a, /b", ""),
        ("192.0.2.7", "https://evil.example/a", ""),
        ("192.0.2.7", "/", ""),
        ("192.0.2.7", "", ""),
    ],
)
async def test_only_a_valid_prefix_of_a_trusted_proxy_is_used(
    trusting: FastAPI, address: str | None, forwarded: str, prefix: str
) -> None:
    """It becomes the base of the page's links, which is the only one that the page allows."""
    async with proxied(trusting, address) as client:
        page = await client.get("/", headers={**HTML, "X-Forwarded-Prefix": forwarded})
        assert page.text.count("<base") == bool(prefix)
        assert (f'<base href="{prefix}/">' in page.text) == bool(prefix)
        assert (f"base-uri '{'self' if prefix else 'none'}'") in page.headers["Content-Security-Policy"]
        missing = await client.get("/attention/", headers={"X-Forwarded-Prefix": forwarded})
        assert f"GET {prefix}/attention" in missing.json()["detail"]


async def test_the_proxy_is_still_trusted_where_the_log_shows_its_client(artifacts: Path) -> None:
    """With the access log, `X-Forwarded-For` replaces the address of the proxy."""
    app = create_app(Settings(artifacts=artifacts, model="after-lstm", access_log=True, trusted_proxies="192.0.2.7"))

    @app.get("/seen")
    async def seen(request: Request) -> tuple[str, str]:
        assert request.client is not None
        return root_path(request), request.client.host

    headers = {"X-Forwarded-Prefix": "/a", "X-Forwarded-For": "203.0.113.9"}
    for address, expected in (("192.0.2.7", ["/a", "203.0.113.9"]), ("203.0.113.9", ["", "203.0.113.9"])):
        async with proxied(app, address) as client:
            assert (await client.get("/seen", headers=headers)).json() == expected


@pytest.mark.parametrize(
    ("trusted", "address"), [("*", "203.0.113.9"), ("*", None), ("127.0.0.1,::1", "127.0.0.1"), ("127.0.0.1", None)]
)
async def test_a_proxy_of_this_machine_is_trusted(artifacts: Path, trusted: str, address: str | None) -> None:
    """The other end of a Unix socket is on this machine. `*` means all machines."""
    for access_log in (False, True):
        app = create_app(
            Settings(artifacts=artifacts, model="after-lstm", trusted_proxies=trusted, access_log=access_log)
        )
        async with proxied(app, address) as client:
            page = await client.get("/", headers={**HTML, "X-Forwarded-Prefix": "/a"})
        assert '<base href="/a/">' in page.text
