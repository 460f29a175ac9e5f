"""Tests of the number of threads: the limit of the container counts, not the CPUs of the machine."""

import os
from pathlib import Path

import pytest

from service.serving.cpus import cpu_limit, threads_allowed


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def cgroups(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n")
    return tmp_path


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "200000 100000"}, 2),
        ({"cpu.max": "350000 100000"}, 3),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "1600000 100000"}, 8),
        ({"cpu.max": ""}, 8),
        ({"cpu.max": "100000 0"}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ({"cpu/cpu.cfs_quota_us": "400000"}, 8),
    ],
)
def test_the_quota_limits_the_cpus(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    """Both versions of control groups have one; without its files there is no limit."""
    assert cpu_limit(cgroups(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("asked", "workers", "expected"), [(0, 1, 4), (0, 2, 2), (0, 3, 1), (0, 9, 1), (1, 1, 1), (3, 1, 3), (16, 2, 2)]
)
def test_workers_share_the_cpus(tmp_path: Path, asked: int, workers: int, expected: int) -> None:
    """A worker gets at least one thread, and at most its share."""
    assert threads_allowed(asked, workers, cgroups(tmp_path, {"cpu.max": "400000 100000"})) == expected
