"""What is refused for want of room is answered at once, its body dropped, and the connection goes on."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
import uvloop
from fastapi import FastAPI

from service.app import create_app
from service.connection import FIRST_BYTES, Connection, Head, plain_head
from service.serving.model import Model
from service.settings import Settings

pytestmark = pytest.mark.anyio

SEQUENCE = [[0.5, -0.5]] * 20
BODY = json.dumps({"sequence": SEQUENCE}).encode()
LARGE = json.dumps({"sequences": [SEQUENCE] * 1000}).encode()
V1 = "/v1/models/after-lstm:predict"


class Talk:
    """A connection to the service, by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, text: bytes) -> None:
        self.writer.write(text)

    def post(self, body: bytes, path: str = "/predict", *headers: str) -> None:
        self.send(head(len(body), path, *headers) + body)

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        """The next answer: its status, headers and JSON."""
        async with asyncio.timeout(20):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
            content = await self.reader.readexactly(int(headers["content-length"]))
        return int(lines[0].split()[1]), headers, json.loads(content)

    async def ended(self) -> bool:
        async with asyncio.timeout(20):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True


def head(length: int, path: str = "/predict", *headers: str) -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: here", "Content-Type: application/json", f"Content-Length: {length}")
    return "\r\n".join([*lines, *headers, "", ""]).encode()


class Service:
    """The service, whose model is full when told so.

    Attributes:
        port: where it listens.
        server, loop: what serves it, and where.
        asked: how often its app looked whether there is room.
    """

    def __init__(self, app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
        self.app, self.port, self.asked = app, 0, 0
        self.server: uvicorn.Server
        self.loop: asyncio.AbstractEventLoop
        self.model: Model = app.state.repository.get()
        batcher = self.model._batcher
        monkeypatch.setattr(batcher, "_max_queue", 4)

        admit = Model.admit

        def counted(model: Model) -> None:
            self.asked += 1
            admit(model)

        monkeypatch.setattr(Model, "admit", counted)

    def fill(self) -> None:
        self.model._batcher._rows = 4

    def empty(self) -> None:
        self.model._batcher._rows = 0

    async def do(self, call: Callable[[], None]) -> None:
        """Call something where the service runs, before anything that is sent to it later."""

        async def there() -> None:
            call()

        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(there(), self.loop))

    @asynccontextmanager
    async def talk(self) -> AsyncIterator[Talk]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Talk(reader, writer)
        finally:
            writer.close()


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def service(request: pytest.FixtureRequest, artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A service in a thread, on either event loop."""
    # Long enough for the slowest machine: a test says what expires.
    monkeypatch.setattr("service.api.refusals.HOLDS_SECONDS", 3600)
    app = create_app(Settings(artifacts=artifacts, model="after-lstm", engine="onnx"))
    served = Service(app, monkeypatch)
    config = uvicorn.Config(
        app,
        port=0,
        http=Connection,  # type: ignore[arg-type]
        access_log=False,
        log_level="warning",
        timeout_keep_alive=1,
    )
    server = uvicorn.Server(config)
    loop = request.param()
    served.server, served.loop = server, loop
    thread = threading.Thread(target=lambda: loop.run_until_complete(server.serve()))
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        served.port = server.servers[0].sockets[0].getsockname()[1]
        yield served
    finally:
        served.empty()
        server.should_exit = True
        thread.join()
        loop.close()


async def refuse_once(service: Service, path: str = "/predict") -> tuple[dict[str, str], Any]:
    """Have the app refuse a request to a path; returns what it answered, less the date."""
    service.fill()
    async with service.talk() as talk:
        talk.post(BODY, path)
        status, headers, content = await talk.answer()
    assert status == 429
    assert service.asked == 1
    return {**headers, "date": ""}, content


async def is_served(service: Service, talk: Talk) -> None:
    """See to it that a connection goes on: once there is room, its next answer is a prediction."""
    service.empty()
    talk.post(BODY)
    assert (await talk.answer())[0] == 200


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("path", ["/predict", "/predict?model=after-lstm", V1])
async def test_further_requests_are_answered_as_the_first_was(service: Service, path: str) -> None:
    """Byte for byte, in the shape of the route, and without the app."""
    expected = await refuse_once(service, path)
    async with service.talk() as talk:
        for body in (BODY, LARGE, b"{", LARGE):
            talk.post(body, path)
            status, headers, content = await talk.answer()
            assert status == 429
            assert ({**headers, "date": ""}, content) == expected
    assert service.asked == 1


@pytest.mark.parametrize("size", [1, FIRST_BYTES - 200, FIRST_BYTES, FIRST_BYTES + 1, 100_000, 3_000_000])
async def test_what_follows_a_dropped_body_is_heard(service: Service, size: int) -> None:
    """Other requests in the same piece of data, too, however large the body is, whoever answers them."""
    await refuse_once(service)
    async with service.talk() as talk:
        talk.send(
            head(size) + b"x" * size + head(size) + b"y" * size + b"GET /health/live HTTP/1.1\r\nHost: here\r\n\r\n"
        )
        assert [(await talk.answer())[0] for _ in range(3)] == [429, 429, 200]
        await is_served(service, talk)


async def test_the_answer_comes_before_the_body(service: Service) -> None:
    """Whose pieces are dropped as they come; then the connection goes on."""
    await refuse_once(service)
    async with service.talk() as talk:
        talk.send(head(200_000))
        assert (await talk.answer())[0] == 429
        for _ in range(4):
            talk.send(b"[" * 50_000)
            await asyncio.sleep(0.01)
        await is_served(service, talk)


async def test_a_head_in_pieces_is_for_the_app(service: Service) -> None:
    """Which refuses it all the same; and the connection goes on."""
    await refuse_once(service)
    async with service.talk() as talk:
        for byte in head(len(LARGE)):
            talk.send(bytes([byte]))
            await asyncio.sleep(0.001)
        talk.send(LARGE)
        assert (await talk.answer())[0] == 429
        assert service.asked == 2
        await is_served(service, talk)


@pytest.mark.parametrize("size", [3 * FIRST_BYTES, 40 * FIRST_BYTES])
async def test_only_the_first_piece_of_a_request_is_small(
    service: Service, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """A parser may join what it has with each piece that comes."""
    buffers: list[int] = []
    get_buffer = Connection.get_buffer

    def noted(made: Connection, hint: int) -> memoryview:
        buffer = get_buffer(made, hint)
        buffers.append(len(buffer))
        return buffer

    monkeypatch.setattr(Connection, "get_buffer", noted)
    async with service.talk() as talk:
        talk.send(head(len(BODY))[:-2] + b"Long: " + b"x" * size + b"\r\n\r\n" + BODY)
        assert (await talk.answer())[0] == 200
    assert sum(buffer == FIRST_BYTES for buffer in buffers) <= 2


async def test_who_does_not_read_answers_is_for_the_app(service: Service) -> None:
    """It waits until they are read; here they would pile up."""
    await refuse_once(service)
    async with service.talk() as talk:
        talk.post(BODY)
        assert (await talk.answer())[0] == 429
        port = talk.writer.get_extra_info("sockname")[1]
        connections: Any = service.server.server_state.connections
        (connection,) = (one for one in connections if one.client[1] == port)
        await service.do(connection.pause_writing)  # as the transport does while much is unread
        talk.post(BODY)
        await until(lambda: service.asked == 2)
        await service.do(connection.resume_writing)
        assert (await talk.answer())[0] == 429
        await is_served(service, talk)


async def test_answers_keep_their_order(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is refused waits for the answer to what the same client asked before."""
    await refuse_once(service)
    service.empty()
    may_predict = threading.Event()
    predict = Model.predict

    async def held(*args: Any) -> Any:
        await until(may_predict.is_set)
        return await predict(*args)

    monkeypatch.setattr(Model, "predict", held)
    async with service.talk() as talk:
        asked = service.asked
        talk.post(BODY)
        await until(lambda: service.asked == asked + 2)
        service.fill()
        talk.post(BODY)
        await asyncio.sleep(0.05)
        service.empty()
        may_predict.set()
        assert (await talk.answer())[0] == 200


async def test_a_body_is_not_taken_for_a_request(service: Service) -> None:
    """Even if it looks like one, and its own request was answered before it came."""
    await refuse_once(service)
    body = head(0)
    async with service.talk() as talk:
        text = head(len(body))
        talk.send(text[:20])
        await asyncio.sleep(0.05)
        talk.send(text[20:])  # in pieces, it is for the app
        assert (await talk.answer())[0] == 429
        talk.send(body)
        await asyncio.sleep(0.05)
        await is_served(service, talk)


async def test_a_connection_that_is_used_is_kept(service: Service) -> None:
    """For longer than an idle one is, if nothing but refusals comes of it."""
    await refuse_once(service)
    async with service.talk() as talk:
        for _ in range(6):
            talk.post(BODY)
            assert (await talk.answer())[0] == 429
            await asyncio.sleep(0.25)  # far less than an idle one may take, which slow machines need
        await is_served(service, talk)


async def test_what_is_to_be_logged_is_for_the_app(service: Service) -> None:
    """As uvicorn writes the log."""
    await refuse_once(service)
    service.server.config.access_log = True
    async with service.talk() as talk:
        talk.post(BODY)
        assert (await talk.answer())[0] == 429
    assert service.asked == 2


async def test_once_there_is_room_the_app_is_asked(service: Service) -> None:
    """Of which it is told by the model itself."""
    await refuse_once(service)
    async with service.talk() as talk:
        await is_served(service, talk)
    assert service.asked > 1


async def test_other_addresses_are_not_concerned(service: Service) -> None:
    """Nor other methods at the same one."""
    await refuse_once(service)
    async with service.talk() as talk:
        talk.send(b"GET /predict HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\n{}")
        assert (await talk.answer())[0] == 405
        talk.post(BODY, "/predict?model=nobody")
        assert (await talk.answer())[0] == 404


@pytest.mark.parametrize("length", [0, 1])
@pytest.mark.parametrize("header", ["Connection: close", "Proxy-Connection: close"])
def test_who_wants_to_end_the_connection_is_not_plain(header: str, length: int) -> None:
    """Whether there is a body or none."""
    assert plain_head(head(length)) == Head(b"/predict", length)
    assert plain_head(head(length, "/predict", header)) is None


@pytest.mark.parametrize("header", ["Expect: 100-continue", "Connection: close"])
async def test_what_is_not_plain_is_for_the_app(service: Service, header: str) -> None:
    """It is refused all the same, and the connection closed, as the client expects."""
    await refuse_once(service)
    async with service.talk() as talk:
        talk.send(head(len(BODY), "/predict", header))
        assert (await talk.answer())[0] == 429
        assert await talk.ended()
    assert service.asked == 2


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("POST", "PUT"),
        ("HTTP/1.1", "HTTP/1.0"),
        ("Content-Length: 7", "Content-Length: 7\r\nContent-Length: 7"),
        ("Content-Length: 7", "Content-Length: 7\r\nTransfer-Encoding: chunked"),
        ("Content-Length: 7", "Content-Length: seven"),
        ("Content-Length: 7", "Transfer-Encoding: chunked"),
        ("Content-Length: 7", "Content-Length: 7\r\nConnection: upgrade\r\nUpgrade: h2c"),
        ("Content-Length: 7", "Content-Length: 7\r\nexpect: 100-continue"),
        ("Content-Length: 7", "Content-Length: 7\r\nConnection: Close"),
        ("Host: here", "Host"),
        ("\r\n\r\n", "\r\n"),
    ],
)
def test_heads_that_are_not_plain(before: str, after: str) -> None:
    """Whether the body can be dropped is said by the head."""
    text = head(7, "/predict?model=it").decode()
    assert plain_head(text.encode()) == Head(b"/predict?model=it", 7)
    assert plain_head(text.replace(before, after).encode()) is None


async def test_a_body_in_chunks_is_for_the_app(service: Service) -> None:
    """How long it is cannot be known."""
    await refuse_once(service)
    async with service.talk() as talk:
        chunked = head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        for _ in range(2):
            talk.send(chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY))
            assert (await talk.answer())[0] == 429
    assert service.asked == 3


async def test_who_stops_sending_is_let_go(service: Service) -> None:
    """After as long as an idle connection is kept."""
    await refuse_once(service)
    async with service.talk() as talk:
        talk.send(head(1000) + b"x" * 999)
        assert (await talk.answer())[0] == 429
        assert await talk.ended()


async def test_who_leaves_in_the_middle_does_no_harm(service: Service) -> None:
    """The next one is served."""
    await refuse_once(service)
    for _ in range(3):
        async with service.talk() as talk:
            talk.send(head(10**9) + b"x" * 10**6)
            assert (await talk.answer())[0] == 429
    async with service.talk() as talk:
        await is_served(service, talk)


async def test_without_a_flag_of_the_kernel_bytes_are_dropped_all_the_same(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on other systems, where they are read and forgotten."""
    monkeypatch.setattr("service.connection.socket.MSG_TRUNC", 0)
    await refuse_once(service)
    async with service.talk() as talk:
        for _ in range(3):
            talk.post(LARGE)
            assert (await talk.answer())[0] == 429
    assert service.asked == 1


async def test_room_for_one_lets_in_one(service: Service) -> None:
    """Of many that come before the first of them is read; the others are not read."""
    await refuse_once(service)
    service.model._batcher._rows = 3
    asked = service.asked
    async with service.talk() as first, service.talk() as second:
        first.send(head(len(BODY)))
        await until(lambda: service.asked > asked)
        second.post(LARGE)
        assert (await second.answer())[0] == 429
        assert service.asked == asked + 1


async def test_a_refusal_does_not_hold_for_ever(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version may be the one to ask by then."""
    monkeypatch.setattr("service.api.refusals.HOLDS_SECONDS", 0)
    await refuse_once(service)
    async with service.talk() as talk:
        talk.post(BODY)
        assert (await talk.answer())[0] == 429
    assert service.asked == 2


async def test_addresses_that_differ_are_not_kept_without_end(service: Service) -> None:
    """A client may make up as many as it likes."""
    service.fill()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}") as client:
        for version in range(300):
            query = f"/predict?model=after-lstm&version=1&{'x' * version}"
            await client.post(query, json={"sequence": SEQUENCE})
            await client.post(f"/predict?model=after-lstm&{'x' * 2000}{version}", json={"sequence": SEQUENCE})
    remembered = service.app.state.refusals._refusals
    assert 0 < len(remembered) <= 256
    assert max(map(len, remembered)) <= 1024
