"""Hosts, forms of other sites, and the headers of all answers."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.settings import Settings
from tests.conftest import connect

pytestmark = pytest.mark.anyio

POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"
VIEWER = "https://viewer.example"
BODY = {"instances": [[[0.1, -0.2]] * 20]}
UNLOAD = "/v2/repository/models/after-lstm/unload"
LOAD = "/v2/repository/models/after-lstm/load"


def serving(artifacts: Path, **settings: Any) -> FastAPI:
    """Return an app."""
    return create_app(Settings(artifacts=artifacts, model="after-lstm", **settings))


@pytest.fixture(scope="module")
def app(artifacts: Path) -> FastAPI:
    """An app with default settings, but that clients may load and unload models."""
    return serving(artifacts, model_control=True)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/models"),
        ("GET", "/metrics"),
        ("GET", "/nowhere"),
        ("HEAD", "/models"),
        ("PUT", "/models"),
        ("OPTIONS", "/models"),
        ("POST", "/predict"),
        ("POST", "/v1/models/after-lstm:predict"),
        ("POST", "/v2/models/none/infer"),
        ("GET", "/openapi.json"),
        ("GET", "/attention"),
    ],
)
async def test_every_answer_has_security_headers(client: httpx.AsyncClient, method: str, path: str) -> None:
    """Opened as a document, an answer may do nothing. Each header is there once."""
    response = await client.request(method, path, json=BODY if method == "POST" else None)
    headers = response.headers
    assert headers.get_list("Content-Security-Policy") == [POLICY]
    assert headers.get_list("X-Content-Type-Options") == ["nosniff"]
    assert "Strict-Transport-Security" not in headers


async def test_the_answer_to_a_defect_has_them(artifacts: Path) -> None:
    """It is not made where others are."""
    app = serving(artifacts)

    @app.get("/defect")
    async def defect() -> None:
        raise ZeroDivisionError

    async with connect(app) as client:
        response = await client.get("/defect")
    assert (response.status_code, response.headers["Content-Security-Policy"]) == (500, POLICY)
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/docs", "/page/page.js"])
async def test_the_page_has_a_policy_of_its_own(client: httpx.AsyncClient, path: str) -> None:
    """A second one would forbid its scripts."""
    response = await client.get(path)
    [policy] = response.headers.get_list("Content-Security-Policy")
    assert "script-src 'self'" in policy
    assert response.headers.get_list("X-Content-Type-Options") == ["nosniff"]
    assert response.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("chart", ["training", "live"])
async def test_a_chart_runs_no_script(client: httpx.AsyncClient, chart: str) -> None:
    """Its file may be that of a version. Its styles apply."""
    response = await client.get("/attention", params={"chart": chart}, headers={"Accept": "image/svg+xml"})
    assert response.headers["Content-Security-Policy"] == (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'none'"
    )


HOSTS = [
    ("example.org", True),
    ("EXAMPLE.org:8000", True),
    ("example.org.", True),
    ("a.models.example", True),
    ("a.b.models.example:1", True),
    ("127.0.0.1", True),
    ("192.0.2.7:8000", True),
    ("[::1]:8000", True),
    ("[2001:db8::1]", True),
    ("localhost:8000", True),
    ("", True),
    ("models.example", False),
    ("xmodels.example", False),
    ("evil.example", False),
    ("example.org.evil.example", False),
    ("evil.example:example.org", False),
    ("example.org@evil.example", False),
    ("evil.example/127.0.0.1", False),
    ("127.0.0.1.evil.example", False),
    ("localhost.evil.example", False),
    ("[::1].evil.example", False),
    ("a" * 300 + ".models.example", False),
]


@pytest.fixture(scope="module")
def named(artifacts: Path) -> FastAPI:
    """An app with names."""
    return serving(artifacts, allowed_hosts="example.org, *.models.example")


@pytest.mark.parametrize(("host", "allowed"), HOSTS)
async def test_only_allowed_hosts_are_answered(named: FastAPI, host: str, allowed: bool) -> None:  # noqa: FBT001
    """Probes, which use an address, are always answered."""
    async with connect(named) as client:
        for path in ("/health/live", "/v2/health/live", "/nowhere"):
            response = await client.get(path, headers={"Host": host})
            assert (response.status_code != 421) == allowed
            if not allowed:
                assert "expected Host to be an address, localhost or one of --allowed-hosts" in response.text
                assert response.headers["Content-Security-Policy"] == POLICY


async def test_several_hosts_must_all_be_allowed(named: FastAPI) -> None:
    """Programs take different ones of them."""
    async with connect(named) as client:
        headers = [("Host", "example.org"), ("Host", "evil.example")]
        assert (await client.get("/models", headers=headers)).status_code == 421


@pytest.mark.parametrize(
    ("settings", "host", "status"),
    [
        ({}, "evil.example", 421),
        ({}, "127.0.0.1:8000", 200),
        ({}, "localhost", 200),
        ({"allowed_hosts": "models.example"}, "models.example:80", 200),
        ({"allowed_hosts": "*"}, "evil.example", 200),
    ],
)
async def test_a_name_that_another_site_points_here_controls_nothing(
    artifacts: Path, settings: dict[str, str], host: str, status: int
) -> None:
    """Without keys, the host is all that a browser says about it (DNS rebinding). Models are still listed."""
    async with connect(serving(artifacts, model_control=True, **settings)) as client:
        headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        for path in (UNLOAD, LOAD):
            assert (await client.post(path, headers=headers)).status_code == status
        assert (await client.post("/v2/repository/index", headers={"Host": host})).status_code == 200


FOREIGN = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
FORM = {"Content-Type": "text/plain"}


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({**FOREIGN, **FORM}, False),
        ({**FOREIGN, "Content-Type": "application/x-www-form-urlencoded"}, False),
        ({**FOREIGN, "Content-Type": "multipart/form-data; boundary=x"}, False),
        ({**FOREIGN, "Content-Type": "TEXT/PLAIN; charset=utf-8"}, False),
        (FOREIGN, False),
        ({**FORM, "Origin": "https://evil.example"}, False),
        ({**FORM, "Origin": "null"}, False),
        ({**FORM, "Origin": "http://localhost:1", "Sec-Fetch-Site": "same-site"}, False),
        ({**FORM, "Origin": "http://localhost"}, True),
        ({**FORM, "Origin": "https://behind-a-proxy.example", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Content-Type": "application/json", "Origin": "https://behind-a-proxy.example"}, True),
        ({**FORM, "Origin": VIEWER, "Sec-Fetch-Site": "cross-site"}, True),
        (FORM, True),
    ],
)
async def test_a_form_of_another_site_changes_nothing(
    artifacts: Path,
    headers: dict[str, str],
    allowed: bool,  # noqa: FBT001
) -> None:
    """The live profile counts none of its sequences. Programs send no `Origin`."""
    async with connect(serving(artifacts, cors_origins=VIEWER)) as client:
        content = httpx.Request("POST", "http://x", json=BODY).content
        for path in ("/v1/models/after-lstm:predict", "/invocations"):
            response = await client.post(path, content=content, headers=headers)
            assert response.status_code == (200 if allowed else 403)
        live = (await client.get("/attention")).json()["live"]["start"]["sequences"]
        assert live == (2 if allowed else 0)
