"""Middleware that protects browsers: the hosts of requests, and forms of other sites."""

import ipaddress
import re
from collections.abc import Awaitable, Sequence
from functools import lru_cache
from typing import Final

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.error_answers import answer_service_error
from service.api.request_headers import headers_of
from service.errors import Forbidden, ServiceError, WrongHost

#: A name or an address as `Host` has it, and its port.
HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]*))(?::\d*)?")
#: Longest name of a host in DNS, with brackets and a port.
LONGEST_HOST: Final = 263
#: Stands for all hosts, or all origins.
ALL: Final = "*"
#: The media types that a browser posts to another site without a preflight request; the empty one stands for none.
FORM_TYPES: Final = frozenset({"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"})


class Protection:
    """ASGI middleware that refuses wrong hosts and forms of other sites.

    Args:
        app: answers the requests that are allowed.
        hosts: the setting `allowed_hosts`; without one, requests for all hosts are answered.
        origins: the setting `cors_origins`.
    """

    # Starlette's TrustedHostMiddleware would refuse probes, which have an address and no name, and clients without
    # `Host`, and its answers have another form.

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = (), origins: Sequence[str] = ()) -> None:
        self.app = app
        self._hosts = tuple(hosts)
        self._origins = frozenset(origins)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http":
            return self.app(scope, receive, send)

        try:
            if self._hosts:
                require_host(scope, self._hosts)
            if scope["method"] == "POST" and b"origin" in headers_of(scope):  # with every form of another site
                self._require_no_foreign_form(Headers(scope=scope))
        except ServiceError as error:
            return answer_service_error(Request(scope), error)(scope, receive, send)
        return self.app(scope, receive, send)

    def _require_no_foreign_form(self, headers: Headers) -> None:
        """Refuse a request that a page of another site can make a browser post without leave.

        Raises:
            Forbidden: it is such a request.
        """
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in FORM_TYPES or not self._origins.isdisjoint((headers["origin"], ALL)):
            return
        site = headers.get("sec-fetch-site")  # not all browsers send it, and none without HTTPS to other machines
        same = headers["origin"].partition("://")[2] == headers.get("host", "").lower()
        if site not in ("same-origin", "none") if site is not None else not same:
            raise Forbidden(
                f"expected a request of this site, or one of a media type that no form has, such as application/json; "
                f"got {media_type or 'no media type'} and Origin: {headers['origin'][:80]}"
            )


def require_host(scope: Scope, names: tuple[str, ...]) -> None:
    """Refuse a request for a host that is not an address, `localhost`, or one of some names.

    A page of another site can make its own name lead to this service (DNS rebinding). The browser then takes both for
    one site, and only `Host` still has the name. Requests without `Host` come from no browser.

    Raises:
        WrongHost: the request is for another host.
    """
    for name, value in scope["headers"]:
        if name == b"host" and not (len(value) <= LONGEST_HOST and _is_allowed(value, names)):
            got = value[:80].decode("latin-1")
            raise WrongHost(
                f"expected Host to be an address, localhost or one of --allowed-hosts ({', '.join(names) or 'none'}), "
                f"got {got!r}"
            )


@lru_cache(256)
def _is_allowed(host: bytes, names: tuple[str, ...]) -> bool:
    found = HOST.fullmatch(host.decode("latin-1"))
    if found is None:
        return False
    name = (found[1] or found[2]).lower().removesuffix(".")
    if name in ("", "localhost") or ALL in names or _is_address(name):
        return True
    return any(
        name == allowed or (allowed.startswith("*.") and name.endswith(allowed[1:]))
        for allowed in map(str.lower, names)
    )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
