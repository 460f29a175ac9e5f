"""The system calls of the service and of a training: they reach no other machine, and write only where they should."""

import ipaddress
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.server import ROOT, free_port, running, wait_until_ready

#: System calls that open connections, and those that create or change files.
CALLS = "%network,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,mknod,mknodat"
#: Address families that stay on the machine, and those whose addresses show whether they do.
LOCAL_FAMILIES, INTERNET_FAMILIES = {"AF_UNIX", "AF_NETLINK", "AF_UNSPEC"}, {"AF_INET", "AF_INET6"}
ADDRESS = re.compile(r'(?:inet_addr\(|inet_pton\(AF_INET6, )"([^"]*)"')
#: A path, and the directory that it is relative to, if the call names one.
PATH = re.compile(r'(?:<([^<>]*)>, )?"([^"]*)"')
#: Devices, and the names of the process's own threads.
NO_FILES = ("/dev/null", "/proc/self/")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - semaphores of joblib


class Trace:
    """The system calls of a command that runs without a home directory, in a folder that it must not write to.

    Args:
        folder: an empty folder for the log and for the command's working and temporary directory.
    """

    def __init__(self, folder: Path) -> None:
        self.cwd, self.temporary, self._log = folder / "cwd", folder / "temporary", folder / "log"
        self.cwd.mkdir()
        self.temporary.mkdir()
        # Not the environment of the tests: ONNX Runtime sends nothing from CI systems.
        self.environment = {
            "HOME": "/nonexistent",
            "PATH": os.environ["PATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.temporary),
        }

    def command(self, *arguments: str) -> list[str]:
        """Return a command line that traces a module of Python and all its processes."""
        # With -D the traced program is the child of this process, rather than strace.
        options = ["-D", "-f", "-q", "-y", "-s", "0", "--seccomp-bpf", "-e", f"trace={CALLS}", "-o", str(self._log)]
        return ["strace", *options, sys.executable, "-m", *arguments]

    def lines(self, process: int) -> list[str]:
        """Return the system calls, one a line, after the process has ended."""
        deadline = time.monotonic() + 30
        while not re.search(rf"^{process} +\+\+\+ ", self._log.read_text(), re.MULTILINE):
            assert time.monotonic() < deadline, self._log.read_text()[-2000:]
            time.sleep(0.05)
        return self._log.read_text().splitlines()

    def written(self, lines: list[str]) -> Iterator[str]:
        """Yield the paths that the calls create, rename or open for writing, even if they fail."""
        for line in lines:
            call = line.partition(" ")[2].lstrip()
            if call.startswith(("open", "creat", "mk", "rename", "link", "symlink")) and not (
                call.startswith("open") and re.search(r"O_(CREAT|WRONLY|RDWR|TRUNC|TMPFILE)", call) is None
            ):
                for directory, path in PATH.findall(call):
                    yield os.path.normpath(Path(directory or self.cwd, path))


def foreign(lines: list[str]) -> list[str]:
    """Return the calls with the address of another machine."""
    return [
        line
        for line in lines
        if not {*re.findall(r"sa_family=(\w+)", line)} <= LOCAL_FAMILIES | INTERNET_FAMILIES
        or not all(ipaddress.ip_address(address).is_loopback for address in ADDRESS.findall(line))
    ]


def outside(paths: Iterator[str], *folders: Path) -> set[str]:
    """Return the paths that lie in none of the folders."""
    return {path for path in paths if not path.startswith((*NO_FILES, *(f"{folder}/" for folder in folders)))}


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    return Trace(tmp_path)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_service_reaches_no_other_machine_and_writes_no_files(
    trace: Trace, artifacts: Path, retrained: Path, tmp_path: Path, workers: int
) -> None:
    """Several workers share a temporary folder."""
    home = tmp_path / "artifacts" / "after-lstm"
    shutil.copytree(artifacts / "after-lstm", home)
    url = f"http://127.0.0.1:{free_port()}"
    arguments = ["--artifacts", str(home.parent), "--port", url.rpartition(":")[2], "--workers", str(workers)]
    with running(trace.command("service", *arguments), cwd=trace.cwd, env=trace.environment) as process:
        wait_until_ready(url, process)
        with httpx.Client(base_url=url) as client:

            def version() -> int:
                answer = client.post("/predict", json={"sequence": [[0.1, -0.2]] * 20})
                return int(answer.raise_for_status().json()["version"])

            assert {version() for _ in range(1000)} == {1}
            shutil.copytree(retrained, home / ".staging-2")
            (home / ".staging-2").rename(home / "2")
            until(lambda: version() == 2)
        process.terminate()
        process.communicate(timeout=60)
    lines = trace.lines(process.pid)
    assert len(lines) > 1000
    assert foreign(lines) == []
    assert outside(trace.written(lines), *([trace.temporary] if workers > 1 else [])) == set()


@pytest.mark.training
def test_training_reaches_no_other_machine_and_writes_to_the_artifacts_only(trace: Trace, tmp_path: Path) -> None:
    """It also uses the folder for temporary files, and semaphores in shared memory."""
    artifacts = tmp_path / "artifacts"
    smallest = ["--architecture", "additive", "--units", "4", "--validation-split", "0"]
    arguments = ["--artifacts", str(artifacts), "--name", "m", "--data", "aeon:ItalyPowerDemand", *smallest]
    with running(trace.command("training", *arguments), cwd=trace.cwd, env=trace.environment) as process:
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    lines = trace.lines(process.pid)
    written = set(trace.written(lines))
    assert f"{artifacts}/m/1" in written
    assert foreign(lines) == []
    assert outside(iter(written), artifacts, trace.temporary, SHARED_MEMORY) == {str(artifacts)}
    assert list(trace.temporary.iterdir()) == []


def test_the_watch_finds_connections_and_files(trace: Trace) -> None:
    """Each way to reach another machine or to write a file is found, even if it fails."""
    program = (
        "import os, socket\n"
        "for family, address in ((socket.AF_INET, '192.0.2.1'), (socket.AF_INET6, '2001:db8::1')):\n"
        "    socket.socket(family, socket.SOCK_DGRAM).connect_ex((address, 53))\n"
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 53))\n"
        "open('/dev/null', 'w')\n"
        "directory = os.open('/proc', os.O_RDONLY)\n"
        "for attempt in (lambda: os.open('absent/one', os.O_CREAT, dir_fd=directory), lambda: open('two', 'x'),\n"
        "                lambda: os.makedirs('/proc/three'), lambda: os.rename('/proc/four', '/proc/five')):\n"
        "    try: attempt()\n"
        "    except OSError: pass\n"
    )
    command = trace.command("x")[:-2]
    process = subprocess.Popen([*command, "-c", program], cwd=trace.cwd, env=trace.environment)
    assert process.wait(timeout=60) == 0
    lines = trace.lines(process.pid)
    connections = [line for line in foreign(lines) if " connect(" in line]
    assert [ADDRESS.findall(line) for line in connections] == [["192.0.2.1"], ["2001:db8::1"]]
    expected = {"/proc/absent/one", f"{trace.cwd}/two", "/proc/three", "/proc/four", "/proc/five"}
    assert outside(trace.written(lines)) == expected


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
