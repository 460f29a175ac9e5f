"""The clients in examples/ ask a real service, and ask again where that may help."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.server import ROOT, execute, free_port, serving

EXAMPLES = ROOT / "examples"
#: Status, headers and body of an answer.
Answer = tuple[int, dict[str, str], bytes]
NODE = Path(sys.executable).parent / "node"
#: A script in each language: it asks with a client that notes its waits in seconds, and prints what came of it.
PYTHON = """
import json, sys
sys.path.append("{examples}")
from client import Client, ServiceError
import httpx

waits = []
with Client(sys.argv[1], timeout=20, attempts=3, sleep=waits.append) as client:
    try:
        outcome = client.predict([[[1.0]]])
    except ServiceError as error:
        outcome = [error.status, str(error)]
    except httpx.ConnectError:
        outcome = "no connection"
print(json.dumps([outcome, waits]))
"""
JAVASCRIPT = """
import {{ Client, ServiceError }} from "{examples}/client.mjs";

const waits = [];
const sleep = async (milliseconds) => {{ waits.push(milliseconds / 1000); }};
const client = new Client(process.argv[2], {{ timeout: 20_000, attempts: 3, sleep }});
let outcome;
try {{
  outcome = await client.predict([[[1.0]]]);
}} catch (error) {{
  outcome = error instanceof ServiceError ? [error.status, error.message] : "no connection";
}}
console.log(JSON.stringify([outcome, waits]));
"""


@pytest.fixture(params=["python", "javascript"])
def asked(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Return a function that asks an address with the client of each language, and returns outcome and waits."""
    source, program, name = {
        "python": (PYTHON, sys.executable, "ask.py"),
        "javascript": (JAVASCRIPT, str(NODE), "ask.mjs"),
    }[request.param]
    (tmp_path / name).write_text(source.format(examples=EXAMPLES))
    return lambda url: json.loads(execute([program, str(tmp_path / name), url], tmp_path))


@contextmanager
def answering(*answers: Answer) -> Iterator[str]:
    """Serve the answers (status, headers, body) one after the other; yield the address."""
    remaining = iter(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, headers, body = next(remaining)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


GOOD: Answer = (200, {}, b'{"predictions": [{"prediction": 0.5}]}')
BUSY: Answer = (429, {"Retry-After": "2"}, b'{"detail":"full"}')


@pytest.mark.parametrize(
    "command", [[sys.executable, str(EXAMPLES / "client.py")], [str(NODE), str(EXAMPLES / "client.mjs")]]
)
def test_a_client_asks_the_service(command: list[str], artifacts: Path, tmp_path: Path) -> None:
    """It asks for examples, sends them, and prints a line for each, with importance."""
    with serving("--artifacts", str(artifacts), "--model", "after-lstm") as (url, _):
        printed = execute([*command, url], tmp_path)
    assert printed.startswith(("0 ", "1 "))
    assert "[" in printed


def test_a_full_queue_is_asked_again_as_late_as_it_says(asked: Any) -> None:
    """`Retry-After` decides the wait; without it, the waits are short and grow."""
    with answering(BUSY, (503, {}, b"{}"), GOOD) as url:
        outcome, waits = asked(url)
    assert outcome == [{"prediction": 0.5}]
    assert waits[0] == 2
    assert 0.2 <= waits[1] <= 0.4


def test_the_last_refusal_is_the_error(asked: Any) -> None:
    """After as many attempts as allowed, the service's own message is raised with its status."""
    with answering(BUSY, BUSY, BUSY) as url:
        assert asked(url) == [[429, '{"detail":"full"}'], [2, 2]]


def test_a_wrong_request_is_not_sent_again(asked: Any) -> None:
    """A second attempt would be refused, too."""
    with answering((422, {}, b'{"detail":"sequences: expected numbers"}')) as url:
        assert asked(url) == [[422, '{"detail":"sequences: expected numbers"}'], []]


def test_a_wait_beyond_the_time_limit_is_not_begun(asked: Any) -> None:
    """The limit is that of the whole call."""
    with answering((503, {"Retry-After": "60"}, b"{}")) as url:
        assert asked(url) == [[503, "{}"], []]


def test_a_lost_connection_is_tried_again(asked: Any) -> None:
    """A service that restarts refuses connections for a moment."""
    outcome, waits = asked(f"http://127.0.0.1:{free_port()}")
    assert outcome == "no connection"
    assert len(waits) == 2
