"""Code that is killed at one of its lines, as a power failure might."""

import os
import signal
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any


def run_until(fatal: int, act: Callable[[], object], traced: Callable[[CodeType], bool]) -> int:
    """Run something in this process, which ends by SIGKILL at a line of it.

    Args:
        fatal: the line, counted from 1 over those that run; there may be fewer.
        act: what to run.
        traced: whether the lines of some code count.

    Returns:
        How many lines there were.
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
