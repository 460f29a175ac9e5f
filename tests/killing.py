"""Runs code and kills the process at one line, as a power failure might."""

import os
import signal
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any


def run_until(fatal: int, act: Callable[[], object], traced: Callable[[CodeType], bool]) -> int:
    """Run a function in this process, and kill the process with SIGKILL at a line of it.

    Args:
        fatal: the line, counted from 1 over the executed lines; nothing happens if there are fewer.
        act: the function.
        traced: whether the lines of a code object count.

    Returns:
        The number of executed lines.
    """
    lines = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if not traced(frame.f_code):
            return None
        if event == "line":
            lines += 1
            if lines == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    act()
    sys.settrace(None)
    return lines
