"""The headers of a request by their names, and its id."""

from typing import Final

from starlette.types import Scope

from service.logs import request_id

#: Key of the scope with the headers by their names.
HEADERS: Final = "attention_service.headers"
#: Header with the id of a request, in requests and answers, and the key of the scope with the id.
REQUEST_ID_HEADER: Final = "X-Request-ID"
REQUEST_ID: Final = "attention_service.request_id"


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """Return the headers of a request by their names in lower case; of repeated ones, the last.

    All layers share one dictionary for each request.
    """
    headers: dict[bytes, bytes] | None = scope.get(HEADERS)
    if headers is None:
        headers = scope[HEADERS] = dict(scope["headers"])
    return headers


def name_request_in_log(scope: Scope) -> None:
    """Let the events that this task logs have the id of its request.

    It is called where an event is possible rather than for each request: a context with a variable makes a small
    request 5 % slower.
    """
    request_id.set(scope.get(REQUEST_ID, b""))
