"""Processes that a program starts for its work, such as fits and the scoring of files."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_for_parent_only() -> Iterator[None]:
    """Let processes start that Ctrl-C does not reach: their parent ends them, and they write no tracebacks."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
