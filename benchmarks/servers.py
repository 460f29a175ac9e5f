"""Running contestants: each in its own environment, pinned to the server's core."""

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
#: The first port of the contestants, the core that they share, and the core of the load generator.
FIRST_PORT, SERVER_CORE, LOAD_CORE = 8600, 0, 1
#: Longest time from a start to the first answer.
STARTUP_SECONDS = 300
#: Environment variable that marks all processes of a server.
MARK = "BENCHMARK_SERVER"


@dataclass(frozen=True)
class Server:
    """A running contestant.

    Attributes:
        contestant: its description.
        url: the address that takes its requests.
        start: seconds from its start to its first answer.
        process: the process that was started; it may have started others.
        mark: an entry in the environment of all its processes and of no other process.
        log: the file with their output.
    """

    contestant: Contestant
    url: str
    start: float
    process: subprocess.Popen[bytes]
    mark: bytes
    log: Path

    def address(self, path: str) -> str:
        """Return the URL of another path of the server."""
        return self.url.removesuffix(self.contestant.path) + path

    def memory(self) -> float:
        """Return the memory of its processes, in MB; shared pages count once (proportional set size)."""
        return self._memory("Pss")

    def resident_memory(self) -> float:
        """Return the resident memory of its processes, in MB; shared pages count for each process."""
        return self._memory("Rss")

    def processes(self) -> list[int]:
        """Return the ids of all processes that inherited its mark, daemons included."""
        return _marked(self.mark)

    def pause(self) -> None:
        """Pause its processes (SIGSTOP): an idle server takes time from the measured one."""
        if self.contestant.pausable:
            self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume its processes."""
        self._signal(signal.SIGCONT)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Resume its processes until the block ends."""
        self.resume()
        try:
            yield
        finally:
            self.pause()

    def _memory(self, kind: str) -> float:
        return sum(_kilobytes(kind, pid) for pid in self.processes()) / 1e3

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def post_once(self, body: Body, timeout: float = 10) -> tuple[int, bytes]:
        """Post a body; return the status, 0 without an answer, and the response body."""
        return post_once(self.url, body, timeout)


def post_once(url: str, body: Body, timeout: float = 10) -> tuple[int, bytes]:
    """Post a body; return the status, 0 without an answer, and the response body."""
    request = urllib.request.Request(url, body.content, body.headers)  # noqa: S310 - http, to this machine
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def install(folder: Path, environments: Path, python: str = "3.11") -> Path:
    """Create the environment of a peer's folder unless it exists; return its bin directory."""
    environment = environments / folder.name
    requirements = folder / "requirements.txt"
    done = environment / "installed"
    if not done.exists() or done.stat().st_mtime < requirements.stat().st_mtime:
        subprocess.run([*UV, "venv", "--quiet", "--clear", "--python", python, str(environment)], check=True)
        interpreter = str(environment / "bin" / "python")
        subprocess.run(
            [*UV, "pip", "install", "--quiet", "--compile-bytecode", "--python", interpreter, "-r", str(requirements)],
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
        RuntimeError: it exits, or does not answer within `STARTUP_SECONDS`.
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
        "PYTHONPATH": "",  # the working directory decides which source tree runs
        "PYTHONDONTWRITEBYTECODE": "",  # later starts find compiled modules
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
            while post_once(url, body)[0] != 200:
                if process.poll() is not None or time.perf_counter() - started > STARTUP_SECONDS:
                    raise RuntimeError(f"it does not answer:\n{log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.01)
            server = Server(contestant, url, time.perf_counter() - started, process, mark, log)
            try:
                yield server
            finally:
                server.resume()  # a paused process does not handle SIGTERM
        finally:
            _stop(process, mark)


def serving_alone(contestant: Contestant, body: Body, scratch: Path) -> AbstractContextManager[Server]:
    """Run a contestant in this environment, as `serving` does."""
    python = Path(sys.executable).parent
    log = scratch / "server.log"
    return serving(contestant, python, FIRST_PORT, body, core=SERVER_CORE, variables={}, log=log)


def _stop(process: subprocess.Popen[bytes], mark: bytes) -> None:
    """End a process group by SIGTERM, then kill the remaining processes, daemons included."""
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=15)
        time.sleep(0.5)  # its children
    for pid in _marked(mark):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _marked(mark: bytes) -> list[int]:
    """Return the ids of the processes that have an entry in their environment."""
    running = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())
    return [pid for pid in running if mark in _environment(pid)]


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _kilobytes(kind: str, pid: int) -> int:
    """Return the memory of a process, by a key of `/proc/<pid>/smaps_rollup`; 0 after its end."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{kind}:")), 0)
