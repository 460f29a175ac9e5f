"""TLS, with and without certificates of clients, over real sockets."""

import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import trustme
import uvicorn
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_pem_x509_certificate
from pydantic import SecretStr

from service import tls
from service.settings import Settings
from tests.server import free_port, running

BODY = {"sequence": [[0.1, -0.2]] * 20}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def write(path: Path, blob: trustme.Blob) -> str:
    """Write PEM to a file and return its path."""
    path.write_bytes(blob.bytes())
    return str(path)


def serial(port: int, context: ssl.SSLContext) -> int:
    """Return the serial number of the server's certificate."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=30)
    with context.wrap_socket(plain, server_hostname="localhost") as secured:
        return int(str((secured.getpeercert() or {})["serialNumber"]), 16)


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Return once a condition holds; fail if the process ends or it takes too long."""
    deadline = time.monotonic() + 60
    while True:
        try:
            if condition():
                return
        except (httpx.TransportError, OSError):
            pass
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.program
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_service_with_certificates(artifacts: Path, tmp_path: Path, authority: trustme.CA, workers: str) -> None:
    """With two workers, clients need a certificate. TLS below 1.2 is refused. SIGHUP takes a new certificate."""
    first, second = (authority.issue_cert("localhost", "127.0.0.1") for _ in range(2))
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    write(certificate, first.cert_chain_pems[0])
    write(key, first.private_key_pem)
    arguments = ["--tls-cert", str(certificate), "--tls-key", str(key), "--workers", workers]
    mutual = workers == "2"
    if mutual:
        arguments += ["--tls-client-ca", write(tmp_path / "ca.pem", authority.cert_pem)]
    port = free_port()
    command = [sys.executable, "-m", "service", "--artifacts", str(artifacts), "--model", "after-lstm", "--port"]
    anonymous, known = (ssl.create_default_context() for _ in range(2))
    for context in (anonymous, known):
        authority.configure_trust(context)
    authority.issue_cert("client").configure_cert(known)
    url = f"https://localhost:{port}"
    with running([*command, str(port), *arguments]) as process, httpx.Client(verify=known) as client:
        until(lambda: client.get(f"{url}/health/ready").status_code == 200, process)
        assert client.post(f"{url}/predict", json=BODY).status_code == 200
        with httpx.Client(verify=anonymous) as stranger:
            if mutual:
                with pytest.raises(httpx.TransportError, match=r"(?i)certificate required|reset|disconnected|closed"):
                    stranger.get(f"{url}/health/live")
            else:
                assert stranger.post(f"{url}/predict", json=BODY).status_code == 200
        with pytest.raises(httpx.TransportError):
            client.get(url.replace("https", "http"))
        old = shutil.which("openssl")
        assert old
        for version, works in (("-tls1", False), ("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)):
            # Without a level, openssl itself would refuse the old versions.
            spoken = subprocess.run(
                [old, "s_client", "-connect", f"127.0.0.1:{port}", version, "-cipher", "ALL:@SECLEVEL=0"],
                input="", capture_output=True, text=True, timeout=30, check=False,
            ).stdout  # fmt: skip
            assert ("Cipher is (NONE)" not in spoken) == works, (version, spoken)
        assert serial(port, known) == serial_of(first)
        write(certificate, second.cert_chain_pems[0])
        write(key, second.private_key_pem)
        process.send_signal(signal.SIGHUP)
        until(lambda: {serial(port, known) for _ in range(8)} == {serial_of(second)}, process)
        assert client.post(f"{url}/predict", json=BODY).status_code == 200
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=60)[0]
    assert f"listening on https://127.0.0.1:{port}" in output
    assert "Traceback" not in output


def serial_of(certificate: trustme.LeafCert) -> int:
    """Return the serial number of a certificate."""
    return load_pem_x509_certificate(certificate.cert_chain_pems[0].bytes()).serial_number


def write_encrypted(path: Path, key: trustme.Blob) -> str:
    """Write a key with the password "secret" to a file and return its path."""
    private = load_pem_private_key(key.bytes(), password=None)
    encryption = BestAvailableEncryption(b"secret")
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return str(path)


def test_no_version_below_1_2_is_spoken() -> None:
    """Whatever the system's configuration of OpenSSL allows."""

    def lenient() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        return context

    assert tls.secured(uvicorn.Config("app"), lenient).minimum_version == ssl.TLSVersion.TLSv1_2


def test_files_are_checked_before_the_service_starts(tmp_path: Path, authority: trustme.CA) -> None:
    """The error is one line, and names the setting and the file."""
    one, other = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    certificate = write(tmp_path / "cert.pem", one.cert_chain_pems[0])
    key = write(tmp_path / "key.pem", one.private_key_pem)
    wrong_key = write(tmp_path / "other.pem", other.private_key_pem)
    together = write(tmp_path / "both.pem", one.private_key_and_cert_chain_pem)
    nonsense, missing = tmp_path / "nonsense.pem", tmp_path / "missing.pem"
    nonsense.write_text("nonsense")
    locked = write_encrypted(tmp_path / "locked.pem", one.private_key_pem)
    for settings, message in (
        ({"tls_cert": missing}, f"tls_cert: {missing} cannot be read: No such file"),
        ({"tls_cert": certificate, "tls_key": missing}, f"tls_key: {missing} cannot be read: No such file"),
        ({"tls_cert": certificate, "tls_key": wrong_key}, f"{certificate} and {wrong_key}: .*MISMATCH"),
        ({"tls_cert": certificate}, f"expected a certificate and its key in PEM, .* in {certificate}: "),
        ({"tls_cert": nonsense, "tls_key": key}, f"in {nonsense} and {key}: "),
        ({"tls_cert": certificate, "tls_key": locked}, f"and the right password, in {certificate} and {locked}: "),
        ({"tls_cert": certificate, "tls_key": locked, "tls_key_password": "no"}, "and the right password, in "),
        ({"tls_cert": together, "tls_client_ca": missing}, f"tls_client_ca: {missing} cannot be read: No such"),
        ({"tls_cert": together, "tls_client_ca": nonsense}, f"tls_client_ca: expected .* in {nonsense}: "),
    ):
        with pytest.raises(SystemExit, match=f"^error: .*{message}") as caught:
            tls.options(Settings(**settings))
        assert "\n" not in str(caught.value)
    assert tls.options(Settings(tls_cert=Path(certificate), tls_key=Path(locked), tls_key_password=SecretStr("secret")))
    assert tls.options(Settings(tls_cert=Path(together)))
    assert tls.options(Settings()) == {}
