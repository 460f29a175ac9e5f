"""Serve a sequence model together with the attention that explains each prediction."""

import os
from importlib.metadata import PackageNotFoundError, version

# Unless this is set before its import, ONNX Runtime reports to Microsoft and writes an identifier below the home
# directory.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

try:
    __version__ = version("attention-service")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"
