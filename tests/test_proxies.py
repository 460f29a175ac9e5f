"""Programs between people and the service, from their Debian packages and unmodified, over real sockets."""

import gzip
import json
import os
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trustme

from tests.server import ROOT, execute, free_port, post, serving

JAVA = ROOT / "tests" / "programs" / "Predict.java"
BODY = {"sequence": [[0.1, -0.2]] * 20}
MANY = {"sequences": [[[0.1, -0.2]] * 20] * 200, "attention": "full"}

# Its workers may then read the folder of the test; only root can set it, and others need not.
NGINX = """
user root root;
daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    upstream service {{ server {upstream}; keepalive 4; }}
    gzip on; gzip_types application/json; gzip_proxied any;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.pem;
        location /models-of-ours/ {{
            proxy_pass http://service/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host:$server_port;
            proxy_set_header X-Forwarded-Prefix /models-of-ours;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto https;
        }}
    }}
}}
"""

HAPROXY = """
global
    stats socket {folder}/stats
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout check 30s
frontend all
    bind 127.0.0.1:{port}
    default_backend service
backend service
    option httpchk
    server one {upstream} check inter 100
"""


def program(name: str, package: str) -> str:
    """Return the path of a program."""
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    assert path, f"{name} is missing: apt-get install {package}"
    return path


@pytest.fixture(scope="module")
def served(artifacts: Path) -> Iterator[str]:
    """Serve the default model and return its address."""
    with serving("--artifacts", str(artifacts), "--model", "after-lstm") as (url, _):
        yield url


def reached(client: httpx.Client) -> bool:
    """Return whether the service answers."""
    try:
        return client.get("health/ready").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def proxied(command: list[str], url: str, verify: ssl.SSLContext | None = None) -> Iterator[httpx.Client]:
    """Run a proxy until the block ends; yield a client of its address once the service answers through it."""
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
        httpx.Client(base_url=url, verify=verify or False) as client,
    ):
        try:
            deadline = time.monotonic() + 30
            while not reached(client):
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield client
        finally:
            process.terminate()
            process.communicate(timeout=30)


def test_javas_client(served: str) -> None:
    """It offers an upgrade to HTTP/2 with each request."""
    printed = execute([program("java", "default-jdk-headless"), str(JAVA), f"{served}/predict", json.dumps(BODY)], ROOT)
    statuses, answer = printed.splitlines()
    assert statuses == "200 200 HTTP_1_1"
    assert json.loads(answer) == post(f"{served}/predict", json=BODY).json()


def test_curl_that_offers_http2(served: str) -> None:
    """It gets the answer in HTTP/1.1, also to a large body, before which it waits for leave to continue."""
    for body in (BODY, MANY):
        printed = execute(
            [
                program("curl", "curl"),
                *("--silent", "--http2", "--json", json.dumps(body), "--write-out", "\n%{http_code} %{http_version}"),
                f"{served}/predict",
            ],
            ROOT,
        )
        answer, code = printed.rsplit("\n", 1)
        assert code == "200 1.1"
        assert json.loads(answer) == post(f"{served}/predict", json=body).json()


def test_haproxy_checks_the_service_with_its_defaults(served: str, tmp_path: Path) -> None:
    """Its health check is OPTIONS in HTTP/1.0. A backend whose check fails gets no requests."""
    port = free_port()
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text(HAPROXY.format(folder=tmp_path, port=port, upstream=served.removeprefix("http://")))
    url = f"http://127.0.0.1:{port}"
    with proxied([program("haproxy", "haproxy"), "-W", "-db", "-f", str(configuration)], url) as client:
        for _ in range(8):  # several checks pass meanwhile
            answer = client.post("/predict", json=BODY)
            assert answer.status_code == 200
            time.sleep(0.1)
        assert answer.json() == post(f"{served}/predict", json=BODY).json()


def test_nginx_below_a_prefix(served: str, tmp_path: Path) -> None:
    """With TLS, gzip and connections that it keeps: the routes, the page, and the addresses in the OpenAPI document."""
    port = free_port()
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(NGINX.format(folder=tmp_path, port=port, upstream=served.removeprefix("http://")))
    url = f"https://127.0.0.1:{port}/models-of-ours"
    context = ssl.create_default_context(cafile=tmp_path / "authority.pem")
    with proxied([program("nginx", "nginx"), "-c", str(configuration)], url, context) as client:
        for body in (BODY, MANY) * 3:
            answer = client.post("predict", json=body)
            assert answer.status_code == 200
            assert answer.json() == post(f"{served}/predict", json=body).json()
        assert answer.headers["Content-Encoding"] == "gzip"
        [server] = client.get("openapi.json").json()["servers"]
        assert server["url"] == "/models-of-ours"
        page = client.get("", headers={"Accept": "text/html"})
        assert page.status_code == 200
        for link in re.findall(r'(?:src|href)="([^"#]+)"', page.text):
            found = client.get(httpx.URL(str(page.url)).join(link))
            assert found.status_code == 200, link
        compressed = gzip.compress(json.dumps(BODY).encode())
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        assert client.post("predict", content=compressed, headers=headers).status_code == 200
