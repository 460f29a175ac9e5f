"""Errors that the service expects; those of requests carry the HTTP status of their answer."""

from collections.abc import Mapping
from typing import ClassVar, Final

#: Most characters of the message of an `ArtifactError`.
LONGEST_MESSAGE: Final = 2000


def how_to_install(extra: str) -> str:
    """Return the command that installs the packages of an extra. No registry has this project."""
    return f"pip install '.[{extra}]' in the copy of the repository"


class ServiceError(Exception):
    """An expected error of a request.

    The message has the expected and the actual value, and is safe to show to a client.

    Attributes:
        status: HTTP status of the answer.
        headers: further HTTP headers of the answer.
        reason: the reason of the refusal, as metrics and logs name it.
    """

    status: ClassVar[int]
    reason: ClassVar[str]
    headers: ClassVar[Mapping[str, str]] = {}


# The docstrings below describe the answers in the OpenAPI document.


class InvalidInput(ServiceError):
    """The request has the wrong form, or its sequences do not fit the model's card."""

    reason = "invalid"
    status = 422


class Unauthorized(ServiceError):
    """The request has no key of this service."""

    reason = "unauthorized"
    status = 401
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": "Bearer"}


class Forbidden(ServiceError):
    """The service's settings, or the rights of the client's key, do not allow this."""

    reason = "forbidden"
    status = 403


class UnknownModel(ServiceError):
    """The service does not serve this model or this version."""

    reason = "unknown_model"
    status = 404


class NotAcceptable(ServiceError):
    """The resource has none of the media types that the client accepts."""

    reason = "not_acceptable"
    status = 406


class TooLarge(ServiceError):
    """The body, or the number of sequences in it, is over its limit."""

    reason = "too_large"
    status = 413


class UnsupportedMediaType(ServiceError):
    """The route does not read bodies of this media type or encoding."""

    reason = "unsupported_type"
    status = 415


class UnsupportedEncoding(UnsupportedMediaType):
    """The service does not decode bodies of this content encoding."""

    reason = "unsupported_encoding"
    headers: ClassVar[Mapping[str, str]] = {"Accept-Encoding": "gzip, deflate"}


class WrongHost(ServiceError):
    """The request is for a host that this service is not."""

    reason = "wrong_host"
    status = 421


class QueueFull(ServiceError):
    """The queue of sequences is full; the client may try again after `Retry-After` seconds."""

    reason = "queue_full"
    status = 429
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class Busy(QueueFull):
    """There are too many requests at once; the client may try again after `Retry-After` seconds."""

    reason = "busy"


class AnswersFull(QueueFull):
    """Large answers take all of their memory; the client may try again after `Retry-After` seconds."""

    reason = "answers_full"


class Unavailable(ServiceError):
    """No model can answer now: none is loaded, or the service is stopping."""

    reason = "unavailable"
    status = 503


class OutOfMemory(Unavailable):
    """The memory for this request is missing; the client may try again after `Retry-After` seconds."""

    reason = "out_of_memory"
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class DeadlineExceeded(ServiceError):
    """The answer took longer than the request timeout."""

    reason = "late"
    status = 504


class UnfinishedBody(DeadlineExceeded):
    """The body did not arrive in time."""

    reason = "unfinished_body"
    headers: ClassVar[Mapping[str, str]] = {"Connection": "close"}


class TableError(Exception):
    """A table cannot be read. The message has one line: where, what was expected, and what came."""


class ScoringError(Exception):
    """Scoring in bulk cannot begin or go on. The message has one line."""


class ArtifactError(Exception):
    """A version, or the folder of versions, cannot be served. Loading raises it, never a request.

    The message may have names of files and texts of graphs. It is safe for logs and answers, as `printable` makes it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """Return the first `LONGEST_MESSAGE` characters of a text, with those escaped that change a terminal or a line."""
    first = text[:LONGEST_MESSAGE]
    return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in first)
