"""Importing a runtime, which both engines do when they are opened."""

import gc
import importlib
import sys
from typing import Any


def import_runtime(module: str) -> Any:
    """Import the module that executes graphs.

    Its objects stay for the life of the process. They are moved out of sight of the garbage collector, which would
    otherwise stop every request for some 35 ms several times a second.
    """
    if module not in sys.modules:
        importlib.import_module(module)
        gc.collect()
        gc.freeze()
    return sys.modules[module]


def first_line(error: Exception) -> str:
    """Return the first line of a runtime's error message."""
    return str(error).strip().partition("\n")[0]
