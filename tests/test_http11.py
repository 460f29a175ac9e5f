"""The HTTP/1.1 protocol over real sockets, with an app that answers each request with its target and its body."""

import asyncio
import re
import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from service.http11 import MOST_HEAD_BYTES, ServerConfig
from tests.server import free_port

pytestmark = pytest.mark.anyio

HEAD_SECONDS = WRITE_SECONDS = 0.3
#: More bytes than the kernel keeps for a connection.
LARGE = 2**25
GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: x\r\n"
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
LENGTH = b"Content-Length: 4\r\n\r\nbody"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the method, the target and the body; wait first if the target says so."""
    body, more = b"", scope["path"] != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    if scope["path"] == "/slow":
        await asyncio.sleep(0.1)
    content = b"%b %b?%b %b" % (scope["method"].encode(), scope["path"].encode(), scope["query_string"], body)
    if scope["path"] == "/large":
        content = b"x" * LARGE
    content += b"".join(value for name, value in scope["headers"] if name == b"shown")
    headers = [(b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def talk(
    port: int, *pieces: bytes, half_close: bool = False, patience: float = 20
) -> list[tuple[int, bytes] | None]:
    """Send pieces of data on a new connection, and close the client's side if asked to.

    Return the statuses and bodies of the answers until the server closes the connection; None is last if it does not
    within `patience` seconds.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.02)
    if half_close:
        writer.write_eof()
    answers: list[tuple[int, bytes] | None] = []
    try:
        async with asyncio.timeout(patience):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"content-length: (\d+)", head)
                assert length is not None
                answers.append((int(head.split()[1]), await reader.readexactly(int(length[1]))))
    except asyncio.IncompleteReadError as error:
        answers.extend([(0, error.partial)] if error.partial else [])
    except TimeoutError:
        answers.append(None)
    writer.close()
    return answers


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Return the event loop that the service runs on."""
    return "asyncio", {"use_uvloop": True}


@asynccontextmanager
async def served(*, write_timeout: float = 60, **deadlines: float) -> AsyncIterator[int]:
    """Serve the app, and yield the port."""
    number = free_port()
    config = ServerConfig(
        echo, port=number, lifespan="off", ws="none", log_level="error", write_timeout=write_timeout, **deadlines
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield number
    server.should_exit = True
    await serving


@pytest.fixture(scope="module")
async def port() -> AsyncIterator[int]:
    async with served(head_timeout=60, timeout_keep_alive=60) as number:
        yield number


@pytest.fixture(scope="module")
async def hasty_port() -> AsyncIterator[int]:
    """The port of a server with short deadlines."""
    async with served(head_timeout=HEAD_SECONDS, timeout_keep_alive=1, write_timeout=WRITE_SECONDS) as number:
        yield number


ANSWER = (200, b"POST /a? body")
GET_ANSWER = (200, b"GET /a? ")
LAST_ANSWER = (200, b"GET /last? ")


@pytest.mark.parametrize("body", [LENGTH, CHUNKED], ids=["length", "chunked"])
@pytest.mark.parametrize("pieces", [1, 2, 7], ids=["at once", "body later", "in pieces"])
@pytest.mark.parametrize("offer", [UPGRADE, UPGRADE.replace(b"h2c", b"websocket"), UPGRADE * 2])
async def test_an_offer_to_upgrade_is_ignored(port: int, offer: bytes, body: bytes, pieces: int) -> None:
    """The body arrives, and the next request on the connection is answered as well."""
    request = POST + offer + body
    size = len(POST + offer) if pieces == 2 else -(-len(request) // pieces)
    cut = [request[start : start + size] for start in range(0, len(request), size)]
    assert await talk(port, *cut, LAST) == [ANSWER, LAST_ANSWER]


async def test_many_offers_in_one_read_are_ignored(port: int) -> None:
    """Each request is answered once, in order."""
    offers = [
        b"GET /%d HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n" % number for number in range(1500)
    ]
    answers = [*((200, b"GET /%d? " % number) for number in range(1500)), LAST_ANSWER]
    assert await talk(port, b"".join(offers) + LAST) == answers


@pytest.mark.parametrize("offer", [b"", UPGRADE])
async def test_a_body_that_reads_like_a_request_gets_no_answer(port: int, offer: bytes) -> None:
    """It is the body of its request, also if it arrives later."""
    head = POST + offer + b"Content-Length: %d\r\n\r\n" % len(GET)
    assert await talk(port, head, GET, LAST) == [(200, b"POST /a? " + GET), LAST_ANSWER]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x01\r\n\r\n",
        POST + b"Content-Length: x\r\n\r\n",
        POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
        POST + b"Content-Length: 4\r\n" + CHUNKED,
        POST + b"X : y\r\n" + LENGTH,
        POST + b"X: y\r\n folded\r\n" + LENGTH,
        POST.replace(b"\r\n", b"\n") + LENGTH,
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/3.7\r\n\r\n",
    ],
)
async def test_garbage_is_answered_400_unless_it_may_be_the_rest_of_a_body(port: int, garbage: bytes) -> None:
    """Requests before it are answered, in order. The connection is closed."""
    [answer] = await talk(port, garbage)
    assert answer is not None
    assert answer[0] == 400
    assert answer[1].startswith(b"malformed request: ")
    slow = POST.replace(b"/a", b"/slow") + LENGTH
    assert await talk(port, slow + POST + LENGTH + garbage) == [(200, b"POST /slow? body"), ANSWER]
    assert await talk(port, POST + LENGTH, garbage) == [ANSWER]


async def test_the_answer_to_garbage_has_security_headers(port: int) -> None:
    """No middleware sees it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x00\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert b"\r\nx-content-type-options: nosniff\r\n" in head
    assert b"\r\ncontent-security-policy: default-src 'none'; sandbox; frame-ancestors 'none'\r\n" in head


@pytest.mark.parametrize("before", [b"", GET, GET.replace(b"/a", b"/slow") * 2], ids=["first", "answered", "waiting"])
@pytest.mark.parametrize(
    "body",
    [
        b"Transfer-Encoding: chunked\r\n\r\n4\r\nbodyzz\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: identity\r\n" + CHUNKED,
    ],
    ids=["chunk", "coding", "two codings"],
)
async def test_a_malformed_body_gets_one_answer_at_most(port: int, before: bytes, body: bytes) -> None:
    """The requests before it get theirs."""
    answers = await talk(port, before, POST + body[:-9], body[-9:])
    statuses = [answer and answer[0] for answer in answers]
    waiting = before.count(b"/slow")
    assert statuses == ([200] * before.count(b"GET") + ([] if waiting else [400]))


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * MOST_HEAD_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * MOST_HEAD_BYTES + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 4 * MOST_HEAD_BYTES,
    ],
    ids=["target", "value", "number", "without end"],
)
async def test_a_head_has_a_limit(port: int, head: bytes) -> None:
    """A larger one is answered 431, whether it arrives at once or not. A body may be larger."""
    limit = (431, b"malformed request: expected a head of at most %d bytes" % MOST_HEAD_BYTES)
    half = len(head) // 2
    assert await talk(port, head) == [limit]
    assert await talk(port, head[:half], head[half:]) == [limit]
    body = b"b" * 4 * MOST_HEAD_BYTES
    request = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    assert await talk(port, request + LAST[:9], LAST[9:]) == [(200, b"POST /a? " + body), LAST_ANSWER]


@pytest.mark.parametrize(
    "pieces", [[], [GET[:9]], [GET, GET[:9]]], ids=["nothing", "half a head", "half of the second"]
)
async def test_a_head_has_a_deadline(hasty_port: int, pieces: list[bytes]) -> None:
    """The connection is closed after it. A connection between two requests is not."""
    assert await talk(hasty_port, *pieces) == [GET_ANSWER][: len(pieces) - 1]
    assert await talk(hasty_port, GET, patience=2 * HEAD_SECONDS) == [GET_ANSWER, None]


async def test_a_client_that_closes_its_side_is_answered(port: int) -> None:
    """An incomplete request is not."""
    slow = GET.replace(b"/a", b"/slow")
    assert await talk(port, slow + GET, half_close=True) == [(200, b"GET /slow? "), GET_ANSWER]
    assert await talk(port, slow + POST + b"Content-Length: 9\r\n\r\nbody", half_close=True) == [(200, b"GET /slow? ")]
    assert await talk(port, POST + b"Content-Length: 9\r\n\r\nbody", half_close=True) == []


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        (b"http://x", b"GET /? "),
        (b"http://x?a=b", b"GET /?a=b "),
        (b"http://x/a/b?c", b"GET /a/b?c "),
        (b"https://x:8000/a", b"GET /a? "),
    ],
)
async def test_a_target_may_be_a_url(port: int, target: bytes, answer: bytes) -> None:
    """Its path may be missing."""
    assert await talk(port, b"GET %b HTTP/1.1\r\nConnection: close\r\n\r\n" % target) == [(200, answer)]


async def test_trailers_are_no_headers(port: int) -> None:
    """They are dropped, and limited like a head, also after the answer."""
    trailer = CHUNKED.removesuffix(b"\r\n") + b"Shown: trailer\r\n\r\n"
    assert await talk(port, POST + trailer, LAST) == [ANSWER, LAST_ANSWER]
    assert await talk(port, POST + b"Shown: !\r\n" + trailer, LAST) == [(200, ANSWER[1] + b"!"), LAST_ANSWER]
    for trailers in (b"a:b\r\n" * MOST_HEAD_BYTES, b"a:" + b"b" * 4 * MOST_HEAD_BYTES):
        [answer] = await talk(port, POST + CHUNKED.removesuffix(b"\r\n"), trailers)
        assert answer is not None
        assert answer[0] == 431
    body = b"b" * 4 * MOST_HEAD_BYTES
    chunks = b"%x\r\n%b\r\n" % (len(body), body) * 4 + b"0\r\n\r\n"
    request = POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks
    assert await talk(port, request[:99], request[99:], LAST) == [(200, b"POST /a? " + body * 4), LAST_ANSWER]


@pytest.mark.parametrize("piece", [b"\r\n", b"x"], ids=["empty lines", "a body"])
async def test_other_data_do_not_keep_a_connection_open(hasty_port: int, piece: bytes) -> None:
    """A connection between two requests is closed after `timeout_keep_alive` seconds unless a request begins."""
    head = GET if piece == b"\r\n" else b"GET /early HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", hasty_port)
    writer.write(head)
    assert (await reader.readuntil(b" ")).startswith(b"HTTP/1.1")
    closed = asyncio.create_task(reader.read())
    async with asyncio.timeout(20):
        while not closed.done():
            writer.write(piece)
            await asyncio.sleep(0.05)
    closed.exception()  # the connection may be reset
    writer.close()


@pytest.mark.parametrize("head", [b"GET /large HTTP/1.1\r\nHost: x\r\n", b"GET /large HTTP/1.0\r\n"])
async def test_a_client_that_does_not_read_is_disconnected(hasty_port: int, head: bytes) -> None:
    """The connection is reset, as closing it would wait for the client. One that reads gets everything."""
    [answer] = await talk(hasty_port, head + b"\r\n")
    assert answer == (200, b"x" * LARGE)
    with socket.create_connection(("127.0.0.1", hasty_port)) as client:
        client.sendall(head + b"\r\n")
        hung_up = select.poll()
        hung_up.register(client, 0)
        [(_, events)] = await asyncio.to_thread(hung_up.poll, 20_000)
        assert events & select.POLLERR


async def test_the_rest_of_a_body_must_follow_its_answer(port: int) -> None:
    """Otherwise the connection closes. It stays open if the rest follows."""
    early = b"GET /early HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    assert await talk(port, early) == [(200, b"GET /early? ")]
    assert await talk(port, early, b"b" * 9, LAST[:9], LAST[9:]) == [(200, b"GET /early? "), LAST_ANSWER]
