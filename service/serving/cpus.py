"""The CPUs that the process may use, in a container its limit, and the priority of its threads."""

import os
import sys
import threading
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def threads_allowed(asked: int, workers: int, cgroups: Path = CGROUPS) -> int:
    """Return the threads for one call of an engine, such that no two share a CPU.

    Args:
        asked: the number wanted; 0 for as many as possible.
        workers: number of processes that share the CPUs.
        cgroups: the folder of Linux' control groups.
    """
    allowed = max(1, cpu_limit(cgroups) // workers)
    return min(asked or allowed, allowed)


def cpu_limit(cgroups: Path = CGROUPS) -> int:
    """Return the CPUs that the process may use, by its affinity and by the quota of its control group, rounded down.

    See https://docs.kernel.org/admin-guide/cgroup-v2.html. Version 1 has two files, for quota and period.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _first_line(cgroups / "cpu.max").split()
    if len(limit) != 2:
        limit = [_first_line(cgroups / "cpu" / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
    quota, period = limit
    if not (quota.isdecimal() and period.isdecimal() and int(period)):  # no limit: "max", -1, or no file
        return affinity
    return max(1, min(affinity, int(quota) // int(period)))


def _first_line(path: Path) -> str:
    try:
        return path.read_text().partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError):
        return ""


def lower_priority(niceness: int) -> None:
    """Lower the priority of this thread, so that the event loop gets the processor first.

    Args:
        niceness: as Linux counts it, from 0 to 19, the lowest priority.
    """
    if sys.platform == "linux":  # on other systems, threads have no priority of their own
        thread = threading.get_native_id()
        current = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, max(current, niceness))  # a smaller one needs a privilege
