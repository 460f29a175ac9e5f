"""Every command in docs/protocols.md runs as written, and every route is in the document."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.app import create_app
from service.settings import Settings
from tests.server import ROOT, execute, serving

TEXT = (ROOT / "docs" / "protocols.md").read_text()
#: The definitions. The commands are in the last column of the tables, where Markdown escapes bars.
(DEFINITIONS,) = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [line.replace(r"\|", "|") for line in re.findall(r"^\|.*\| `(.*)` \|$", TEXT, re.MULTILINE)]


@pytest.fixture(scope="module")
def url(artifacts: Path) -> Iterator[str]:
    with serving("--artifacts", str(artifacts), "--model", "after-lstm", "--model-control") as (url, _):
        yield url


def test_every_line_is_answered(url: str, tmp_path: Path) -> None:
    """Run in their order, all commands succeed; all but the binary one answer JSON."""
    assert len(COMMANDS) == 47
    definitions = DEFINITIONS.replace("http://127.0.0.1:8000", url)
    for command in COMMANDS:
        line = definitions + command.replace("curl -s", "curl -s --fail-with-body")
        answer = execute(["bash", "-euo", "pipefail", "-c", line], tmp_path)
        assert "-o answer.bin" in command or command.endswith("/version") or json.loads(answer) is not None
    assert (tmp_path / "answer.bin").read_bytes().startswith(b'{"model_name":"after-lstm"')


def test_every_route_is_there(artifacts: Path) -> None:
    """The document has a command for every path of the protocols."""
    paths = create_app(Settings(artifacts=artifacts, model="after-lstm")).openapi()["paths"]
    native = {
        "/predict",
        "/attention",
        "/model",
        "/model/example",
        "/models",
        "/metrics",
        "/health/live",
        "/health/ready",
        "/health/started",
    }
    requested = {re.search(r"\$URL(/\S*)", command)[1] for command in COMMANDS}  # type: ignore[index]
    for path in paths.keys() - native:
        if "/versions/{version}" not in path:
            assert path.replace("{model}", "after-lstm") in requested
