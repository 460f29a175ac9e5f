"""Worker processes, which start while the run is planned."""

import importlib
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, connection, get_context, parent_process
from typing import Any


@contextmanager
def started(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of processes. They begin at once to import what a worker needs, and none of them is left."""
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin)
    try:
        for _ in range(workers):  # each starts a process, as none is idle yet
            pool.submit(_import)
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in active_children():
            process.terminate()


def _begin() -> None:
    """Let this process end with the one that started it, and leave Ctrl-C to that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None, "a worker was started by another process"

    def end_with_parent(sentinel: Any) -> None:
        connection.wait([sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, args=(parent.sentinel,), daemon=True).start()


def _import() -> None:
    importlib.import_module("service.bulk.worker")
