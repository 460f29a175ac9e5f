"""Large answers are admitted within a bound on their bytes, and sent in pieces."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from starlette.types import Message

from service.api.answer_memory import BYTES_OF_NUMBER, PIECE_BYTES, AnswerMemory
from service.app import create_app
from service.settings import Settings
from tests.conftest import connect
from tests.fakes import IN_THREAD, answer_nan, held, interceptable, until

pytestmark = pytest.mark.anyio

COUNT = 300
SEQUENCES = np.random.default_rng(0).standard_normal((COUNT, 20, 2)).astype(np.float32).tolist()
#: Each has an answer of more than one part.
LARGE: list[tuple[str, Any]] = [
    ("/predict", {"sequences": SEQUENCES, "attention": "full"}),
    ("/v1/models/after-lstm:predict", {"instances": SEQUENCES, "signature_name": "attention"}),
    (
        "/v2/models/after-lstm/infer",
        {
            "inputs": [{"name": "sequence", "shape": [COUNT, 20, 2], "datatype": "FP32", "data": SEQUENCES}],
            "parameters": {"binary_data_output": True},
        },
    ),
]


@pytest.fixture(scope="module")
def app(artifacts: Path) -> FastAPI:
    return create_app(
        Settings(artifacts=artifacts, model="after-lstm", max_requests=2),
        open_engine=interceptable("onnx", IN_THREAD),
    )


@pytest.fixture(autouse=True)
def memory(app: FastAPI) -> AnswerMemory:
    """Return a new memory for the answers of the app."""
    app.state.answer_memory = memory = AnswerMemory()
    return memory


async def ask(app: FastAPI, path: str, body: Any, read: asyncio.Event) -> list[Message]:
    """Post a body; take each piece of the answer once `read` is set. Return the messages of the answer."""
    request = httpx.Request("POST", "http://test" + path, json=body)
    messages: list[Message] = []
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": request.content, "more_body": False}

    async def send(message: Message) -> None:
        messages.append(message)
        await read.wait()

    await app(scope, receive, send)
    return messages


@pytest.mark.parametrize(("path", "body"), LARGE, ids=["predict", "v1", "v2 binary"])
async def test_a_large_answer_is_sent_in_pieces_and_holds_its_memory_until_then(
    app: FastAPI, memory: AnswerMemory, path: str, body: Any
) -> None:
    """A client that does not read holds back the rest. A client that gives up frees the memory."""
    read = asyncio.Event()
    asked = asyncio.create_task(ask(app, path, body, read))
    gave_up = asyncio.create_task(ask(app, path, body, asyncio.Event()))
    await until(lambda: memory.held > 0)
    gave_up.cancel()
    await asyncio.wait([gave_up])
    read.set()
    start, *pieces = await asked
    assert start["status"] == 200
    assert dict(start["headers"])[b"content-length"] == b"%d" % sum(len(piece.get("body", b"")) for piece in pieces)
    assert max(len(piece.get("body", b"")) for piece in pieces) == PIECE_BYTES
    assert memory.held == 0


async def test_answers_beyond_the_bound_are_refused(app: FastAPI, memory: AnswerMemory) -> None:
    """Small answers are not counted."""
    path, body = LARGE[0]
    share = memory.hold(memory.most // BYTES_OF_NUMBER)
    async with connect(app) as client:
        answer = await client.post(path, json=body)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert (await client.post(path, json={"sequence": SEQUENCES[0]})).status_code == 200
        share.resize(0)
        assert (await client.post(path, json=body)).status_code == 200
        memory.most = 1000
        answer = await client.post(path, json=body)
        assert answer.status_code == 413
        assert answer.json()["detail"].startswith("expected an answer of at most 50 numbers, got a request for ")
        assert memory.held == 0


async def test_an_answer_in_parts_is_the_same(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that is not finite is named by its place in the whole answer, and frees the memory."""
    path, body = LARGE[0]
    async with connect(app) as client:
        in_parts = (await client.post(path, json=body)).content
        monkeypatch.setattr("service.api.routes.predict.NUMBERS_OF_PART", 10**9)
        assert (await client.post(path, json=body)).content == in_parts
        monkeypatch.setattr("service.api.routes.predict.NUMBERS_OF_PART", 1)
        answer_nan(monkeypatch, app, sequence=3, timestep=3)
        answer = await client.post(path, json={**body, "attention": "mean"})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("sequence 3: ")


async def test_a_worker_has_at_most_so_many_requests_at_once(app: FastAPI) -> None:
    """Further ones are refused, in the form of their protocol. Health and metrics are answered."""
    async with connect(app) as client:
        with held(app):
            asked = [asyncio.create_task(client.post("/predict", json={"sequence": SEQUENCES[0]})) for _ in range(2)]
            await until(lambda: app.state.repository.get().batcher.queue.rows == 2)
            refused = await client.post("/v1/models/after-lstm:predict", json={"instances": SEQUENCES[:1]})
            assert refused.status_code == 429
            assert refused.json() == {"error": "expected at most 2 requests at once, got more"}
            for path in ("/health/live", "/health/ready", "/metrics"):
                assert (await client.get(path)).status_code == 200
        assert [(await one).status_code for one in asked] == [200, 200]
        assert (await client.post("/predict", json={"sequence": SEQUENCES[0]})).status_code == 200
