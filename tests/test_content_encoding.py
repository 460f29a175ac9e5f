"""Compressed request bodies: as `tritonclient`, curl and others send them."""

import gzip
import json
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.settings import Settings
from tests.infer import as_json, binary

pytestmark = pytest.mark.anyio

SEQUENCE = [[0.1, -0.2]] * 20
BODY = json.dumps({"sequence": SEQUENCE}).encode()
HEADERS = {"Content-Type": "application/json"}
#: A byte order mark in UTF-8.
MARK = b"\xef\xbb\xbf"


def gzipped(content: bytes) -> bytes:
    """Return content in gzip's format, without the time, which would change the names of tests."""
    return gzip.compress(content, mtime=0)


@pytest.fixture(scope="module")
def app(artifacts: Path) -> FastAPI:
    """Return an app on one engine, as the engine does not matter here."""
    return create_app(Settings(artifacts=artifacts, model="after-lstm", max_body=2**20))


async def post(client: httpx.AsyncClient, content: bytes, encoding: str, size: int = 0) -> httpx.Response:
    """Post a body with a content encoding, in one piece or in pieces of a size."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), size):
            yield content[start : start + size]

    headers = {**HEADERS, "Content-Encoding": encoding}
    return await client.post("/predict", content=pieces() if size else content, headers=headers)


@pytest.mark.parametrize("size", [0, 1, 7, 1000])
@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("gzip", gzipped(BODY)),
        ("GZip", gzipped(BODY)),
        ("x-gzip", gzipped(BODY)),
        ("gzip, identity", gzipped(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("gzip", gzipped(BODY[:100]) + gzipped(b"") + gzipped(BODY[100:])),
        ("gzip", gzipped(MARK + BODY)),
        ("", BODY),
        ("identity", BODY),
    ],
)
async def test_a_compressed_body_is_read(client: httpx.AsyncClient, encoding: str, content: bytes, size: int) -> None:
    """It may arrive in any pieces. An empty content encoding is none."""
    expected = (await client.post("/predict", content=BODY, headers=HEADERS)).json()
    response = await post(client, content, encoding, size)
    assert (response.status_code, response.json()) == (200, expected)


async def test_a_large_compressed_body_is_read(client: httpx.AsyncClient) -> None:
    """More than the event loop decodes at a time is decoded in a thread."""
    many = json.dumps({"sequences": [SEQUENCE] * 3000}).encode()
    for size in (0, 1000):
        response = await post(client, gzipped(many), "gzip", size)
        assert len(response.json()["predictions"]) == 3000


@pytest.mark.parametrize("encode", [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_the_length_of_the_json_counts_decoded_bytes(
    client: httpx.AsyncClient, encode: tuple[str, object]
) -> None:
    """Triton's client compresses JSON and tensors together."""
    name, compress = encode
    request = binary(np.full((3, 20, 2), 0.5))
    expected = (await client.post("/v2/models/after-lstm/infer", **request)).json()
    headers = {**request["headers"], "Content-Encoding": name}
    content = compress(request["content"])  # type: ignore[operator]
    response = await client.post("/v2/models/after-lstm/infer", content=content, headers=headers)
    assert (response.status_code, response.json()) == (200, expected)


@pytest.mark.parametrize(
    ("encoding", "got"),
    [("br", "br"), ("gzip, gzip", "gzip, gzip"), ("deflate,br", "deflate, br"), ("utf-8", "utf-8")],
)
async def test_other_encodings_are_refused(client: httpx.AsyncClient, encoding: str, got: str) -> None:
    """The answer is 415 and names those that are read."""
    response = await post(client, BODY, encoding)
    assert response.status_code == 415
    assert response.headers["Accept-Encoding"] == "gzip, deflate"
    assert response.json() == {"detail": f"expected the content encoding gzip or deflate, or no such header, got {got}"}


@pytest.mark.parametrize("size", [0, 100])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzipped(BODY)[:-1], "body: expected complete gzip data, got only their beginning"),
        (gzipped(BODY)[:20], "body: expected complete gzip data, got only their beginning"),
        (b"", "body: expected complete gzip data, got only their beginning"),
        (BODY, "body: expected gzip data, got other bytes"),
        (zlib.compress(BODY), "body: expected gzip data, got other bytes"),
        (gzipped(BODY)[:-8] + b"\0" * 8, "body: expected gzip data, got other bytes"),
        (gzipped(BODY) + b"more", "body: expected gzip data, got other bytes"),
        (gzipped(b"") * 1001, "body: expected gzip data of at most 1000 members, got more"),
    ],
    ids=["end", "most", "all", "plain", "deflate", "checksum", "more", "members"],
)
async def test_wrong_data_are_refused(client: httpx.AsyncClient, content: bytes, message: str, size: int) -> None:
    """The answer says what is wrong, in the shape of each protocol."""
    response = await post(client, content, "gzip", size)
    assert response.status_code == 422
    assert response.json()["detail"].startswith(message)
    response = await client.post("/v1/models/after-lstm:predict", content=content, headers={"Content-Encoding": "gzip"})
    assert response.status_code == 400
    assert response.json()["error"].startswith(message)


@pytest.mark.parametrize("size", [0, 1000])
async def test_the_limit_holds_for_decoded_bytes(client: httpx.AsyncClient, size: int) -> None:
    """A small body that becomes a huge one is answered 413."""
    response = await post(client, gzip.compress(b" " * 100 * 2**20, compresslevel=1), "gzip", size)
    assert response.status_code == 413
    assert response.json() == {"detail": "expected a body of at most 1048576 bytes when decoded, got more"}
    exact = gzipped(BODY + b" " * (2**20 - len(BODY)))
    assert (await post(client, exact, "gzip", size)).status_code == 200


async def test_a_byte_order_mark_before_json_is_read(client: httpx.AsyncClient) -> None:
    """Some editors and clients write it; V2 counts it in the length of the JSON."""
    response = await client.post("/predict", content=MARK + BODY, headers=HEADERS)
    assert response.status_code == 200
    for path, body in (
        ("/v1/models/after-lstm:predict", {"instances": [SEQUENCE]}),
        ("/v1/models/after-lstm:explain", {"instances": [SEQUENCE]}),
        ("/v2/models/after-lstm/infer", as_json(np.zeros((1, 20, 2)))),
        ("/v2/repository/index", {"ready": True}),
        ("/invocations", {"instances": [SEQUENCE]}),
    ):
        response = await client.post(path, content=MARK + json.dumps(body).encode())
        assert response.status_code == 200, path
    request = binary(np.zeros((1, 20, 2)))
    name = "Inference-Header-Content-Length"
    headers = {**request["headers"], name: str(int(request["headers"][name]) + len(MARK))}
    content = MARK + request["content"]
    assert (await client.post("/v2/models/after-lstm/infer", content=content, headers=headers)).status_code == 200
