"""Domain errors; each carries the HTTP status that the API answers with."""

from collections.abc import Mapping
from typing import ClassVar


class ServiceError(Exception):
    """Something that went wrong in a way the person who caused it can be told about.

    The message says what was expected and what came, and is safe to show to a client.
    """

    status: ClassVar[int]
    headers: ClassVar[Mapping[str, str]] = {}


class InvalidInput(ServiceError):
    """The request is not of the form expected, or its sequences do not fit the model's card."""

    status = 422


class Forbidden(ServiceError):
    """The service was told not to let clients do this."""

    status = 403


class UnknownModel(ServiceError):
    """No such model, or no such version of it, is served."""

    status = 404


class NotAcceptable(ServiceError):
    """The client accepts none of the media types the resource has."""

    status = 406


class TooLarge(ServiceError):
    """The body, or the number of sequences in it, is over its limit."""

    status = 413


class UnsupportedMediaType(ServiceError):
    """The body is not what the route reads."""

    status = 415


class QueueFull(ServiceError):
    """More work is waiting than the service agreed to hold."""

    status = 429
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class Unavailable(ServiceError):
    """No model can answer now: none is loaded, or the service is stopping."""

    status = 503


class DeadlineExceeded(ServiceError):
    """The answer took longer than the request timeout."""

    status = 504


class UnfinishedBody(DeadlineExceeded):
    """The body stopped coming."""

    headers: ClassVar[Mapping[str, str]] = {"Connection": "close"}


class ArtifactError(Exception):
    """A version, or the folder of versions, cannot be served. Loading raises it, never a request."""
