"""Middleware that asks clients for a key."""

from collections.abc import Awaitable
from typing import Final

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.error_answers import answer_service_error
from service.api.rights import Needs
from service.errors import Forbidden, ServiceError, Unauthorized
from service.keys import KeyFile

#: Key of the scope with the id of the client's key.
KEY_ID: Final = "attention_service.key"
SCHEME: Final = b"bearer"


class Authentication:
    """ASGI middleware that refuses requests without a key of the right that their route needs.

    It is inside of CORS, because browsers send preflight requests without a key, and outside of everything that finds a
    route, so that no route is called without a decision.

    Args:
        app: answers the requests that are allowed.
        keys: the keys of the clients.
        opened: groups of routes that need no key.
    """

    def __init__(self, app: ASGIApp, keys: KeyFile, opened: tuple[str, ...]) -> None:
        self.app = app
        self._keys = keys
        self._opened = opened
        self._needs: Needs | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http":
            try:
                self._check(scope)
            except ServiceError as error:
                return answer_service_error(Request(scope), error)(scope, receive, send)
        return self.app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Put the id of the client's key into the scope.

        Raises:
            Unauthorized: the client has no key.
            Forbidden: the key has not the right.
        """
        if self._needs is None:  # the app has all of its routes now
            self._needs = Needs(scope["app"].routes, self._opened)
        need = self._needs.of(scope)
        if need is None:
            return
        presented = [value for name, value in scope["headers"] if name == b"authorization"]
        if not presented:
            raise Unauthorized("expected a key, as in Authorization: Bearer KEY, got none")
        scheme, _, token = presented[0].partition(b" ")
        if len(presented) > 1 or scheme.lower() != SCHEME:
            raise Unauthorized("expected one header Authorization: Bearer KEY, got another or several")
        key = self._keys.find(token.strip())
        if key is None:
            raise Unauthorized("expected a key of this service, got another one")
        scope[KEY_ID] = key.id
        if need != "any" and need not in key.rights:
            raise Forbidden(f"expected a key with the right {need}, got one with {', '.join(sorted(key.rights))}")
