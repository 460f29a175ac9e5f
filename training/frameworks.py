"""The import of TensorFlow and of the libraries around it without their messages."""

import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: They write to standard error when they are imported.
LIBRARIES: Final = ("tensorflow", "keras", "tf2onnx")


def import_frameworks() -> None:
    """Import TensorFlow, Keras and tf2onnx. Errors are exceptions; other messages are left out.

    Raises:
        ModuleNotFoundError: one of them is not installed.
    """
    # TensorFlow logs its search for GPUs as errors. Real errors are exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _silent_stderr():  # the level has no effect on what is logged before the log is set up
        for library in LIBRARIES:
            importlib.import_module(library)
    for library in ("tensorflow", "tf2onnx"):  # TensorFlow warns about the graphs of several seeds
        logging.getLogger(library).setLevel(logging.ERROR)
    # Keras suspects a mistake. In sequences of one timestep, all attention is on it.
    warnings.filterwarnings("ignore", "You are using a softmax over axis", UserWarning)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Discard what native code writes to standard error, which is file descriptor 2 for it."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
