"""Serve a sequence model together with the attention that explains each prediction."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("attention-service")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"
