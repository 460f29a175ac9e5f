"""The path prefix that a proxy serves the service below."""

import ipaddress
from functools import lru_cache

from fastapi import Request
from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from service.settings import PATH_PREFIX, Settings, listed

#: Key of the scope with the address of the client or proxy that opened the connection.
PEER = "attention_service.peer"
#: The peer of a Unix socket: it has no address, and it is on this machine.
LOCAL = ("127.0.0.1", 0)


def root_path(request: Request) -> str:
    """Return the path prefix of the service's addresses; empty without one.

    It is `X-Forwarded-Prefix` if a trusted proxy sends a valid one, else the setting `root_path`.
    """
    scope = request.scope
    forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-prefix"]
    if len(forwarded) == 1:
        settings: Settings = request.app.state.settings
        peer, _ = scope.get(PEER) or scope.get("client") or LOCAL
        prefix: str = forwarded[0].decode("latin-1").rstrip("/")
        if PATH_PREFIX.fullmatch(prefix) and trusts(settings.trusted_proxies, peer):
            return prefix
    configured: str = scope.get("root_path", "")
    return configured.rstrip("/")


def route_path(scope: Scope) -> str:
    """Return the path without the prefix in `root_path`, as routes match it."""
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "")
    rest = path.removeprefix(prefix)
    return rest if not rest or rest.startswith("/") else path


@lru_cache(1024)
def trusts(proxies: str, peer: str) -> bool:
    """Return whether the setting `trusted_proxies` contains the address of a peer."""
    trusted = listed(proxies)
    if "*" in trusted:
        return True
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:  # from a socket for both families
        address = address.ipv4_mapped
    return any(address in ipaddress.ip_network(proxy) for proxy in trusted)


class ForwardedClient(ProxyHeadersMiddleware):
    """uvicorn's middleware, which puts the forwarded client and scheme into the scope for the access log.

    It keeps the address of the proxy for `root_path`.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        scope[PEER] = scope["client"] = scope.get("client") or LOCAL
        await super().__call__(scope, receive, send)  # type: ignore[arg-type]
