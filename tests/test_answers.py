"""HEAD, OPTIONS, CORS, caching and compression of all answers."""

import gzip
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from starlette.types import Message

from service.app import create_app
from service.settings import Settings
from tests.conftest import connect
from tests.infer import as_json

pytestmark = pytest.mark.anyio

#: Paths whose answers change by themselves.
CHANGING = [
    "/",
    "/attention",
    "/health/live",
    "/health/ready",
    "/health/started",
    "/metrics",
    "/model",
    "/model/example",
    "/models",
    "/nowhere",
    "/ping",
    "/predict",
    "/v1/models",
    "/v1/models/after-lstm",
    "/v2",
    "/v2/health/ready",
    "/v2/models/four",
]
MANY = {"sequences": [[[0.1, -0.2]] * 20] * 100}
VIEWER = "https://viewer.example"


@pytest.fixture(scope="module")
def app(artifacts: Path) -> FastAPI:
    """Return an app on one engine, as the engine does not matter here."""
    return create_app(Settings(artifacts=artifacts, model="after-lstm", max_body=2**20))


@pytest.mark.parametrize("path", [*CHANGING, "/openapi.json", "/docs", "/page/page.js", "/page/charts.js"])
async def test_head_is_get_without_a_body(client: httpx.AsyncClient, path: str) -> None:
    """Its status and headers are those of GET, compressed or not. Monitors and `curl -I` send it."""
    for encoding in ("gzip", "identity"):
        headers = {"Accept-Encoding": encoding, "X-Request-ID": "same"}
        get, head = [await client.request(method, path, headers=headers) for method in ("GET", "HEAD")]
        assert (head.status_code, head.content) == (get.status_code, b"")
        if path not in ("/metrics", "/attention"):  # they give times
            assert head.headers == get.headers
        assert head.headers.get("Content-Encoding", "identity") in (encoding, "identity")


async def test_several_lines_of_accept_are_one_list(client: httpx.AsyncClient) -> None:
    """RFC 9110, section 5.3."""
    response = await client.get("/attention", headers=[("Accept", "text/html"), ("Accept", "image/svg+xml")])
    assert response.headers["Content-Type"] == "image/svg+xml"


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/", "GET, HEAD, OPTIONS"),
        ("/predict", "OPTIONS, POST"),
        ("/health/ready", "GET, HEAD, OPTIONS"),
        ("/v1/models/after-lstm", "GET, HEAD, OPTIONS"),
        ("/v1/models/after-lstm:predict", "OPTIONS, POST"),
        ("/v2/models/after-lstm/infer", "OPTIONS, POST"),
    ],
)
async def test_options_and_a_wrong_method_list_the_methods(client: httpx.AsyncClient, path: str, allow: str) -> None:
    """HAProxy's checks send OPTIONS. Without the setting there is no CORS header."""
    preflight = {"Origin": VIEWER, "Access-Control-Request-Method": "POST"}
    for headers in ({}, preflight):
        options = await client.options(path, headers=headers)
        assert (options.status_code, options.content, options.headers["Allow"]) == (204, b"", allow)
        assert not [name for name in options.headers if name.startswith("access-control")]
    wrong = await client.put(path)
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, allow)
    if "HEAD" not in allow:
        head = await client.head(path)
        assert (head.status_code, head.content, head.headers["Allow"]) == (405, b"", allow)


async def test_several_routes_of_a_path_share_the_allowed_methods() -> None:
    """`Allow` has the methods of all of them."""
    from service.api import error_answers

    app = FastAPI()
    app.state.settings = Settings()
    error_answers.add_handlers(app)
    app.get("/{name}")(lambda name: name)
    app.post("/one")(lambda: 1)
    async with connect(app) as client:
        assert (await client.put("/one")).headers["Allow"] == "GET, HEAD, OPTIONS, POST"
        assert (await client.options("/nowhere/at/all")).status_code == 404


async def test_options_of_the_server(app: FastAPI) -> None:
    """`OPTIONS *` lists the methods of all paths."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "method": "OPTIONS", "path": "*", "query_string": b"", "headers": []}
    await app(scope, receive, send)
    assert (sent[0]["status"], dict(sent[0]["headers"])[b"allow"]) == (204, b"GET, HEAD, OPTIONS, POST")


async def test_the_document_names_neither_head_nor_options(client: httpx.AsyncClient) -> None:
    """Generated clients need no functions for them."""
    paths = (await client.get("/openapi.json")).json()["paths"].values()
    assert {method for path in paths for method in path} == {"get", "post"}


@pytest.mark.parametrize("path", CHANGING)
async def test_answers_that_change_are_not_cached(client: httpx.AsyncClient, path: str) -> None:
    """Varnish and CDNs keep what does not forbid it."""
    response = await client.get(path)
    assert response.headers["Cache-Control"] == "no-store"
    if path in ("/metrics", "/attention", "/"):
        assert response.headers["Vary"].startswith("Accept")


async def test_an_answer_may_say_how_it_is_cached(client: httpx.AsyncClient) -> None:
    """The files of the page are checked for changes."""
    assert (await client.get("/page/page.js")).headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("deflate, gzip;q=1.0, *;q=0.5", "gzip"),
        ("*", "gzip"),
        ("gzip;q=0.5, identity;q=0.5", "gzip"),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", "gzip"),
        ("gzip;q=0", None),
        ("gzip; q=0.000", None),
        ("*;q=0", None),
        ("gzip;q=0.5, identity", None),
        ("gzip;q=0, *", None),
        ("br", None),
        ("identity", None),
        ("notgzip", None),
        ("", None),
        ("gzip;q=nonsense", "gzip"),
    ],
)
async def test_a_large_answer_is_compressed_if_the_client_accepts_it(
    client: httpx.AsyncClient, accepted: str, encoding: str | None
) -> None:
    """The weights of RFC 9110, 12.5.3 are obeyed. Both forms vary by the header, and have their own length."""
    for request in (
        client.build_request("POST", "/predict", json=MANY, headers={"Accept-Encoding": accepted}),
        client.build_request("GET", "/openapi.json", headers={"Accept-Encoding": accepted}),
    ):
        response = await client.send(request, stream=True)
        content = b"".join([part async for part in response.aiter_raw()])
        assert response.status_code == 200
        assert response.headers.get("Content-Encoding") == encoding
        assert response.headers["Vary"] == "Accept-Encoding"
        assert int(response.headers["Content-Length"]) == len(content)
        assert (gzip.decompress(content) if encoding else content).startswith(b"{")


@pytest.mark.parametrize("count", [300, 3000])
async def test_binary_tensors_are_compressed(client: httpx.AsyncClient, count: int) -> None:
    """The length of the JSON is that of the decoded answer. Very large answers are compressed in a thread."""
    body = as_json(np.zeros((count, 20, 2)), parameters={"binary_data_output": True})
    plain, packed = [
        await client.post("/v2/models/after-lstm/infer", json=body, headers={"Accept-Encoding": encoding})
        for encoding in ("identity", "gzip")
    ]
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.content == plain.content
    name = "Inference-Header-Content-Length"
    assert packed.headers[name] == plain.headers[name]
    assert int(packed.headers["Content-Length"]) < int(plain.headers["Content-Length"])


async def test_small_and_compressed_answers_stay_as_they_are(client: httpx.AsyncClient) -> None:
    """A small answer arrives no earlier if it is compressed."""
    gzipped = {"Accept-Encoding": "gzip"}
    small = await client.post("/predict", json={"sequence": [[0.1, -0.2]] * 20}, headers=gzipped)
    picture = await client.get("/attention", headers={**gzipped, "Accept": "image/png"})
    assert len(picture.content) > 14_600
    for response in (small, picture):
        assert response.status_code == 200
        assert "Content-Encoding" not in response.headers


async def test_a_compressed_file_has_the_tag_of_the_plain_one(client: httpx.AsyncClient) -> None:
    """The tag is weak, as RFC 9110, 8.8.1 asks for; a client may have either form."""
    plain, packed = [
        await client.get("/page/ask.js", headers={"Accept-Encoding": encoding}) for encoding in ("identity", "gzip")
    ]
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["ETag"] == plain.headers["ETag"]
    assert packed.headers["ETag"].startswith("W/")
    known = {"If-None-Match": packed.headers["ETag"], "Accept-Encoding": "gzip"}
    again = await client.get("/page/ask.js", headers=known)
    assert (again.status_code, again.headers["Vary"]) == (304, "Accept-Encoding")


@pytest.fixture
def shared(artifacts: Path) -> FastAPI:
    """Return an app that pages of another origin may use."""
    return create_app(Settings(artifacts=artifacts, model="after-lstm", cors_origins=f"{VIEWER}, https://b.example"))


async def test_a_page_of_an_allowed_origin_may_ask(shared: FastAPI) -> None:
    """The preflight is answered 200, and the headers of the service can be read."""
    wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    async with connect(shared) as client:
        preflight = await client.options("/predict", headers={"Origin": VIEWER, **wanted})
        assert preflight.status_code == 200
        assert preflight.headers["Access-Control-Allow-Origin"] == VIEWER
        assert "content-type" in preflight.headers["Access-Control-Allow-Headers"]
        answer = await client.post("/predict", json=MANY, headers={"Origin": VIEWER, "Accept-Encoding": "gzip"})
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == VIEWER
        exposed = answer.headers["Access-Control-Expose-Headers"]
        assert {"Server-Timing", "Inference-Header-Content-Length"} <= set(exposed.split(", "))
        assert set(answer.headers["Vary"].split(", ")) == {"Origin", "Accept-Encoding"}
        other = await client.options("/predict", headers={"Origin": "https://other.example", **wanted})
        assert "Access-Control-Allow-Origin" not in other.headers
        options = await client.options("/predict")
        assert (options.status_code, options.headers["Allow"]) == (204, "OPTIONS, POST")
