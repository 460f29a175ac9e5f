"""Helpers of both engines: importing a runtime, and its error messages."""

import gc
import importlib
import sys
from typing import Any


def import_runtime(module: str) -> Any:
    """Import the module that executes graphs.

    Its objects live as long as the process, so they are excluded from garbage collection. Otherwise each collection
    would stop all requests for about 35 ms, several times a second.
    """
    if module not in sys.modules:
        importlib.import_module(module)
        gc.collect()
        gc.freeze()
    return sys.modules[module]


def first_line(error: Exception) -> str:
    """Return the first line of a runtime's error message."""
    return str(error).strip().partition("\n")[0]
