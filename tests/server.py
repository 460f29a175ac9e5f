"""A service in a separate process, over a real socket."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx

ROOT = Path(__file__).parent.parent

# Each request has a connection of its own. Without `verify`, it does not load certificates first, which takes 50 ms.
get = partial(httpx.get, verify=False)
post = partial(httpx.post, verify=False)


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(*arguments: str, python: str = sys.executable) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run `python -m service` until the block ends; yield its address and its process."""
    port = free_port()
    command = [python, "-m", "service", "--port", str(port), *arguments]
    with running(command) as process:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, process)
        yield url, process
        # Not its workers: uvicorn waits for the answer of a worker that has just ended until that times out.
        process.terminate()
        process.communicate(timeout=60)


@contextmanager
def running(
    command: Sequence[str], cwd: Path = ROOT, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a command until the block ends."""
    with subprocess.Popen(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)  # make and bash do not always pass it on
                process.communicate(timeout=60)


def execute(command: Sequence[str], cwd: Path) -> str:
    """Run a command to its end and return its output; fail if the command fails."""
    outcome = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert outcome.returncode == 0, f"{command[-1]}\n{outcome.stdout}{outcome.stderr}"
    return outcome.stdout


def wait_until_ready(url: str, process: subprocess.Popen[str], timeout: float = 60) -> None:
    """Return once the service answers; fail if its process ends or takes too long."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"the service ended: {process.communicate()[0]}")
        try:
            if get(f"{url}/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"not ready within {timeout} s")


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Return the worker processes of a service."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = []
    for child in children:
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                workers.append(int(child))
    return workers
