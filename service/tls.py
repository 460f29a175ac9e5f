"""TLS: the server's certificate, and the certificates of clients."""

import ssl
from collections.abc import Callable
from typing import Any

import uvicorn

from service.settings import Settings


def options(settings: Settings) -> dict[str, Any]:
    """Return uvicorn's options for TLS; none without a certificate.

    Raises:
        SystemExit: a file is missing or wrong. The message names it.
    """
    if settings.tls_cert is None:
        return {}
    _require_usable(settings)
    return {
        "ssl_certfile": settings.tls_cert,
        "ssl_keyfile": settings.tls_key,
        "ssl_keyfile_password": _password(settings),
        "ssl_ca_certs": settings.tls_client_ca,
        "ssl_cert_reqs": ssl.CERT_REQUIRED if settings.tls_client_ca else ssl.CERT_NONE,
        "ssl_context_factory": secured,
    }


def secured(_: uvicorn.Config, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """Return the context of a server process, which reads the files when it starts."""
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # also where the system's configuration of OpenSSL allows less
    return context


def _require_usable(settings: Settings) -> None:
    """Read the files once, as uvicorn's error would be a traceback in each worker process.

    Raises:
        SystemExit: a file is missing or wrong.
    """
    files = {"tls_cert": settings.tls_cert, "tls_key": settings.tls_key, "tls_client_ca": settings.tls_client_ca}
    for setting, path in files.items():
        try:
            if path is not None:
                path.read_bytes()
        except OSError as error:
            raise SystemExit(f"error: {setting}: {path} cannot be read: {error.strerror}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert settings.tls_cert is not None
    pair = f"{settings.tls_cert}" + (f" and {settings.tls_key}" if settings.tls_key else "")
    try:
        # Without a password, OpenSSL would ask for one on the terminal.
        context.load_cert_chain(settings.tls_cert, settings.tls_key, lambda: _password(settings) or "")
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise SystemExit(
            f"error: tls_cert: expected a certificate and its key in PEM, and the right password, in {pair}: {reason}"
        ) from None
    try:
        if settings.tls_client_ca is not None:
            context.load_verify_locations(settings.tls_client_ca)
    except ssl.SSLError as error:
        raise SystemExit(
            f"error: tls_client_ca: expected certificates in PEM in {settings.tls_client_ca}: {error.reason or error}"
        ) from None


def _password(settings: Settings) -> str | None:
    return settings.tls_key_password.get_secret_value() if settings.tls_key_password else None
