"""The sockets of the server, its signals and its deadlines, in a process of its own."""

import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from tests.server import ROOT, free_port, get, post, running, serving, wait_until_ready, workers_of

BODY = {"sequence": [[0.1, -0.2]] * 20}


def command(artifacts: Path, *arguments: str) -> list[str]:
    """Return the command that serves the default model."""
    return [sys.executable, "-m", "service", "--artifacts", str(artifacts), "--model", "after-lstm", *arguments]


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Return once a condition holds; fail if the process ends or it takes too long."""
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_two_colons_stand_for_both_families(artifacts: Path, workers: str) -> None:
    """IPv4 and IPv6 clients are answered."""
    port = free_port()
    with running(command(artifacts, "--host", "::", "--port", str(port), "--workers", workers)) as process:
        for url in (f"http://127.0.0.1:{port}", f"http://[::1]:{port}"):
            wait_until_ready(url, process)
            assert post(f"{url}/predict", json=BODY).status_code == 200


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_unix_socket(artifacts: Path, tmp_path: Path, workers: str) -> None:
    """A socket that a killed service has left behind is replaced, one that is in use is not."""
    path = tmp_path / "service.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    with running(command(artifacts, "--uds", str(path), "--workers", workers)) as process:

        def listens() -> bool:
            with socket.socket(socket.AF_UNIX) as client:
                return client.connect_ex(str(path)) == 0

        until(listens, process)
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://service") as client:
            assert client.post("/predict", json=BODY).status_code == 200
        outcome = subprocess.run(
            command(artifacts, "--uds", str(path)), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
    assert outcome.returncode == 1
    assert outcome.stderr == f"error: cannot listen on {path}: choose another --uds (Address already in use)\n"


def test_another_file_is_no_socket(artifacts: Path, tmp_path: Path) -> None:
    """It is not replaced."""
    path = tmp_path / "data.txt"
    path.write_text("precious")
    outcome = subprocess.run(
        command(artifacts, "--uds", str(path)), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert outcome.returncode == 1
    assert path.read_text() == "precious"


@pytest.mark.parametrize("by", ["--fd", "LISTEN_FDS"])
def test_an_inherited_socket(artifacts: Path, by: str) -> None:
    """A service manager opens the socket, as systemd does. The service keeps it when it restarts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        serve = command(artifacts, *(["--fd", "3"] if by == "--fd" else []))
        # As systemd does between fork and exec.
        name = "LISTEN_FDS" if by == "LISTEN_FDS" else "OTHER"
        script = (
            f"import os, sys; os.dup2({listener.fileno()}, 3); "
            f"os.environ.update({name}='1', LISTEN_PID=str(os.getpid())); "
            "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", script, *serve[1:]],
            cwd=ROOT,
            pass_fds=[listener.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            wait_until_ready(url, process)
            assert post(f"{url}/predict", json=BODY).status_code == 200
            process.send_signal(signal.SIGHUP)
            until(lambda: get(f"{url}/attention", timeout=30).json()["live"]["start"]["sequences"] == 0, process)
        finally:
            process.terminate()
            process.communicate(timeout=30)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_taken_port_is_said_first(artifacts: Path, workers: str) -> None:
    """Before models are loaded, and with the setting to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        outcome = subprocess.run(
            command(artifacts, "--port", port, "--workers", workers),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert outcome.returncode == 1
    assert outcome.stderr == (
        f"error: cannot listen on 127.0.0.1 port {port}: choose another --host or --port (Address already in use)\n"
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_sighup_restarts_it_without_a_lost_request(artifacts: Path, workers: int) -> None:
    """New processes load everything again. Requests wait meanwhile, and all are answered."""
    with serving("--artifacts", str(artifacts), "--model", "after-lstm", "--workers", str(workers)) as (url, process):
        assert post(f"{url}/predict", json=BODY, timeout=30).status_code == 200  # so that no process has counted none
        for _ in range(3 - workers):
            before = workers_of(process)
            posted = itertools.count(get(f"{url}/attention").json()["live"]["start"]["sequences"] + 1)
            process.send_signal(signal.SIGHUP)

            def restarted(before: list[int] = before, posted: Iterator[int] = posted) -> bool:
                assert post(f"{url}/predict", json=BODY, timeout=30).status_code == 200
                if workers > 1:
                    return len(workers_of(process)) == workers and not set(before) & set(workers_of(process))
                counted = get(f"{url}/attention", timeout=30).json()["live"]["start"]["sequences"]
                return bool(counted < next(posted))  # it counts from 0 again

            until(restarted, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        assert process.stdout is not None
        assert "Traceback" not in process.stdout.read()


def test_sighup_waits_for_the_end_of_the_start(artifacts: Path) -> None:
    """It is blocked while modules are imported and models loaded, which takes a second."""
    port = free_port()
    with running(command(artifacts, "--port", str(port))) as process:
        status = Path(f"/proc/{process.pid}/status")
        until(lambda: re.search(r"^SigBlk:\t.*[13579bdf]$", status.read_text(), re.MULTILINE), process)  # its bit is 1
        process.send_signal(signal.SIGHUP)
        wait_until_ready(f"http://127.0.0.1:{port}", process)
        process.terminate()
        printed, _ = process.communicate(timeout=60)
    assert printed.count("SIGHUP: restarting") == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_sighup_never_ends_it(artifacts: Path, tmp_path: Path, workers: int) -> None:
    """Signals may come while it starts again. Without models to start with, it goes on as it is."""
    folder = tmp_path / "artifacts"
    shutil.copytree(artifacts / "after-lstm", folder / "after-lstm")
    with serving("--artifacts", str(folder), "--workers", str(workers)) as (url, process):
        for _ in range(3):
            process.send_signal(signal.SIGHUP)
            time.sleep(0.4)  # signals come at different stages of the start
        until(lambda: get(f"{url}/health/ready", timeout=60).status_code == 200, process)
        folder.rename(tmp_path / "gone")
        process.send_signal(signal.SIGHUP)
        hung = threading.Timer(60, os.killpg, (process.pid, signal.SIGKILL))  # its workers have the pipe, too
        hung.daemon = True
        hung.start()
        assert any("SIGHUP: no restart, as it would fail: no model in" in line for line in process.stdout or ())
        hung.cancel()
        assert post(f"{url}/predict", json=BODY, timeout=60).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) in (0, -signal.SIGTERM)


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_drains_and_a_second_one_ends_at_once(artifacts: Path, workers: int) -> None:
    """During the delay it is not ready, but accepts connections and answers them."""
    arguments = ("--model", "after-lstm", "--workers", str(workers), "--drain-delay", "600")
    with serving("--artifacts", str(artifacts), *arguments) as (url, process):
        assert get(f"{url}/health/started").status_code == 200
        process.send_signal(signal.SIGTERM)
        until(lambda: get(f"{url}/health/ready", timeout=30).status_code == 503, process)
        assert post(f"{url}/predict", json=BODY, timeout=30).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == (1 if workers > 1 else -signal.SIGTERM)


@pytest.mark.parametrize("signals", [(signal.SIGHUP, signal.SIGTERM), (signal.SIGTERM, signal.SIGHUP)])
def test_sigterm_ends_it_despite_a_restart(artifacts: Path, signals: tuple[signal.Signals, signal.Signals]) -> None:
    """Whichever signal is first, the process ends and does not start again. During a start it ends at once."""
    with serving("--artifacts", str(artifacts), "--model", "after-lstm", "--drain-delay", "1") as (_, process):
        for number in signals:
            process.send_signal(number)
            time.sleep(0.05)
        assert process.wait(timeout=60) in (0, -signal.SIGTERM)


def test_a_stalled_request_is_answered_when_the_time_to_drain_is_over(artifacts: Path) -> None:
    """The answer is one of the service, and the log has no defect."""
    with serving("--artifacts", str(artifacts), "--model", "after-lstm", "--drain-timeout", "1") as (url, process):
        connection = HTTPConnection(url.removeprefix("http://"), timeout=60)
        connection.putrequest("POST", "/predict")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", "100")
        connection.endheaders(b"{")
        process.send_signal(signal.SIGTERM)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (503, b'{"detail":"the service is stopping"}')
        assert answer.headers["X-Request-ID"]
        connection.close()
        assert process.wait(timeout=60) == 0
        assert process.stdout is not None
        assert "Exception" not in process.stdout.read()


def test_a_worker_that_dies_is_replaced(artifacts: Path) -> None:
    """The other answers meanwhile."""
    with serving("--artifacts", str(artifacts), "--model", "after-lstm", "--workers", "2") as (url, process):
        until(lambda: len(workers_of(process)) == 2, process)
        before = set(workers_of(process))
        os.kill(min(before), signal.SIGKILL)

        def replaced() -> bool:
            assert post(f"{url}/predict", json=BODY, timeout=30).status_code == 200
            return len(set(workers_of(process)) - before) == 1

        until(replaced, process)


def test_connections_stay_open_between_requests_as_long_as_is_set(artifacts: Path) -> None:
    """A load balancer keeps idle connections, by default for a minute or so."""
    arguments = ("--artifacts", str(artifacts), "--model", "after-lstm", "--keep-alive", "1")
    with serving(*arguments) as (url, _):
        idle = HTTPConnection(url.removeprefix("http://"), timeout=20)
        for _ in range(2):
            idle.request("GET", "/health/live")
            assert idle.getresponse().read() == b'{"status":"live"}'
        assert idle.sock.recv(1) == b""
        idle.close()


def test_idle_clients_do_not_use_up_all_descriptors(artifacts: Path) -> None:
    """Connections without a request are closed, so new clients are answered again."""
    limited = ["/bin/sh", "-c", 'ulimit -n 64; exec "$@"', "sh"]
    port = free_port()
    with running([*limited, *command(artifacts, "--port", str(port), "--head-timeout", "1")]) as process:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, process)
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(80)]
        for one in idle[::2]:
            one.sendall(b"GET / HTTP/1.1\r\nHost:")

        def answered() -> bool:
            try:
                return get(f"{url}/health/ready", timeout=30).status_code == 200
            except httpx.TransportError:
                return False

        until(answered, process)
        for one in idle:
            one.close()
        os.kill(process.pid, signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    assert "no model in" not in output
