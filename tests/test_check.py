"""`python -m service.check` asks where the service of a container listens."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trustme

from service import check


class Handler(BaseHTTPRequestHandler):
    """Answers the path that the check requests with the status in its server's attribute."""

    server: "Stub"

    def do_GET(self) -> None:
        self.send_response(self.server.status if self.path == "/health/ready" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Write nothing."""


class Stub(HTTPServer):
    """A server that gives one status, on a port or on the path of a socket."""

    status = 200

    def server_bind(self) -> None:
        if self.address_family != socket.AF_UNIX:
            super().server_bind()
            return
        self.socket.bind(str(self.server_address))
        self.server_name, self.server_port = "localhost", 0


class PathStub(Stub):
    """The same on the path of a socket."""

    address_family = socket.AF_UNIX

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        return self.socket.accept()[0], ("", 0)


@contextmanager
def answering(server: Stub) -> Iterator[Stub]:
    """Run a server until the block ends."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def stub() -> Iterator[Stub]:
    with answering(Stub(("127.0.0.1", 0), Handler)) as server:
        yield server


@pytest.fixture
def first_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that stands for /proc/1/cmdline."""
    path = tmp_path / "cmdline"
    monkeypatch.setattr(check, "COMMAND", path)
    monkeypatch.setenv("SERVICE_DEFAULT_HOST", "0.0.0.0")  # noqa: S104 - as in the image
    path.write_bytes(b"python\0-m\0service\0")
    return path


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("python -m service", []),
        ("python -m service serve", ["serve"]),
        ("/sbin/docker-init -- python -m service --port 1", ["--port", "1"]),
        ("/opt/venv/bin/python /opt/venv/bin/attention-service --port 1", ["--port", "1"]),
        ("sh -c sleep", []),
    ],
)
def test_arguments_are_those_of_the_service(command: str, arguments: list[str]) -> None:
    """They follow the service's name, also behind an init program; another program has none."""
    assert check.arguments(command.split()) == arguments


@pytest.mark.usefixtures("first_process")
@pytest.mark.parametrize("name", ["SERVICE_PORT", "AIP_HTTP_PORT", "SAGEMAKER_BIND_TO_PORT", "SERVICE_DEFAULT_PORT"])
def test_the_port_is_that_of_the_environment(name: str, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each variable that sets the service's port sets the port of the check."""
    monkeypatch.setenv(name, str(stub.server_port))
    check.main()
    stub.status = 503
    with pytest.raises(SystemExit, match="expected status 200, got 503"):
        check.main()


def test_a_flag_of_the_first_process_wins(first_process: Path, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check has the service's flags, as `docker run IMAGE --port 9000` gives them."""
    monkeypatch.setenv("SERVICE_PORT", "1")
    first_process.write_bytes(f"python\0-m\0service\0--port\0{stub.server_port}\0".encode())
    check.main()


def test_serve_means_the_port_of_sagemaker(first_process: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`serve` stands for port 8080."""
    monkeypatch.setattr("os.environ", {})
    first_process.write_bytes(b"python\0-m\0service\0serve\0")
    asked: list[tuple[str, int]] = []

    def refuse(address: tuple[str, int], *_: object) -> socket.socket:
        asked.append(address)
        raise ConnectionRefusedError("refused")

    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(SystemExit, match=r"no answer \(refused\)"):
        check.main()
    assert asked == [("127.0.0.1", 8080)]


@pytest.mark.usefixtures("first_process")
def test_a_socket_path_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--uds` is followed."""
    path = tmp_path / "socket"
    monkeypatch.setenv("SERVICE_UDS", str(path))
    with answering(PathStub(str(path), Handler)):  # type: ignore[arg-type] # typeshed has addresses with a port only
        check.main()


@pytest.mark.usefixtures("first_process")
def test_tls_is_spoken_where_the_service_speaks_it(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate may have any name, and the check presents it where clients need one."""
    authority = trustme.CA()
    issued = authority.issue_cert("models.example.org")
    certificate, authorities = tmp_path / "cert.pem", tmp_path / "ca.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(certificate)
    authority.cert_pem.write_to_path(authorities)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    stub.socket = context.wrap_socket(stub.socket, server_side=True)
    monkeypatch.setenv("SERVICE_PORT", str(stub.server_port))
    monkeypatch.setenv("SERVICE_TLS_CERT", str(certificate))
    monkeypatch.setenv("SERVICE_TLS_CLIENT_CA", str(authorities))
    check.main()
