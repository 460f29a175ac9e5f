"""`python -m service` in a process of its own, over a real socket."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn

from service.app import create_app
from service.artifact.gate import open_verified
from service.artifact.tensors import PREDICTION, Array
from service.artifact.version import Artifact
from service.engines import EngineChoice, opener
from service.settings import Settings
from tests.fakes import IN_THREAD, held, interceptable
from tests.server import ROOT, free_port, get, post, running, serving, wait_until_ready, workers_of

BODY = {"sequence": [[0.1, -0.2]] * 20}


def ended(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Return the outcome of a service that should not start."""
    return subprocess.run(
        [sys.executable, "-m", "service", "--port", "0", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_serves_over_a_socket(artifacts: Path, engine: EngineChoice) -> None:
    """It serves with both engines."""
    with serving("--artifacts", str(artifacts), "--model", "after-lstm", "--engine", engine) as (url, _):
        assert post(f"{url}/predict", json=BODY).json()["model"] == "after-lstm"
        assert get(f"{url}/model").json()["engine"] == engine


def test_the_access_log_has_the_clients_address_behind_a_proxy(artifacts: Path) -> None:
    """The log has the address that the proxy forwards. Answers do not name the server's software."""
    with serving("--artifacts", str(artifacts), "--model", "after-lstm", "--access-log") as (url, process):
        answer = get(f"{url}/model", headers={"X-Forwarded-For": "192.0.2.7"})
        assert "server" not in answer.headers
        os.killpg(process.pid, signal.SIGTERM)
        printed = process.communicate(timeout=60)[0]
    assert re.search(r"^\S+Z info     request method=GET route=/model .* client=192\.0\.2\.7 ", printed, re.MULTILINE)


def prediction(artifact: Artifact, sequence: Array) -> float:
    """Return the prediction of a version for one sequence."""
    engine = open_verified(artifact.read(), opener("onnx", threads=1)).engine
    return float(engine.run(sequence[np.newaxis], [PREDICTION])[PREDICTION][0, 0])


def test_every_request_is_answered_while_versions_change(
    artifacts: Path, retrained: Path, tmp_path: Path, engine: EngineChoice
) -> None:
    """Versions are published, deleted and pinned under load. Every answer is 200, from a version on disk."""
    home = tmp_path / "after-lstm"
    sources = [artifacts / "after-lstm" / "1", retrained]
    sequence = Artifact(retrained).read().golden().sequence[0]
    expected: dict[int, float] = {}
    stopped = threading.Event()
    wrong: list[object] = []
    seen: set[int] = set()

    def publish(number: int) -> None:
        source = sources[number % 2]
        expected[number] = prediction(Artifact(source), sequence)
        shutil.copytree(source, tmp_path / "staged")
        home.mkdir(exist_ok=True)
        (tmp_path / "staged").rename(home / str(number))

    def ask(url: str) -> None:
        with httpx.Client() as client:
            while not stopped.is_set():
                answer = client.post(f"{url}/predict", json={"sequence": sequence.tolist()})
                body = answer.json()
                right = expected.get(body["version"]) if answer.status_code == 200 else None
                if right is None or abs(body["predictions"][0]["prediction"] - right) > 1e-5:
                    wrong.append(body)
                else:
                    seen.add(body["version"])

    def await_version(number: int) -> None:
        seen.discard(number)
        deadline = time.monotonic() + 30
        while number not in seen:
            assert time.monotonic() < deadline, f"version {number} does not answer: {wrong}"
            time.sleep(0.01)

    publish(1)
    with serving("--artifacts", str(tmp_path), "--engine", engine, "--poll-interval", "0.05") as (url, _):
        threads = [threading.Thread(target=ask, args=[url]) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            await_version(1)
            for number in range(2, 7):
                publish(number)
                await_version(number)
            shutil.rmtree(home / "6")
            await_version(5)
            (home / "pin").write_text("2")
            await_version(2)
            (home / "pin").unlink()
            await_version(5)
        finally:
            stopped.set()
            for thread in threads:
                thread.join()
    assert wrong == []


def test_the_live_profile_is_that_of_all_workers(artifacts: Path) -> None:
    """Each worker answers the profile of all, also after a worker was killed or stopped, and replaced."""

    def wait_until_counted(url: str, expected: int) -> None:
        """Ask several times, as each connection may reach another worker."""
        deadline = time.monotonic() + 30
        while {get(f"{url}/attention").json()["live"]["start"]["sequences"] for _ in range(10)} != {expected}:
            assert time.monotonic() < deadline

    arguments = ("--artifacts", str(artifacts), "--model", "after-lstm", "--workers", "2")
    with serving(*arguments) as (url, process):
        for _ in range(20):
            assert post(f"{url}/predict", json=BODY).status_code == 200
        wait_until_counted(url, 20)
        for number, expected in ((signal.SIGKILL, 21), (signal.SIGTERM, 22)):
            before = workers_of(process)
            os.kill(before[0], number)
            deadline = time.monotonic() + 60
            while len(workers_of(process)) != 2 or before[0] in workers_of(process):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            wait_until_ready(url, process)
            assert post(f"{url}/predict", json=BODY).status_code == 200
            wait_until_counted(url, expected)
        assert 'attention_sequences_total{model="after-lstm",version="1"} 22.0' in get(f"{url}/metrics").text


def test_several_workers_serve_one_port(artifacts: Path) -> None:
    """Every worker loads the models for itself. When one unloads or loads a model on request, all have done so."""

    def answers(url: str) -> set[tuple[int, bytes]]:
        """Return the different answers on separate connections, which reach all workers."""
        asked = [post(f"{url}/predict", params={"model": "after-lstm"}, json=BODY) for _ in range(20)]
        return {(answer.status_code, answer.content) for answer in asked}

    # The poll interval is long: the workers must be notified.
    arguments = (
        "--artifacts",
        str(artifacts),
        "--model",
        "three",
        "--workers",
        "3",
        "--poll-interval",
        "60",
        "--model-control",
    )
    with serving(*arguments) as (url, process):
        deadline = time.monotonic() + 60
        while {status for status, _ in answers(url)} != {200}:  # a worker loads its default model before the others
            assert time.monotonic() < deadline
        loaded = answers(url)
        assert len(loaded) == 1
        for _ in range(2):
            assert post(f"{url}/v2/repository/models/after-lstm/unload").status_code == 200
            assert {status for status, _ in answers(url)} == {503}
            assert post(f"{url}/v2/repository/models/after-lstm/load").status_code == 200
            assert answers(url) == loaded
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_a_body_that_stops_arriving_is_answered_504(artifacts: Path) -> None:
    """It may stop before its first byte. Its memory is freed, and the client gets an error."""
    head = b"POST /v2/models/after-lstm/infer HTTP/1.1\r\nHost: x\r\n"
    length, chunked = b"Content-Length: 100\r\n", b"Transfer-Encoding: chunked\r\n"
    with serving("--artifacts", str(artifacts), "--model", "after-lstm", "--timeout", "0.5") as (url, _):
        for headers, body, size in (
            (length, b"", 0),
            (length, b"{", 1),
            (length + b"Expect: 100-continue\r\n", b"", 0),
            (chunked, b"", 0),
            (chunked, b"1;extension", 0),
            (chunked, b"1\r\n{\r\n", 1),
            (chunked, b"1\r\n{\r\n0\r\nTrailer: ", 1),
        ):
            connection = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20)
            with connection, connection.makefile("rb") as answers:
                connection.sendall(head + headers + b"\r\n" + body)
                answer = answers.read()  # until the service closes the connection
            answer = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 504 ")
            assert answer.endswith(b'{"error":"expected all of the body within 0.5 s, got %d bytes"}' % size)


def test_requests_in_flight_are_answered_before_it_stops(artifacts: Path, engine: EngineChoice) -> None:
    """A stopping server finishes the requests that it has accepted."""
    settings = Settings(artifacts=artifacts, model="after-lstm", engine=engine)
    app = create_app(settings, open_engine=interceptable(engine, IN_THREAD))
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    serve = threading.Thread(target=server.run)
    answers: list[httpx.Response] = []
    ask = threading.Thread(target=lambda: answers.append(post_once_it_listens(f"http://127.0.0.1:{port}/predict")))
    with held(app) as calls:
        serve.start()
        ask.start()
        deadline = time.monotonic() + 30
        while not calls:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        server.should_exit = True  # SIGTERM sets it
    ask.join(timeout=30)
    serve.join(timeout=30)
    assert [answer.status_code for answer in answers] == [200]
    assert not serve.is_alive()


def post_once_it_listens(url: str) -> httpx.Response:
    """Post as soon as the server listens."""
    while True:
        try:
            return post(url, json=BODY, timeout=60)
        except httpx.ConnectError:
            time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_without_a_traceback(artifacts: Path, number: signal.Signals) -> None:
    """There is no traceback for either signal."""
    with serving("--artifacts", str(artifacts), "--model", "after-lstm") as (_, process):
        process.send_signal(number)
        output, _ = process.communicate(timeout=30)
    assert "Application shutdown complete." in output
    assert "Traceback" not in output


def test_a_client_that_never_finishes_does_not_keep_it_running(artifacts: Path) -> None:
    """The service waits no longer than the timeout of requests."""
    with serving("--artifacts", str(artifacts), "--model", "after-lstm", "--timeout", "1") as (url, process):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
            )
            time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=15)
    assert "Application shutdown complete." in output


def test_a_client_that_disconnects_while_sending_is_no_error(artifacts: Path) -> None:
    """The log has no traceback."""
    with serving("--artifacts", str(artifacts), "--model", "after-lstm") as (url, process):
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as client:
            head = (
                "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
            )
            client.sendall(head.encode())
            time.sleep(0.2)
        assert post(f"{url}/predict", json=BODY).status_code == 200
        process.terminate()
        output, _ = process.communicate(timeout=30)
    assert "Traceback" not in output


@pytest.mark.parametrize("workers", ["1", "2"])
def test_without_models_the_service_exits_with_advice(tmp_path: Path, workers: str) -> None:
    """The exit code is not 0, with one worker or several, and there is no traceback."""
    outcome = ended("--artifacts", str(tmp_path), "--workers", workers)
    assert outcome.returncode == 3
    assert "train one with `python -m training" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_with_one_worker_the_advice_is_the_only_output(tmp_path: Path) -> None:
    """No other output hides it."""
    outcome = ended("--artifacts", str(tmp_path))
    assert outcome.stdout == ""
    assert len(outcome.stderr.splitlines()) == 1


def test_each_broken_version_has_its_own_line(artifacts: Path, tmp_path: Path) -> None:
    """Without an older version, the log has one line for each rejected version and one for the end of the service."""
    version = Path(shutil.copytree(artifacts / "three" / "1", tmp_path / "three" / "1"))
    Artifact(version).card_path.write_text("{}")
    outcome = ended("--artifacts", str(tmp_path))
    assert outcome.returncode == 3
    rejected, end = outcome.stderr.splitlines()
    assert "three version 1 is rejected: " in rejected
    assert "card.json is not what was published" in rejected
    assert f"no version of 'three' in {tmp_path} can be served" in end


def test_a_wrong_flag_is_answered_with_one_line(tmp_path: Path) -> None:
    """The line is the same as in the test of settings."""
    outcome = ended("--timeout", "soon", "--artifacts", str(tmp_path))
    assert outcome.returncode == 1
    assert outcome.stderr.startswith('error: timeout: expected a number, got "soon"')
    assert len(outcome.stderr.splitlines()) == 1


def test_the_environment_configures_it_too(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may have only environment variables, no flags."""
    port = free_port()
    monkeypatch.setenv("SERVICE_PORT", str(port))
    monkeypatch.setenv("SERVICE_ARTIFACTS", str(artifacts))
    monkeypatch.setenv("SERVICE_MODEL", "three")
    with running([sys.executable, "-m", "service"]) as process:
        wait_until_ready(f"http://127.0.0.1:{port}", process)
        assert get(f"http://127.0.0.1:{port}/model").json()["name"] == "three"
