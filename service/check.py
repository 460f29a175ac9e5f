"""`python -m service.check`: whether the service of this container is ready, for the image's HEALTHCHECK."""

import http.client
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from service.settings import Settings

#: The command of the container's first process: its words, each followed by NUL.
COMMAND: Final = Path("/proc/1/cmdline")
#: Longest time that connecting, and each read, may take, in seconds.
TIMEOUT: Final = 4
#: The own address for each address that stands for all of them.
LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - it is not listened on here


def main() -> None:
    """Return if the service of this container is ready.

    Raises:
        SystemExit: it is not. The message gives the reason.
    """
    settings = Settings.from_command_line(arguments(COMMAND.read_text().split("\0")[:-1]))
    try:
        status = status_of(settings)
    except (OSError, http.client.HTTPException) as error:
        raise SystemExit(f"error: no answer ({error})") from error
    if status != http.HTTPStatus.OK:
        raise SystemExit(f"error: expected status 200, got {status}")


def arguments(command: Sequence[str]) -> Sequence[str]:
    """Return the service's arguments in a command, which may begin with a container's init program.

    A command of another program, such as a shell, has none.
    """
    for index, word in enumerate(command):
        if Path(word).name == "attention-service" or list(command[max(index - 1, 0) : index + 1]) == ["-m", "service"]:
            return command[index + 1 :]
    return []


def status_of(settings: Settings) -> int:
    """Return the status of `/health/ready` at the address that the settings name.

    Raises:
        OSError: nothing listens there, or it does not answer in time.
        http.client.HTTPException: the answer is not HTTP.
    """
    connection = _Connection(settings)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status
    finally:
        connection.close()


class _Connection(http.client.HTTPConnection):
    """A connection to the service that has these settings."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("localhost", settings.port, timeout=TIMEOUT)
        self._settings = settings

    def connect(self) -> None:
        settings = self._settings
        if settings.uds is not None:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(TIMEOUT)
            self.sock.connect(str(settings.uds))
        else:
            host = LOOPBACK.get(settings.host, settings.host)
            self.sock = socket.create_connection((host, settings.port), TIMEOUT)
        if settings.tls_cert is not None:
            self.sock = _context(settings).wrap_socket(self.sock)


def _context(settings: Settings) -> ssl.SSLContext:
    """Return a context that accepts the service's certificate, whose name is not the loopback address.

    If clients need a certificate, the service's own is presented, so the clients' authorities must include its issuer.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if settings.tls_client_ca is not None and settings.tls_cert is not None:
        password = settings.tls_key_password
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password.get_secret_value() if password else None)
    return context


if __name__ == "__main__":
    main()
