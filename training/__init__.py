"""Fit an attention model offline, evaluate it on held-out data, and publish it as an artifact for the service."""

import service  # noqa: F401 - disables ONNX Runtime's telemetry before any module here imports ONNX Runtime


class TrainingError(Exception):
    """The data, an option or the fit is wrong. The message gives the expected value and the actual one."""
