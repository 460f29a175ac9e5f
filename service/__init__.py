"""Serve a sequence model together with the attention that explains each prediction."""

__version__ = "0.1.0"
