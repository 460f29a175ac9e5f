"""Scoring in bulk on a Ray cluster: the output of local processes, a lost process, and what a node does not have."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from service.bulk.__main__ import main
from service.bulk.on_ray import score_on_node
from service.bulk.run import Options, score
from service.bulk.source import Unit
from service.bulk.worker import Job
from service.errors import ScoringError
from tests.scoring import here, scored, silent, write_models
from tests.server import ROOT
from tests.test_scoring_runs import assert_same

#: Sequences, each a unit of its own, so that there is work left when a process is killed.
N = 300
#: Longest time to wait for Ray. It starts a dozen processes.
SECONDS = 240


@pytest.fixture
def options(tmp_path: Path) -> Options:
    """The options of a run whose input has a wrong number."""
    write_models(tmp_path / "models")
    values = np.random.default_rng(0).standard_normal((N * 4, 2))
    values[10] = np.inf
    keys = {"id": np.arange(N).repeat(4), "t": np.tile(np.arange(4), N)}
    table = pl.DataFrame(keys | {"u": values[:, 0], "v": values[:, 1]})
    table.write_csv(tmp_path / "data.csv")
    return Options((str(tmp_path / "data.csv"),), tmp_path / "out", "long", artifacts=tmp_path / "models", chunk=1)


def test_a_run_goes_on_by_ray_though_a_process_is_killed(options: Options, tmp_path: Path) -> None:
    """Its beginning is of this process. Output and rejected rows are those of a run without Ray."""

    def begins(*arguments: Any) -> Iterator[Unit]:
        yield from islice(here(*arguments), 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(options, silent, begins)
    (source,) = options.inputs
    named = ["--model", "long", "--artifacts", str(options.artifacts), "--chunk", "1", "--resume"]
    with subprocess.Popen(
        [sys.executable, "-m", "service", "score", source, options.output, *named, "--ray", "local", "--workers", "2"],
        env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)},
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        kill_one_that_scores(process)
        output, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, errors) == (0, "")
    last = output.splitlines()[-1]  # before it stand lines of Ray about the process
    assert last.startswith(f"{options.output}: {N - 1} sequences, 1 rejected ")
    scored(options.artifacts, Path(source), tmp_path / "unbroken", "long", chunk=1)
    assert_same(options.output, tmp_path / "unbroken")


def kill_one_that_scores(program: "subprocess.Popen[str]") -> None:
    """Kill a process of Ray while it scores a unit. Ray names its processes for what they do."""
    deadline = time.monotonic() + SECONDS
    while program.poll() is None and time.monotonic() < deadline:
        for process in filter(scores, (int(path.name) for path in Path("/proc").glob("[0-9]*"))):
            if program.pid in ancestors(process):
                os.kill(process, signal.SIGSTOP)
                if scores(process):
                    os.kill(process, signal.SIGKILL)
                    return
                os.kill(process, signal.SIGCONT)
    raise AssertionError("no process scored a unit")


def scores(process: int) -> bool:
    """Return whether a process of Ray scores a unit now."""
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes().startswith(b"ray::score_on_node")
    return False


def ancestors(process: int) -> Iterator[int]:
    """Yield the processes by which a process was started, from its parent on."""
    with suppress(OSError):
        while process > 1:
            process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
            yield process


@pytest.mark.parametrize("missing", ["version", "output", "sources"])
def test_a_node_without_the_files_says_so(options: Options, tmp_path: Path, missing: str) -> None:
    """The error names the file and the node."""
    absent = tmp_path / "elsewhere"

    def elsewhere(job: Job, units: Sequence[Unit]) -> Iterator[Unit]:
        sources = tuple(replace(source, path=str(absent)) for source in job.sources)
        change: dict[str, Any] = {missing: sources if missing == "sources" else absent}
        score_on_node(replace(job, **change), units[0])
        yield from units

    with pytest.raises(ScoringError, match=r"elsewhere.*: no such file on node .+ must be in folders that all nodes"):
        score(options, silent, elsewhere)


def test_an_address_without_a_cluster_is_told(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has one line, and comes before the output begins."""
    message = "^error: --ray 127.0.0.1:1: expected the address of a cluster: .*Connection refused$"
    with pytest.raises(SystemExit, match=message):
        run_on("127.0.0.1:1", options, monkeypatch)
    assert not options.output.exists()


def test_without_ray_the_error_names_the_extra(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how to install it."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit, match=r"^error: --ray needs the module 'ray': pip install '\.\[ray\]'"):
        run_on("local", options, monkeypatch)


def run_on(address: str, options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the command line in this process."""
    named = ["--model", "long", "--artifacts", str(options.artifacts), "--ray", address]
    monkeypatch.setattr(sys, "argv", ["score", *options.inputs, str(options.output), *named])
    main()
