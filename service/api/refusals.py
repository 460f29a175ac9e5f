"""Refusals known beforehand: requests that there is no room for, refused before the app is asked."""

import time
import weakref
from typing import NamedTuple

from fastapi import Request, Response

from service.api.error_answers import error_answer
from service.errors import QueueFull
from service.serving.model import Model

#: How long a refusal holds, in seconds, as another version may be the one to ask by then: as long as the answer tells
#: its client to wait. Whoever comes when it has just ended is for the app, until that refuses again.
HOLDS_SECONDS = 1
#: Most addresses that are remembered, and most bytes of each: a client may make up any.
MOST_ADDRESSES, LONGEST_ADDRESS = 256, 1024


class _Refusal(NamedTuple):
    """What was answered at an address.

    Attributes:
        answer: the answer.
        model: what had no room; it may be gone.
        until: until when further requests are taken for ones for it, by `time.monotonic`.
    """

    answer: Response
    model: weakref.ref[Model]
    until: float


class Refusals:
    """Addresses at which the app has just refused a request, and how to tell whether it would refuse another one."""

    def __init__(self) -> None:
        self._refusals: dict[bytes, _Refusal] = {}

    def remember(self, request: Request, model: Model, error: QueueFull) -> None:
        """Take note that the app refuses a request because a model has no room."""
        scope = request.scope
        query = scope["query_string"]
        address = scope.get("raw_path", b"") + (b"?" + query if query else b"")  # a server may leave out the former
        if len(address) > LONGEST_ADDRESS:
            return
        if len(self._refusals) >= MOST_ADDRESSES:
            self._refusals.clear()
        answer = error_answer(scope["path"], error.status, str(error), error.headers)
        self._refusals[address] = _Refusal(answer, weakref.ref(model), time.monotonic() + HOLDS_SECONDS)

    def __bool__(self) -> bool:
        """Whether any are known."""
        return bool(self._refusals)

    def answer(self, address: bytes) -> Response | None:
        """What to answer to a request to an address, path and query as they were sent; None if the app is to say."""
        refusal = self._refusals.get(address)
        if refusal is None:
            return None
        model = refusal.model()
        if model is None or refusal.until < time.monotonic():
            del self._refusals[address]
            return None
        return None if model.let_in() else refusal.answer
