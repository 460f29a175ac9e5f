"""Contestants while they run: each in its own environment, on the server's core."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contestants import Body, Contestant

ROOT = Path(__file__).parent.parent
UV = (sys.executable, "-m", "uv")
#: The first port of the contestants, the core that they share, and the one that is left to the load.
FIRST_PORT, SERVER_CORE, LOAD_CORE = 8600, 0, 1
#: The variable by which the processes of a server are known.
MARK = "BENCHMARK_SERVER"


@dataclass(frozen=True)
class Server:
    """A contestant that answers.

    Attributes:
        contestant: which.
        url: where it takes its requests.
        start: seconds from its start to its first answer.
        process: what was started; it may have started others.
        mark: an entry of their environment that no other process has.
        log: what they print.
    """

    contestant: Contestant
    url: str
    start: float
    process: subprocess.Popen[bytes]
    mark: bytes
    log: Path

    def memory(self) -> float:
        """Memory of its processes, in MB, what they share counted once (proportional set size)."""
        return sum(map(_pss, self.processes())) / 1e3

    def processes(self) -> list[int]:
        """All its processes, daemons too: those that inherited its mark."""
        return _marked(self.mark)

    def freeze(self) -> None:
        """Stop its processes where they are: idle servers, too, take time from the one that is measured."""
        if self.contestant.freezes:
            self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Let its processes go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def ask(self, body: Body, timeout: float = 10) -> tuple[int, bytes]:
        """Post a body; returns the status, 0 where there was none, and the answer."""
        return ask(self.url, body, timeout)


def ask(url: str, body: Body, timeout: float = 10) -> tuple[int, bytes]:
    """Post a body; returns the status, 0 where there was none, and the answer."""
    request = urllib.request.Request(url, body.content, body.headers)  # noqa: S310 - http, to this machine
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def install(contestant: Contestant, environments: Path) -> Path:
    """Make a contestant's environment if it is not there; returns its bin directory."""
    environment = environments / contestant.folder.name
    requirements = contestant.folder / "requirements.txt"
    done = environment / "installed"
    if not done.exists() or done.stat().st_mtime < requirements.stat().st_mtime:
        subprocess.run(
            [*UV, "venv", "--quiet", "--clear", "--python", contestant.python or "3.11", str(environment)], check=True
        )
        python = str(environment / "bin" / "python")
        subprocess.run(
            [*UV, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, "-r", str(requirements)],
            check=True,
        )
        done.touch()
    return (environment / "bin").resolve()


@contextmanager
def serving(
    contestant: Contestant,
    bin_directory: Path,
    port: int,
    body: Body,
    *,
    core: int,
    variables: Mapping[str, str],
    log: Path,
) -> Iterator[Server]:
    """Run a contestant until the block ends, pinned to a core.

    Raises:
        RuntimeError: it does not answer within two minutes.
    """
    path = f"{bin_directory}{os.pathsep}{os.environ['PATH']}"
    mark = f"{MARK}={port}".encode()
    environment = {
        **os.environ,
        **contestant.environment,
        **variables,
        "PORT": str(port),
        MARK: str(port),
        "SERVICE_PORT": str(port),
        "PATH": path,
        "PYTHONDONTWRITEBYTECODE": "",  # whoever starts once more does not compile once more
    }
    program, *arguments = contestant.command
    command = ["taskset", "-c", str(core), str(bin_directory / program), *arguments]
    started = time.perf_counter()
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, cwd=contestant.folder, env=environment, stdout=output, stderr=output, start_new_session=True
        ) as process,
    ):
        url = f"http://127.0.0.1:{port}{contestant.path}"
        try:
            while ask(url, body)[0] != 200:
                if process.poll() is not None or time.perf_counter() - started > 120:
                    raise RuntimeError(f"it does not answer:\n{log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.01)
            server = Server(contestant, url, time.perf_counter() - started, process, mark, log)
            try:
                yield server
            finally:
                server.wake()  # or it could not hear that it is to stop
        finally:
            _stop(process, mark)


def serving_alone(contestant: Contestant, body: Body, scratch: Path) -> AbstractContextManager[Server]:
    """Run a contestant of this environment, as `serving` does."""
    python = Path(sys.executable).parent
    log = scratch / "server.log"
    return serving(contestant, python, FIRST_PORT, body, core=SERVER_CORE, variables={}, log=log)


def _stop(process: subprocess.Popen[bytes], mark: bytes) -> None:
    """Ask a process group to end, then end by force what is left, daemons too."""
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=15)
        time.sleep(0.5)  # its children
    for pid in _marked(mark):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _marked(mark: bytes) -> list[int]:
    """Processes with an entry in their environment."""
    running = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())
    return [pid for pid in running if mark in _environment(pid)]


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
