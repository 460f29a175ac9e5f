"""Lines of the log: their fields and formats, for requests and for events."""

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Literal

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

Format = Literal["text", "json"]
#: Makes the fields of a line.
Fields = Callable[[], Mapping[str, Any]]

#: Longest text from a client in a line, and longest message of an event.
LONGEST_TEXT: Final = 200
LONGEST_EVENT: Final = 4000
#: Most bytes of a write to a pipe that those of other worker processes cannot interrupt: PIPE_BUF of pipe(7).
PIPE_BYTES: Final = 4096

#: Id of the request that this task answers; empty outside of requests.
request_id: ContextVar[bytes] = ContextVar("request_id", default=b"")

ADD_TIME: Final = structlog.processors.TimeStamper(fmt="iso", utc=True, key="time")
LOGFMT: Final = structlog.processors.LogfmtRenderer()


def shown(text: str) -> str:
    """Return text from a client as lines show it: short, and without control characters."""
    if len(text) > LONGEST_TEXT:
        text = f"{text[:LONGEST_TEXT]}..."
    return text if text.isascii() and text.isprintable() else ascii(text)[1:-1]


class RequestLog:
    """Writes a line for each request to the standard output.

    The lines of one turn of the event loop are made and written together, which takes a fraction of the time.

    Args:
        log_format: the format of the lines.
    """

    def __init__(self, log_format: Format) -> None:
        self._write = structlog.BytesLogger(sys.stdout.buffer).info
        self._render = RENDERERS[log_format]
        self._waiting: list[tuple[float, Fields]] = []

    def add(self, fields: Fields) -> None:
        """Write a line with the present time and some fields, before the event loop waits again."""
        self._waiting.append((time.time(), fields))
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._write_lines)

    def _write_lines(self) -> None:
        waiting, self._waiting = self._waiting, []
        lines: list[bytes] = []
        size = 0
        for seconds, fields in waiting:
            line = self._line(seconds, fields())
            size += len(line) + 1
            if lines and size > PIPE_BYTES:
                self._write(b"\n".join(lines))
                lines, size = [], len(line) + 1
            lines.append(line)
        self._write(b"\n".join(lines))

    def _line(self, seconds: float, fields: Mapping[str, Any]) -> bytes:
        # structlog's loggers and its time take three times as long as its renderers.
        whole = int(seconds)
        now = f"{_date_and_time(whole)}.{int((seconds - whole) * 1e6):06}Z"
        return self._render(None, "info", {"time": now, "level": "info", "event": "request", **fields})


@lru_cache(2)
def _date_and_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()


def log_config(level: str, log_format: Format) -> dict[str, Any]:
    """Return the configuration of `logging`, for `dictConfig`: all lines go to the standard error."""
    logger = {"handlers": ["events"], "level": level.upper(), "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": "service.logs.formatter", "log_format": log_format}},
        "handlers": {"events": {"class": "logging.StreamHandler", "formatter": "lines"}},
        "root": {"handlers": ["events"], "level": "WARNING"},
        "loggers": {"uvicorn": logger, "service": logger},
    }


def formatter(log_format: Format) -> logging.Formatter:
    """Return the formatter of the records of `logging`."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[ADD_TIME, structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name, _add_request_id],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _shorten_event,
            RENDERERS[log_format],
            _decode,
        ],
    )


def _as_json(_: WrappedLogger, __: str, event: EventDict) -> bytes:
    return orjson.dumps(event, default=repr)


def _as_text(_: WrappedLogger, __: str, event: EventDict) -> bytes:
    """Return time, level and message, then the other fields as `name=value`, then a traceback on further lines."""
    time, level, message, traceback = (event.pop(key, "") for key in ("time", "level", "event", "exception"))
    message = message.rstrip("\n")
    if not message.isprintable():  # an event of several lines could forge a line
        message = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in message)
    fields = LOGFMT(None, "", event)
    line = f"{time} {level:<8} {message}{' ' if fields else ''}{fields}"
    # Indented, as the text of an error may look like a line.
    return ("\n    ".join([line, *traceback.splitlines()]) if traceback else line).encode(errors="backslashreplace")


RENDERERS: Final[Mapping[Format, Callable[[WrappedLogger, str, EventDict], bytes]]] = {
    "json": _as_json,
    "text": _as_text,
}


def _add_request_id(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if identifier := request_id.get():
        event["request_id"] = identifier.decode()
    return event


def _shorten_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if len(text := event["event"]) > LONGEST_EVENT:
        event["event"] = f"{text[:LONGEST_EVENT]}..."
    return event


def _decode(_: WrappedLogger, __: str, line: Any) -> str:
    decoded: str = line.decode()
    return decoded
