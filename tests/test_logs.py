"""Records of `logging` as lines, in both formats."""

import asyncio
import io
import json
import logging
import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from service.logs import RequestLog, formatter, request_id


def record(message: str, *arguments: object, error: bool = False) -> logging.LogRecord:
    """Return a record; with the traceback of an error if there is one."""
    info = None
    if error:
        try:
            raise ValueError("wrong")
        except ValueError:
            info = sys.exc_info()
    return logging.LogRecord("service.part", logging.WARNING, "file.py", 1, message, arguments, info)


def test_an_event_as_json() -> None:
    """Arguments are filled in; the line has time, level, logger, and the id of the request that is answered."""
    token = request_id.set(b"mine")
    try:
        line = formatter("json").format(record("%s is\nnew", "three", error=True))
    finally:
        request_id.reset(token)
    assert "\n" not in line
    event = json.loads(line)
    assert event.pop("time").endswith("Z")
    assert event.pop("exception").endswith("ValueError: wrong")
    assert event == {"event": "three is\nnew", "level": "warning", "logger": "service.part", "request_id": "mine"}


def test_an_event_as_text() -> None:
    """Control characters are escaped, and other characters stay. A traceback follows on indented lines."""
    line, *traceback = formatter("text").format(record("%s\n\x1b[0mü", "three", error=True)).splitlines()
    assert line.split(" ", 1)[1] == r"warning  three\n\x1b[0mü logger=service.part"
    assert all(line.startswith("    ") for line in traceback)
    assert traceback[-1] == "    ValueError: wrong"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_long_message_is_cut(log_format: str) -> None:
    """An error whose text has an array does not fill the log."""
    assert log_format in ("text", "json")
    line = formatter("json" if log_format == "json" else "text").format(record("x" * 10_000))
    assert 4000 < len(line) < 4200


def test_lines_of_several_processes_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write of so few bytes to a pipe is not interrupted by others."""
    written: list[bytes] = []

    class Output(io.BytesIO):
        """Keeps each write."""

        def write(self, lines: Any) -> int:
            written.append(bytes(lines))
            return len(lines)

    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=Output()))

    async def log() -> None:
        requests = RequestLog("json")
        for number in range(100):
            requests.add(partial(dict, number=number, path="x" * (7 * number)))
        await asyncio.sleep(0)

    asyncio.run(log())
    assert max(map(len, written)) <= 4096
    assert [json.loads(line)["number"] for lines in written for line in lines.splitlines()] == [*range(100)]
