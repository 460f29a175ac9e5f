"""The outermost middleware: request ids and the lines of the log."""

import asyncio
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from service.api.authentication import KEY_ID
from service.app import create_app
from service.logs import formatter
from service.settings import Settings
from tests.conftest import connect
from tests.server import ROOT

pytestmark = pytest.mark.anyio

SEQUENCE = {"sequence": [[0.123456, -0.654321]] * 20}
ID = "X-Request-ID"


@pytest.fixture
def make(artifacts: Path) -> Callable[..., FastAPI]:
    """Return a function that makes an app that logs requests."""
    return lambda **more: create_app(Settings(artifacts=artifacts, model="after-lstm", access_log=True, **more))


async def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the lines of JSON on the standard output so far."""
    return [json.loads(line) for line in (await printed(capsys)).splitlines()]


async def printed(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the standard output so far."""
    await asyncio.sleep(0)  # the lines of a turn of the event loop are written at its end
    return capsys.readouterr().out


@pytest.mark.parametrize("sent", ["abc", "A-z_0.9:/+=@", "x" * 128])
async def test_a_sane_request_id_is_taken(make: Callable[..., FastAPI], sent: str) -> None:
    """The answer returns it, on all kinds of routes and answers."""
    async with connect(make()) as client:
        for method, path in (("GET", "/model"), ("POST", "/predict"), ("GET", "/none"), ("HEAD", "/")):
            assert (await client.request(method, path, headers={ID: sent})).headers.get_list(ID) == [sent]


@pytest.mark.parametrize("sent", ["", "x" * 129, "a b", 'a"b', "a\tb", "\x1b[31m", "a,b"])
async def test_another_request_id_is_replaced(make: Callable[..., FastAPI], sent: str) -> None:
    """Each request has a new one."""
    async with connect(make()) as client:
        made = [(await client.get("/model", headers={ID.encode(): sent.encode()})).headers[ID] for _ in range(2)]
    assert all(re.fullmatch("[0-9a-f]{16}-[0-9a-f]+", one) for one in made)
    assert made[0] != made[1]


async def test_a_line_has_all_fields(make: Callable[..., FastAPI], capsys: pytest.CaptureFixture[str]) -> None:
    """docs/operations.md lists them; the times are those of `Server-Timing`; a refusal has its reason."""
    app = make(log_format="json")
    async with connect(app) as client:
        answer = await client.post("/predict?version=1", json=SEQUENCE, headers={ID: "mine"})
        refused = await client.get("/model", params={"model": "none"})
    good, bad = await lines(capsys)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", good.pop("time"))
    timing = dict(re.findall(r"(\w+);dur=([\d.]+)", answer.headers["Server-Timing"]))
    for step, milliseconds in timing.items():
        assert good.pop(f"{step}_seconds") == pytest.approx(float(milliseconds) / 1000, abs=2e-6)
    assert len(timing) == 4
    assert good.pop("seconds") > 0
    assert good == {
        "level": "info",
        "event": "request",
        "method": "POST",
        "route": "/predict",
        "path": "/predict",
        "status": 200,
        "bytes_in": int(answer.request.headers["Content-Length"]),
        "bytes_out": len(answer.content),
        "client": "127.0.0.1",
        "request_id": "mine",
        "model": "after-lstm",
        "version": 1,
        "sequences": 1,
    }
    assert (bad["status"], bad["refused"], bad["request_id"]) == (404, "unknown_model", refused.headers[ID])
    assert "model" not in bad


async def test_every_field_is_documented(make: Callable[..., FastAPI], capsys: pytest.CaptureFixture[str]) -> None:
    """The table in docs/operations.md has the fields of both kinds of requests."""
    section = (ROOT / "docs/operations.md").read_text().split("## Logs")[1].split("## Traces")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    documented = set(re.findall(r"`(\w+)`", " ".join(rows)))
    async with connect(make(log_format="json")) as client:
        await client.post("/predict", json=SEQUENCE)
        await client.get("/model?model=none")
    used = set().union(*await lines(capsys))
    assert documented == used | {"logger", "exception", "key", "trace_id"}


@pytest.mark.parametrize("log_format", ["text", "json"])
async def test_no_client_can_forge_a_line_or_have_its_data_logged(
    make: Callable[..., FastAPI], capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    """A line has the escaped path, and neither query, headers nor body. The middleware for keys adds the key's id."""
    app = make(log_format=log_format)

    async def authenticated(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, KEY_ID: "team-a"}, receive, send)

    headers = {"Authorization": "Bearer c3VwZXItc2VjcmV0", "Cookie": "crumbs"}
    async with connect(authenticated) as client:  # type: ignore[arg-type] # any ASGI app
        await client.get("/a%0a2026-12-31T12:00:00Z%20info%20forged%1b[31m%c3%a4?key=query-secret", headers=headers)
        await client.post("/predict?token=query-secret", json=SEQUENCE, headers=headers)
        await client.get("/" + "y" * 5000)
    text = await printed(capsys)
    assert len(text.splitlines()) == 3
    assert text.isascii()
    assert "\x1b" not in text
    assert r"\n2026" in text
    assert "y" * 190 in text
    assert "y" * 201 not in text
    assert text.count("team-a") == 3
    for secret in ("c3VwZXItc2VjcmV0", "crumbs", "query-secret", "0.123456", "654321"):
        assert secret not in text


async def test_an_unexpected_error_has_its_id_and_its_line(
    make: Callable[..., FastAPI], capsys: pytest.CaptureFixture[str]
) -> None:
    """The client can name the request."""
    app = make(log_format="json")

    @app.get("/broken")
    async def broken() -> None:
        raise ZeroDivisionError

    async with connect(app) as client:
        answer = await client.get("/broken")
    (line,) = await lines(capsys)
    assert (answer.status_code, answer.json()) == (500, {"detail": "internal error"})
    assert (line["status"], line["route"], line["bytes_out"]) == (500, "/broken", len(answer.content))
    assert line["request_id"] == answer.headers[ID]


async def test_without_the_setting_there_are_no_lines(
    make: Callable[..., FastAPI], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor are there lines where only warnings are logged."""
    async with connect(make(log_level="warning")) as client:
        await client.get("/model")
    assert capsys.readouterr().out == ""


async def test_a_request_that_is_cancelled_otherwise_stays_cancelled(make: Callable[..., FastAPI]) -> None:
    """A timeout around the app works: only a service that stops answers in place of the request."""
    app = make()

    @app.get("/slow")
    async def slow() -> None:
        await asyncio.sleep(600)

    async with connect(app) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.get("/slow")


async def test_events_of_a_request_have_its_id(make: Callable[..., FastAPI]) -> None:
    """Also those that its route logs in a thread."""
    app = make()
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(formatter("json").format(record))  # type: ignore[method-assign]
    logger = logging.getLogger("service.test")

    @app.get("/event")
    def event() -> None:
        logger.warning("an event")

    logger.addHandler(handler)
    async with connect(app) as client:
        await client.get("/event", headers={ID: "mine"})
    logger.removeHandler(handler)
    assert [json.loads(line)["request_id"] for line in lines] == ["mine"]
